/**
 * Test cases of every op, keyed by its name: an op without cases does not compile. Inputs come from a fixed generator,
 * away from the points where an op has no derivative.
 */
import type { OpName, Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';
import { convolutionTests } from './convolution.ts';
import { fusedTests } from './fused.ts';

/** The very module that the cases call: who runs them must use no other copy. */
export * as autograd from '../src/index.ts';

export interface OpCase {
  readonly title: string;
  /** f32 inputs; gradients are checked with respect to each of them. */
  readonly inputs: readonly Tensor[];
  readonly call: (...inputs: Tensor[]) => Tensor;
  /** Only the forward pass (for large inputs). */
  readonly forwardOnly?: boolean;
}

export interface OpTest {
  /** Largest distance of a f32 result from the rounded float64 result, in units in the last place; 0: equal bits. */
  readonly ulps: number;
  /** Sums cancel: their distance is counted in units of the largest output instead of each one. */
  readonly ofLargest?: boolean;
  /** Gradients do not flow through (comparisons, indexes, constants). Default true. */
  readonly differentiable?: false;
  readonly cases: readonly OpCase[];
}

/** Numbers spread over (low, high) by the golden ratio; the same for the same seed. */
export function numbers(shape: Shape, low: number, high: number, seed = 1): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  const golden = (Math.sqrt(5) - 1) / 2;
  const values = Float32Array.from({ length: size }, (_, i) => {
    const fraction = (seed * 0.7548776662 + (i + 1) * golden) % 1;
    return low + (high - low) * fraction;
  });
  return a.tensor(values, { shape });
}

export const name = (...shapes: Shape[]): string => shapes.map((shape) => `[${shape.join(', ')}]`).join(' ');

/** Labels 0 … classes − 1. */
export const labels = (shape: Shape, classes: number): Tensor => {
  const size = shape.reduce((product, n) => product * n, 1);
  return a.tensor(
    Int32Array.from({ length: size }, (_, i) => (i * 7 + 3) % classes),
    { shape },
  );
};

const unaryShapes: Shape[] = [[7], [2, 3, 5], [1], [], [0, 3]];
const large: Shape = [3, 611];

/** `low` and `high` bound the inputs of gradient checks, `wide` those of a large forward pass. */
export const unary = (
  f: (x: Tensor) => Tensor,
  [low, high]: readonly [number, number],
  wide: readonly [number, number] = [low, high],
): OpCase[] => [
  ...unaryShapes.map((shape) => ({ title: name(shape), inputs: [numbers(shape, low, high)], call: f })),
  { title: name(large), inputs: [numbers(large, ...wide, 5)], call: f, forwardOnly: true },
];

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

export const one = (title: string, inputs: readonly Tensor[], call: OpCase['call']): OpCase => ({
  title,
  inputs,
  call,
});
export const on = (shape: Shape, call: (x: Tensor) => Tensor, title: string): OpCase =>
  one(`${title} of ${name(shape)}`, [numbers(shape, -2, 2)], call);

const logical = (f: (p: Tensor, q: Tensor) => Tensor): OpCase[] =>
  pairs.map(([p, q]) =>
    one(name(p, q), [numbers(p, -1, 1), numbers(q, -1, 1, 2)], (x, y) => f(a.gt(x, 0), a.gt(y, 0))),
  );

export const reduction = (f: typeof a.sum): OpCase[] => [
  on([7], (x) => f(x), 'all'),
  on([3, 5, 2], (x) => f(x, 1), 'middle axis'),
  on([3, 5, 2], (x) => f(x, [0, -1]), 'outer axes'),
  on([2, 17], (x) => f(x, -1, { keepDims: true }), 'rows'),
  on([17, 2], (x) => f(x, 0), 'columns'),
  on([1, 1], (x) => f(x), 'all'),
  on([0, 3], (x) => f(x, -1), 'last axis'),
  { ...on([5, 613], (x) => f(x, -1), 'rows'), forwardOnly: true },
  { ...on([77, 130], (x) => f(x, 0), 'columns'), forwardOnly: true },
];

