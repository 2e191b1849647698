/** Layers of sequences against PyTorch in float64 (see scripts/golden_sequences.py), and what they refuse. */
import { readFileSync } from 'node:fs';
import {
  add,
  gradients,
  mul,
  type Shape,
  sum,
  type Tensor,
  tensor,
  variable,
  withRandom,
  withTraining,
  zeros,
} from '@lockstep/autograd';
import { describe, expect, it } from 'vitest';
import { loadState, namedParameters, nn, stateOf } from '../index.ts';

interface Golden {
  readonly outputs: readonly (readonly number[])[];
  readonly inputs: readonly (readonly number[])[];
  readonly parameters: readonly (readonly number[])[];
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/sequences.json', import.meta.url), 'utf8'),
) as Record<string, Golden>;

function numbers(shape: Shape, seed: number, factor = 1): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  const value = (i: number): number =>
    Math.fround(2 * (((i + 1) * 0.6180339887498949 + seed * 0.7548776662) % 1) - 1);
  return tensor(
    Float32Array.from({ length: size }, (_, i) => value(i) * factor),
    { shape },
  );
}

function fill<M>(model: M): M {
  const entries = [...stateOf(model)].sort(([a], [b]) => (a < b ? -1 : 1));
  const state = entries.map(
    ([name, { shape }], i) =>
      [name, { shape, data: numbers(shape, 20 + i, 0.5).data() as Float32Array }] as const,
  );
  loadState(model, new Map(state));
  return model;
}

/** Relative to the largest of the numbers. */
function expectClose(found: readonly Tensor[], expected: readonly (readonly number[])[]): void {
  expect(found).toHaveLength(expected.length);
  found.forEach((y, i) => {
    const largest = Math.max(...expected[i]!.map(Math.abs), 1e-3);
    const worst = Math.max(
      ...Array.from(y.data(), (value: number, j: number) => Math.abs(value - expected[i]![j]!)),
    );
    expect(worst / largest).toBeLessThan(1e-5);
  });
}

