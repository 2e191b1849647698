/** Ticks that are handed out before all that they need is there. */
import { type Address, ProgramBuilder } from '@lockstep/kernels';
import { expect, test } from 'vitest';
import { SharedHeap } from './heap.ts';
import { type PoolOptions, WorkerPool } from './pool.ts';

const N = 4096;

/** out[i] = 2 · in[i] for three vectors, one instruction each: the second and the third wait for 1 and 3. */
function gated(options: Partial<PoolOptions> = {}) {
  const builder = new ProgramBuilder();
  const region = (name: string, access: 'read' | 'write'): Address => ({
    region: builder.addRegion(name, access),
    offset: 0,
  });
  const vectors = [0, 1, 2].map((i) => [region(`in ${i}`, 'read'), region(`out ${i}`, 'write')] as const);
  const scratch = region('scratch', 'write');
  for (const [input, output] of vectors) {
    builder.elementwise({
      dims: [N],
      inputs: [{ address: input, strides: [1] }],
      steps: [{ op: 'add', args: [0, 0] }],
      outputs: [{ address: output, value: 1 }],
      scratch,
    });
  }
  const heap = new SharedHeap();
  const places = vectors.map(() => [heap.allocate(4 * N), heap.allocate(4 * N)] as const);
  const gates = [
    { before: 1, needs: 1 },
    { before: 2, needs: 3 },
  ];
  const pool = new WorkerPool({
    heap,
    workers: 1,
    kernels: 'wasm',
    programs: [{ name: 'double', program: builder.build(), marks: [1, 2], gates }],
    plans: [{ name: 'p', phases: [[[{ program: 0, bases: [...places.flat(), heap.allocate(1 << 16)] }]]] }],
    recordWords: 1,
    resultWords: 0,
    watch: true,
    ...options,
  });
  const give = (i: number, value: number): void => void heap.f32(places[i]![0], N).fill(value);
  const got = (): number[] => places.map(([, out]) => heap.f32(out, N)[N - 1]!);
  return { pool, give, got };
}

const nothing = (): void => {};

test('what stands before a gate is done, what stands behind it waits for what it needs', async () => {
  const { pool, give, got } = gated({ measure: true });
  await using _ = pool;
  await pool.start();
  for (let step = 1; step <= 50; step++) {
    give(0, step);
    const tick = pool.submit(0, nothing, pool.opened);
    await pool.waitMark(tick, 0, 1);
    expect(got()[0]).toBe(2 * step);
    give(1, step + 0.25);
    pool.open(pool.opened + 1);
    await pool.waitMark(tick, 0, 2);
    pool.open(pool.opened + 1);
    // Two of three are here.
    give(2, step + 0.5);
    pool.open(pool.opened + 1);
    await pool.wait(tick);
    expect(got()).toEqual([2 * step, 2 * step + 0.5, 2 * step + 1]);
    const moments = [...pool.moments(tick, 0)].slice(0, 2 + 3 + 2);
    expect(moments).toEqual(moments.toSorted((a, b) => a - b));
    expect(moments.every((moment) => moment > 0)).toBe(true);
  }
});

test('a tick that is handed out with all it needs does not wait', async () => {
  const { pool, give, got } = gated();
  await using _ = pool;
  await pool.start();
  for (const i of [0, 1, 2]) give(i, 3);
  await pool.wait(pool.submit(0, nothing));
  expect(got()).toEqual([6, 6, 6]);
});

test('several ticks wait for one thing after the other', async () => {
  const { pool, give, got } = gated();
  await using _ = pool;
  await pool.start();
  const ticks = [0, 3, 6].map((from) => pool.submit(0, nothing, from));
  for (const tick of ticks) {
    for (const i of [0, 1, 2]) give(i, tick);
    pool.open(pool.opened + 3);
    await pool.wait(tick);
    expect(got().slice(1)).toEqual([2 * tick, 2 * tick]);
  }
});

test('a thread that dies before a gate is replaced, and the next one passes those that are open', async () => {
  const { pool, give, got } = gated();
  await using _ = pool;
  await pool.start();
  for (const i of [0, 1]) give(i, 1);
  const tick = pool.submit(0, nothing, 0);
  pool.open(1);
  await pool.waitMark(tick, 0, 2);
  await pool.terminate(0);
  give(2, 5);
  pool.open(3);
  await pool.wait(tick);
  expect(got()).toEqual([2, 2, 10]);
  expect(pool.losses).toBe(1);
});

test('who waits before a gate does not hang; a pool can be closed meanwhile', async () => {
  const { pool } = gated({ hangSeconds: 0.05 });
  await pool.start();
  const tick = pool.submit(0, nothing, 0);
  const done = pool.wait(tick);
  done.catch(nothing);
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect(pool.losses).toBe(0);
  await pool.close();
  await expect(done).rejects.toThrow('closed');
});

test.each([
  ['less than before', 4],
  ['half a thing', 5.5],
])('%s cannot come', async (_, count) => {
  const { pool } = gated();
  pool.open(5);
  expect(() => pool.open(count)).toThrow(`open(${count}), expected an integer of at least 5`);
});
