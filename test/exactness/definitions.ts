/** Trainings that are all different in what they ask of tracing, compiler, kernels and pool; each takes milliseconds. */
import {
  abs,
  add,
  argmax,
  type Batch,
  cast,
  clamp,
  cos,
  customGradient,
  defineTraining,
  div,
  eq,
  erf,
  exp,
  expand,
  grad,
  init,
  log,
  logSumExp,
  loss,
  matmul,
  max,
  maximum,
  mean,
  metrics,
  min,
  mul,
  neg,
  nn,
  optim,
  permute,
  pow,
  randn,
  reshape,
  sigmoid,
  sign,
  sin,
  softmax,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  type TrainingDefinition,
  tanh,
  transpose,
  where,
} from 'lockstep';
import { CLASSES, FEATURES, type Fields, numbers } from './data.ts';

type Rows = Batch<Fields>;
type Network = (input: Tensor) => Tensor;
export type Definition = TrainingDefinition<never, Fields>;

const accuracy = { accuracy: (model: Network, { x, label }: Rows) => metrics.accuracy(model(x), label) };

const mlp = (hidden = 13) =>
  nn.sequential(nn.linear(FEATURES, hidden), nn.relu(), nn.dropout(0.3), nn.linear(hidden, CLASSES));

/** Classification with dropout, three batches and a short one; the rest as given. */
export const classification = (
  over: Partial<TrainingDefinition<Network, Fields>> = {},
): TrainingDefinition<Network, Fields> =>
  defineTraining<Network, Fields>({
    seed: 3,
    batch: 30,
    epochs: 2,
    data: () => numbers(101, 17),
    model: () => mlp(),
    loss: (model, { x, label }) => loss.crossEntropy(model(x), label),
    metrics: accuracy,
    optimizer: optim.adam({ lr: 0.01 }),
    ...over,
  });

/** One output from features, by any model and loss. */
const regression = <M>(
  model: () => M,
  lossOf: (model: M, batch: Rows) => Tensor,
  over: Partial<TrainingDefinition<M, Fields>> = {},
): TrainingDefinition<M, Fields> =>
  defineTraining<M, Fields>({
    seed: 11,
    batch: 28,
    epochs: 2,
    data: () => numbers(70),
    model,
    loss: lossOf,
    optimizer: optim.sgd({ lr: 0.05, momentum: 0.9 }),
    ...over,
  });

const predict = (model: Network, { x, y }: Rows): Tensor => loss.mse(model(x), y);
const line = (bias = true): Network => nn.linear(FEATURES, 1, { bias });

const straightThroughSign = customGradient(
  (x) => sign(x),
  (g) => [g],
  'straightThroughSign',
) as Network;

/** The same weights go up and down again; the layer in between runs twice. */
const tied = () => {
  const [down, twice] = [nn.linear(FEATURES, 6), nn.linear(6, 6)];
  return {
    down,
    twice,
    forward: (x: Tensor): Tensor => matmul(tanh(twice(tanh(twice(down(x))))), down.weight),
  };
};

const elementwise = (h: Tensor): Tensor => {
  const a = add(mul(sin(h), cos(mul(h, 0.5))), mul(h, sigmoid(h)));
  const b = div(sub(exp(neg(abs(a))), erf(h)), add(sqrt(add(square(a), 1)), 0.1));
  const c = where(eq(cast(cast(a, 'i32'), 'f32'), 0), pow(add(abs(b), 0.5), 1.5), log(add(square(b), 2)));
  return maximum(clamp(c, -0.75, 3), mul(a, 0.01));
};

/** All of it with parameters of odd shapes: a scalar, a column, a row that broadcasts. */
const shapes = () => ({
  scale: nn.parameter(init.constant(1.25)([])),
  column: nn.parameter(init.uniform(-1, 1)([4, 1])),
  row: nn.parameter(init.uniform(-1, 1)([3, 1, 4])),
  head: nn.linear(12, CLASSES),
});

const overShapes = ({ scale, column, row, head }: ReturnType<typeof shapes>, { image, label }: Rows) => {
  const rows = image.shape[0]!;
  const wide = mul(expand(reshape(image, [rows, 1, 4, 4]), [rows, 3, 4, 4]), row);
  const mixed = add(mul(permute(wide, [0, 1, 3, 2]), column), scale);
  const pooled = add(max(mixed, -1), mul(min(transpose(mixed), -1), mean(mixed, -1)));
  return loss.crossEntropy(head(reshape(pooled, [rows, 12])), label);
};

/** ‖∂f/∂x‖ of the network at the data is kept near 1: a gradient in the loss. */
const gradientPenalty = (model: Network, { x, y }: Rows): Tensor => {
  const [slope] = grad((input) => sum(model(input)))(x);
  const length = sqrt(add(sum(square(slope!), -1), 1e-6));
  return add(loss.mse(model(x), y), mul(mean(square(sub(length, 1))), 0.1));
};

const penalty = (model: { first: { weight: Tensor }; second: { weight: Tensor } }): Tensor =>
  mul(add(sum(square(model.first.weight)), sum(abs(model.second.weight))), 0.01);
const pair = () => {
  const [first, second] = [nn.linear(FEATURES, 9), nn.linear(9, 1)];
  return { first, second, forward: (x: Tensor) => second(tanh(first(x))) };
};

