/**
 * Threads are killed from outside, at random points of random steps, and the weights stay the same. Every kill is
 * counted, by the phase that it hit; the counts are shown with the test.
 */
import type { Worker } from 'node:worker_threads';
import { availableVariants } from '@lockstep/kernels';
import type { WorkerEvent } from '@lockstep/trainer';
import {
  type Batch,
  data,
  defineTraining,
  loss,
  nn,
  optim,
  type Tensor,
  type TrainingDefinition,
  type TrainOptions,
  train,
} from 'lockstep';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

type Fields = 'x' | 'y';
type Model = (x: Tensor) => Tensor;

/** Numbers from 0 to 1 by mulberry32. */
const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

const INPUTS = 32;

const inputs = (rows: number) => {
  const next = random(1);
  const floats = (count: number) => Float32Array.from({ length: count }, () => 2 * next() - 1);
  const [x, y] = [floats(rows * INPUTS), floats(rows)];
  return data.arrays({ x: { data: x, shape: [rows, INPUTS] }, y: { data: y, shape: [rows, 1] } });
};

const network = (hidden: number, narrower = hidden): Model =>
  nn.sequential(
    nn.linear(INPUTS, hidden),
    nn.relu(),
    nn.dropout(0.1),
    nn.linear(hidden, narrower),
    nn.tanh(),
    nn.linear(narrower, 1),
  );

/** Steps of about a millisecond, half of it forward and backward, half of it the update of 170,000 weights. */
const definition = (over: Partial<TrainingDefinition<Model, Fields>> = {}) =>
  defineTraining<Model, Fields>({
    seed: 5,
    batch: 40,
    steps: 200,
    data: () => inputs(270),
    model: () => network(400),
    loss: (model, { x, y }: Batch<Fields>) => loss.mse(model(x), y),
    optimizer: optim.adam({ lr: 1e-3 }),
    ...over,
  });

/** Products of several panels and pieces, updates of many tiles for each worker; a step takes some 50 ms, in WASM three times that. */
const wide: Partial<TrainingDefinition<Model, Fields>> = {
  ...{ batch: 2100, steps: 14, shards: 6 },
  data: () => inputs(2600),
  model: () => network(1100, 300),
  optimizer: optim.adamw({ lr: 1e-3, clipNorm: 0.1 }),
};
const clipped = { optimizer: optim.adamw({ lr: 1e-3, clipNorm: 0.1 }) };
/** With a unit for each shard, updates are several chains. */
const chained = {
  ...{ batch: 48, shards: 24, steps: 120 },
  optimizer: optim.adam({ lr: 1e-3, amsgrad: true, average: 0.9, weightDecay: 0.1 }),
};
const accumulated = { accumulate: 2, optimizer: optim.sgd({ lr: 0.05, momentum: 0.9 }) };

/** All threads of this process that live, as Node announces them. */
const threads = new Set<Worker>();
const noteThread = (thread: Worker): void => {
  threads.add(thread);
  thread.once('exit', () => threads.delete(thread));
};
beforeEach(() => {
  process.on('worker', noteThread);
});
afterEach(() => {
  process.off('worker', noteThread);
});

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits up to `ms`, finer than timers can. */
async function randomPause(next: () => number, ms: number): Promise<void> {
  await sleep(next() * ms);
  const end = performance.now() + next();
  while (performance.now() < end);
}

/** Ends a thread wherever it stands. False if it was gone already. */
async function kill(thread: Worker | undefined): Promise<boolean> {
  if (!thread || !threads.has(thread)) return false;
  await thread.terminate();
  return true;
}

const anyThread = (next: () => number): Worker | undefined => [...threads][Math.floor(next() * threads.size)];

