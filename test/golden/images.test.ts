/** Convolution, pooling and batch norm against PyTorch: values, gradients, loss curves, files (see images.py). */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as a from '@lockstep/autograd';
import { arrays, column, encodeSafetensors, readSafetensors } from '@lockstep/data';
import { loadState, loss, namedParameters, nn, optim, stateOf } from '@lockstep/nn';
import { defineTraining, readWeights, type TrainingDefinition, train } from '@lockstep/trainer';
import { describe, expect, it } from 'vitest';
import { bits, symmetric } from './recipe.ts';

const [STEPS, BATCH, ROWS, SIZE] = [100, 16, 64, 12];

interface Case {
  readonly inputs: readonly a.Shape[];
  readonly shape: a.Shape;
  readonly y: readonly number[];
  readonly grads: readonly (readonly number[])[];
}
interface Network {
  readonly shapes: Readonly<Record<string, a.Shape>>;
  readonly losses: readonly number[];
  readonly logits: readonly number[];
}
const golden: {
  readonly cases: Readonly<Record<string, Case>>;
  readonly plain: Network;
  readonly normalised: Network;
} = JSON.parse(readFileSync(new URL('data/images.json', import.meta.url), 'utf8'));
const FILE = fileURLToPath(new URL('data/images.safetensors', import.meta.url));

const numbers = (shape: a.Shape, stream: number): a.Tensor =>
  a.tensor(
    Float32Array.from({ length: a.sizeOf(shape) }, (_, i) => symmetric(stream, i)),
    { shape },
  );

type Call = (x: a.Tensor, w: a.Tensor, b: a.Tensor) => a.Tensor;
const convolved =
  (options: a.ConvOptions): Call =>
  (x, w) =>
    a.conv2d(x, w, options);
const transposed =
  (options: a.ConvTransposeOptions): Call =>
  (x, w) =>
    a.convTranspose2d(x, w, options);
const maxed =
  (kernel: a.PerAxis, options?: a.MaxPoolOptions): Call =>
  (x) =>
    a.maxPool2d(x, kernel, options);
const averaged =
  (kernel: a.PerAxis, options?: a.AvgPoolOptions): Call =>
  (x) =>
    a.avgPool2d(x, kernel, options);
/** A layer with given tensors for its parameters. */
const normalised =
  (make: typeof nn.batchNorm2d): Call =>
  (x, w, b) => {
    const plain = make(w.size, { affine: false, trackRunningStats: false })(x);
    const perChannel = [w.size, ...new Array<number>(x.rank - 2).fill(1)];
    return a.add(a.mul(plain, a.reshape(w, perChannel)), a.reshape(b, perChannel));
  };

