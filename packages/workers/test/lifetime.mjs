/** A process that uses a pool, for tests of how it ends. Argument: `close`, `fail`, or `exit`. Prints a line before. */
import { SharedHeap, WorkerPool } from '../dist/index.js';

const how = process.argv[2];
const heap = new SharedHeap();
/** @type {import('@lockstep/kernels').Program} */
const program = {
  version: 1,
  regions: [],
  // An unknown instruction: the program of `fail`.
  code: Int32Array.of(999, 2),
  starts: [0],
  labels: [''],
  cuts: [],
};
const pool = new WorkerPool({
  heap,
  workers: 2,
  recordWords: 0,
  resultWords: 0,
  programs: [{ name: 'bad', program }],
  plans: [{ name: 'p', phases: [[[], how === 'fail' ? [{ program: 0, bases: [] }] : []]] }],
});
await pool.start();
const tick = pool.submit(0, () => {});
const outcome = await pool.wait(tick).then(
  () => 'done',
  (error) => error.message,
);
console.log(outcome);
if (how === 'close') await pool.close();
if (how === 'exit') process.exit(0);
