/** The trainings of generate.py with the same initial weights and data, bit for bit: see there for the formulas. */
import { readFileSync } from 'node:fs';
import { sizeOf, tensor } from '@lockstep/autograd';
import { arrays, column } from '@lockstep/data';
import { type init, loss, nn, optim } from '@lockstep/nn';
import { defineTraining, type TrainingDefinition } from '@lockstep/trainer';

export const STEPS = 200;

/** 24 random bits for an index: the finalizer of MurmurHash3 over (stream, index). */
export function bits(stream: number, index: number): number {
  let h = (index + Math.imul(stream, 0x9e3779b9)) | 0;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return h >>> 8;
}

/** A number in [−1, 1), exact in double. */
export const symmetric = (stream: number, index: number): number => bits(stream, index) / 2 ** 23 - 1;

function linear(inputs: number, outputs: number, stream: number): nn.Linear {
  const bound = 1 / Math.sqrt(inputs);
  const from =
    (stream: number): init.Initialiser =>
    (shape) =>
      tensor(
        Float32Array.from({ length: sizeOf(shape) }, (_, i) => symmetric(stream, i) * bound),
        { shape },
      );
  return nn.linear(inputs, outputs, { weightInit: from(stream), biasInit: from(stream + 1) });
}

/** u8 images: a quarter of a class's prototype, three quarters of noise. */
function glyphs(rows = 2560, pixels = 784, classes = 10) {
  const label = Int32Array.from({ length: rows }, (_, row) => bits(10, row) % classes);
  const image = Uint8Array.from({ length: rows * pixels }, (_, i) => {
    const prototype = bits(11, label[Math.floor(i / pixels)]! * pixels + (i % pixels)) & 255;
    return (prototype + 3 * (bits(12, i) & 255)) >> 2;
  });
  return arrays({
    image: column(image, { shape: [pixels], scale: 1 / 255 }),
    label: column(label, { classes }),
  });
}

/** y = x₀ x₁ + x₂ / 2 − x₃ + noise / 8. */
function surface(rows = 1024, features = 8) {
  const at = (row: number, feature: number): number => symmetric(20, row * features + feature);
  const x = Float32Array.from({ length: rows * features }, (_, i) => symmetric(20, i));
  const y = Float32Array.from(
    { length: rows },
    (_, row) => at(row, 0) * at(row, 1) + at(row, 2) / 2 - at(row, 3) + symmetric(21, row) / 8,
  );
  return arrays({ x: column(x, { shape: [features] }), y: column(y, { shape: [1] }) });
}

const classifier = defineTraining({
  name: 'classifier',
  batch: 128,
  shards: 8,
  steps: STEPS,
  shuffle: false,
  data: () => glyphs(),
  model: () => nn.sequential(linear(784, 128, 1), nn.relu(), linear(128, 10, 3)),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  optimizer: optim.adam({ lr: 1e-3 }),
});

const regression = defineTraining({
  name: 'regression',
  batch: 64,
  shards: 8,
  steps: STEPS,
  shuffle: false,
  data: () => surface(),
  model: () => nn.sequential(linear(8, 32, 5), nn.tanh(), linear(32, 1, 7)),
  loss: (model, { x, y }) => loss.mse(model(x), y),
  optimizer: optim.sgd({ lr: 0.05, momentum: 0.9 }),
});

interface Curves {
  readonly torch: string;
  readonly classifier: readonly number[];
  readonly regression: readonly number[];
}

const curves = JSON.parse(readFileSync(new URL('data/curves.json', import.meta.url), 'utf8')) as Curves;

/** Each training with PyTorch's loss at every step, before the step's update. */
export const recipes = [
  { name: 'classifier', definition: classifier as TrainingDefinition, expected: curves.classifier },
  { name: 'regression', definition: regression as TrainingDefinition, expected: curves.regression },
];