const recurrent = (layer: nn.Recurrent, x: Tensor, hidden: Tensor, cell?: Tensor): Tensor[] => {
  const y = layer({ input: x, hidden, ...(cell ? { cell } : {}) });
  return cell ? [y.output, y.hidden, (y as nn.LstmOutput).cell] : [y.output, y.hidden];
};
const of = <M>(model: M, shapes: readonly Shape[], call: (model: M, ...inputs: Tensor[]) => Tensor[]) => ({
  model,
  shapes,
  call: (...inputs: Tensor[]) => call(model, ...inputs),
});
const both = { layers: 2, bidirectional: true };
const mask = tensor(Int32Array.of(1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1), { shape: [3, 4], dtype: 'bool' });
const states: Shape[] = [
  [2, 4, 3],
  [4, 2, 5],
];
/** An input and its states. */
const ones = (count: number): Shape[] => Array.from({ length: count }, () => [1, 1, 1]);
const odd = (count: number): Shape[] => [[3, 2, 2], ...Array.from({ length: count - 1 }, () => [1, 3, 17])];
const cases = {
  layerNorm: of(nn.layerNorm(19), [[3, 2, 19]], (f, x) => [f(x!)]),
  'layerNorm of three axes': of(nn.layerNorm([2, 3, 5]), [[4, 2, 3, 5]], (f, x) => [f(x!)]),
  'layerNorm of one': of(nn.layerNorm(1), [[3, 1]], (f, x) => [f(x!)]),
  'layerNorm of rows': of(nn.layerNorm(16), [[7, 16]], (f, x) => [f(x!)]),
  rmsNorm: of(nn.rmsNorm(19), [[3, 2, 19]], (f, x) => [f(x!)]),
  'rmsNorm of one row': of(nn.rmsNorm(3), [[1, 3]], (f, x) => [f(x!)]),
  'rmsNorm of rows': of(nn.rmsNorm(16), [[7, 16]], (f, x) => [f(x!)]),
  groupNorm: of(nn.groupNorm(3, 6), [[2, 6, 5, 3]], (f, x) => [f(x!)]),
  'groupNorm of rank 2': of(nn.groupNorm(2, 8), [[3, 8]], (f, x) => [f(x!)]),
  'groupNorm of each channel': of(nn.groupNorm(5, 5), [[1, 5, 7]], (f, x) => [f(x!)]),
  attention: of(
    nn.multiHeadAttention(6, 2),
    [
      [2, 3, 6],
      [2, 4, 6],
      [2, 4, 6],
    ],
    (f, query, key, value) => [f({ query: query!, key: key!, value: value!, mask })],
  ),
  'attention of one': of(
    nn.multiHeadAttention(3, 1),
    [0, 1, 2].map((): Shape => [1, 1, 3]),
    (f, query, key, value) => [f({ query: query!, key: key!, value: value! })],
  ),
  'attention of many keys': of(
    nn.multiHeadAttention(10, 2),
    [2, 33, 33].map((steps): Shape => [1, steps, 10]),
    (f, query, key, value) => [f({ query: query!, key: key!, value: value! })],
  ),
  'selfAttention of one': of(nn.multiHeadAttention(4, 4), [[3, 1, 4]], (f, x) => [f(x!)]),
  'selfAttention of many': of(nn.multiHeadAttention(6, 2), [[1, 37, 6]], (f, x) => [f(x!)]),
  selfAttention: of(nn.multiHeadAttention(6, 3, { bias: false, causal: true }), [[2, 5, 6]], (f, x) => [
    f(x!),
  ]),
  transformerBlock: of(nn.transformerBlock(6, 2, { hidden: 18 }), [[2, 5, 6]], (f, x) => [f(x!)]),
  'transformerBlock of 2017': of(
    nn.transformerBlock(5, 1, { hidden: 15, normFirst: false, activation: 'relu' }),
    [[1, 3, 5]],
    (f, x) => [f(x!)],
  ),
  'transformerBlock of one': of(nn.transformerBlock(4, 2, { hidden: 12 }), [[3, 1, 4]], (f, x) => [f(x!)]),
  'rnn of one': of(nn.rnn(1, 1), ones(2), (f, x, h) => recurrent(f, x!, h!)),
  'rnn of odd sizes': of(nn.rnn(2, 17), odd(2), (f, x, h) => recurrent(f, x!, h!)),
  'lstm of one': of(nn.lstm(1, 1), ones(3), (f, x, h, c) => recurrent(f, x!, h!, c)),
  'lstm of odd sizes': of(nn.lstm(2, 17), odd(3), (f, x, h, c) => recurrent(f, x!, h!, c)),
  'gru of one': of(nn.gru(1, 1), ones(2), (f, x, h) => recurrent(f, x!, h!)),
  rnn: of(nn.rnn(3, 5, { ...both, nonlinearity: 'relu' }), states, (f, x, h) => recurrent(f, x!, h!)),
  lstm: of(nn.lstm(3, 5, both), [...states, [4, 2, 5]], (f, x, h, c) => recurrent(f, x!, h!, c)),
  gru: of(nn.gru(3, 5, both), states, (f, x, h) => recurrent(f, x!, h!)),
  'gru without bias': of(
    nn.gru(3, 2, { bias: false }),
    [
      [1, 3, 3],
      [1, 1, 2],
    ],
    (f, x, h) => recurrent(f, x!, h!),
  ),
  'embedding of rank 1': of(nn.embedding(7, 17), [], (f) => [f(tensor(Int32Array.of(6, 0, 6)))]),
  'embedding of one': of(nn.embedding(1, 1), [], (f) => [f(tensor(Int32Array.of(0), { shape: [1, 1] }))]),
  embedding: of(nn.embedding(4, 3, { paddingIndex: 1 }), [], (f) => [
    f(tensor(Int32Array.of(0, 1, 3, 3, 3, 1), { shape: [2, 3] })),
  ]),
};

it('has three shapes of each layer', () => {
  expect(Object.keys(cases).sort()).toEqual(
    Object.keys(golden)
      .filter((name) => name !== 'torch')
      .sort(),
  );
  const layers = Object.keys(cases).map((name) => name.split(' ')[0]!);
  for (const layer of layers) {
    expect(layers.filter((name) => name === layer).length, layer).toBeGreaterThanOrEqual(3);
  }
});

it.each(Object.entries(cases))('%s: outputs and all gradients are those of PyTorch', (name, test) => {
  fill(test.model);
  const inputs = test.shapes.map((shape, i) => variable(numbers(shape, 1 + i)));
  const outputs = test.call(...inputs);
  const expected = golden[name]!;
  expectClose(outputs, expected.outputs);
  const total = outputs.map((y, i) => sum(mul(y, numbers(y.shape, 10 + i)))).reduce((a, b) => add(a, b));
  expectClose(gradients(total, inputs), expected.inputs);
  const parameters = [...namedParameters(test.model)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, p]) => p);
  expectClose(gradients(total, parameters), expected.parameters);
});

