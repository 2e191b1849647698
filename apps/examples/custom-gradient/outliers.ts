/** A straight line through points of which a tenth are wrong. */
import {
  data,
  defineTraining,
  loss,
  mul,
  nn,
  optim,
  rand,
  randn,
  type Tensor,
  train,
  withRandom,
} from 'lockstep';
import { clipGradient } from './gradients.ts';

const POINTS = 500;
const OUTLIERS = 50;
/** Residuals beyond this pull no harder. */
const LIMIT = 0.5;

function points(seed: number) {
  const [x, noise] = withRandom({ seed }, () => [rand([POINTS]).data(), randn([POINTS]).data()]);
  const y = Float32Array.from(noise, (e, i) => 2 * x[i]! - 1 + 0.1 * e + (i < OUTLIERS ? 20 : 0));
  const shape = [POINTS, 1];
  return data.arrays({ x: { data: Float32Array.from(x), shape }, y: { data: y, shape } });
}

/** In training a row's gradient arrives before it is divided by the rows of the batch: that of (p − y)² is 2 (p − y). */
const clipped = (prediction: Tensor, y: Tensor): Tensor => loss.mse(clipGradient(2 * LIMIT)(prediction), y);

const losses = {
  'mean squared error': loss.mse,
  'the same, gradient clipped': clipped,
  // The function whose gradient that is, up to the factor 2: a square that turns into a line.
  '2 · Huber': (prediction: Tensor, y: Tensor) => mul(loss.huber(prediction, y, { delta: LIMIT }), 2),
};

/** The fitted line for each of the losses. */
export async function fitLine(seed: number): Promise<Record<string, { weight: number; bias: number }>> {
  const lines = Object.entries(losses).map(async ([name, lossOf]) => {
    const definition = defineTraining({
      seed,
      batch: 100,
      epochs: 200,
      data: () => points(seed),
      model: () => nn.linear(1, 1),
      loss: (model, { x, y }) => lossOf(model(x), y),
      optimizer: optim.sgd({ lr: optim.cosine(0.2) }),
    });
    const { model } = await train(definition, { workers: 1 });
    return [name, { weight: model.weight.item(), bias: model.bias!.item() }];
  });
  return Object.fromEntries(await Promise.all(lines));
}
