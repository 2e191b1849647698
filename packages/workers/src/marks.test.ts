/** How far a tick is, and regions that lie where its record says. */
import { ProgramBuilder } from '@lockstep/kernels';
import { expect, test } from 'vitest';
import { prepare, serial } from '../test/training.ts';
import { SharedHeap } from './heap.ts';
import { WorkerPool } from './pool.ts';

const N = 4096;
const STEPS = 40;

test.each([1, 2])('%i workers: marks are passed, and change no bit', async (workers) => {
  const { options, write, state } = prepare(workers, N);
  const programs = options.programs.map((each) => ({
    ...each,
    marks: each.program.starts.map((_, i) => i).slice(1),
  }));
  await using pool = new WorkerPool({ ...options, programs, kernels: 'wasm', watch: true });
  await pool.start();
  for (let step = 1; step <= STEPS; step++) {
    const tick = pool.submit(0, write(step));
    await Promise.all([2, 1].map((marks) => pool.waitMark(tick, 0, marks)));
    // There are no 200 marks: that is the end of the first phase, and nobody waits for a mark then.
    await pool.waitMark(tick, 0, 200);
    const passed: number[] = [];
    for (const marks of [1, 2, 200]) void pool.waitMark(tick, 0, marks).then(() => passed.push(marks));
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    expect(passed).toEqual([1, 2, 200]);
    await pool.wait(tick);
  }
  expect(state().equals(serial(N, STEPS, 'wasm').state)).toBe(true);
});

/** out = 2 · in, with both where the record says. */
function pointing() {
  const builder = new ProgramBuilder();
  const input = { region: builder.addRegion('in', 'read'), offset: 0 };
  const output = { region: builder.addRegion('out', 'write'), offset: 0 };
  const scratch = { region: builder.addRegion('scratch', 'write'), offset: 0 };
  builder.elementwise({
    dims: [4],
    inputs: [{ address: input, strides: [1] }],
    steps: [{ op: 'add', args: [0, 0] }],
    outputs: [{ address: output, value: 1 }],
    scratch,
  });
  const heap = new SharedHeap();
  const places = [1, 2, 3].map(() => heap.allocate(16));
  const bases = [{ pointer: 0 }, { pointer: 1 }, heap.allocate(1 << 16)];
  const pool = new WorkerPool({
    heap,
    workers: 1,
    kernels: 'wasm',
    programs: [{ name: 'double', program: builder.build() }],
    plans: [{ name: 'p', phases: [[[{ program: 0, bases }]]] }],
    recordWords: 2,
    resultWords: 0,
  });
  return { pool, heap, places };
}

test('a region lies where the record of the tick says', async () => {
  const { pool, heap, places } = pointing();
  const [a, b, c] = places as [number, number, number];
  heap.f32(a, 4).set([1, 2, 3, 4]);
  const run = async (from: number, to: number): Promise<void> => {
    await pool.wait(pool.submit(0, ({ u32 }) => void u32.set([from, to])));
  };
  await using _ = pool;
  await pool.start();
  await run(a, b);
  await run(b, c);
  expect([...heap.f32(c, 4)]).toEqual([4, 8, 12, 16]);
});

test.each([
  ['0', 0],
  ['an odd address', 1001],
  ['an address behind the memory', 2 ** 31],
])('a pointer at %s is refused', async (_, address) => {
  const { pool, places } = pointing();
  await using _pool = pool;
  expect(() => pool.submit(0, ({ u32 }) => void u32.set([places[0]!, address]))).toThrow(
    `plan p: word 1 of the record points at ${address}`,
  );
});