const calls: Readonly<Record<string, Call>> = {
  conv2d: convolved({}),
  'conv2d padded': convolved({ stride: 2, padding: 1 }),
  'conv2d dilated': convolved({ dilation: [2, 3], padding: [1, 2] }),
  'conv2d groups': convolved({ groups: 2 }),
  'conv2d same': convolved({ padding: 'same' }),
  'conv2d one tap': convolved({}),
  conv1d: (x, w) => a.conv1d(x, w, { stride: 3, padding: 2, dilation: 2 }),
  'conv1d groups': (x, w) => a.conv1d(x, w, { groups: 2 }),
  'conv1d one tap': (x, w) => a.conv1d(x, w),
  convTranspose1d: (x, w) => a.convTranspose1d(x, w, { stride: 3, padding: 1 }),
  'convTranspose1d groups': (x, w) => a.convTranspose1d(x, w, { groups: 2, dilation: 2 }),
  'convTranspose1d one tap': (x, w) => a.convTranspose1d(x, w),
  convTranspose2d: transposed({}),
  'convTranspose2d strided': transposed({ stride: 2, padding: 1, outputPadding: 1, groups: 2 }),
  'convTranspose2d dilated': transposed({ stride: [1, 3], dilation: [3, 2], outputPadding: [2, 0] }),
  maxPool2d: maxed(2),
  'maxPool2d padded': maxed(3, { stride: 2, padding: 1 }),
  'maxPool2d ceil': maxed([3, 2], { stride: [2, 4], ceilMode: true }),
  'maxPool2d dilated': maxed(2, { stride: 2, padding: 1, dilation: 3 }),
  'maxPool2d one': maxed(1),
  maxPool1d: (x) => a.maxPool1d(x, 3, { stride: 2 }),
  'maxPool1d padded': (x) => a.maxPool1d(x, 2, { stride: 3, padding: 1 }),
  'maxPool1d one': (x) => a.maxPool1d(x, 1),
  avgPool2d: averaged(2),
  'avgPool2d padded': averaged(3, { stride: 2, padding: 1 }),
  'avgPool2d uncounted': averaged(3, { stride: 2, padding: 1, countIncludePad: false }),
  'avgPool2d ceil': averaged(3, { stride: 2, padding: 1, ceilMode: true }),
  avgPool1d: (x) => a.avgPool1d(x, 4),
  'avgPool1d padded': (x) => a.avgPool1d(x, 3, { stride: 2, padding: 1 }),
  'avgPool1d one': (x) => a.avgPool1d(x, 1),
  adaptiveAvgPool2d: (x) => a.adaptiveAvgPool2d(x, [3, 2]),
  'adaptiveAvgPool2d uneven': (x) => a.adaptiveAvgPool2d(x, [3, 4]),
  'adaptiveAvgPool2d one': (x) => a.adaptiveAvgPool2d(x, 1),
  adaptiveMaxPool2d: (x) => a.adaptiveMaxPool2d(x, [3, 2]),
  'adaptiveMaxPool2d uneven': (x) => a.adaptiveMaxPool2d(x, [3, 4]),
  'adaptiveMaxPool2d larger': (x) => a.adaptiveMaxPool2d(x, [5, 1]),
  upsample2d: (x) => a.upsample2d(x, [2, 3]),
  'upsample2d bilinear': (x) => a.upsample2d(x, 2, { mode: 'bilinear' }),
  'upsample2d corners': (x) => a.upsample2d(x, [3, 2], { mode: 'bilinear', alignCorners: true }),
  batchNorm1d: normalised(nn.batchNorm1d),
  'batchNorm1d of rows': normalised(nn.batchNorm1d),
  'batchNorm1d one channel': normalised(nn.batchNorm1d),
  'batchNorm2d many channels': normalised(nn.batchNorm2d),
  batchNorm2d: normalised(nn.batchNorm2d),
  'batchNorm2d one row': normalised(nn.batchNorm2d),
};

/** Largest distance, as a part of the largest number. */
function distance(found: a.Tensor, exact: readonly number[]): number {
  const largest = Math.max(1e-3, ...exact.map(Math.abs));
  expect(found.size).toBe(exact.length);
  return Math.max(0, ...exact.map((x, i) => Math.abs(found.data()[i]! - x) / largest));
}

describe('values and gradients', () => {
  it('has a call for each case, and three shapes for each layer', () => {
    expect(Object.keys(calls)).toEqual(Object.keys(golden.cases));
    const layers = Object.keys(calls).map((name) => name.split(' ')[0]!);
    for (const layer of layers) {
      expect(layers.filter((name) => name === layer).length, layer).toBeGreaterThanOrEqual(3);
    }
  });

  it.each(Object.entries(golden.cases))('%s', (name, { inputs, shape, y, grads }) => {
    const xs = inputs.map((s, i) => a.variable(numbers(s, 200 + i)));
    const found = calls[name]!(xs[0]!, xs[1]!, xs[2]!);
    expect(found.shape).toEqual(shape);
    expect(distance(found, y)).toBeLessThanOrEqual(1e-5);
    a.gradients(a.sum(a.mul(found, numbers(shape, 210))), xs).forEach((g, i) => {
      expect(distance(g, grads[i]!), `gradient ${i}`).toBeLessThanOrEqual(1e-5);
    });
  });
});

/** As `fill` in images.py. */
function fill<M>(model: M): M {
  [...namedParameters(model)]
    .sort(([p], [q]) => (p < q ? -1 : 1))
    .forEach(([name, { shape, value }], i) => {
      const fan = Math.sqrt(a.sizeOf(shape.slice(1)));
      const number = (at: number): number => {
        const x = symmetric(220 + i, at);
        return shape.length > 1 ? x / fan : x / 8 + (name.endsWith('weight') ? 1 : 0);
      };
      (value as Float32Array).set(Float32Array.from({ length: a.sizeOf(shape) }, (_, at) => number(at)));
    });
  return model;
}

