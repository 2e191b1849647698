/** A process with a planted bug: `node mutants.js NUMBER [FROM COUNT]` prints what a sweep finds, as JSON. */
import { register } from 'node:module';
import { MUTATIONS } from './mutations.ts';

const [number = '', from = '0', count] = process.argv.slice(2);
const mutation = MUTATIONS[Number(number)];
if (mutation === undefined) throw new Error(`got ${number}, expected the number of a mutation`);
register('./mutant.js', import.meta.url, { data: mutation.edits });
const { sweep } = await import('./sweep.ts');
process.stdout.write(JSON.stringify(await sweep(Number(from), Number(count ?? mutation.within), 1)));
