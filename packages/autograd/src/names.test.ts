/** Wrong arguments of every function: an OpError that begins with the name that was called, whatever it is made of. */
import { expect, it } from 'vitest';
import * as a from './index.ts';
import * as functions from './ops/index.ts';

const x = a.ones([2, 3]);
const y = a.ones([2, 3]);
const v = a.ones([3]);
const i = a.zeros([2, 3], 'i32');
const b = a.zeros([2, 3], 'bool');
const rows = a.zeros([2], 'i32');
const square = a.ones([3, 3]);
const image = a.ones([1, 2, 4, 4]);
const line = a.ones([1, 2, 4]);
const packed = a.ones([1, 2, 3, 1, 2]);

type Arguments = readonly unknown[];
const alike = (names: string, ...args: Arguments): Record<string, Arguments> =>
  Object.fromEntries(names.split(' ').map((name) => [name, args]));
const windows = { stride: 2, padding: 1, ceilMode: true };
const strides = { stride: 1, padding: 1, dilation: 1, groups: 1 };
const ups = { stride: 2, padding: 0, outputPadding: 1, dilation: 1, groups: 1 };
const attending = { mask: a.zeros([2, 2], 'bool'), causal: true, scale: 1, dropout: 0.1 };
const states = { bias: a.ones([4]), h0: a.ones([2, 1]), c0: a.ones([2, 1]), reverse: true, cells: true };

/** A call of each function that is right, with all options. */
const calls: Readonly<Record<string, Arguments>> = {
  ...alike(
    'neg abs sign floor ceil round sqrt rsqrt square exp expm1 log log1p sin cos tanh sigmoid erf relu',
    x,
  ),
  ...alike('silu hardswish mish isfinite standardize', x),
  ...alike('add sub mul div minimum maximum pow lt le gt ge eq ne', x, y),
  ...alike('sum mean prod max min logSumExp any all argmax argmin', x, 1, { keepDims: true }),
  ...alike('softmax logSoftmax cumsum', x, 1),
  ...alike('logicalAnd logicalOr', b, b),
  ...alike('rand randn', [2]),
  ...alike('zeros ones', [2], 'i32'),
  ...alike('tril triu', square, 0),
  ...alike('sort argsort', x, 1, { descending: true }),
  ...alike('gather', x, 0, i),
  ...alike('concat stack', [x, y], 0),
  ...alike('outer dot', v, v),
  ...{ variance: [x, 1, { keepDims: true, correction: 1 }], std: [x, 1, { keepDims: true, correction: 1 }] },
  ...{ norm: [x, 1, { p: 2 }], logicalNot: [b], where: [b, x, y], cast: [x, 'i32'], leakyRelu: [x, 0.1] },
  ...{ elu: [x, 1], gelu: [x, { approximate: 'tanh' }], softplus: [x, 1], clamp: [x, 0, 1] },
  ...{ full: [[2, 3], 1, 'i32'], fullOf: [x, 1], arange: [0, 5, 1, 'i32'], linspace: [0, 1, 3], eye: [3, 2] },
  ...{ oneHot: [i, 3], uniform: [[2], 0, 1], bernoulli: [[2], 0.5], randint: [[2], 0, 5], permutation: [4] },
  ...{ dropout: [x, 0.5], reshape: [x, [3, 2]], flatten: [x, 0], transpose: [x, 0, 1], permute: [x, [1, 0]] },
  ...{ expand: [x, [2, 2, 3]], unsqueeze: [x, 0], squeeze: [a.ones([1, 2]), 0], withRank: [x, 4] },
  ...{
    slice: [x, [0, 1], 1],
    narrow: [x, 1, 0, 2],
    split: [x, 1, 1],
    chunk: [x, 2, 1],
    pad: [x, [[1, 1]], 0],
  },
  ...{ flip: [x, 0], roll: [x, 1, 0], repeat: [x, [2, 2]], diagonal: [square, 0, 1], take: [x, i, 0] },
  ...{ indexSelect: [x, 0, rows], indexAdd: [x, 0, rows, y], scatterAdd: [x, 0, i, y], topK: [x, 2, 1] },
  ...{ crossEntropyRows: [x, rows], sumTo: [x, [3]], blockSquares: [v, 2] },
  ...{ matmul: [x, square, { transA: false, transB: true }], einsum: ['ij,kj->ik', x, y] },
  ...{ conv2d: [image, a.ones([3, 2, 2, 2]), strides], conv1d: [line, a.ones([3, 2, 2]), strides] },
  ...{ convTranspose2d: [image, a.ones([2, 3, 2, 2]), ups], convTranspose1d: [line, a.ones([2, 3, 2]), ups] },
  ...{
    maxPool2d: [image, 2, { ...windows, dilation: 1 }],
    maxPool1d: [line, 2, { ...windows, dilation: 1 }],
  },
  ...{ avgPool2d: [image, 2, { ...windows, countIncludePad: true }], avgPool1d: [line, 2, windows] },
  ...{ adaptiveAvgPool2d: [image, 2], adaptiveMaxPool2d: [image, [2, 3]] },
  ...{ upsample2d: [image, 2, { mode: 'bilinear' }], layerNorm: [x, v, v, 1e-5], rmsNorm: [x, v, 1e-5] },
  ...{ scaledDotProductAttention: [x, y, y, attending], selfAttention: [packed, attending] },
  recurrent: [a.ones([2, 3, 4]), a.ones([4, 1]), { kind: 'lstm', ...states }],
  ...{ tensor: [[1, 2], { shape: [2], dtype: 'i32' }], variable: [x], detach: [x] },
  ...{ gradients: [a.sum(a.variable(x)), [a.variable(x)]], backward: [a.sum(a.variable(x))] },
  updateBuffer: [new a.StateBuffer(new Float32Array(2), [2], { keep: 1, add: 1 }), a.ones([2])],
};