const models = {
  plain: () =>
    nn.sequential(
      nn.conv2d(1, 8, 3, { padding: 1 }),
      nn.relu(),
      nn.maxPool2d(2),
      nn.conv2d(8, 16, 3, { padding: 1 }),
      nn.relu(),
      nn.maxPool2d(2),
      nn.flatten(),
      nn.linear(144, 32),
      nn.relu(),
      nn.linear(32, 10),
    ),
  normalised: () =>
    nn.sequential(
      nn.conv2d(1, 4, 3, { padding: 1, bias: false }),
      nn.batchNorm2d(4),
      nn.relu(),
      nn.avgPool2d(2),
      nn.conv2d(4, 6, 3, { stride: 2, groups: 2 }),
      nn.batchNorm2d(6),
      nn.relu(),
      nn.flatten(),
      nn.linear(24, 12),
      nn.batchNorm1d(12),
      nn.tanh(),
      nn.linear(12, 10),
    ),
};

/** Half of a class's prototype, half of noise. */
function images() {
  const label = Int32Array.from({ length: ROWS }, (_, row) => bits(230, row) % 10);
  const pixels = SIZE * SIZE;
  const image = Float32Array.from({ length: ROWS * pixels }, (_, i) => {
    const prototype = symmetric(231, label[Math.floor(i / pixels)]! * pixels + (i % pixels));
    return (prototype + symmetric(232, i)) / 2;
  });
  return arrays({
    image: column(image, { shape: [1, SIZE, SIZE] }),
    label: column(label, { classes: 10 }),
  });
}

/** PyTorch's statistics are those of a batch: one shard. */
const definition = (name: keyof typeof models): TrainingDefinition =>
  defineTraining({
    ...{ batch: BATCH, steps: STEPS, shuffle: false, shards: name === 'plain' ? 8 : 1 },
    data: images,
    model: () => fill(models[name]()),
    loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
    optimizer: optim.adam({ lr: 1e-3 }),
  }) as TrainingDefinition;

const logitsOf = (model: nn.Module): a.Tensor => {
  const { data, shape } = images().columns.image;
  const rows = a.tensor(Float32Array.from(data.subarray(0, 4 * SIZE * SIZE)), { shape: [4, ...shape] });
  return a.withTraining(false, () => model(rows));
};

describe.each(['plain', 'normalised'] as const)('%s network', (name) => {
  const expected = golden[name];

  it('has the names and shapes of PyTorch', () => {
    const shapes = [...stateOf(models[name]())].map(([key, { shape }]) => [key, [...shape]]);
    expect(Object.fromEntries(shapes)).toEqual(expected.shapes);
  });

  it('has the loss curve of PyTorch, and in the end its outputs', async () => {
    const losses: number[] = [];
    const { model } = await train(definition(name), {
      workers: 2,
      on: { step: (event) => losses.push(event.loss) },
    });
    expect(losses).toHaveLength(STEPS);
    const errors = losses.map(
      (value, step) => Math.abs(value - expected.losses[step]!) / expected.losses[step]!,
    );
    expect(Math.max(...errors.slice(0, 20))).toBeLessThan(1e-4);
    expect(Math.max(...errors)).toBeLessThan(1e-3);
    expect(distance(logitsOf(model as nn.Module), expected.logits)).toBeLessThan(1e-2);
  });
});

it('a file of PyTorch gives its outputs, and comes back with the same numbers', () => {
  const state = readWeights(FILE);
  const model = models.normalised();
  loadState(model, state);
  expect(distance(logitsOf(model), golden.normalised.logits)).toBeLessThan(1e-5);
  const file = readSafetensors(Buffer.concat(encodeSafetensors(stateOf(model))));
  expect([...file.keys()].sort()).toEqual([...state.keys()].sort());
  for (const [key, { data }] of file) expect(data, key).toEqual(state.get(key)!.data);
});
