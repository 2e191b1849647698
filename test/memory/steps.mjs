/**
 * Trains a small network for 20,000 steps and prints one JSON line: resident memory (bytes) every hundred steps, and the
 * JavaScript heap in use after a collection. Arguments: kernels, workers. Run with --expose-gc.
 */
import { data, defineTraining, loss, metrics, nn, optim, train } from 'lockstep';

const [kernels = 'auto', workers = '2'] = process.argv.slice(2);
const STEPS = 20_000;
const ROWS = 512;

const digits = data.digits({ train: ROWS, validation: 64 });
const definition = defineTraining({
  batch: 32,
  steps: STEPS,
  data: () => digits,
  model: () => nn.sequential(nn.linear(784, 16), nn.relu(), nn.dropout(0.1), nn.linear(16, 10)),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
  optimizer: optim.adam({ lr: optim.cosine(1e-3) }),
});

const rss = [];
const heap = [];
const step = (event) => {
  if (event.step % 100 === 0) rss.push(process.memoryUsage.rss());
  if (event.step % 1000 !== 0) return;
  globalThis.gc();
  heap.push(process.memoryUsage().heapUsed);
};
const { seconds } = await train(definition, { kernels, workers: Number(workers), on: { step } });
console.log(JSON.stringify({ seconds, rss, heap }));
