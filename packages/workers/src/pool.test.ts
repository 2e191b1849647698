import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { availableVariants, type Program } from '@lockstep/kernels';
import { afterEach, describe, expect, test } from 'vitest';
import { prepare, serial } from '../test/training.ts';
import { SharedHeap } from './heap.ts';
import { type PoolTask, RECORD } from './plan.ts';
import { type PoolOptions, WorkerError, type WorkerLoss, WorkerPool } from './pool.ts';

const FAULTY = new URL('../test/faulty-kernels.mjs', import.meta.url);
const FAULTS = { exit: 0x7fff0000, throw: 0x7fff0001, hang: 0x7fff0002 };

const open: WorkerPool[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((pool) => pool.close()));
});
const makePool = (options: PoolOptions): WorkerPool => {
  const pool = new WorkerPool(options);
  open.push(pool);
  return pool;
};

/** Runs steps `from` to `to` as fast as the ring allows; their losses. */
const train = async (
  pool: WorkerPool,
  write: ReturnType<typeof prepare>['write'],
  from: number,
  to: number,
): Promise<number[]> => {
  const losses: number[] = [];
  const ticks: number[] = [];
  for (let step = from; step <= to || ticks.length > 0; ) {
    while (step <= to && ticks.length < pool.ring) ticks.push(pool.submit(0, write(step++)));
    const tick = ticks.shift()!;
    await pool.wait(tick);
    losses.push(pool.result(tick)[0]!);
  }
  return losses;
};

/** Numbers from 0 to 1 by mulberry32. */
const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

describe('ticks', () => {
  const N = 64 * 50;
  const STEPS = 100;
  const expected = serial(N, STEPS, 'wasm');

  test.each(
    availableVariants().flatMap((kernels) => [1, 2, 3, 5, 8, 11].map((workers) => ({ kernels, workers }))),
  )('$workers workers with $kernels give the bits of the serial run', async ({ kernels, workers }) => {
    const { options, write, state } = prepare(workers, N);
    const pool = makePool({ ...options, kernels, ring: 16 });
    await pool.start();
    expect(await train(pool, write, 1, STEPS)).toEqual(expected.losses);
    expect(state().equals(expected.state)).toBe(true);
    expect(pool.completed).toBe(STEPS);
    expect(pool.losses).toBe(0);
  });

  test('plans take turns, and one that does not update changes nothing', async () => {
    const { options, write, state } = prepare(2, N);
    const pool = makePool({ ...options, kernels: 'wasm' });
    await pool.start();
    for (let step = 1; step <= STEPS; step++) {
      if (step % 3 === 0) pool.submit(1, write(1000 + step));
      await pool.wait(pool.submit(0, write(step)));
    }
    expect(state().equals(expected.state)).toBe(true);
  });

  test('counters wrap around', async () => {
    const { options, write, state } = prepare(3, N);
    const firstTick = 2 ** 29 - STEPS / 2;
    const pool = makePool({ ...options, kernels: 'wasm', ring: 8, firstTick });
    await pool.start();
    expect(await train(pool, write, 1, STEPS)).toEqual(expected.losses);
    expect(state().equals(expected.state)).toBe(true);
    expect(pool.completed).toBe(firstTick + STEPS - 1);
  });

  test('ticks may be submitted before the threads are up; the ring has an end', async () => {
    const { options, write } = prepare(2, N);
    const pool = makePool({ ...options, ring: 4 });
    for (let step = 1; step <= 4; step++) pool.submit(0, write(step));
    expect(pool.capacity).toBe(0);
    expect(() => pool.submit(0, write(5))).toThrow('4 ticks are under way');
    expect(() => pool.result(1)).toThrow('got tick 1, expected one of the last 4 that are complete (now 0)');
    await pool.start();
    await pool.wait(4);
    expect(pool.capacity).toBe(4);
    await expect(pool.wait(9)).rejects.toThrow('waiting for tick 9, but the last one submitted is 4');
    expect(() => pool.submit(2, write(5))).toThrow('got plan 2, expected 0 to 1');
  });
});

