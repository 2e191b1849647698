/**
 * What must not compile. The type check of this package (`tsc`) fails where one of the marked lines has no error; here
 * they only run, so far as they do.
 */
import { data, defineTraining, loss, metrics, nn, optim, type Tensor, train } from 'lockstep';
import { expect, expectTypeOf, it } from 'vitest';

const xor = () => data.arrays({ x: [[0, 1]], y: [[1]] });
const rest = {
  batch: 1,
  data: xor,
  model: () => nn.linear(2, 1),
  optimizer: optim.sgd({ lr: 0.1 }),
};

it('fields of the batch are the columns of the data', () => {
  const definition = defineTraining({
    ...rest,
    loss: (model, batch) => {
      expectTypeOf(batch).toEqualTypeOf<{ readonly x: Tensor; readonly y: Tensor }>();
      // @ts-expect-error: no such column
      expect(() => batch.z).toThrow('only x, y');
      return loss.mse(model(batch.x), batch.y);
    },
    metrics: {
      // @ts-expect-error: no such column
      wrong: (model, { z }) => loss.mse(model(z), z),
    },
  });
  expect(definition.batch).toBe(1);
});

it('the digits have images and labels', () => {
  defineTraining({
    ...rest,
    data: () => data.digits({ train: 1 }),
    // @ts-expect-error: it is called image
    loss: (model, { images, label }) => loss.crossEntropy(model(images), label),
  });
});

it('the model keeps its type in the loss and in the result', async () => {
  const definition = defineTraining({
    ...rest,
    model: () => ({ body: nn.linear(2, 1), twice: 2 }),
    loss: ({ body, twice }, { x, y }) => {
      expectTypeOf(twice).toBeNumber();
      return loss.mse(body(x), y);
    },
  });
  const { model } = await train(definition);
  expectTypeOf(model.twice).toBeNumber();
  // @ts-expect-error: not part of the model
  expect(model.head).toBeUndefined();
});

it('the result has the metrics of the definition', async () => {
  const definition = defineTraining({
    ...rest,
    data: () => ({ ...xor(), validation: xor() }),
    loss: (model, { x, y }) => loss.mse(model(x), y),
    metrics: {
      error: (model, { x, y }) => loss.l1(model(x), y),
      r2: { of: (model, { x, y }) => [model(x), y], by: metrics.r2() },
    },
  });
  const result = await train(definition);
  expectTypeOf(result.metrics.error).toBeNumber();
  expectTypeOf(result.validation!.metrics.r2).toBeNumber();
  // @ts-expect-error: no such metric
  expect(result.metrics.accuracy).toBeUndefined();
  const { metrics: none } = await train(
    defineTraining({ ...rest, loss: (model, { x, y }) => loss.mse(model(x), y) }),
  );
  expectTypeOf(none).toEqualTypeOf<Readonly<Record<string, number>>>();
});

it('options are checked', () => {
  const definition = defineTraining({ ...rest, loss: (model, { x, y }) => loss.mse(model(x), y) });
  expect(() => {
    // @ts-expect-error: a run has no such option
    train(definition, { threads: 2 });
    // @ts-expect-error: nor such kernels
    train(definition, { kernels: 'cuda' });
    train(definition, {
      on: {
        // @ts-expect-error: nor such an event
        batch: () => {},
      },
    });
  }).not.toThrow();
  defineTraining({
    ...rest,
    loss: (model, { x, y }) => loss.mse(model(x), y),
    // @ts-expect-error: it is called batch
    batchSize: 3,
  });
  // @ts-expect-error: no optimizer
  defineTraining({ batch: 1, data: xor, model: rest.model, loss: () => loss.mse });
});
