/** Units that begin while the model comes in give the bits of those that begin when it is whole. */

import { createHash } from 'node:crypto';
import { arrays, column } from '@lockstep/data';
import { loss, nn, optim } from '@lockstep/nn';
import type { ShardRange } from '@lockstep/sync';
import { defineTraining, prepare } from '@lockstep/trainer';
import { expect, test } from 'vitest';
import { makeBundle } from '../wire/bundle.ts';
import { columnsOf } from '../wire/dataImage.ts';
import { arrivalOrder, gatesOf } from '../wire/stages.ts';
import { NodeEngine } from './engine.ts';

const ROWS = 64;
const FEATURES = 600;
const values = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => ((i * 7919 + seed * 104_729) % 2003) / 2003 - 0.5);

const prepared = await prepare(
  defineTraining({
    batch: 16,
    shards: 4,
    data: () =>
      arrays({
        x: column(values(ROWS * FEATURES, 1), { shape: [FEATURES] }),
        y: column(values(ROWS, 2), { shape: [1] }),
      }),
    model: () =>
      nn.sequential(
        nn.linear(FEATURES, 500),
        nn.batchNorm1d(500),
        nn.tanh(),
        nn.linear(500, 400),
        nn.tanh(),
        nn.linear(400, 1),
      ),
    loss: (model, { x, y }) => loss.mse(model(x), y),
    optimizer: optim.sgd({ lr: 0.1 }),
  }),
  {},
);
const bundle = makeBundle(prepared);
const data = columnsOf(prepared.data);
const arrival = arrivalOrder(bundle);
const whole: readonly ShardRange[] = [{ lo: 0, hi: 4 }];
const halves: readonly ShardRange[] = [
  { lo: 0, hi: 2 },
  { lo: 2, hi: 4 },
];

const { weights, buffers } = bundle.sizes;
/** By step. Running variances are positive. */
const models = [0, 1, 2, 3].map((step) => values(weights + buffers, step).fill(1, weights));

/** A bucket of the model before a step comes in, over whatever is there. */
function receive(engine: NodeEngine, step: number, bucket: number): void {
  const { from, to } = engine.modelBuckets[bucket]!;
  engine.nextModel.set(models[step]!.subarray(from, to), from);
  engine.arrived(bucket);
}

async function computed(engine: NodeEngine, step: number, units: readonly ShardRange[]): Promise<string[]> {
  const found: string[] = [];
  await engine.compute(step, units, ({ vector }, _, release) => {
    if (!release) return;
    found.push(createHash('sha256').update(vector).digest('hex'));
    release();
  });
  return found;
}

const start = (workers: number): Promise<NodeEngine> =>
  NodeEngine.start({ bundle, data, workers, kernels: 'wasm' });

/** What comes of units when nothing begins before the model is whole. */
async function oracle(engine: NodeEngine, step: number, units: readonly ShardRange[]): Promise<string[]> {
  engine.expect(step, []);
  for (const bucket of arrival) receive(engine, step, bucket);
  engine.swapModels();
  return computed(engine, step, units);
}

const plain = await start(1);
const expected = { 1: await oracle(plain, 1, whole), 2: await oracle(plain, 2, halves) };
await plain.close();

test('a linear layer waits for its weight piece by piece, in the order in which buckets come', () => {
  expect(arrival.toSorted((a, b) => a - b)).toEqual(arrival.map((_, i) => i));
  for (const { program } of bundle.programs) {
    const gates = gatesOf(program, bundle.sizes, arrival);
    const first = gates.map(({ before }) => program.labels[before]);
    expect(first.filter((label) => label === first[0]).length).toBe(3);
    // The first layer's weights come last: nothing is left to wait for behind it.
    expect(gates.at(-1)!.needs).toBe(arrival.length);
    expect(first.at(-1)).toBe(first[0]);
  }
});

test.each<[string, number, (engine: NodeEngine) => Promise<void>]>([
  [
    'in the order of sending',
    1,
    async (engine) => {
      engine.expect(1, whole);
      for (const bucket of arrival) {
        receive(engine, 1, bucket);
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  ],
  [
    'in the other order',
    2,
    async (engine) => {
      engine.expect(1, whole);
      for (const bucket of arrival.toReversed()) receive(engine, 1, bucket);
    },
  ],
  [
    'after another one that stayed incomplete',
    1,
    async (engine) => {
      engine.expect(3, whole);
      for (const bucket of arrival.slice(0, -1)) receive(engine, 3, bucket);
      engine.nextModel.fill(Number.NaN);
      engine.expect(1, whole);
      for (const bucket of arrival) receive(engine, 1, bucket);
    },
  ],
  [
    'for other units',
    1,
    async (engine) => {
      engine.expect(1, halves);
      for (const bucket of arrival) receive(engine, 1, bucket);
    },
  ],
  [
    'for units that this batch has not',
    1,
    async (engine) => {
      engine.expect(1, [{ lo: 4, hi: 8 }]);
      for (const bucket of arrival) receive(engine, 1, bucket);
    },
  ],
])('a model that comes %s', async (_, workers, come) => {
  const engine = await start(workers);
  engine.nextModel.fill(Number.NaN);
  await come(engine);
  engine.swapModels();
  expect(await computed(engine, 1, whole)).toEqual(expected[1]);
  // The one after it, into the other place.
  engine.nextModel.fill(Number.NaN);
  engine.expect(2, halves);
  for (const bucket of arrival) receive(engine, 2, bucket);
  engine.swapModels();
  expect(await computed(engine, 2, halves)).toEqual(expected[2]);
  await engine.close();
});

test('units of this step that are asked for while the next one waits for its model are done', async () => {
  const engine = await start(1);
  engine.expect(1, []);
  for (const bucket of arrival) receive(engine, 1, bucket);
  engine.swapModels();
  engine.expect(2, halves);
  for (const bucket of arrival.slice(0, -1)) receive(engine, 2, bucket);
  expect(await computed(engine, 1, whole)).toEqual(expected[1]);
  receive(engine, 2, arrival.at(-1)!);
  engine.swapModels();
  expect(await computed(engine, 2, halves)).toEqual(expected[2]);
  await engine.close();
});
