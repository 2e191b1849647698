/** The price of a house from five numbers in a CSV file: see README.md. */
import { fileURLToPath } from 'node:url';
import { data, defineTraining, loss, type Module, metrics, nn, optim } from 'lockstep';

const table = data.csv({
  path: fileURLToPath(new URL('houses.csv', import.meta.url)),
  target: 'price_eur',
});

/** The same rows are held back whatever is trained. */
export const houses = data.split(table, 0.2, 1);

/** Mean and deviation of the prices that are trained on, in euros. */
export const price = data.moments(houses.columns.y)[0]!;

// Areas are in the hundreds, ages in the tens, prices in the hundreds of thousands: all become mean 0 and deviation 1, by
// the moments of the training part alone.
export const standardized = data.standardize(data.standardize(houses, 'x'), 'y');

export default defineTraining({
  name: 'houses',
  seed: 1,
  batch: 32,
  epochs: 300,
  data: () => standardized,
  model: (): Module => nn.sequential(nn.linear(5, 32), nn.relu(), nn.linear(32, 1)),
  loss: (model, { x, y }) => loss.mse(model(x), y),
  metrics: {
    // Back in euros, where people can judge it.
    mae: (model, { x, y }) => metrics.mae(model(x), y).mul(price.deviation),
  },
  // `lockstep predict` says euros, too.
  predict: (model, { x }) => model(x).mul(price.deviation).add(price.mean),
  optimizer: optim.adam({ lr: optim.cosine(1e-2) }),
  // Ends when 20 epochs in a row were no better on the houses held back, and keeps the best weights.
  earlyStopping: { metric: 'mae', mode: 'min', patience: 20 },
});
