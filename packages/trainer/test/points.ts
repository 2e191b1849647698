/** A small training for tests: points with one number to predict and a class; no dropout. */
import type { Tensor } from '@lockstep/autograd';
import { column, type Dataset, dataset } from '@lockstep/data';
import { loss, metrics, nn, optim } from '@lockstep/nn';
import { defineTraining, type TrainingDefinition } from '../src/index.ts';

export type Field = 'x' | 'y' | 'label';
export type Model = (x: Tensor) => Tensor;

/** Rows of x [3], y [1] and a label from 0 to 2; numbers by the golden ratio. `more` replaces columns. */
export function points(rows: number, more: Partial<Dataset<Field>['columns']> = {}): Dataset<Field> {
  const spread = (count: number, seed: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => 2 * ((seed + i * 0.6180339887) % 1) - 1);
  return dataset({
    name: 'points',
    columns: {
      x: column(spread(3 * rows, 0.1), { shape: [3] }),
      y: column(spread(rows, 0.7), { shape: [1] }),
      label: column(
        Int32Array.from({ length: rows }, (_, i) => (i * 7) % 3),
        { classes: 3 },
      ),
      ...more,
    },
  });
}

export const classifier = (
  over: Partial<TrainingDefinition<Model, Field>> = {},
): TrainingDefinition<Model, Field> =>
  defineTraining<Model, Field>({
    seed: 1,
    batch: 10,
    data: () => ({ ...points(44), validation: points(12) }),
    model: () => nn.sequential(nn.linear(3, 6), nn.tanh(), nn.linear(6, 3)),
    loss: (model, { x, label }) => loss.crossEntropy(model(x), label),
    metrics: { accuracy: (model, { x, label }) => metrics.accuracy(model(x), label) },
    optimizer: optim.sgd({ lr: 0.1, momentum: 0.9 }),
    ...over,
  });
