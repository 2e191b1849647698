/** Note [Random numbers]: who computes, how many at once, and in which way never changes a random number. */
import {
  add,
  concat,
  dropout,
  expand,
  isTraining,
  mean,
  mul,
  rand,
  randn,
  reshape,
  type Tensor,
  transpose,
  unsqueeze,
  withRandom,
} from '@lockstep/autograd';
import { ConfigError, loss, nn, optim } from '@lockstep/nn';
import { batchShards, shardRows } from '@lockstep/sync';
import { describe, expect, it } from 'vitest';
import { classifier, type Model, points } from '../../test/points.ts';
import type { Batch } from '../define/definition.ts';
import { evaluate } from '../evaluate.ts';
import { predict } from '../predict/predict.ts';
import { type TrainOptions, train } from '../train.ts';
import type { Metrics } from './metrics.ts';
import { FIRST_STREAM } from './streams.ts';

const SEED = 7;
const ways: readonly TrainOptions[] = [
  { execution: 'eager' },
  { workers: 1 },
  { workers: 1, execution: 'separate' },
  { workers: 2, kernels: 'wasm' },
  { workers: 3 },
];

describe('validation', () => {
  const held = 27;
  const definition = classifier({
    ...{ seed: SEED, batch: 10, shards: 4, epochs: 2, optimizer: optim.sgd({ lr: 0 }) },
    data: () => ({ ...points(20), validation: points(held) }),
    loss: (model, { x, label }) =>
      isTraining() ? loss.crossEntropy(add(model(x), randn([3])), label) : mean(rand([x.shape[0]!])),
    metrics: { noise: (_, { x }) => mean(rand([x.shape[0]!, 5])) },
  });
  /** Sums over batches and shards of `mean(rand(shape))`, from what each number is keyed by. */
  const expected = (stream: number, width: number): number => {
    let total = 0;
    for (let start = 0; start < held; start += 10) {
      const rows = Math.min(10, held - start);
      const shards = batchShards(rows, 4);
      for (let shard = 0; shard < shards.used; shard++) {
        const size = shardRows(shards, shard);
        const draw = () => rand([size, width]);
        const values = withRandom(
          { seed: SEED, step: start / 10, shard, stream: FIRST_STREAM.validation + stream },
          draw,
        ).data();
        for (const x of values) total += x / width;
      }
    }
    return total / held;
  };

  it.each(ways)('draws its own numbers, each time the same: %o', async (way) => {
    const seen: { loss: number; metrics: Metrics }[] = [];
    const { weights } = await train(definition, {
      ...way,
      on: { epoch: ({ validation }) => seen.push({ loss: validation!.loss, metrics: validation!.metrics }) },
    });
    expect(seen).toHaveLength(2);
    for (const { loss, metrics } of [...seen, await evaluate(definition, { ...way, weights })]) {
      expect({ loss, metrics }).toEqual(seen[0]);
      expect(loss).toBeCloseTo(expected(0, 1), 6);
      expect(metrics.noise!).toBeCloseTo(expected(1, 5), 6);
    }
  });

  it('is the same in every way', async () => {
    const found = await Promise.all(ways.map(async (way) => (await train(definition, way)).validation));
    for (const validation of found) expect(validation).toEqual(found[0]);
  });
});

describe('predictions', () => {
  const rows = 23;
  const noise = (_: Model, { x }: Pick<Batch<'x'>, 'x'>): Tensor => {
    const n = x.shape[0]!;
    return concat(
      [
        rand([n, 2]),
        expand(unsqueeze(rand([3]), 0), [n, 3]),
        transpose(rand([4, n])),
        reshape(rand([n * 6]), [n, 6]),
        reshape(transpose(rand([2, n, 5]), 0, 1), [n, 10]),
      ],
      1,
    );
  };
  const definition = classifier({ seed: SEED, predict: noise });
  const draw = (stream: number, size: number, row: number): number[] => [
    ...withRandom({ seed: SEED, shard: row, stream: FIRST_STREAM.prediction + stream }, () =>
      rand([size]),
    ).data(),
  ];
  const expected = Array.from({ length: rows }, (_, row) => [
    ...draw(0, 2, row),
    ...draw(1, 3, 0),
    ...draw(2, 4, row),
    ...draw(3, 6, row),
    ...draw(4, 10, row),
  ]).flat();

  it.each([
    [1, 1],
    [3, 1],
    [8, 1],
    [256, 1],
    [2, 3],
    [5, 2],
  ])('%i rows at once on %i workers: by row, or alike for all', async (atOnce, workers) => {
    const { weights } = await train(classifier({ steps: 1 }), { workers: 1 });
    const { data } = await predict(definition, { data: points(rows), weights, rows: atOnce, workers });
    expect([...data]).toEqual(expected);
  });

  it('refuses numbers that depend on how many rows there are', async () => {
    const { weights } = await train(classifier({ steps: 1 }), { workers: 1 });
    const between = classifier({
      predict: (model, { x }) => add(model(x), mean(rand([x.shape[0]!, x.shape[0]!]))),
    });
    const wrong = predict(between, { data: points(4), weights, workers: 1 });
    await expect(wrong).rejects.toThrow(ConfigError);
    await expect(predict(between, { data: points(4), weights, workers: 1 })).rejects.toThrow(
      'predict: it draws random numbers of shape [4, 4] for 4 rows and [5, 5] for 5, expected one axis',
    );
  });
});

describe('dropout', () => {
  const model = () => nn.sequential(nn.linear(3, 6), nn.tanh(), nn.linear(6, 3));
  const outcome = async (p: number, steps: number, way: TrainOptions = { workers: 2 }) => {
    const definition = classifier({
      ...{ model, steps, seed: SEED },
      loss: (net, { x, label }) => loss.crossEntropy(dropout(mul(net(x), 1), p), label),
    });
    const { loss: trained, validation } = await train(definition, way);
    return { trained, validation };
  };
  it('is for training alone, in a loss too', async () => {
    const [plain, dropped] = [await outcome(0, 1), await outcome(0.5, 1)];
    expect(dropped.trained).not.toBe(plain.trained);
    expect(await outcome(0.5, 2)).toEqual(await outcome(0.5, 2, { execution: 'eager' }));
  });
  it('does not change what is validated', async () => {
    const { weights } = await train(classifier({ model, steps: 1 }), { workers: 1 });
    const [plain, dropped] = await Promise.all(
      [0, 0.9].map((p) =>
        evaluate(
          classifier({ model, loss: (net, { x, label }) => loss.crossEntropy(dropout(net(x), p), label) }),
          { weights, workers: 1 },
        ),
      ),
    );
    expect(dropped!.loss).toBe(plain!.loss);
  });
});
