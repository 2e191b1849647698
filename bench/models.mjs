/** The models that steps are measured on: synthetic data in memory, Adam, float32. */
import { arrays, column } from '@lockstep/data';
import { loss, nn, optim } from '@lockstep/nn';
import { defineTraining } from '@lockstep/trainer';

/** @typedef {import('@lockstep/trainer').TrainingDefinition} Definition */

const optimizer = optim.adam({ lr: 1e-3 });
const spread = (/** @type {number} */ i) => Math.imul(i + 1, 0x9e3779b1) >>> 0;

/** Rows of bytes in a shape, and a class each. @param {number} rows @param {readonly number[]} shape */
const images = (rows, shape) => {
  const size = shape.reduce((product, n) => product * n, rows);
  return arrays({
    x: column(
      Uint8Array.from({ length: size }, (_, i) => spread(i) >>> 24),
      { shape, scale: 1 / 255 },
    ),
    y: column(
      Int32Array.from({ length: rows }, (_, i) => i % 10),
      { classes: 10 },
    ),
  });
};

/** Rows of tokens, and the next ones. @param {number} rows @param {number} length @param {number} classes */
const tokens = (rows, length, classes) => {
  const make = (/** @type {number} */ shift) =>
    column(
      Int32Array.from({ length: rows * length }, (_, i) => (spread(i + shift) >>> 16) % classes),
      { shape: [length], classes },
    );
  return arrays({ x: make(0), y: make(1) });
};

/** @param {number} batch @param {readonly number[]} layers @returns {Definition} */
export const perceptron = (batch, layers) =>
  /** @type {Definition} */ (
    defineTraining({
      batch,
      optimizer,
      data: () => images(16 * batch, layers.slice(0, 1)),
      model: () =>
        nn.sequential(
          ...layers.slice(1).flatMap((size, i) => {
            const linear = nn.linear(layers[i] ?? 0, size);
            return i === 0 ? [linear] : [nn.relu(), linear];
          }),
        ),
      loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
    })
  );

/** @returns {Definition} */
const convolutional = () =>
  /** @type {Definition} */ (
    defineTraining({
      batch: 64,
      optimizer,
      data: () => images(1024, [1, 28, 28]),
      model: () =>
        nn.sequential(
          ...[nn.conv2d(1, 16, 3, { padding: 1 }), nn.relu(), nn.maxPool2d(2)],
          ...[nn.conv2d(16, 32, 3, { padding: 1 }), nn.relu(), nn.maxPool2d(2)],
          ...[nn.flatten(), nn.linear(32 * 7 * 7, 10)],
        ),
      loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
    })
  );

/** Two blocks, 128 wide, 64 tokens. @returns {Definition} */
const gpt = () =>
  /** @type {Definition} */ (
    defineTraining({
      batch: 32,
      optimizer,
      data: () => tokens(512, 64, 65),
      model: () =>
        nn.sequential(
          ...[nn.embedding(65, 128), nn.learnedPositions(64, 128)],
          ...[0, 1].map(() => nn.transformerBlock(128, 4, { causal: true })),
          ...[nn.layerNorm(128), nn.linear(128, 65)],
        ),
      loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
    })
  );

/** What each is, for people. */
export const titles = {
  small: 'MLP 784-128-10, batch 128',
  large: 'MLP 784-1024-1024-10, batch 512',
  cnn: 'CNN 1×28×28, batch 64',
  gpt: 'GPT 2 × 128, 64 tokens, batch 32',
};

/** @typedef {keyof typeof titles} ModelName */

/** @type {Readonly<Record<ModelName, () => Definition>>} */
export const models = {
  small: () => perceptron(128, [784, 128, 10]),
  large: () => perceptron(512, [784, 1024, 1024, 10]),
  cnn: convolutional,
  gpt,
};

export const modelNames = /** @type {ModelName[]} */ (Object.keys(titles));
