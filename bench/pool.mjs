/**
 * What the pool itself costs, with nothing to compute: `node bench/pool.mjs` after a build. Pipelined ticks are submitted
 * ahead, as the trainer does; a tick alone waits for the one before.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { cores, SharedHeap, WorkerPool } from '@lockstep/workers';
import { interleave, print, table } from './report.mjs';

const TICKS = 5_000;
/** Index of the plan with so many phases. */
const PHASES = [1, 2, 8];

/** @param {number} workers */
const open = async (workers) => {
  const plans = PHASES.map((phases) => ({
    name: `${phases} phases`,
    phases: Array.from({ length: phases }, () => Array.from({ length: workers }, () => [])),
  }));
  const pool = new WorkerPool({
    heap: new SharedHeap(),
    workers,
    programs: [],
    plans,
    recordWords: 5,
    resultWords: 1,
  });
  await pool.start();
  return pool;
};

/** @param {WorkerPool} pool @param {number} plan @param {number} ticks */
const pipelined = async (pool, plan, ticks) => {
  const begin = performance.now();
  for (let left = ticks; left > 0; ) {
    for (; pool.capacity > 0 && left > 0; left--) pool.submit(plan, () => {});
    await pool.wait(Math.max(0, pool.submitted - pool.ring / 2));
  }
  await pool.wait(pool.submitted);
  return ((performance.now() - begin) * 1000) / ticks;
};

/** @param {WorkerPool} pool @param {number} ticks @param {number} pause ms before each tick */
const alone = async (pool, ticks, pause) => {
  let spent = 0;
  for (let i = 0; i < ticks; i++) {
    if (pause > 0) await sleep(pause);
    const begin = performance.now();
    await pool.wait(pool.submit(1, () => {}));
    spent += performance.now() - begin;
  }
  return (spent * 1000) / ticks;
};

/** @param {WorkerPool} pool */
const replacement = async (pool) => {
  const begin = performance.now();
  const replaced = once(pool, 'workerReplaced');
  const tick = pool.submit(1, () => {});
  await pool.terminate(0);
  await Promise.all([replaced, pool.wait(tick)]);
  return (performance.now() - begin) * 1000;
};

const counts = [...new Set([1, Math.min(2, cores()), cores(), cores() + 1])];
const pools = await Promise.all(counts.map(async (workers) => ({ workers, pool: await open(workers) })));
const cases = pools.flatMap(({ workers, pool }) => [
  { name: `${workers} workers: 2-phase tick, pipelined`, measure: () => pipelined(pool, 1, TICKS) },
  {
    name: `${workers} workers: one barrier`,
    measure: async () => ((await pipelined(pool, 2, TICKS)) - (await pipelined(pool, 0, TICKS))) / 7,
  },
  { name: `${workers} workers: 2-phase tick, alone`, measure: () => alone(pool, 200, 0) },
  { name: `${workers} workers: 2-phase tick after 20 ms of rest`, measure: () => alone(pool, 5, 20) },
  { name: `${workers} workers: a killed thread replaced`, measure: () => replacement(pool) },
]);
print('The pool, with nothing to compute', 'µs', await interleave(cases, 7));

// Nothing may grow with the ticks: resident memory after a warm-up and after many more ticks.
const { pool } = pools[1] ?? pools[0] ?? { pool: await open(1) };
await pipelined(pool, 1, 20_000);
const before = process.memoryUsage.rss();
await pipelined(pool, 1, 200_000);
const after = process.memoryUsage.rss();
console.log(
  table(
    ['resident memory', 'MB'],
    [
      ['before 200,000 ticks', before / 1e6],
      ['after', after / 1e6],
    ],
  ),
);
await Promise.all(pools.map((each) => each.pool.close()));
