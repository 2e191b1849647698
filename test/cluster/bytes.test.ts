/** What travels: of the weights what has changed, of the gradient what is trained. */
import { nn, optim, type TrainOptions, train } from 'lockstep';
import { expect, test } from 'vitest';
import { CLASSES, FEATURES } from '../exactness/data.ts';
import { classification } from '../exactness/definitions.ts';
import { type AnyDefinition, clusterRun } from './inProcess.ts';

const HIDDEN = 300;
/** Each parameter begins on a cache line. */
const floats = (...sizes: number[]): number =>
  sizes.reduce((sum, size) => sum + 16 * Math.ceil(size / 16), 0);
const FIRST = floats(HIDDEN * FEATURES, HIDDEN);
const LAST = floats(CLASSES * HIDDEN, CLASSES);

/** Two layers, the first of which can be frozen; with or without running statistics. */
const model = (isFrozen: boolean, hasBuffers: boolean) => () => {
  const first = nn.linear(FEATURES, HIDDEN);
  if (isFrozen) nn.freeze(first);
  return nn.sequential(
    first,
    ...(hasBuffers ? [nn.batchNorm1d(HIDDEN)] : []),
    nn.relu(),
    nn.linear(HIDDEN, CLASSES),
  );
};

/** Floats of weights and gradients that one node gets and gives, by kind of frame, and batches. */
const travelled = async (definition: AnyDefinition, options: TrainOptions = {}) => {
  const moved = { weights: 0, gradient: 0 };
  const count = ({ type, length }: { type: string; length: number }): void => {
    if (type === 'weights' || type === 'gradient') moved[type] += length / 4;
  };
  const { weightsDigest } = await train(definition, options);
  const found = await clusterRun(definition, {
    nodes: [
      {
        ...{ workers: 1, kernels: 'auto' },
        heard: count,
        tamper: (connection) => ({
          id: connection.id,
          peer: connection.peer,
          get buffered() {
            return connection.buffered;
          },
          send: (key, payload) => {
            count({ type: key.type, length: payload.length });
            connection.send(key, payload);
          },
          flushed: () => connection.flushed(),
          close: (code, message) => connection.close(code, message),
        }),
      },
    ],
    train: options,
  });
  expect(found.weightsDigest).toBe(weightsDigest);
  // The first weights, and those after each step.
  return { ...moved, steps: found.step, models: found.step + 1 };
};

const define = (fields: object): AnyDefinition =>
  classification({
    optimizer: optim.adam({ lr: 0.01 }),
    dropLast: true,
    ...fields,
  }) as unknown as AnyDefinition;

test('all weights at every step, where all of them change', async () => {
  const { weights, models } = await travelled(define({ model: model(false, false) }));
  expect(weights).toBe(models * (FIRST + LAST));
});

test('weights that are frozen travel once, and no gradient of theirs does', async () => {
  const { weights, gradient, steps, models } = await travelled(define({ model: model(true, false) }));
  expect(weights).toBe(FIRST + models * LAST);
  expect(gradient).toBe(steps * (LAST + 16));
});

test('weights travel once a step, however many batches it accumulates', async () => {
  const { weights, gradient, steps, models } = await travelled(
    define({ accumulate: 3, model: model(false, false) }),
  );
  expect(weights).toBe(models * (FIRST + LAST));
  expect(gradient).toBe(3 * steps * (FIRST + LAST + 16));
});

test('… and running statistics once a batch', async () => {
  const { weights, steps, models } = await travelled(define({ accumulate: 3, model: model(false, true) }));
  const trained = FIRST + LAST + floats(HIDDEN, HIDDEN);
  const statistics = floats(HIDDEN, HIDDEN, 1);
  expect(weights).toBe(models * trained + (3 * steps + 1) * statistics);
});
