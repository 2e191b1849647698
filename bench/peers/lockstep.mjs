/** Lockstep's side: a round is a whole run by the public API; the first tenth of its steps is not counted. */
import { data, defineTraining, loss, nn, optim, reshape, slice, train } from 'lockstep';

/** @typedef {import('lockstep').Tensor} Tensor */
/** @typedef {import('lockstep').TrainingDefinition} Definition */
/** @typedef {Pick<Definition, 'batch' | 'shards' | 'steps' | 'optimizer'>} Common */

const { arrays, column } = data;

const spread = (/** @type {number} */ i) => Math.imul(i, 0x9e3779b1) >>> 0;

/** @param {number} rows @param {readonly number[]} shape @param {number} classes */
const images = (rows, shape, classes) =>
  arrays({
    x: column(
      Uint8Array.from(
        { length: shape.reduce((product, n) => product * n, rows) },
        (_, i) => spread(i) >>> 24,
      ),
      { shape, scale: 1 / 255 },
    ),
    y: column(
      Int32Array.from({ length: rows }, (_, i) => i % classes),
      { classes },
    ),
  });

/** @param {readonly number[]} layers */
const perceptron = (layers) =>
  layers.slice(1).flatMap((size, i) => {
    const linear = nn.linear(layers[i] ?? 0, size);
    return i === 0 ? [linear] : [nn.relu(), linear];
  });

/** @type {Record<import('./models.mjs').Model['kind'], (rows: number, layers: readonly number[], common: Common) => Definition>} */
const tasks = {
  mlp: (rows, layers, common) =>
    /** @type {Definition} */ (
      defineTraining({
        ...common,
        data: () => images(rows, layers.slice(0, 1), layers.at(-1) ?? 0),
        model: () => nn.sequential(...perceptron(layers)),
        loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
      })
    ),
  cnn: (rows, _, common) =>
    /** @type {Definition} */ (
      defineTraining({
        ...common,
        data: () => images(rows, [1, 28, 28], 10),
        model: () =>
          nn.sequential(
            ...[nn.conv2d(1, 16, 3, { padding: 1 }), nn.relu(), nn.maxPool2d(2)],
            ...[nn.conv2d(16, 32, 3, { padding: 1 }), nn.relu(), nn.maxPool2d(2)],
            ...[nn.flatten(), ...perceptron([32 * 7 * 7, 128, 10])],
          ),
        loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
      })
    ),
  gpt: (rows, _, common) =>
    /** @type {Definition} */ (
      defineTraining({
        ...common,
        data: () => {
          const tokens = (/** @type {number} */ shift) =>
            column(
              Int32Array.from({ length: rows * 64 }, (_, i) => (spread(i + shift) >>> 16) % 65),
              { shape: [64], classes: 65 },
            );
          return arrays({ x: tokens(0), y: tokens(1) });
        },
        model: () =>
          nn.sequential(
            ...[nn.embedding(65, 128), nn.learnedPositions(64, 128)],
            ...[0, 1, 2, 3].map(() => nn.transformerBlock(128, 4, { causal: true })),
            ...[nn.layerNorm(128), nn.linear(128, 65)],
          ),
        loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
      })
    ),
  lstm: (rows, _, common) =>
    /** @type {Definition} */ (
      defineTraining({
        ...common,
        data: () => {
          const numbers = (/** @type {readonly number[]} */ shape) =>
            column(
              Float32Array.from(
                { length: shape.reduce((product, n) => product * n, rows) },
                (_, i) => spread(i) / 2 ** 32,
              ),
              { shape },
            );
          return arrays({ x: numbers([48, 8]), y: numbers([1]) });
        },
        model: () => {
          const lstm = nn.lstm(8, 64);
          const head = nn.linear(64, 1);
          return nn.module('forecaster', { lstm, head }, (/** @type {Tensor} */ x) =>
            head(reshape(slice(lstm(x).output, null, -1), [-1, 64])),
          );
        },
        loss: (model, { x, y }) => loss.mse(model(x), y),
      })
    ),
};

/**
 * @param {import('./models.mjs').Model} model
 * @param {{ workers: number, shards: number }} options
 * @returns {() => Promise<number>} measures a round: seconds per step
 */
export function lockstep({ kind, layers, batch, steps }, { workers, shards }) {
  const warmUp = Math.floor(steps / 10);
  const rows = 32 * batch;
  const common = { batch, shards, steps: steps + warmUp, optimizer: optim.adam({ lr: 1e-3 }) };
  const given = tasks[kind](rows, layers, common);
  const dataset = given.data({});
  const definition = { ...given, data: () => dataset };
  return async () => {
    let first = 0;
    let last = 0;
    await train(definition, {
      workers,
      on: {
        step: ({ step }) => {
          last = performance.now();
          if (step <= warmUp) first = last;
        },
      },
    });
    return (last - first) / 1000 / steps;
  };
}
