import { nn, optim, train } from 'lockstep';
import { describe, expect, it, vi } from 'vitest';
import { CLASSES, FEATURES } from '../exactness/data.ts';
import { classification, definitions } from '../exactness/definitions.ts';
import { wideDefinitions } from '../exactness/wide.ts';
import { type AnyDefinition, clusterRun, type NodeWay } from './inProcess.ts';

const ways: readonly (readonly NodeWay[])[] = [
  [{ workers: 1, kernels: 'auto' }],
  [
    { workers: 1, kernels: 'auto' },
    { workers: 2, kernels: 'wasm' },
  ],
  [
    { workers: 2, kernels: 'auto' },
    { workers: 3, kernels: 'wasm' },
    { workers: 1, kernels: 'wasm' },
  ],
];

/** Several buckets of weights, whatever the cluster's smallest. */
const wide = () =>
  nn.sequential(
    nn.linear(FEATURES, 700),
    nn.batchNorm1d(700),
    nn.relu(),
    nn.linear(700, 300),
    nn.tanh(),
    nn.linear(300, CLASSES),
  );

const more = {
  'several buckets, running statistics, the best of them': classification({
    model: wide,
    ...{ epochs: 4, shards: 4, dropLast: true },
    earlyStopping: { patience: 1 },
    optimizer: optim.adam({ lr: 0.05 }),
  }),
  'several buckets, clipped, accumulated': classification({
    model: wide,
    ...{ accumulate: 2, shards: 4, dropLast: true },
    optimizer: optim.adamw({ lr: 0.01, clipNorm: 0.1 }),
  }),
  'lamb, averaged': classification({ optimizer: optim.lamb({ lr: 0.01, average: 0.5 }) }),
  'groups, an average of the weights, a rate that follows the validation': classification({
    epochs: 5,
    optimizer: optim.adamw({
      lr: optim.plateau(0.1, { patience: 0 }),
      average: 0.9,
      groups: [{ match: '*.bias', weightDecay: 0, lrScale: 2 }],
    }),
  }),
  'a part that is frozen': classification({
    model: () => {
      const [first, last] = [nn.linear(FEATURES, 11), nn.linear(11, CLASSES)];
      nn.freeze(first);
      return nn.sequential(first, nn.relu(), last);
    },
  }),
};

describe('a cluster gives the weights of one machine', () => {
  const entries = Object.entries({ ...definitions, ...wideDefinitions, ...more } as unknown as Record<
    string,
    AnyDefinition
  >);
  it.each(entries.map(([name, definition], turn) => [name, definition, turn] as const))(
    '%s',
    async (_, definition, turn) => {
      const { weightsDigest, loss, validation } = await train(definition);
      const nodes = ways[turn % ways.length]!;
      const found = await clusterRun(definition, { nodes, workers: 1 + (turn % 2) });
      expect(found).toMatchObject({ weightsDigest, loss, ...(validation && { validation }) });
      expect(found.outcomes).toEqual(nodes.map(() => ({ reason: 'finished', digest: weightsDigest })));
    },
  );
});

it('samples per second do not count the time before the first node', async () => {
  const definition = definitions['no last batch, no shuffling'] as unknown as AnyDefinition;
  const real = performance.now.bind(performance);
  let waited = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => real() + waited);
  const options = {
    heartbeat: 60_000,
    report: ({ type }: { type: string }) => {
      if (type === 'join') waited = 100_000;
    },
  };
  const nodes = [{ workers: 1, kernels: 'auto' }] as const;
  const { step, samplesPerSecond } = await clusterRun(definition, { nodes, options });
  clock.mockRestore();
  expect(waited).toBe(100_000);
  expect(samplesPerSecond * 100).toBeGreaterThan(step * 30);
});
