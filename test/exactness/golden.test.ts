/**
 * Weights that never change: the same digest on every machine, every version of Node and every day. A failure here means
 * that the arithmetic or its order has changed. Where that is meant, it is a new definition of what Lockstep
 * computes: say so in CHANGELOG.md and take over the new digests.
 */
import { data, defineTraining, loss, metrics, nn, optim, type TrainingDefinition, train } from 'lockstep';
import { expect, it } from 'vitest';
import type { Fields } from './data.ts';
import { definitions } from './definitions.ts';

const digits = defineTraining({
  seed: 1,
  batch: 48,
  steps: 8,
  data: () => data.digits({ train: 200, validation: 40 }),
  model: () => nn.sequential(nn.linear(784, 24), nn.relu(), nn.dropout(0.2), nn.linear(24, 10)),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
  optimizer: optim.adamw({ lr: optim.cosine(2e-3), clipNorm: 1 }),
});

const golden = {
  'elementwise from end to end': '75e35c0fffe39af691e481c0326a786d67ae58bab2636b2af89cbe21825e6630',
  'a gradient in the loss': 'e8b9a2ce9385c0344407e7053715464d633b95c07609a3d8ccb018580360f604',
  'noise on the input, noise on the weights':
    'e2adaf7eab0245436d3119d9c8d42d74115029f1dfe46353dd55b259cb08445d',
  'three batches for one step, clipped': 'afbfb8e1b189f6f521a48dbda7bc9c37fe95790b3e66c33eb9af2774f735d888',
  'deep sums: more rows and features than one piece':
    '491bb616b99aec43a6fda84a23278669c8a6d9b5a6e5f23ba24a88725a82301c',
} as const satisfies Partial<Record<keyof typeof definitions, string>>;

it.each(Object.keys(golden) as (keyof typeof golden)[])('%s', async (name) => {
  const { weightsDigest } = await train(definitions[name] as TrainingDefinition<unknown, Fields>);
  expect(weightsDigest).toBe(golden[name]);
});

it('digits', async () => {
  const { weightsDigest, loss, validation } = await train(digits);
  expect({ weightsDigest, loss, validation }).toEqual({
    weightsDigest: 'f1c6e24a0499db39aa716e9b8b20f7e3ea78de06d6dd87b4e35d6acb7ebe366a',
    loss: 2.2202526728312173,
    validation: { loss: 2.2357120513916016, metrics: { accuracy: 0.275 } },
  });
});
