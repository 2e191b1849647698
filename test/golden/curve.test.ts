/** The same initial weights and batches as PyTorch give the same loss at every step (see generate.py). */
import { gradients, type Tensor, tensor } from '@lockstep/autograd';
import { type Dataset, rowSize } from '@lockstep/data';
import { namedParameters } from '@lockstep/nn';
import {
  type Batch,
  resolveDefinition,
  type TrainingDefinition,
  type TrainOptions,
  train,
} from '@lockstep/trainer';
import { describe, expect, it } from 'vitest';
import { recipes, STEPS } from './recipe.ts';

const TOLERANCE = 1e-4;

/** Trains op by op on whole batches: no trainer, no shards, no graph. */
async function byHand(definition: TrainingDefinition): Promise<number[]> {
  const { batch, loss, optimizer } = resolveDefinition(definition);
  const data = await definition.data({});
  const model = definition.model();
  const parameters = [...namedParameters(model).values()];
  const states = parameters.map(({ shape }) => ({
    slots: Object.fromEntries(
      optimizer.slots.map((slot) => [slot, tensor(new Float32Array(size(shape)), { shape })]),
    ),
  }));
  return Array.from({ length: STEPS }, (_, step) => {
    const value = loss(model, rowsOf(data, (step * batch) % data.length, batch));
    const slopes = gradients(value, parameters);
    const numbers = optimizer.scalarsAt(step, STEPS);
    parameters.forEach((parameter, i) => {
      const scalars = Object.fromEntries(
        optimizer.scalars.map((name, s) => [
          name,
          tensor([numbers[s]!], { shape: parameter.shape.map(() => 1) }),
        ]),
      );
      const updated = optimizer.update({
        weight: parameter.detach(),
        gradient: slopes[i]!,
        ...states[i]!,
        scalars,
      });
      parameter.value = updated.weight.value;
      states[i] = updated;
    });
    return value.item();
  });
}

const size = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

function rowsOf(data: Dataset, start: number, rows: number): Batch<string> {
  const fields = Object.entries(data.columns).map(([name, { data, shape, as, scale }]): [string, Tensor] => {
    const width = rowSize(shape);
    const values = data.subarray(start * width, (start + rows) * width);
    const numbers = as === 'i32' ? Int32Array.from(values) : Float32Array.from(values, (x) => x * scale);
    return [name, tensor(numbers, { shape: [rows, ...shape] })];
  });
  return Object.fromEntries(fields);
}

/** Trains as a user does. */
async function byTrainer(definition: TrainingDefinition, options: TrainOptions): Promise<number[]> {
  const losses: number[] = [];
  await train(definition, { ...options, on: { step: ({ loss }) => losses.push(loss) } });
  return losses;
}

/** The step that is farthest from PyTorch, relative to its loss. */
function worst(losses: readonly number[], expected: readonly number[]) {
  const errors = expected.map((loss, step) => Math.abs(losses[step]! - loss) / loss);
  const error = Math.max(...errors);
  return { error, step: errors.indexOf(error) };
}

describe.each(recipes)('the loss curve of PyTorch: $name', ({ definition, expected }) => {
  it('op by op', async () => {
    const losses = await byHand(definition);
    expect(losses).toHaveLength(expected.length);
    expect(worst(losses, expected).error).toBeLessThan(TOLERANCE);
  });

  it.each([
    { workers: 1, kernels: 'wasm' },
    { workers: 2, kernels: 'auto' },
  ] as const)('on $workers workers, kernels $kernels', async (options) => {
    const losses = await byTrainer(definition, options);
    expect(losses).toHaveLength(expected.length);
    expect(worst(losses, expected).error).toBeLessThan(TOLERANCE);
  });
});