describe('deaths', () => {
  test.each([
    { kernels: 'wasm', workers: 2, seed: 1 },
    { kernels: 'wasm', workers: 3, seed: 2 },
    { kernels: 'auto', workers: 2, seed: 3 },
  ] as const)(
    '25 threads killed at random points: $workers workers, $kernels',
    async ({ kernels, workers, seed }) => {
      const KILLS = 25;
      const N = 64 * 500;
      const next = random(seed);
      const { options, write, state } = prepare(workers, N);
      const pool = makePool({ ...options, kernels, ring: 32 });
      const lost: WorkerLoss[] = [];
      pool.on('workerLost', (loss) => lost.push(loss));
      await pool.start();
      let steps = 0;
      let killing = true;
      const training = (async () => {
        while (killing) {
          while (pool.capacity > 0) pool.submit(0, write(++steps));
          await pool.wait(pool.submitted - 16);
        }
      })();
      for (let kill = 0; kill < KILLS; kill++) {
        await new Promise((resolve) => setTimeout(resolve, next() * 20));
        const end = performance.now() + next();
        while (performance.now() < end);
        const worker = Math.floor(next() * workers);
        const replaced = once(pool, 'workerReplaced');
        await pool.terminate(worker);
        await replaced;
        expect(lost.at(-1)).toMatchObject({ worker, reason: 'terminated' });
      }
      killing = false;
      await training;
      await pool.wait(pool.submitted);
      expect(pool.losses).toBe(KILLS);
      expect(lost).toHaveLength(KILLS);
      const expected = serial(N, steps, 'auto');
      expect(state().equals(expected.state)).toBe(true);
      expect(pool.result(pool.submitted)[0]).toBe(expected.losses.at(-1));
    },
  );

  test('threads may be killed while they come up, as often as you like', async () => {
    const next = random(4);
    const { options, write, state } = prepare(2, 640);
    const pool = makePool({ ...options, kernels: 'wasm' });
    const started = pool.start();
    for (let kill = 0; kill < 30; kill++) {
      await new Promise((resolve) => setTimeout(resolve, next() * 40));
      await pool.terminate(kill % 2);
    }
    await started;
    await train(pool, write, 1, 20);
    expect(state().equals(serial(640, 20, 'wasm').state)).toBe(true);
  });

  /** A training whose worker 1 runs into a fault in each phase, `times` times. */
  const withFault = (kind: keyof typeof FAULTS, times: number, more: Partial<PoolOptions> = {}) => {
    const heap = new SharedHeap();
    const { options, write, state } = prepare(2, 640, heap);
    const program: Program = {
      version: 1,
      regions: [{ name: 'counts', bytes: 8, access: 'write' }],
      code: Int32Array.of(FAULTS[kind]),
      starts: [0],
      labels: ['fault'],
      cuts: [],
    };
    const counts = [heap.allocate(8), heap.allocate(8)];
    for (const address of counts) heap.i32(address, 2)[1] = times;
    const fault = { program: options.programs.length, bases: [0] };
    const [plan] = options.plans;
    const phases = plan!.phases.map((phase, index) => [
      phase[0]!,
      [...phase[1]!, { ...fault, bases: [counts[index]!] }, ...phase[1]!],
    ]);
    const pool = makePool({
      ...options,
      programs: [...options.programs, { name: kind, program }],
      plans: [{ name: 'train', phases }],
      kernels: 'wasm',
      kernelsModule: FAULTY.href,
      ...more,
    });
    return { pool, write, state };
  };

  test('process.exit in a worker costs nothing but time', async () => {
    const { pool, write, state } = withFault('exit', 2);
    const replaced: WorkerLoss[] = [];
    pool.on('workerReplaced', (loss) => replaced.push(loss));
    await pool.start();
    const losses = await train(pool, write, 1, 20);
    const expected = serial(640, 20, 'wasm');
    expect(losses).toEqual(expected.losses);
    expect(state().equals(expected.state)).toBe(true);
    const reason = 'worker exited with code: 3';
    expect(replaced).toEqual([0, 0, 1, 1].map((phase) => ({ worker: 1, tick: 1, phase, reason })));
    expect(pool.losses).toBe(4);
  });

  test('a worker that hangs is ended and replaced', async () => {
    const { pool, write, state } = withFault('hang', 1, { hangSeconds: 0.3 });
    const lost: WorkerLoss[] = [];
    pool.on('workerLost', (loss) => lost.push(loss));
    await pool.start();
    await train(pool, write, 1, 20);
    expect(state().equals(serial(640, 20, 'wasm').state)).toBe(true);
    expect(lost.map(({ worker, phase }) => [worker, phase])).toEqual([
      [1, 0],
      [1, 1],
    ]);
    expect(lost[0]!.reason).toMatch(/^made no progress for \d+ s$/);
  });

  test('a worker that dies again and again ends the pool', async () => {
    const { pool, write } = withFault('exit', 100);
    await pool.start();
    const waiting = pool.wait(pool.submit(0, write(1)));
    await expect(waiting).rejects.toThrow(
      'worker 1: lost 5 times in a row in phase 0 of tick 1; the last time: worker exited with code: 3',
    );
    expect(() => pool.submit(0, write(2))).toThrow(WorkerError);
  });

  test('an error in a program names worker and program, and ends the pool', async () => {
    const { pool, write } = withFault('throw', 1);
    await pool.start();
    const waiting = pool.wait(pool.submit(0, write(1)));
    await expect(waiting).rejects.toThrow('worker 1, program train/throw: a kernel that fails');
    await expect(waiting).rejects.toMatchObject({ name: 'WorkerError', worker: 1, program: 'train/throw' });
    expect(() => pool.submit(0, write(2))).toThrow('a kernel that fails');
    expect(pool.losses).toBe(0);
  });

  test.each(['exit', 'throw', 'hang'])('a thread that does not come up (%s) is replaced', async (boot) => {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-'));
    try {
      const file = join(folder, 'flag');
      const query = new URLSearchParams({ boot, once: file });
      const { options, write, state } = prepare(2, 640);
      const pool = makePool({
        ...options,
        kernels: 'wasm',
        kernelsModule: `${FAULTY.href}?${query}`,
        bootSeconds: boot === 'hang' ? 3 : 30,
      });
      await pool.start();
      await train(pool, write, 1, 5);
      expect(existsSync(file)).toBe(true);
      // On a busy machine the limit can end the replacement, too.
      expect(pool.losses).toBeGreaterThanOrEqual(1);
      expect(state().equals(serial(640, 5, 'wasm').state)).toBe(true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('the end', () => {
  test('close() ends everything soon, also in the middle of work', async () => {
    const { options, write } = prepare(2, 64 * 500);
    const pool = makePool(options);
    await pool.start();
    while (pool.capacity > 0) pool.submit(0, write(pool.submitted + 1));
    const waiting = pool.wait(pool.submitted);
    const begin = performance.now();
    const closed = pool.close();
    await expect(waiting).rejects.toThrow('the pool is closed');
    await closed;
    expect(performance.now() - begin).toBeLessThan(1000);
    expect(() => pool.submit(0, write(1))).toThrow('the pool is closed');
    await expect(pool.wait(pool.submitted)).rejects.toThrow('the pool is closed');
  });

  test('a signal ends it with its reason', async () => {
    const controller = new AbortController();
    const { options, write } = prepare(2, 640);
    const pool = makePool({ ...options, signal: controller.signal });
    await pool.start();
    await pool.wait(pool.submit(0, write(1)));
    controller.abort(new Error('enough'));
    expect(() => pool.submit(0, write(2))).toThrow('enough');
    await pool.close();
    const late = makePool({ ...prepare(1, 640).options, signal: controller.signal });
    await expect(late.start()).rejects.toThrow('enough');
  });

  test('kernels that are not there fail the start with the reason', async () => {
    const kernels = availableVariants().includes('native-neon') ? 'native-avx2' : 'native-neon';
    const pool = makePool({ ...prepare(2, 640).options, kernels });
    await expect(pool.start()).rejects.toThrow(`kernels '${kernels}' are not available`);
  });
});

describe('a process', () => {
  const script = fileURLToPath(new URL('../test/lifetime.mjs', import.meta.url));
  test.each([
    ['close', 'done'],
    ['exit', 'done'],
    ['fail', 'worker 1, program p/bad: kernels: unknown instruction at word 0; was the program validated?'],
  ])('ends by itself after %s', async (how, message) => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, how], {
      timeout: 20_000,
    });
    expect(stdout.trim()).toBe(message);
    expect(stderr).toBe('');
  });
});

describe('plans that do not fit are refused by name', () => {
  const { options } = prepare(2, 640);
  const [plan] = options.plans;
  const phases = plan!.phases;
  const [task] = phases[0]![0]!;
  const withTask = (bases: PoolTask['bases'], program = 0): Partial<PoolOptions> => ({
    plans: [{ name: 'p', phases: [[[], [{ program, bases }]]] }],
  });
  test.each<[string, Partial<PoolOptions>]>([
    ['workers is 0', { workers: 0 }],
    ['ring is 12, expected a power of two', { ring: 12 }],
    ['plan p: got 0 phases, expected 1 to 8', { plans: [{ name: 'p', phases: [] }] }],
    ['plan p, phase 0: got task lists for 1 workers, expected 2', { plans: [{ name: 'p', phases: [[[]]] }] }],
    ['plan p, phase 0, worker 1: got program 99', withTask([], 99)],
    ['plan p, phase 0, worker 1, program shard: got 1 bases, expected one for each of 6', withTask([64])],
    ['region weights has base 0, expected the address of a block', withTask(task!.bases.map(() => 0))],
    [
      'region gradient needs 2560 bytes, but there are',
      withTask(task!.bases.map((b, i) => (i === 1 ? 2 ** 31 : b))),
    ],
    ['region record needs 16 bytes, but there are 4', { recordWords: 0 }],
    ['regions weights and gradient share memory', withTask(task!.bases.with(1, task!.bases[0]!))],
    [
      'region weights needs 2560 bytes, but there are 0 at base',
      withTask(task!.bases.with(0, options.heap.allocatePrivate(4096))),
    ],
    [
      'region weights needs 2560 bytes, but there are 2556 at base',
      withTask(task!.bases.with(0, (task!.bases[0] as number) + 4)),
    ],
    ['region gradient is the record, expected it to be read-only', withTask(task!.bases.with(1, RECORD))],
    ['got a pointer in word 99 of the record', withTask(task!.bases.map(() => ({ pointer: 99 })))],
  ])('%s', (message, wrong) => {
    expect(() => new WorkerPool({ ...options, ...wrong })).toThrow(message);
  });
});
