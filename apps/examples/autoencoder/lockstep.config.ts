/** An autoencoder: images through 16 numbers and back. See README.md. */
import { data, defineTraining, loss, metrics, nn, optim } from 'lockstep';

export const PIXELS = 28 * 28;
/** Numbers that an image has to pass through. */
export const CODE = 16;

export function autoencoder(code = CODE) {
  const encoder = nn.sequential(nn.linear(PIXELS, 128), nn.relu(), nn.linear(128, code));
  const decoder = nn.sequential(nn.linear(code, 128), nn.relu(), nn.linear(128, PIXELS));
  return nn.sequential(encoder, decoder);
}

export default defineTraining({
  name: 'autoencoder',
  seed: 1,
  batch: 128,
  epochs: 20,
  // MNIST from the folder of --data or LOCKSTEP_DATA; without one, digits that are drawn on the spot.
  data: ({ dir = process.env.LOCKSTEP_DATA }) => (dir ? data.mnist({ dir }) : data.digits()),
  model: () => autoencoder(),
  // Every pixel is a question: how white is it? The image is its own answer, and labels are not looked at.
  loss: (model, { image }) => loss.bceWithLogits(model(image), image),
  metrics: { error: (model, { image }) => metrics.mae(model(image).sigmoid(), image) },
  optimizer: optim.adam({ lr: optim.cosine(2e-3) }),
  predict: (model, { image }) => model(image).sigmoid(),
});