const index = (f: typeof a.argmax): OpCase[] => [
  on([7], (x) => f(x), 'last axis'),
  on([3, 5, 2], (x) => f(x, 1), 'middle axis'),
  on([40, 3], (x) => f(x, 0, { keepDims: true }), 'columns'),
  on([3, 1], (x) => f(x), 'an axis of one'),
  one('a NaN', [a.tensor([[1, Number.NaN, 3, Number.NaN]])], (x) => f(x)),
  one('equal extremes', [a.tensor([2, 1, 2, 1])], (x) => f(x)),
];

const rows = (f: (x: Tensor) => Tensor): OpCase[] => [
  on([7], f, 'one row'),
  on([2, 3, 5], f, 'rank 3'),
  on([3, 1], f, 'one column'),
  on([0, 4], f, 'no rows'),
  on([2, 19], f, 'more than 16 columns'),
  one('large numbers', [numbers([2, 6], -300, 300)], f),
];

const crossEntropy = (f: (logits: Tensor, rows: Shape, classes: number) => Tensor): OpCase[] =>
  (
    [
      [[7], 3],
      [[2, 3], 5],
      [[4], 1],
      [[0], 3],
      [[], 4],
      [[2], 17],
    ] as const
  ).map(([shape, classes]) => {
    const whole = [...shape, classes];
    return one(name(whole), [numbers(whole, -3, 3)], (logits) => f(logits, shape, classes));
  });

export const product = (p: Shape, q: Shape, options: a.MatmulOptions = {}): OpCase =>
  one(
    `${name(p)}${options.transA ? 'ᵀ' : ''} × ${name(q)}${options.transB ? 'ᵀ' : ''}`,
    [numbers(p, -2, 2), numbers(q, -2, 2, 2)],
    (x, y) => a.matmul(x, y, options),
  );

/** i32 indexes below n that come again; each place has its own. */
const indexes = (shape: Shape, n: number): Tensor => labels(shape, n);

/** [shape of the tensor, axis, shape of the index] */
const picks: readonly (readonly [Shape, number, Shape])[] = [
  [[7], 0, [3]],
  [[5, 4], 0, [2, 3]],
  [[2, 5, 3], 1, [9]],
  [[2, 3, 5], -1, [4]],
  [[3, 4], 0, []],
  [[1, 2], 0, [3]],
  [[3, 2], 1, [0]],
  [[9, 35], 0, [20]],
];
/** The same with an index for each element. */
const elementPicks: readonly (readonly [Shape, number, Shape])[] = [
  [[7], 0, [3]],
  [[5, 4], 0, [9, 4]],
  [[2, 5, 3], 1, [2, 7, 3]],
  [[2, 3, 5], -1, [2, 3, 4]],
  [[3, 1], 0, [1, 1]],
  [[3, 2], 1, [3, 0]],
];
const taken = (shape: Shape, axis: number, index: Shape): Shape => {
  const at = axis < 0 ? axis + shape.length : axis;
  return [...shape.slice(0, at), ...index, ...shape.slice(at + 1)];
};

