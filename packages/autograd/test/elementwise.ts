/** Cases of the ops that work element by element. */
import type { OpName, Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';
import { labels, large, name, numbers, type OpCase, type OpTest, on, one, unary } from './support.ts';

const pairs: (readonly [Shape, Shape])[] = [
  [[7], [7]],
  [
    [2, 3, 5],
    [3, 1],
  ],
  [[4, 1], [1]],
  [[1], [2, 2]],
  [[], [3]],
  [
    [0, 3],
    [1, 3],
  ],
];

const binary = (
  f: (x: Tensor, y: Tensor) => Tensor,
  first: readonly [number, number] = [-3, 3],
  second: readonly [number, number] = [-2.9, 2.8],
): OpCase[] => [
  ...pairs.map(([p, q]) => ({
    title: name(p, q),
    inputs: [numbers(p, ...first), numbers(q, ...second, 2)],
    call: f,
  })),
  {
    title: name(large, [611]),
    inputs: [numbers(large, ...first, 3), numbers([611], ...second, 4)],
    call: f,
    forwardOnly: true,
  },
];

/** Comparisons: also of integers, and with equal elements. */
const comparison = (f: (x: Tensor, y: Tensor) => Tensor): OpCase[] => [
  ...binary(f),
  { title: 'equal elements', inputs: [numbers([9], -2, 2)], call: (x) => f(x, a.round(a.mul(x, 1))) },
  { title: 'integers', inputs: [numbers([11], -9, 9)], call: (x) => f(a.cast(x, 'i32'), labels([11], 5)) },
  {
    title: 'a NaN',
    inputs: [a.tensor([Number.NaN, 1, Number.NaN])],
    call: (x) => f(x, a.tensor([Number.NaN, 1, 2])),
  },
];

const logical = (f: (p: Tensor, q: Tensor) => Tensor): OpCase[] =>
  pairs.map(([p, q]) =>
    one(name(p, q), [numbers(p, -1, 1), numbers(q, -1, 1, 2)], (x, y) => f(a.gt(x, 0), a.gt(y, 0))),
  );

const ofIntegers = (f: (x: Tensor) => Tensor): OpCase =>
  one('integers', [], () => f(a.tensor(Int32Array.of(3, -4, 0, 2 ** 31 - 1, -(2 ** 31)))));

const slopeOf =
  (name: 'gelu' | 'geluTanh' | 'silu' | 'mish') =>
  (x: Tensor): Tensor =>
    a.apply(a.ops[`${name}Slope`], [x], {});

export const elementwiseTests = {
  full: {
    ulps: 0,
    differentiable: false,
    cases: [
      one('[3]', [], () => a.full([3], 0.1)),
      one('[2, 1, 5]', [], () => a.full([2, 1, 5], -2)),
      one('[]', [], () => a.full([], 1e-30)),
      one('[0]', [], () => a.ones([0])),
      one('i32', [], () => a.full([5], -7, 'i32')),
      one('large i32', [], () => a.full([5], 1_000_003, 'i32')),
    ],
  },
  neg: { ulps: 0, cases: [...unary(a.neg, [-3, 3]), ofIntegers(a.neg)] },
  abs: { ulps: 0, cases: [...unary(a.abs, [-3, 3]), ofIntegers(a.abs)] },
  sign: {
    ulps: 0,
    cases: [
      ...unary(a.sign, [-3, 3]),
      { ...one('zeros', [a.tensor([0, -0, Number.NaN])], a.sign), forwardOnly: true },
      ofIntegers(a.sign),
    ],
  },
  floor: { ulps: 0, cases: unary(a.floor, [-3, 3], [-1e9, 1e9]) },
  ceil: { ulps: 0, cases: unary(a.ceil, [-3, 3], [-1e9, 1e9]) },
  round: {
    ulps: 0,
    cases: [
      ...unary(a.round, [-3, 3], [-1e7, 1e7]),
      { ...one('halves', [a.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])], a.round), forwardOnly: true },
    ],
  },
  sqrt: { ulps: 0, cases: unary(a.sqrt, [0.2, 4], [0, 1e9]) },
  exp: { ulps: 2, cases: unary(a.exp, [-3, 3], [-110, 95]) },
  expm1: { ulps: 2, cases: unary(a.expm1, [-3, 3], [-1, 1]) },
  log: { ulps: 2, cases: unary(a.log, [0.2, 4], [0, 3]) },
  log1p: { ulps: 2, cases: unary(a.log1p, [-0.8, 4], [-0.01, 0.01]) },
  sin: { ulps: 2, cases: unary(a.sin, [-3, 3], [-1e5, 1e5]) },
  cos: { ulps: 2, cases: unary(a.cos, [-3, 3], [-1e5, 1e5]) },
  tanh: { ulps: 2, cases: unary(a.tanh, [-3, 3], [-12, 12]) },
  sigmoid: { ulps: 2, cases: unary(a.sigmoid, [-3, 3], [-90, 30]) },
  erf: { ulps: 2, cases: unary(a.erf, [-3, 3], [-5, 5]) },
  relu: { ulps: 0, cases: unary(a.relu, [-3, 3]) },
  rsqrt: { ulps: 2, cases: unary(a.rsqrt, [0.2, 4], [1e-9, 1e9]) },
  leakyRelu: { ulps: 0, cases: unary((x) => a.leakyRelu(x, 0.25), [-3, 3]) },
  elu: { ulps: 2, cases: unary((x) => a.elu(x, 1.5), [-3, 3], [-90, 90]) },
  gelu: { ulps: 2, cases: unary(a.gelu, [-3, 3], [-15, 15]) },
  // Exact to 2⁻²⁹ near its zero, where some cases have their only element.
  geluSlope: { ulps: 4, ofLargest: true, cases: unary(slopeOf('gelu'), [-3, 3], [-15, 15]) },
  geluTanh: { ulps: 2, cases: unary((x) => a.gelu(x, { approximate: 'tanh' }), [-3, 3], [-12, 12]) },
  geluTanhSlope: { ulps: 2, ofLargest: true, cases: unary(slopeOf('geluTanh'), [-3, 3], [-12, 12]) },
  silu: { ulps: 2, cases: unary(a.silu, [-3, 3], [-120, 120]) },
  siluSlope: { ulps: 2, ofLargest: true, cases: unary(slopeOf('silu'), [-3, 3], [-120, 120]) },
  softplus: {
    ulps: 2,
    cases: [
      ...unary(a.softplus, [-3, 3], [-80, 80]),
      on([2, 3], (x) => a.softplus(x, 2.5), 'another sharpness'),
    ],
  },
  hardswish: { ulps: 2, cases: unary(a.hardswish, [-4, 4]) },
  mish: { ulps: 2, cases: unary(a.mish, [-3, 3], [-120, 120]) },
  mishSlope: { ulps: 2, ofLargest: true, cases: unary(slopeOf('mish'), [-3, 3], [-120, 120]) },
  clamp: {
    ulps: 0,
    cases: [
      ...unary((x) => a.clamp(x, -0.5, 1), [-3, 3]),
      on([7], (x) => a.clamp(x, -Infinity, 1), 'one bound'),
    ],
  },
  add: {
    ulps: 0,
    cases: [
      ...binary(a.add),
      on([1, 2, 1, 2, 1, 1, 2, 1, 2, 1], (x) => a.add(x, a.expand(x, x.shape)), 'ten axes'),
      on(
        [2, 1, 2, 1, 2, 1, 1, 1, 1, 2],
        (x) => a.add(a.slice(a.flip(x, 0), [0, 1]), x),
        'ten axes, some repeated',
      ),
    ],
  },
  sub: { ulps: 0, cases: binary(a.sub) },
  mul: { ulps: 0, cases: [...binary(a.mul), one('integers', [], () => a.mul(labels([5], 3), -2))] },
  div: { ulps: 0, cases: binary(a.div, [-3, 3], [0.3, 2]) },
  minimum: { ulps: 0, cases: binary(a.minimum) },
  maximum: { ulps: 0, cases: binary(a.maximum) },
  pow: {
    ulps: 2,
    cases: [
      ...binary(a.pow, [0.3, 3], [-2, 3]),
      one('negative base, whole exponent', [numbers([7], -3, -0.5)], (x) => a.pow(x, 3)),
      one('exponent 0', [numbers([3], -1, 1)], (x) => a.pow(x, 0)),
    ],
  },
  lt: { ulps: 0, differentiable: false, cases: comparison(a.lt) },
  le: { ulps: 0, differentiable: false, cases: comparison(a.le) },
  gt: { ulps: 0, differentiable: false, cases: comparison(a.gt) },
  ge: { ulps: 0, differentiable: false, cases: comparison(a.ge) },
  eq: { ulps: 0, differentiable: false, cases: comparison(a.eq) },
  ne: { ulps: 0, differentiable: false, cases: comparison(a.ne) },
  logicalAnd: { ulps: 0, differentiable: false, cases: logical(a.logicalAnd) },
  logicalOr: { ulps: 0, differentiable: false, cases: logical(a.logicalOr) },
  logicalNot: { ulps: 0, differentiable: false, cases: logical((p) => a.logicalNot(p)) },
  isfinite: {
    ulps: 0,
    differentiable: false,
    cases: [
      on([7], a.isfinite, 'numbers'),
      on([2, 1, 3], a.isfinite, 'rank 3'),
      one('not numbers', [a.tensor([1, Infinity, -Infinity, Number.NaN])], a.isfinite),
    ],
  },
  where: {
    ulps: 0,
    cases: [
      ...binary((x, y) => a.where(a.gt(x, y), x, y)),
      on([5], (x) => a.where(a.tensor([1, 0, 1, 0, 1], { dtype: 'bool' }), x, 2), 'a number'),
    ],
  },
  cast: {
    ulps: 0,
    differentiable: false,
    cases: [
      one('to i32 saturates', [a.tensor([1.9, -1.9, 3e9, -3e9, Number.NaN])], (x) => a.cast(x, 'i32')),
      one(
        'to bool',
        [
          a.tensor([
            [0, 0.5],
            [-0, Number.NaN],
          ]),
        ],
        (x) => a.cast(x, 'bool'),
      ),
      one('i32 to f32', [], () => a.cast(a.tensor(Int32Array.of(0x7fffffff, -5, 16777217)), 'f32')),
      one('i32 to bool to f32', [], () => a.cast(a.cast(labels([2, 1, 3], 3), 'bool'), 'f32')),
      one('to u8 keeps 8 bits', [a.tensor([1.9, -1.9, 300, 3e9, Number.NaN])], (x) => a.cast(x, 'u8')),
      one('i32 to u8 to f32', [], () => a.cast(a.cast(a.tensor(Int32Array.of(-1, 256, 77)), 'u8'), 'f32')),
      one('bool to i32', [numbers([0, 2], -1, 1)], (x) => a.cast(a.gt(x, 0), 'i32')),
    ],
  },
} satisfies { readonly [K in OpName]?: OpTest };
