/** A run that is held up between steps: nothing moves meanwhile, and the weights are the same. */
import { setTimeout as sleep } from 'node:timers/promises';
import { digits } from '@lockstep/data';
import { loss, nn, optim } from '@lockstep/nn';
import { expect, test } from 'vitest';
import { defineTraining } from '../define/definition.ts';
import { train } from '../train.ts';

const definition = defineTraining({
  ...{ seed: 1, batch: 50, epochs: 2, optimizer: optim.adam({ lr: 1e-3 }) },
  data: () => digits({ train: 500, validation: 50 }),
  model: () => nn.linear(784, 10),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
});

test('all that was under way is told before the pause, nothing in it; the digest is that of a run without', async () => {
  let steps = 0;
  let pauses = 0;
  const { weightsDigest } = await train(definition, {
    workers: 2,
    on: { step: () => void steps++ },
    pause: {
      get isWanted() {
        return steps >= 4 * pauses;
      },
      wait: async () => {
        pauses++;
        const before = steps;
        await sleep(10);
        expect(steps).toBe(before);
      },
    },
  });
  expect(pauses).toBeGreaterThan(2);
  expect(steps).toBe(20);
  expect(weightsDigest).toBe((await train(definition, { workers: 1 })).weightsDigest);
});

test('a run that is aborted in a pause ends before its next step', async () => {
  const end = new AbortController();
  let steps = 0;
  const { interrupted } = await train(definition, {
    signal: end.signal,
    on: { step: () => void steps++ },
    pause: { isWanted: true, wait: async () => end.abort() },
  });
  expect([interrupted, steps]).toEqual([true, 0]);
});
