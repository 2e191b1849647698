/** A convolutional network for handwritten digits. See README.md. */
import { data, defineTraining, loss, metrics, nn, optim, reshape, type Tensor } from 'lockstep';

/** Rows of 784 pixels as images of one channel: [rows, 1, 28, 28]. */
const images = (x: Tensor): Tensor => reshape(x, [-1, 1, 28, 28]);

export default defineTraining({
  name: 'cnn-mnist',
  seed: 1,
  batch: 128,
  shards: 8,
  epochs: 10,
  optimizer: optim.adam({ lr: 1e-3 }),

  // MNIST from the folder of --data or LOCKSTEP_DATA; without one, digits that are drawn on the spot.
  data: ({ dir = process.env.LOCKSTEP_DATA }) => (dir ? data.mnist({ dir }) : data.digits()),

  model: () =>
    nn.sequential(
      images,
      nn.conv2d(1, 16, 5), // [rows, 16, 24, 24]: 16 patterns of 5 × 5, looked for everywhere
      nn.relu(),
      nn.maxPool2d(2), // [rows, 16, 12, 12]
      nn.conv2d(16, 32, 5), // [rows, 32, 8, 8]: patterns of patterns
      nn.relu(),
      nn.maxPool2d(2), // [rows, 32, 4, 4]
      nn.flatten(),
      nn.linear(32 * 4 * 4, 128),
      nn.relu(),
      nn.linear(128, 10),
    ),

  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
});
