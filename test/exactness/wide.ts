/**
 * Trainings of real sizes, a few steps each: products of several panels and pieces in every direction (1100 columns, more
 * than 256 rows a shard, more than 256 features), updates of many tiles for every worker, gradients of several buckets.
 */
import { defineTraining, loss, metrics, nn, optim, type Tensor, type TrainingDefinition } from 'lockstep';
import { CLASSES, FEATURES, type Fields, numbers } from './data.ts';

type Network = (input: Tensor) => Tensor;

const WIDTH = 1100;

const network = (): Network =>
  nn.sequential(
    nn.linear(FEATURES, WIDTH),
    nn.relu(),
    nn.dropout(0.2),
    nn.linear(WIDTH, 300),
    nn.tanh(),
    nn.linear(300, CLASSES),
  );

const normalised = (): Network =>
  nn.sequential(
    nn.linear(FEATURES, WIDTH),
    nn.batchNorm1d(WIDTH),
    nn.relu(),
    nn.linear(WIDTH, 300),
    nn.batchNorm1d(300),
    nn.gelu(),
    nn.linear(300, CLASSES),
  );

export const wide = (
  over: Partial<TrainingDefinition<Network, Fields>> = {},
): TrainingDefinition<Network, Fields> =>
  defineTraining<Network, Fields>({
    seed: 23,
    batch: 2100,
    steps: 2,
    data: () => numbers(3100, 300),
    model: network,
    loss: (model, { x, label }) => loss.crossEntropy(model(x), label),
    metrics: { accuracy: (model, { x, label }) => metrics.accuracy(model(x), label) },
    optimizer: optim.adam({ lr: 1e-3 }),
    ...over,
  });

export const wideDefinitions = {
  'wide, a batch of 2100 and a short one of 1000': wide(),
  'wide, running statistics, clipped, accumulated, averaged': wide({
    ...{ batch: 1050, shards: 3, accumulate: 2, dropLast: true },
    data: () => numbers(2200, 300),
    model: normalised,
    optimizer: optim.adamw({
      ...{ lr: 1e-3, clipNorm: 0.1, average: 0.5 },
      groups: [{ match: '*.bias', weightDecay: 0, lrScale: 2 }],
    }),
  }),
  'wide, one shard of 2500 rows': wide({
    ...{ batch: 2500, shards: 1 },
    optimizer: optim.sgd({ lr: 0.05, momentum: 0.9, nesterov: true }),
  }),
  'wide, a shard tree of thirteen': wide({
    ...{ batch: 1300, shards: 13 },
    optimizer: optim.lamb({ lr: 1e-3 }),
  }),
} as const;
