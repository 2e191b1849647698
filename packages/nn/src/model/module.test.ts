import {
  gradients,
  OpError,
  type Parameter,
  relu,
  sum,
  type Tensor,
  Trace,
  tensor,
  valueAndGrad,
  withRandom,
  withTrace,
  withTraining,
} from '@lockstep/autograd';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { ConfigError } from '../common/errors.ts';
import * as init from '../common/init.ts';
import * as nn from '../nn.ts';
import { countParameters, loadState, namedParameters, stateOf } from './parameters.ts';
import { summary } from './summary.ts';

const names = (model: unknown): string[] => [...namedParameters(model).keys()];

describe('linear', () => {
  test("weights lie in PyTorch's range, from the seed alone, weight before bias", () => {
    const layer = withRandom({ seed: 1 }, () => nn.linear(784, 64));
    expect([layer.weight.shape, layer.bias!.shape]).toEqual([[64, 784], [64]]);
    const bound = 1 / 28;
    const weights = Array.from(layer.weight.data());
    expect(Math.max(...weights.map(Math.abs))).toBeLessThanOrEqual(bound);
    expect(Math.max(...weights.map(Math.abs))).toBeGreaterThan(0.999 * bound);
    const variance = weights.reduce((sum, w) => sum + w * w, 0) / weights.length;
    expect(variance / (bound ** 2 / 3)).toBeCloseTo(1, 1);
    expect(stateOf(withRandom({ seed: 1 }, () => nn.linear(784, 64)))).toEqual(stateOf(layer));
    expect(stateOf(withRandom({ seed: 2 }, () => nn.linear(784, 64)))).not.toEqual(stateOf(layer));
    const bare = withRandom({ seed: 1 }, () => nn.linear(784, 64, { bias: false }));
    expect(bare.weight.data()).toEqual(layer.weight.data());
    expect(names(bare)).toEqual(['weight']);
  });

  test('y = x Wᵀ + b for any rank', () => {
    const layer = nn.linear(2, 3);
    loadState(
      layer,
      new Map([
        ['weight', { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
        ['bias', { shape: [3], data: Float32Array.of(10, 20, 30) }],
      ]),
    );
    expect(Array.from(layer(tensor([1, -1])).data())).toEqual([9, 19, 29]);
    const rows = layer(
      tensor([
        [1, -1],
        [0, 1],
      ]),
    );
    expect([rows.shape, Array.from(rows.data())]).toEqual([
      [2, 3],
      [9, 19, 29, 12, 24, 36],
    ]);
    expect(layer(tensor(new Float32Array(24), { shape: [3, 4, 2] })).shape).toEqual([3, 4, 3]);
    expect(layer(tensor(new Float32Array(0), { shape: [0, 2] })).shape).toEqual([0, 3]);
  });

  test('start values of your own', () => {
    const layer = nn.linear(3, 2, { weightInit: init.ones(), biasInit: init.zeros() });
    expect(Array.from(layer(tensor([1, 2, 3])).data())).toEqual([6, 6]);
  });
});

describe('sequential', () => {
  class Residual {
    readonly inner = nn.linear(4, 4);
    forward(x: Tensor): Tensor {
      return relu(this.inner(x)).add(x);
    }
  }
  const model = withRandom({ seed: 1 }, () =>
    nn.sequential(
      nn.linear(3, 4),
      nn.relu(),
      new Residual(),
      (x: Tensor) => x.mul(2),
      nn.sequential(nn.linear(4, 2, { bias: false }), nn.identity()),
    ),
  );

  test('names parameters by place', () => {
    expect(names(model)).toEqual(['0.weight', '0.bias', '2.inner.weight', '2.inner.bias', '4.0.weight']);
    expect(countParameters(model)).toBe(12 + 4 + 16 + 4 + 8);
    expect(model[0].weight).toBe(namedParameters(model).get('0.weight'));
    expectTypeOf(model[0].weight).toEqualTypeOf<Parameter>();
    expectTypeOf(model[2]).toEqualTypeOf<Residual>();
    expectTypeOf(model).toExtend<(x: Tensor) => Tensor>();
  });

  test('runs its layers in order, and gradients reach all parameters', () => {
    const x = tensor([[1, 2, 3]]);
    const y = model(x);
    const hidden = relu(model[0](x));
    const expected = model[4](relu(model[2].inner(hidden)).add(hidden).mul(2));
    expect(y.data()).toEqual(expected.data());
    const found = gradients(y.sum(), [...namedParameters(model).values()]);
    expect(found.every((g) => g.data().some((value) => value !== 0))).toBe(true);
  });

  test('is a table', () => {
    expect(summary(model)).toEqual([
      { name: '0', kind: 'linear(3, 4)', shape: '[4, 3], [4]', parameters: 16 },
      { name: '1', kind: 'relu', shape: '', parameters: 0 },
      { name: '2.inner', kind: 'linear(4, 4)', shape: '[4, 4], [4]', parameters: 20 },
      { name: '3', kind: 'function', shape: '', parameters: 0 },
      { name: '4.0', kind: 'linear(4, 2, { bias: false })', shape: '[2, 4]', parameters: 8 },
      { name: '4.1', kind: 'identity', shape: '', parameters: 0 },
    ]);
    expect(summary(nn.linear(1, 2))).toEqual([
      { name: '', kind: 'linear(1, 2)', shape: '[2, 1], [2]', parameters: 4 },
    ]);
  });

  test('an error names the place', () => {
    expect(() => model(tensor([[1, 2]]))).toThrow(
      '0: linear(3, 4): got f32[1, 2], expected a last axis of 3',
    );
    const nested = nn.sequential(nn.identity(), nn.sequential(nn.relu(), nn.linear(5, 1)));
    expect(() => nested(tensor([1]))).toThrow('1.1: linear(5, 1): got f32[1]');
    expect(() => nested(tensor([1]))).toThrow(OpError);
  });

  test('a layer that returns nothing is named', () => {
    const forgetful = nn.sequential(nn.sequential((() => undefined) as never));
    expect(() => forgetful(tensor([1]))).toThrow(
      'nn.sequential, layer 0.0: gave undefined, expected a Tensor',
    );
  });

  test('labels the traced ops', () => {
    const trace = new Trace();
    withTrace(trace, () => model(trace.input('field', 'x', { shape: [2, 3], dtype: 'f32' })));
    const labels = trace.nodes.map(({ label }) => label);
    expect(labels).toContain('0/matmul');
    expect(labels).toContain('4.0/matmul');
    expect(trace.parameters.size).toBe(5);
  });
});

describe('parameters of any model', () => {
  test('of classes, arrays, plain objects and functions with fields; shared ones and circles once', () => {
    const shared = nn.linear(1, 1);
    const model = {
      blocks: [shared, nn.linear(1, 2)],
      heads: { a: nn.linear(2, 1, { bias: false }), again: shared },
      scale: nn.parameter(tensor([1])),
      constant: tensor([1, 2, 3]),
      table: new Float32Array(10),
      nothing: null,
      text: 'abc',
      self: undefined as unknown,
    };
    model.self = model;
    expect(names(model)).toEqual([
      'blocks.0.weight',
      'blocks.0.bias',
      'blocks.1.weight',
      'blocks.1.bias',
      'heads.a.weight',
      'scale',
    ]);
    const gain = nn.parameter(tensor([2]));
    const affine = nn.module('affine', { gain }, (x: Tensor) => x.mul(gain));
    expect([names(affine), affine.name, affine(tensor([4])).item()]).toEqual([['gain'], 'affine', 8]);
    expect(names((x: Tensor) => x)).toEqual([]);
  });

  test('two paths of one spelling are refused', () => {
    const model = { 'a.b': nn.parameter(tensor([1])), a: { b: nn.parameter(tensor([1])) } };
    expect(() => namedParameters(model)).toThrow('two parameters under the name a.b');
  });

  test('parameters copy their numbers and refuse what has none', () => {
    const source = tensor(Float32Array.of(1, 2));
    const copy = nn.parameter(source);
    expect(copy.data()).not.toBe(source.data());
    expect(copy.requiresGrad).toBe(true);
    expect(() => nn.parameter(tensor(new Int32Array(2)))).toThrow('nn.parameter: got i32, expected f32');
    const trace = new Trace();
    expect(() => withTrace(trace, () => nn.linear(2, 2))).toThrow(
      'nn.parameter: got a tensor of a traced step',
    );
  });
});

describe('state', () => {
  const make = (seed: number) => withRandom({ seed }, () => nn.sequential(nn.linear(2, 3), nn.linear(3, 1)));

  test('goes from one model to another, as a copy', () => {
    const [a, b] = [make(1), make(2)];
    const state = stateOf(a);
    loadState(b, state);
    expect(stateOf(b)).toEqual(state);
    state.get('0.bias')!.data[0] = 99;
    expect(a[0].bias!.data()[0]).not.toBe(99);
    expect(b[0].bias!.data()[0]).not.toBe(99);
  });

  test('all differences are told, and nothing is copied', () => {
    const model = make(1);
    const before = stateOf(model);
    const state = stateOf(make(2));
    state.delete('0.bias');
    state.set('1.weight', { shape: [3, 1], data: new Float32Array(3) });
    state.set('1.bias', { shape: [1], data: new Float32Array(2) });
    state.set('2.weight', { shape: [1], data: new Float32Array(1) });
    const load = (): void => loadState(model, state);
    expect(load).toThrow(ConfigError);
    expect(load).toThrow(
      'missing 0.bias [3]; 1.weight is [3, 1], expected [1, 3]; 1.bias has 2 numbers, expected 1; unexpected 2.weight',
    );
    expect(stateOf(model)).toEqual(before);
  });
});

describe('dropout', () => {
  const x = tensor(new Float32Array(4000).fill(2), { shape: [40, 100] });

  test('zeroes the share p and scales the rest, while training only', () => {
    const layer = nn.dropout(0.25);
    const y = withRandom({ seed: 1 }, () => layer(x)).data();
    const kept = y.filter((value) => value !== 0);
    expect(new Set(kept)).toEqual(new Set([Math.fround(Math.fround(4 / 3) * 2)]));
    expect(Math.abs(kept.length / y.length - 0.75)).toBeLessThan(0.03);
    expect(withRandom({ seed: 1 }, () => layer(x)).data()).toEqual(y);
    expect(withRandom({ seed: 2 }, () => layer(x)).data()).not.toEqual(y);
    expect(withTraining(false, () => layer(x))).toBe(x);
    expect(nn.dropout(0)(x)).toBe(x);
  });

  test('of everything gives zeros, and zeros as gradient', () => {
    const [y, [slope]] = valueAndGrad((x: Tensor) => sum(nn.dropout(1)(x)))(x);
    expect(y.item()).toBe(0);
    expect(slope.data().every((g) => g === 0)).toBe(true);
  });

  test('two layers draw different masks', () => {
    const [a, b] = withRandom({ seed: 1 }, () => [nn.dropout()(x), nn.dropout()(x)]);
    expect(a!.data()).not.toEqual(b!.data());
  });
});

test('what is no tensor is refused by the layer, by its place', () => {
  const layers: Record<string, (x: Tensor) => unknown> = {
    ...{
      linear: nn.linear(3, 2),
      conv2d: nn.conv2d(3, 2, 1),
      batchNorm1d: nn.batchNorm1d(3),
      lstm: nn.lstm(3, 2),
    },
    ...{ layerNorm: nn.layerNorm(3), groupNorm: nn.groupNorm(1, 3), embedding: nn.embedding(3, 2) },
    ...{ multiHeadAttention: nn.multiHeadAttention(4, 2), dropout: nn.dropout(), relu: nn.relu() },
    ...{ learnedPositions: nn.learnedPositions(4, 3) },
  };
  for (const [name, layer] of Object.entries(layers)) {
    for (const wrong of [undefined, null, [[1, 2, 3]], { output: 1 }]) {
      const run = (): unknown => nn.sequential(layer as never)(wrong as never);
      expect(run, name).toThrow(OpError);
      expect(run, name).toThrow(new RegExp(`${name}.*: got .*, expected a tensor;`));
    }
  }
  const states = nn.sequential(nn.lstm(3, 3) as never, nn.linear(3, 1));
  expect(() => states(tensor([[[1, 2, 3]]]))).toThrow('gave Object, expected a Tensor');
});

test('flatten keeps the batch', () => {
  expect(nn.flatten()(tensor(new Float32Array(24), { shape: [2, 3, 4] })).shape).toEqual([2, 12]);
});

test.each<[() => unknown, string]>([
  [() => nn.linear(0, 3), 'nn.linear: got inFeatures = 0, expected an integer >= 1'],
  [() => nn.linear(3, 2.5), 'nn.linear: got outFeatures = 2.5'],
  [() => nn.linear(3, undefined as never), 'got outFeatures = undefined'],
  [() => nn.linear(3, 2, { biases: false } as never), 'got unknown option biases, expected bias, weightInit'],
  [() => nn.dropout(1.5), 'nn.dropout: got p = 1.5, expected a finite number >= 0 and <= 1'],
  [
    () => nn.maxPool2d(undefined as never),
    'nn.maxPool2d: got kernelSize = undefined, expected an integer >= 1',
  ],
  [() => nn.layerNorm([3, 0]), 'nn.layerNorm: got features = 0, expected an integer >= 1'],
  [() => nn.batchNorm2d(2, { momentum: null as never }), 'nn.batchNorm2d: got momentum = null, expected'],
  [() => nn.conv2d(1, 2, [3, 0]), 'nn.conv2d: got kernelSize = 0, expected an integer >= 1'],
  [() => nn.upsample2d([2, 2, 2] as never), 'nn.upsample2d: got 3 numbers for factor'],
  [
    () => nn.sequential(nn.relu(), undefined as never),
    'nn.sequential, layer 1: got undefined, expected a function',
  ],
  [
    () => nn.sequential({} as never),
    'nn.sequential, layer 0: got Object, expected a function or an object with',
  ],
  [
    () => nn.gelu({ approximate: 'no' as never }),
    "nn.gelu: got approximate = \"no\", expected 'none' or 'tanh'",
  ],
])('wrong use, case %#', (make, message) => {
  expect(make).toThrow(ConfigError);
  expect(make).toThrow(message);
});
