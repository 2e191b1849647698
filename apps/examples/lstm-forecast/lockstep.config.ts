/** An LSTM reads two days of a household and says what it will use a day later: see README.md. */
import { defineTraining, loss, metrics, nn, optim, slice, type Tensor } from 'lockstep';
import { FEATURES, household, windows } from './household.ts';

export const series = windows(household(1));

export function forecaster(hidden = 64) {
  const lstm = nn.lstm(FEATURES, hidden);
  const head = nn.linear(hidden, 1);
  // The state after the last hour has seen them all.
  return nn.module('forecaster', { lstm, head }, (x: Tensor) => head(slice(lstm(x).output, null, -1)));
}

export default defineTraining({
  name: 'lstm-forecast',
  seed: 1,
  batch: 128,
  epochs: 6,
  data: () => series.dataset,
  model: () => forecaster(),
  loss: (model, { x, y }) => loss.huber(model(x), y),
  metrics: {
    // Back in kilowatts.
    mae: (model, { x, y }) => metrics.mae(model(x), y).mul(series.deviation),
  },
  optimizer: optim.adam({ lr: optim.cosine(3e-3), clipNorm: 1 }),
});