export const opTests: { readonly [K in OpName]: OpTest } = {
  ...convolutionTests(numbers),
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
  neg: { ulps: 0, cases: unary(a.neg, [-3, 3]) },
  abs: { ulps: 0, cases: unary(a.abs, [-3, 3]) },
  sign: {
    ulps: 0,
    cases: [
      ...unary(a.sign, [-3, 3]),
      { ...one('zeros', [a.tensor([0, -0, Number.NaN])], a.sign), forwardOnly: true },
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
  gelu: { ulps: 2, ofLargest: true, cases: unary(a.gelu, [-3, 3], [-9, 9]) },
  geluTanh: {
    ulps: 2,
    ofLargest: true,
    cases: unary((x) => a.gelu(x, { approximate: 'tanh' }), [-3, 3], [-9, 9]),
  },
  silu: { ulps: 2, cases: unary(a.silu, [-3, 3], [-80, 80]) },
  softplus: {
    ulps: 2,
    cases: [
      ...unary(a.softplus, [-3, 3], [-80, 80]),
      on([2, 3], (x) => a.softplus(x, 2.5), 'another sharpness'),
    ],
  },
  hardswish: { ulps: 2, ofLargest: true, cases: unary(a.hardswish, [-4, 4]) },
  mish: { ulps: 3, cases: unary(a.mish, [-3, 3], [-80, 80]) },
  clamp: {
    ulps: 0,
    cases: [
      ...unary((x) => a.clamp(x, -0.5, 1), [-3, 3]),
      on([7], (x) => a.clamp(x, -Infinity, 1), 'one bound'),
    ],
  },
  add: { ulps: 0, cases: binary(a.add) },
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
  isFinite: {
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
  reshape: {
    ulps: 0,
    cases: [
      on([7], (x) => a.reshape(x, [1, 7, 1]), 'more axes'),
      on([2, 3, 5], (x) => a.reshape(x, [5, -1]), 'an inferred size'),
      on([2, 3, 5], (x) => a.reshape(a.transpose(x), [6, 5]), 'a transposed tensor'),
      on([1], (x) => a.reshape(x, []), 'to a scalar'),
      on([0, 3], (x) => a.reshape(x, [3, 0]), 'nothing'),
    ],
  },
  permute: {
    ulps: 0,
    cases: [
      on([2, 3, 5], (x) => a.permute(x, [2, 0, 1]), 'a cycle'),
      on([3, 7], (x) => a.transpose(x), 'a transpose'),
      on([2, 3, 1, 4], (x) => a.permute(x, [-1, 1, 0, 2]), 'rank 4'),
      on([1, 1], (x) => a.transpose(x), 'a transpose'),
      on([0, 3], (x) => a.transpose(x), 'nothing'),
    ],
  },
  expand: {
    ulps: 0,
    cases: [
      on([7, 1], (x) => a.expand(x, [7, 3]), 'columns'),
      on([3, 1], (x) => a.expand(x, [2, 3, 4]), 'a new axis'),
      on([], (x) => a.expand(x, [3]), 'a scalar'),
      on([1, 3], (x) => a.expand(x, [0, 3]), 'to nothing'),
    ],
  },
  slice: {
    ulps: 0,
    cases: [
      on([7], (x) => a.slice(x, [1, -1, 2]), 'every second'),
      on([4, 3, 5], (x) => a.slice(x, null, 1, [2, null]), 'rank 3'),
      on([2, 3, 5], (x) => a.narrow(a.transpose(x), 1, 2, 3), 'part of a transposed tensor'),
      on([3, 4], (x) => a.slice(a.slice(x, [1, 3]), [1, 2], [null, null, 3]), 'a slice of a slice'),
      on([3, 2], (x) => a.slice(x, [2, 2]), 'nothing'),
      on([1], (x) => a.slice(x, 0), 'the only element'),
      on([4, 4], (x) => a.diagonal(x), 'the diagonal'),
      on([3, 2, 3], (x) => a.diagonal(x, 0, 2), 'the diagonal of outer axes'),
      on([2, 7], (x) => a.concat(a.split(x, 3, 1).reverse(), 1), 'split and joined'),
      on([5, 2], (x) => a.concat(a.chunk(x, 3).reverse()), 'chunks'),
      { ...on([40, 65], (x) => a.slice(x, [3, 38], [1, 64, 3]), 'many'), forwardOnly: true },
    ],
  },
  place: {
    ulps: 0,
    cases: [
      on([7], (x) => a.pad(x, [[2, 1]]), 'both ends'),
      on(
        [2, 3, 5],
        (x) =>
          a.pad(
            x,
            [
              [1, 0],
              [0, 2],
            ],
            -0.5,
          ),
        'two axes, a value',
      ),
      on(
        [3, 2],
        (x) =>
          a.pad(a.transpose(x), [
            [1, 1],
            [0, 3],
          ]),
        'a transposed tensor',
      ),
      on(
        [0, 3],
        (x) =>
          a.pad(
            x,
            [
              [1, 1],
              [0, 0],
            ],
            2,
          ),
        'nothing',
      ),
      on([1], (x) => a.pad(x, [[0, 0]]), 'nowhere'),
      on([1, 3], (x) => a.pad(a.expand(x, [4, 3]), [[0, 1]]), 'a repeated row'),
      one('integers', [], () => a.pad(labels([2, 2], 9), [[1, 1]], -7)),
    ],
  },
  concat: {
    ulps: 0,
    cases: [
      one('[7] [2]', [numbers([7], -2, 2), numbers([2], -2, 2, 2)], (x, y) => a.concat([x, y])),
      one('three, rank 3', [numbers([2, 3, 5], -2, 2), numbers([2, 1, 5], -2, 2, 2)], (x, y) =>
        a.concat([x, y, x], 1),
      ),
      one('the last axis', [numbers([2, 3], -2, 2), numbers([2, 0], -2, 2, 2)], (x, y) =>
        a.concat([x, y], -1),
      ),
      one('a transposed tensor', [numbers([2, 3], -2, 2), numbers([1, 2], -2, 2, 2)], (x, y) =>
        a.concat([a.transpose(x), y]),
      ),
      one('stack', [numbers([3, 2], -2, 2), numbers([3, 2], -2, 2, 2)], (x, y) => a.stack([x, y], -1)),
      one('stack of scalars', [numbers([], -2, 2), numbers([], -2, 2, 2)], (x, y) => a.stack([x, y])),
      on([5, 3], (x) => a.roll(x, 2, 0), 'roll'),
      on([5, 3], (x) => a.roll(x, -4), 'roll'),
    ],
  },
  flip: {
    ulps: 0,
    cases: [
      on([7], (x) => a.flip(x, 0), 'a vector'),
      on([2, 3, 5], (x) => a.flip(x, [0, -1]), 'two axes'),
      on([3, 4], (x) => a.flip(a.transpose(x), 0), 'a transposed tensor'),
      on([1, 3], (x) => a.flip(a.expand(x, [4, 3]), [0, 1]), 'a repeated row'),
      on([0, 3], (x) => a.flip(x, 0), 'nothing'),
      on([1], (x) => a.flip(x, 0), 'one element'),
    ],
  },
  take: {
    ulps: 0,
    cases: [
      ...picks.map(([shape, axis, index]) =>
        on(shape, (x) => a.take(x, indexes(index, shape.at(axis)!), axis), `axis ${axis}, ${name(index)}`),
      ),
      on([5, 2], (x) => a.indexSelect(a.transpose(x), 1, indexes([7], 5)), 'a transposed tensor'),
      {
        ...one('out of range', [numbers([3, 2], -2, 2)], (x) => a.take(x, a.tensor(Int32Array.of(2, -1, 3)))),
        forwardOnly: true,
      },
    ],
  },
  takeGrad: {
    ulps: 4,
    ofLargest: true,
    cases: picks.map(([shape, axis, index]) =>
      one(`${name(shape)}, axis ${axis}, ${name(index)}`, [numbers(taken(shape, axis, index), -2, 2)], (g) =>
        a.apply(a.ops.takeGrad, [g, indexes(index, shape.at(axis)!)], {
          axis: axis < 0 ? axis : axis - shape.length,
          indexRank: index.length,
          n: shape.at(axis)!,
        }),
      ),
    ),
  },
  gather: {
    ulps: 0,
    cases: [
      ...elementPicks.map(([shape, axis, index]) =>
        on(shape, (x) => a.gather(x, axis, indexes(index, shape.at(axis)!)), `axis ${axis}, ${name(index)}`),
      ),
      on([4, 5], (x) => a.gather(x, 0, indexes([2, 3], 4)), 'a smaller index'),
    ],
  },
  gatherGrad: {
    ulps: 4,
    ofLargest: true,
    cases: [
      ...elementPicks.map(([shape, axis, index]) =>
        one(`${name(shape)}, axis ${axis}, ${name(index)}`, [numbers(index, -2, 2)], (g) =>
          a.apply(a.ops.gatherGrad, [g, indexes(index, shape.at(axis)!)], {
            axis: axis < 0 ? axis : axis - shape.length,
            n: shape.at(axis)!,
          }),
        ),
      ),
      one('scatterAdd', [numbers([4, 3], -2, 2), numbers([5, 3], -2, 2, 2)], (x, y) =>
        a.scatterAdd(x, 0, indexes([5, 2], 4), y),
      ),
      one('indexAdd', [numbers([4, 3], -2, 2), numbers([4, 6], -2, 2, 2)], (x, y) =>
        a.indexAdd(x, 1, indexes([6], 3), y),
      ),
    ],
  },
  argsort: {
    ulps: 0,
    differentiable: false,
    cases: [
      on([7], (x) => a.argsort(x), 'a vector'),
      on([2, 5, 3], (x) => a.argsort(x, 1, { descending: true }), 'middle axis'),
      on([3, 1], (x) => a.argsort(x), 'one column'),
      on([0, 3], (x) => a.argsort(x), 'nothing'),
      one('equal elements and a NaN', [a.tensor([2, 1, Number.NaN, 1, 2])], (x) => a.argsort(x)),
    ],
  },
  sum: { ulps: 16, ofLargest: true, cases: reduction(a.sum) },
  max: {
    ulps: 0,
    cases: reduction((x, axes, options) => (x.size === 0 ? a.sum(x) : a.max(x, axes, options))),
  },
  min: {
    ulps: 0,
    cases: reduction((x, axes, options) => (x.size === 0 ? a.sum(x) : a.min(x, axes, options))),
  },
  argmax: { ulps: 0, differentiable: false, cases: index(a.argmax) },
  argmin: { ulps: 0, differentiable: false, cases: index(a.argmin) },
  blockSquares: {
    ulps: 4,
    differentiable: false,
    cases: [
      on([7], (x) => a.blockSquares(x, 3), 'a shorter last block'),
      on([1], (x) => a.blockSquares(x, 16), 'a block that is not full'),
      on([0], (x) => a.blockSquares(x, 4), 'nothing'),
      on([1000], (x) => a.blockSquares(x, 512), 'large blocks'),
    ],
  },
  cumsum: {
    ulps: 16,
    ofLargest: true,
    cases: [
      on([7], (x) => a.cumsum(x), 'a vector'),
      on([2, 5, 3], (x) => a.cumsum(x, 1), 'middle axis'),
      on([4, 3], (x) => a.cumsum(a.transpose(x), -1), 'a transposed tensor'),
      on([3, 1], (x) => a.cumsum(x, 1), 'an axis of one'),
      on([0, 3], (x) => a.cumsum(x, 0), 'nothing'),
      on([1, 3], (x) => a.cumsum(a.expand(x, [4, 3]), 0), 'a repeated row'),
    ],
  },
  matmul: {
    ulps: 16,
    ofLargest: true,
    cases: [
      product([3, 5], [5, 7]),
      product([5, 3], [5, 7], { transA: true }),
      product([3, 5], [7, 5], { transB: true }),
      product([5, 3], [7, 5], { transA: true, transB: true }),
      product([1, 1], [1, 1]),
      product([3, 0], [0, 2]),
      product([0, 3], [3, 2]),
      product([5], [5]),
      product([2, 3], [3]),
      product([3], [3, 2]),
      product([3], [2, 3, 4]),
      product([2, 4, 3], [3]),
      product([2, 3, 4], [4, 5]),
      product([2, 3, 4], [5, 4], { transB: true }),
      product([2, 4, 3], [4, 5], { transA: true }),
      product([3, 4], [2, 4, 5]),
      product([2, 1, 3, 4], [3, 4, 2]),
      product([2, 1, 2, 4], [1, 3, 5, 4], { transB: true }),
      on([4, 3], (x) => a.matmul(a.transpose(x), x), 'a transposed view'),
      on([2, 3, 4], (x) => a.matmul(a.permute(x, [2, 0, 1]), a.permute(x, [2, 1, 0])), 'permuted views'),
      { ...product([33, 70], [70, 41]), forwardOnly: true },
      { ...product([2, 31, 300], [45, 300], { transB: true }), forwardOnly: true },
    ],
  },
  random: {
    ulps: 0,
    differentiable: false,
    cases: ([[7], [2, 3, 5], [1], [0, 3], [1031]] as const).map((shape) =>
      one(name(shape), [], () => a.withSeed(2 ** 40 + 12345, () => a.rand(shape), 77, 3)),
    ),
  },
  softmax: { ulps: 6, cases: rows(a.softmax) },
  logSoftmax: { ulps: 4, ofLargest: true, cases: rows(a.logSoftmax) },
  logSumExp: { ulps: 2, ofLargest: true, cases: rows(a.logSumExp) },
  crossEntropy: {
    ulps: 4,
    ofLargest: true,
    cases: crossEntropy((logits, shape, classes) => a.crossEntropyRows(logits, labels(shape, classes))),
  },
  crossEntropyGrad: {
    ulps: 4,
    ofLargest: true,
    cases: crossEntropy((logits, shape, classes) =>
      a.apply(a.ops.crossEntropyGrad, [logits, labels(shape, classes), numbers(shape, 0.5, 2)], {}),
    ),
  },
  ...fusedTests(numbers),
};