/** Some of everything; what is new in a definition stands in its name. */
export const definitions = {
  'dropout, adam, a short batch': classification(),
  'one shard': classification({ shards: 1 }),
  'two shards, nesterov': classification({
    shards: 2,
    optimizer: optim.sgd({ lr: 0.1, momentum: 0.9, nesterov: true }),
  }),
  'three shards, adamw, warm-up and cosine': classification({
    shards: 3,
    optimizer: optim.adamw({ lr: optim.warmup(optim.cosine(0.02), { steps: 3 }) }),
  }),
  'five shards of unequal size': classification({ shards: 5, batch: 28 }),
  'six shards, a last batch of one row': classification({ shards: 6, batch: 25 }),
  'thirteen shards, most of them empty in the last batch': classification({ shards: 13, batch: 33 }),
  'fewer shards than there could be: none has one row alone': classification({ shards: 8, batch: 9 }),
  'batch norm on 21 rows in five shards, and 17': classification({
    ...{ shards: 5, batch: 21 },
    model: () => nn.sequential(nn.linear(FEATURES, 9), nn.batchNorm1d(9), nn.relu(), nn.linear(9, CLASSES)),
  }),
  'a short batch in fewer shards of as many rows': classification({
    ...{ shards: 8, batch: 16 },
    data: () => numbers(58, 17),
  }),
  'no last batch, no shuffling': classification({ dropLast: true, shuffle: false }),
  'a batch larger than the data': classification({ batch: 500, epochs: 3 }),
  'clipping over several blocks': classification({
    model: () => mlp(150),
    optimizer: optim.adam({ lr: 0.01, clipNorm: 0.05 }),
  }),
  'three batches for one step, clipped': classification({
    accumulate: 3,
    optimizer: optim.adamw({ lr: 0.01, clipNorm: 0.1 }),
    epochs: 3,
  }),
  'two batches for one step, the last of each epoch alone': classification({ accumulate: 2, batch: 21 }),
  'one shard, accumulated': classification({ accumulate: 2, shards: 1 }),
  'stopped in the middle of an epoch': classification({ steps: 6, epochs: 9 }),
  'stopped early, back to the best weights': classification({
    epochs: 12,
    optimizer: optim.adam({ lr: 0.3 }),
    earlyStopping: { patience: 1 },
  }),
  'validation rows drawn from the data': classification({ data: () => numbers(90), validation: 0.2 }),
  'a straight line, mse': regression(line, predict),
  'no bias, huber': regression(
    () => line(false),
    (model, { x, y }) => loss.huber(model(x), y),
  ),
  'deep sums: more rows and features than one piece': regression(
    () => nn.sequential(nn.linear(FEATURES, 300), nn.tanh(), nn.linear(300, 1)),
    predict,
    { data: () => numbers(620), batch: 600, shards: 2 },
  ),
  'a gradient of its own': regression(
    () => nn.sequential(nn.linear(FEATURES, 8), straightThroughSign, nn.linear(8, 1)),
    predict,
  ),
  'tied weights, a layer used twice': regression(tied, (model, { x }) => loss.mse(model.forward(x), x)),
  'a parameter that is not used': regression(
    () => ({ used: line(), idle: nn.linear(7, 3) }),
    ({ used }, batch) => predict(used, batch),
    { optimizer: optim.adamw({ lr: 0.01, weightDecay: 0.1 }) },
  ),
  'a penalty on weights': regression(pair, (model, batch) =>
    add(predict(model.forward, batch), penalty(model)),
  ),
  'nothing but a penalty on some weights': regression(
    () => ({ line: line(), free: nn.parameter(init.uniform(-1, 1)([33])) }),
    (model, batch) => add(predict(model.line, batch), mean(square(model.free))),
  ),
  'elementwise from end to end': regression(
    () => nn.sequential(nn.linear(FEATURES, 7), elementwise, nn.gelu(), nn.linear(7, 1)),
    predict,
  ),
  'less the mean of the shard': regression(
    () =>
      nn.sequential(nn.linear(FEATURES, 6), (h: Tensor) => sub(h, mean(h, 0)), nn.silu(), nn.linear(6, 1)),
    predict,
  ),
  'normalised within the shard': regression(
    () =>
      nn.sequential(
        nn.linear(FEATURES, 6),
        (h: Tensor) => div(sub(h, mean(h, 0)), sqrt(add(mean(square(sub(h, mean(h, 0))), 0), 0.01))),
        nn.linear(6, 1),
      ),
    predict,
    { batch: 29, shards: 6 },
  ),
  'noise on the input, noise on the weights': regression(
    () => ({ weight: nn.parameter(init.normal()([1, FEATURES])) }),
    ({ weight }, { x, y }) => {
      const noisy = add(weight, mul(randn(weight.shape), 0.1));
      return loss.mse(matmul(add(x, mul(randn(x.shape), 0.05)), noisy, { transB: true }), y);
    },
  ),
  'softmax and logSumExp by hand, labels by argmax': classification({
    loss: (model, { x, label }) => {
      const z = model(x);
      const hit = cast(eq(argmax(z), label), 'f32');
      return add(mean(logSumExp(z)), mean(mul(sum(square(softmax(z)), -1), add(hit, 1))));
    },
  }),
  'images from bytes, parameters of all ranks': regression(shapes, overShapes),
  'dropout within the attention, pooled': regression(
    () => ({
      attention: nn.multiHeadAttention(4, 2, { causal: true, dropout: 0.3 }),
      pool: nn.adaptiveMaxPool2d([3, 2]),
      head: nn.linear(6, CLASSES),
    }),
    ({ attention, pool, head }, { image, label }) => {
      const rows = image.shape[0]!;
      const pooled = pool(attention(reshape(image, [rows, 4, 4])));
      return loss.crossEntropy(head(reshape(pooled, [rows, 6])), label);
    },
  ),
  'a gradient in the loss': regression(
    () => nn.sequential(nn.linear(FEATURES, 6), nn.tanh(), nn.linear(6, 1)),
    gradientPenalty,
  ),
} as const;

export type DefinitionName = keyof typeof definitions;
