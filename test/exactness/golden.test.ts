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
  'elementwise from end to end': '2523655812b7fcbac2a6e97c434712a2c7ce7104b840f01942b18dc0868482aa',
  'a gradient in the loss': '03d4a43b3f42573e406a79fc57cdc81e96a199600a125799f44ee08e4ad279f1',
  'noise on the input, noise on the weights':
    '8f7c291d0233131f8ce7024a5305b46b00f5d99c2b2709c169d74f4c3a0d1304',
  'three batches for one step, clipped': '5193cf65f26257f5264a76cf39caba2d7598c278d7e4cfa16cc4d908e3a7fe91',
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