it('dropout within the attention acts while training alone, by the seed', () => {
  const [plain, dropping] = [0, 0.5].map((dropout) =>
    fill(nn.multiHeadAttention(6, 2, { causal: true, dropout })),
  );
  const x = numbers([2, 5, 6], 1);
  const y = (layer: nn.MultiHeadAttention, training: boolean, seed = 1) =>
    Array.from(withTraining(training, () => withRandom({ seed }, () => layer(x))).data());
  expect(y(dropping!, false)).toEqual(y(plain!, false));
  expect(y(dropping!, true)).toEqual(y(dropping!, true));
  expect(y(dropping!, true)).not.toEqual(y(dropping!, true, 2));
  expect(y(dropping!, true)).not.toEqual(y(plain!, true));
  expect(y(plain!, true, 2)).toEqual(y(plain!, true));
});

it('sinusoidal positions are waves', () => {
  const y = nn
    .sinusoidalPositions(
      50,
      6,
    )(zeros([1, 50, 6]))
    .data();
  const wave = (t: number, i: number): number => {
    const angle = t / 10000 ** ((i - (i % 2)) / 6);
    return i % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
  };
  y.forEach((value: number, at: number) => {
    expect(value).toBeCloseTo(wave(Math.floor(at / 6), at % 6), 6);
  });
});

it('rms norm divides by the root of the mean square; residual adds', () => {
  expect([
    ...nn
      .rmsNorm(2, { eps: 0 })(tensor([[3, -4]]))
      .data(),
  ]).toEqual([3, -4].map((x) => expect.closeTo(x / Math.sqrt(12.5), 6)));
  expect([
    ...nn
      .residual((x) => mul(x, 2))(tensor([1, 2]))
      .data(),
  ]).toEqual([3, 6]);
});

describe('refuses with one message', () => {
  const x = zeros([2, 3, 4]);
  it.each<[string, () => unknown, RegExp]>([
    [
      'heads that do not divide',
      () => nn.multiHeadAttention(6, 4),
      /got 6 features for 4 heads, expected a multiple/,
    ],
    [
      'groups that do not divide',
      () => nn.groupNorm(4, 6),
      /got 6 channels in 4 groups, expected a multiple/,
    ],
    [
      'other features',
      () => nn.layerNorm(5)(x),
      /layerNorm\(5\): got f32\[2, 3, 4\], expected 5 elements along axis -1/,
    ],
    [
      'other channels',
      () => nn.groupNorm(2, 4)(x),
      /groupNorm\(2, 4\): got f32\[2, 3, 4\], expected 4 elements/,
    ],
    [
      'tokens that are no integers',
      () => nn.embedding(5, 3)(x),
      /embedding\(5, 3\): got f32.*expected i32; convert/,
    ],
    ['padding that is no token', () => nn.embedding(5, 3, { paddingIndex: 5 }), /paddingIndex = 5.*< 5/],
    ['more steps than positions', () => nn.learnedPositions(2, 4)(x), /with at most 2 steps/],
    ['odd waves', () => nn.sinusoidalPositions(9, 3), /features = 3, expected an even number/],
    ['attention to other features', () => nn.multiHeadAttention(6, 2)(x), /expected \[batch, T, 6\]/],
    [
      'other inputs',
      () => nn.lstm(5, 3)(x),
      /lstm\(5, 3\): got f32\[2, 3, 4\], expected \[batch, steps, 5\]/,
    ],
    ['no steps', () => nn.gru(4, 3)(zeros([2, 0, 4])), /expected at least one step/],
    [
      'states of another size',
      () => nn.gru(4, 3)({ input: x, hidden: zeros([1, 2, 5]) }),
      /got states f32\[1, 2, 5\], expected \[1, 2, 3\]/,
    ],
    [
      'one of two states',
      () => nn.lstm(4, 3)({ input: x, hidden: zeros([1, 2, 3]) }),
      /expected both or none/,
    ],
    [
      'an unknown activation',
      () => nn.transformerBlock(4, 2, { activation: 'tanh' as 'relu' }),
      /'gelu' or 'relu'/,
    ],
    [
      'an unknown option',
      () => nn.lstm(4, 3, { layer: 2 } as object),
      /unknown option layer, expected layers/,
    ],
    ['no layer', () => nn.residual(3 as never), /nn.residual: got 3, expected a function/],
  ])('%s', (_, run, message) => {
    expect(run).toThrow(message);
  });
});
