/** Measured runs: the same bits, and moments that make sense. */
import { expect, test } from 'vitest';
import { prepare, serial } from '../test/training.ts';
import { WorkerPool } from './pool.ts';

const N = 4096;
const STEPS = 40;

/** Steps of the training in a measured pool; what was noted of each tick, per worker. */
async function measured(workers: number, kill = false) {
  const { options, write, state } = prepare(workers, N);
  // Every instruction of every program on its own.
  const programs = options.programs.map((each) => ({
    ...each,
    marks: each.program.starts.map((_, i) => i).slice(1),
  }));
  await using pool = new WorkerPool({ ...options, programs, kernels: 'wasm', measure: true });
  await pool.start();
  const ticks: number[][][] = [];
  for (let step = 1; step <= STEPS; step++) {
    const tick = pool.submit(0, write(step));
    if (kill && step === STEPS / 2) await pool.terminate(0);
    await pool.wait(tick);
    ticks.push(Array.from({ length: workers }, (_, worker) => [...pool.moments(tick, worker)]));
  }
  return { state: state(), ticks };
}

/** Moments of a tick: phase 0 waits twice and runs shards of 3 instructions; phase 1 waits and updates; worker 0 sums. */
const momentsOf = (worker: number, workers: number): number =>
  2 + 3 * (8 / workers) + 2 + (worker === 0 ? 1 : 0);

test.each([1, 2])('%i workers: a moment for each instruction, in order, on one clock', async (workers) => {
  const { state, ticks } = await measured(workers);
  expect(state.equals(serial(N, STEPS, 'wasm').state)).toBe(true);
  let last = 0;
  for (const tick of ticks) {
    const all = tick.map((moments, worker) => moments.slice(0, momentsOf(worker, workers)));
    for (const moments of all) {
      expect(moments).toEqual(moments.toSorted((a, b) => a - b));
      // A tick begins after the end of the last one on every worker: the clocks agree to a few microseconds.
      expect(moments[1]).toBeGreaterThan(last - 0.05);
    }
    last = Math.max(...all.map((moments) => moments.at(-1) ?? 0));
  }
});

test('a thread that dies leaves a whole tick of moments all the same', async () => {
  const { state, ticks } = await measured(2, true);
  expect(state.equals(serial(N, STEPS, 'wasm').state)).toBe(true);
  for (const tick of ticks) {
    for (const [worker, moments] of tick.entries()) {
      const own = moments.slice(0, momentsOf(worker, 2));
      expect(own).toEqual(own.toSorted((a, b) => a - b));
      expect(own[0]).toBeGreaterThan(0);
    }
  }
});

test('what is submitted while the pool is not measuring has no moments; the bits are the same', async () => {
  const { options, write, state } = prepare(2, N);
  const programs = options.programs.map((each) => ({ ...each, marks: [], noted: [1] }));
  await using pool = new WorkerPool({ ...options, programs, kernels: 'wasm', measure: true, watch: true });
  await pool.start();
  for (let step = 1; step <= STEPS; step++) {
    pool.isMeasuring = step % 3 === 0;
    const tick = pool.submit(0, write(step));
    await pool.wait(tick);
    expect(pool.isMeasured(tick)).toBe(step % 3 === 0);
    if (step % 3 === 0) expect(pool.moments(tick, 0)[0]).toBeGreaterThan(0);
    else expect(() => pool.moments(tick, 0)).toThrow('is not measured');
  }
  expect(state().equals(serial(N, STEPS, 'wasm').state)).toBe(true);
});

test('a pool that is not measured has no moments', async () => {
  const { options, write } = prepare(1, N);
  await using pool = new WorkerPool({ ...options, kernels: 'wasm' });
  await pool.start();
  const tick = pool.submit(0, write(1));
  await pool.wait(tick);
  expect(() => pool.moments(tick, 0)).toThrow('worker 0 is not measured');
});
