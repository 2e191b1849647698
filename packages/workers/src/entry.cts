/**
 * What Piscina loads in a thread. CommonJS, since Piscina tries `require` first: Node 20 aborts the whole process when a
 * thread is terminated while it requires an ECMAScript module, but not while it imports one.
 */
import type { WorkerTask } from './worker.ts' with { 'resolution-mode': 'import' };

const run = async (task: WorkerTask): Promise<unknown> => (await import('./worker.ts')).default(task);

module.exports = run;
