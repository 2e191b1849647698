/** What peers are compared on. Float32, Adam, cross-entropy, synthetic data in memory. */

/**
 * @typedef {object} Model
 * @property {string} name
 * @property {readonly number[]} layers sizes: input, hidden …, classes; ReLU between
 * @property {number} batch rows of a step, over all workers
 * @property {number} steps of one round: about a second or two
 */

/** @type {readonly Model[]} */
export const models = [
  { name: '784-128-10', layers: [784, 128, 10], batch: 128, steps: 6000 },
  { name: '784-1024-1024-10', layers: [784, 1024, 1024, 10], batch: 512, steps: 100 },
];