/** What was lost, by phase, for the report. */
function tally(losses: readonly WorkerEvent[]): string {
  const kinds = new Map<string, number>();
  for (const { phase, reason } of losses) {
    const kind = `phase ${phase}, ${reason}`;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  return [...kinds].map(([kind, count]) => `${count} × ${kind}`).join('; ');
}

const undisturbed = new Map<object, Promise<string>>();
const digestOf = (over: Partial<TrainingDefinition<Model, Fields>>): Promise<string> => {
  let digest = undisturbed.get(over);
  if (!digest) {
    digest = (async () => (await train(definition(over), { workers: 2 })).weightsDigest)();
    undisturbed.set(over, digest);
  }
  return digest;
};

const plain = {};
const native = availableVariants()[0]!;

describe('threads killed at random points', () => {
  it.for([
    { kernels: 'wasm', workers: 2, title: 'adam', over: plain, kills: 12 },
    { kernels: 'wasm', workers: 3, title: 'clipped', over: clipped, kills: 12 },
    { kernels: 'wasm', workers: 1, title: 'accumulated', over: accumulated, kills: 8 },
    { kernels: native, workers: 2, title: 'accumulated', over: accumulated, kills: 12 },
    { kernels: native, workers: 3, title: 'clipped', over: clipped, kills: 12 },
    { kernels: 'wasm', workers: 2, title: 'wide', over: wide, kills: 6, pauseMs: 60 },
    { kernels: native, workers: 3, title: 'wide', over: wide, kills: 6, pauseMs: 30 },
    { kernels: 'wasm', workers: 2, title: 'chained', over: chained, kills: 12 },
    { kernels: native, workers: 3, title: 'chained', over: chained, kills: 12 },
  ] as const)(
    '$kills while batches run ahead: $workers workers, $kernels, $title',
    async ({ kernels, workers, over, kills, ...rest }, { annotate }) => {
      const { pauseMs } = { pauseMs: 4, ...rest };
      const execution = over === chained ? 'separate' : 'coalesced';
      const expected = await digestOf(over);
      const next = random(kills * workers);
      const lost: WorkerEvent[] = [];
      let replaced = 0;
      let step = 0;
      const on = {
        step: (event: { step: number }) => {
          step = event.step;
        },
        workerLost: (event: WorkerEvent) => lost.push(event),
        workerReplaced: () => replaced++,
      };
      let done = false;
      const run = (async () => train(definition(over), { kernels, workers, execution, on }))().finally(() => {
        done = true;
      });
      let killed = 0;
      const { steps = 0 } = definition(over);
      while (!done && killed < kills) {
        // Spread over the run: the next one not before its share of the steps is done.
        if (replaced < killed || step <= (killed * steps) / (2 * kills)) await sleep(1);
        else {
          await randomPause(next, pauseMs);
          if (await kill(anyThread(next))) killed++;
        }
      }
      const { weightsDigest, lostWorkers } = await run;
      await annotate(tally(lost));
      expect({ killed, lost: lost.length, lostWorkers }).toEqual({
        killed: kills,
        lost: kills,
        lostWorkers: kills,
      });
      expect(weightsDigest).toBe(expected);
    },
  );

  it.for([
    { kernels: 'wasm', workers: 2 },
    { kernels: native, workers: 2 },
  ] as const)(
    'one in each of ten steps, one step at a time: $kernels',
    async ({ kernels, workers }, { annotate }) => {
      const over = { ...clipped, steps: 15 };
      const expected = await digestOf(over);
      const next = random(77);
      const lost: WorkerEvent[] = [];
      let digest: string | undefined;
      let killed = 0;
      let replaced = 0;
      const on: TrainOptions['on'] = {
        workerLost: (event) => lost.push(event),
        workerReplaced: () => {
          replaced++;
        },
        done: (event) => {
          digest = event.weightsDigest;
        },
      };
      const steps = train(definition(over), { kernels, workers, on }).steps();
      for (let step = 1; ; step++) {
        while (replaced < killed) await sleep(1);
        const stepping = steps.next();
        if (step > 2 && step <= 12) {
          await randomPause(next, 1);
          if (await kill(anyThread(next))) killed++;
        }
        if ((await stepping).done) break;
      }
      await annotate(tally(lost));
      expect([killed, lost.length]).toEqual([10, 10]);
      expect(digest).toBe(expected);
    },
  );

  it('all workers at once', async ({ annotate }) => {
    const expected = await digestOf(plain);
    const lost: WorkerEvent[] = [];
    let step = 0;
    const on: TrainOptions['on'] = {
      step: (event) => {
        step = event.step;
      },
      workerLost: (event) => lost.push(event),
    };
    const run = (async () => train(definition(plain), { workers: 3, on }))();
    while (step < 20) await sleep(1);
    const killed = await Promise.all([...threads].map(kill));
    const { weightsDigest } = await run;
    await annotate(tally(lost));
    expect([killed, lost.length]).toEqual([[true, true, true], 3]);
    expect(weightsDigest).toBe(expected);
  });
});
