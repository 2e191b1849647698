/**
 * Trainings that meet faults. Together they have all that a step can leave behind; the gradient of each is sent in at
 * least six buckets of 65,536 floats, so that a node can be lost when some of them have arrived.
 */
import { configText } from '../command.ts';
import type { Reference } from './reference.ts';

/** Ten batches an epoch, the last one short where it is not dropped. */
const small = { batch: '64', data: '() => data.digits({ train: 620, validation: 130 })' };

export interface FaultyDefinition {
  readonly config: string;
  /** Names of the layers that are not trained. */
  readonly frozen?: readonly string[];
  /** Whether the undisturbed run does what the definition is here for. */
  readonly gives?: (reference: Reference) => boolean;
}

export const faultyRuns: Readonly<Record<string, FaultyDefinition>> = {
  'dropout, an average of the weights': {
    config: configText({
      ...small,
      epochs: '44',
      model: '() => nn.sequential(nn.linear(784, 512), nn.relu(), nn.dropout(0.2), nn.linear(512, 10))',
      optimizer: 'optim.adamw({ lr: optim.cosine(1e-3), average: 0.99 })',
    }),
  },
  'batch norm, early stopping, the best weights': {
    config: configText({
      ...small,
      ...{ batch: '60', shards: '6', epochs: '200', dropLast: 'true' },
      model: `() => nn.sequential(
        nn.linear(784, 400), nn.batchNorm1d(400), nn.relu(),
        nn.linear(400, 300), nn.batchNorm1d(300), nn.relu(), nn.dropout(0.4),
        nn.linear(300, 10))`,
      optimizer: 'optim.adam({ lr: 2e-3 })',
      earlyStopping: '{ patience: 8 }',
    }),
    gives: (reference) => reference.has('earlyStop'),
  },
  'accumulated and clipped, groups of parameters': {
    config: configText({
      ...small,
      ...{ epochs: '88', accumulate: '2' },
      model: '() => nn.sequential(nn.linear(784, 560), nn.tanh(), nn.dropout(0.1), nn.linear(560, 10))',
      optimizer: `optim.adamw({
        lr: 3e-3, clipNorm: 0.5,
        groups: [{ match: '*.bias', weightDecay: 0, lrScale: 2 }, { match: '3.*', lrScale: 0.5 }],
      })`,
    }),
  },
  'frozen layers, a rate that follows the validation': {
    config: configText({
      ...small,
      epochs: '44',
      model: `() => {
        const first = nn.linear(784, 160);
        nn.freeze(first);
        return nn.sequential(
          first, nn.batchNorm1d(160), nn.relu(),
          nn.linear(160, 1600), nn.relu(), nn.linear(1600, 100), nn.relu(), nn.linear(100, 10));
      }`,
      optimizer: 'optim.sgd({ lr: optim.plateau(0.1, { patience: 1 }), momentum: 0.9 })',
    }),
    frozen: ['0'],
    gives: ({ learningRates }) => learningRates.length > 1,
  },
};