const shapes = [[], [5, 7], [5], [1, 1, 1, 1, 1, 1], [0], [0, 3], [2, 0]];
const tensors: Arguments = [
  ...[undefined, null, [1, 2], 'x', { output: x }, b, i, a.cast(i, 'u8'), a.zeros([5, 7], 'i32')],
  ...shapes.map((shape) => a.ones(shape)),
];
const numbers: Arguments = [Number.NaN, 0.5, -1, 0, 99, -99, 'x', null, Infinity, [1], [0.5], [-1, 1], {}];
const arrays: Arguments = [
  ...[3, null, [], [0.5], [-1], [99], [0, 0], [1, 1, 1, 1, 1, 1, 1], ['x'], [null], [[1]], [[Number.NaN, 1]]],
  ...[[i, x], [x, a.ones([5, 7])], {}],
];

/** What to give in place of an argument. */
function wrong(argument: unknown): Arguments {
  if (argument instanceof a.Tensor) return tensors;
  if (Array.isArray(argument)) return arrays;
  if (typeof argument === 'number') return numbers;
  return typeof argument === 'boolean' ? ['x', null, 3] : ['x', 3, null, 'f64', {}];
}

/** All calls that differ in one argument or one option. */
function* variants(args: Arguments): Generator<Arguments> {
  for (const [at, argument] of args.entries()) {
    const isOptions =
      typeof argument === 'object' && !Array.isArray(argument) && !(argument instanceof a.Tensor);
    const others = isOptions
      ? Object.entries(argument as object).flatMap(([key, value]) =>
          wrong(value).map((other) => ({ ...(argument as object), [key]: other })),
        )
      : wrong(argument);
    for (const other of others) yield args.with(at, other);
  }
}

const call = (name: string, args: Arguments): unknown =>
  a.withRandom({ seed: 1 }, () =>
    (a as unknown as Record<string, (...args: Arguments) => unknown>)[name]!(...args),
  );

it('has a call of every function', () => {
  const names = Object.entries(functions).flatMap(([name, f]) => (typeof f === 'function' ? [name] : []));
  expect(names.filter((name) => !(name in calls))).toEqual([]);
});

it.each(Object.entries(calls))('%s', (name, args) => {
  expect(() => call(name, args)).not.toThrow();
  let refused = 0;
  for (const variant of variants(args)) {
    try {
      call(name, variant);
    } catch (error) {
      refused++;
      const { message } = error as Error;
      expect(message.slice(0, name.length + 2)).toBe(`${name}: `);
      // tensor() refuses values by RangeError.
      if (!(name === 'tensor' && error instanceof RangeError))
        expect(error, message).toBeInstanceOf(a.OpError);
    }
  }
  expect(refused).toBeGreaterThan(0);
});
