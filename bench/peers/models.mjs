/** What peers are compared on. Float32, Adam, synthetic data in memory. */

/**
 * @typedef {object} Model
 * @property {string} name
 * @property {'mlp' | 'cnn' | 'gpt' | 'lstm'} kind
 * @property {readonly number[]} layers of an mlp: inputs, hidden …, classes; ReLU between. Others: see the two sides
 * @property {number} batch rows of a step, over all workers
 * @property {number} steps of one round: about a second or two
 */

/** @type {readonly Model[]} */
export const models = [
  { name: '784-128-10', kind: 'mlp', layers: [784, 128, 10], batch: 128, steps: 6000 },
  { name: '784-1024-1024-10', kind: 'mlp', layers: [784, 1024, 1024, 10], batch: 512, steps: 100 },
  // 1×28×28, conv 16, pool, conv 32, pool, 128, 10.
  { name: 'CNN', kind: 'cnn', layers: [], batch: 128, steps: 200 },
  // Vocabulary 65, 64 tokens, 4 layers, 4 heads, width 128.
  { name: 'GPT', kind: 'gpt', layers: [], batch: 32, steps: 30 },
  // 48 steps of 8 numbers, 64 cells, one number.
  { name: 'LSTM', kind: 'lstm', layers: [], batch: 128, steps: 200 },
];
