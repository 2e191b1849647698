/**
 * `pnpm bench [SUITE…] [--rounds 5] [--seconds 0.5]` after a build: one table for all suites (or those named), and
 * bench/results/bench.json. Cases of a suite take turns, round by round, and medians are shown.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { interleave, machine, table } from './report.mjs';
import { suites } from './suites.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.5' },
  },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
const names = positionals.length > 0 ? positionals : Object.keys(suites);
const unknown = names.find((name) => !(name in suites));
if (unknown !== undefined || !(Number.isInteger(rounds) && rounds > 0 && seconds > 0)) {
  const wrong = unknown === undefined ? '--rounds and --seconds' : unknown;
  console.error(
    `bench: ${wrong}: expected rounds ≥ 1, seconds > 0 and suites out of ${Object.keys(suites).join(', ')}`,
  );
  process.exit(2);
}

const results = [];
for (const name of names) {
  const suite = suites[name];
  if (!suite) continue;
  console.error(`bench: ${name} …`);
  const found = await interleave(await suite.cases(seconds), rounds);
  const peak = found.find((result) => result.name === suite.peak)?.median;
  for (const result of found) {
    results.push({ suite: name, unit: suite.unit, ...result, ...(peak && { share: result.median / peak }) });
  }
}
const rows = results.map(({ suite, name, unit, median, min, max, share }) => [
  ...[suite, name, unit, median, min, max],
  share === undefined ? '' : `${Math.round(100 * share)} %`,
]);
console.log(`## Bench\n\n${machine()}; ${rounds} rounds of ${seconds} s\n`);
console.log(table(['suite', '', 'unit', 'median', 'min', 'max', 'of the peak'], rows));
const folder = new URL('results/', import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(
  new URL('bench.json', folder),
  `${JSON.stringify({ machine: machine(), rounds, seconds, results }, null, 2)}\n`,
);
