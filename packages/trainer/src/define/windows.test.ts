import { oneHot, reshape } from '@lockstep/autograd';
import { characters, series, windows } from '@lockstep/data';
import { loss, metrics, nn, optim } from '@lockstep/nn';
import { expect, it } from 'vitest';
import { type TrainOptions, train } from '../train.ts';
import { defineTraining } from './definition.ts';

const ways: readonly TrainOptions[] = [
  { execution: 'eager' },
  { workers: 1 },
  { workers: 3, kernels: 'wasm', execution: 'separate' },
];

it('windows over a text train alike on every way, and are validated with a stride of their own', async () => {
  const text = 'in the beginning was the word and the word was with the loom '.repeat(4);
  const letters = characters(text);
  const definition = defineTraining({
    batch: 16,
    epochs: 2,
    data: () => windows(letters.encode(text), { length: 5, classes: letters.size }),
    model: () => nn.linear(5 * letters.size, 5 * letters.size),
    loss: (model, { x, y }) => {
      const flat = reshape(oneHot(x, letters.size), [x.shape[0]!, -1]);
      return loss.crossEntropy(reshape(model(flat), [x.shape[0]!, 5, letters.size]), y);
    },
    optimizer: optim.adam({ lr: 0.01 }),
  });
  const results = await Promise.all(ways.map(async (way) => train(definition, way)));
  const [first] = results;
  for (const { weightsDigest, validation } of results) {
    expect({ weightsDigest, validation }).toEqual({
      weightsDigest: first!.weightsDigest,
      validation: first!.validation,
    });
  }
  expect(first!.loss).toBeLessThan(Math.log(letters.size));
});

it('a forecast of a series beats saying that nothing changes', async () => {
  const power = Float32Array.from({ length: 400 }, (_, t) => 20 + 5 * Math.sin(t / 4) + ((t * 37) % 11) / 20);
  const definition = defineTraining({
    batch: 32,
    epochs: 8,
    data: () => series({ values: { power }, target: 'power', window: 16, horizon: 4 }),
    model: () => nn.linear(16, 4),
    loss: (model, { x, y }) => loss.mse(model(reshape(x, [x.shape[0]!, 16])), y),
    metrics: {
      r2: { of: (model, { x, y }) => [model(reshape(x, [x.shape[0]!, 16])), y], by: metrics.r2() },
    },
    optimizer: optim.adam({ lr: 0.01 }),
  });
  const [pool, eager] = await Promise.all([train(definition, { workers: 2 }), train(definition, ways[0])]);
  expect(pool.weightsDigest).toBe(eager.weightsDigest);
  expect(pool.validation).toEqual(eager.validation);
  expect(pool.validation!.metrics.r2).toBeGreaterThan(0.8);
});
