/** Handwritten-looking digits, drawn on the spot: nothing is downloaded. See README.md. */
import { data, defineTraining, loss, metrics, nn, optim } from 'lockstep';

export default defineTraining({
  name: 'digits',

  // These five lines, the data and the functions below define the run: the trained weights are the same bits wherever
  // and on however many cores it runs.
  seed: 1, // of the initial weights and of the order of the images
  batch: 128, // images per step, over all workers together
  shards: 8, // parts of a batch whose gradients are added in a fixed order
  epochs: 5, // passes over the 8,000 images; 63 steps each, the last of 64 images
  optimizer: optim.adamw({ lr: optim.cosine(1e-3) }), // the learning rate falls from 1e-3 along half a cosine

  // image: f32 [784], 28 × 28 pixels from 0 to 1; label: i32, 0 to 9. 2,000 more images are for validation.
  data: () => data.digits(),

  // Built once. Parameters are named by their place: 0.weight [128, 784], 0.bias [128], 2.weight [10, 128], 2.bias [10].
  model: () => nn.sequential(nn.linear(784, 128), nn.relu(), nn.linear(128, 10)),

  // Runs once, to be traced and compiled: `image` is [rows, 784], the result the mean over its rows. The names of the
  // fields come from the data, so that a wrong one does not compile.
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),

  // Reported for each step, and for the validation images after each epoch.
  metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
});
