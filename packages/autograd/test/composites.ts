/** Functions that are made of ops have no entry in the table of ops; they are tested alike, keyed by their name. */
import type { Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';
import { labels, numbers, type OpCase, type OpTest, on, one, reduction, unary } from './support.ts';

type Reduction = typeof a.sum;
const notOnNothing =
  (f: Reduction): Reduction =>
  (x, axes, options) =>
    x.size === 0 ? a.sum(x) : f(x, axes, options);
/** Several elements in each group, so that a variance is no division by 0. */
const spread = (f: typeof a.variance): OpCase[] => [
  on([7], (x) => f(x), 'all'),
  on([3, 5, 2], (x) => f(x, 1), 'middle axis'),
  on([3, 5, 2], (x) => f(x, [0, -1], { correction: 0 }), 'outer axes, whole population'),
  on([2, 17], (x) => f(x, -1, { keepDims: true }), 'rows'),
  on([3, 1], (x) => f(x, 0, { correction: 2 }), 'one column'),
  { ...on([5, 613], (x) => f(x, 1), 'rows'), forwardOnly: true },
];
const sums = (f: (...xs: Tensor[]) => Tensor, ...shapes: Shape[]): OpCase =>
  one(
    shapes.map((shape) => `[${shape}]`).join(' '),
    shapes.map((shape, i) => numbers(shape, -2, 2, i + 1)),
    f,
  );
const einsum = (equation: string, ...shapes: Shape[]): OpCase => ({
  ...sums((...xs) => a.einsum(equation, ...xs), ...shapes),
  title: `${equation} of ${shapes.map((shape) => `[${shape}]`).join(' ')}`,
});
const constant = (title: string, call: () => Tensor): OpCase => one(title, [], call);
const flags = (f: typeof a.any): OpCase[] => [
  on([7], (x) => f(a.gt(x, 0)), 'some'),
  on([7], (x) => f(a.gt(x, 5)), 'none'),
  on([3, 5, 2], (x) => f(a.gt(x, -1.9), [0, 2]), 'outer axes'),
  on([2, 3], (x) => f(a.round(x), 1, { keepDims: true }), 'numbers'),
  on([0, 3], (x) => f(x, 0), 'of nothing'),
];

export const compositeTests: Readonly<Record<string, OpTest>> = {
  prod: {
    ulps: 32,
    cases: [
      ...reduction(a.prod).filter(({ forwardOnly }) => !forwardOnly),
      one(
        'one zero',
        [
          a.tensor([
            [2, 0, 3, -1, 1.5],
            [1, 2, 0.5, 3, 0],
          ]),
        ],
        (x) => a.prod(x, 1),
      ),
      one('two zeros', [a.tensor([2, 0, 3, 0, 1])], (x) => a.prod(x)),
    ],
  },
  mean: { ulps: 16, ofLargest: true, cases: reduction(a.mean) },
  square: { ulps: 0, cases: unary(a.square, [-3, 3]) },
  'axes of size 1': {
    ulps: 0,
    cases: [
      on([7], (x) => a.squeeze(a.unsqueeze(x, -1), 1), 'behind'),
      on([1, 3, 1, 5], (x) => a.squeeze(x), 'all'),
      on([2, 3, 5], (x) => a.flatten(a.unsqueeze(x, 1), 2), 'flattened'),
      on([0, 3], (x) => a.unsqueeze(x, 0), 'nothing'),
    ],
  },
  maxPool1d: {
    ulps: 0,
    cases: [
      on([2, 3, 7], (x) => a.maxPool1d(x, 3, { stride: 2, padding: 1 }), 'with a margin'),
      on([1, 2, 9], (x) => a.maxPool1d(x, 2, { dilation: 3, ceilMode: true }), 'apart'),
      on([1, 1, 1], (x) => a.maxPool1d(x, 1), 'one position'),
    ],
  },
  avgPool1d: {
    ulps: 4,
    ofLargest: true,
    cases: [
      on([2, 3, 7], (x) => a.avgPool1d(x, 3, { stride: 2, padding: 1 }), 'with a margin'),
      on(
        [1, 2, 8],
        (x) => a.avgPool1d(x, 3, { stride: 2, countIncludePad: false, ceilMode: true }),
        'over the border',
      ),
      on([1, 1, 1], (x) => a.avgPool1d(x, 1), 'one position'),
    ],
  },
  variance: { ulps: 16, ofLargest: true, cases: spread(a.variance) },
  std: { ulps: 16, ofLargest: true, cases: spread(a.std) },
  'norm 2': { ulps: 16, ofLargest: true, cases: reduction(a.norm) },
  'norm 1': { ulps: 16, ofLargest: true, cases: reduction((x, axes, o) => a.norm(x, axes, { ...o, p: 1 })) },
  'norm 3': { ulps: 16, ofLargest: true, cases: reduction((x, axes, o) => a.norm(x, axes, { ...o, p: 3 })) },
  'norm ∞': {
    ulps: 0,
    cases: reduction(notOnNothing((x, axes, o) => a.norm(x, axes, { ...o, p: Infinity }))),
  },
  'logSumExp of axes': {
    ulps: 4,
    ofLargest: true,
    cases: reduction(notOnNothing((x, axes, o) => a.logSumExp(x, axes ?? x.shape.map((_, i) => i), o))),
  },
  'softmax of an axis': {
    ulps: 6,
    cases: [
      on([7, 3], (x) => a.softmax(x, 0), 'columns'),
      on([2, 3, 5], (x) => a.softmax(x, 1), 'middle axis'),
      on([2, 1], (x) => a.logSoftmax(x, 1), 'one class'),
    ],
  },
  any: { ulps: 0, differentiable: false, cases: flags(a.any) },
  all: { ulps: 0, differentiable: false, cases: flags(a.all) },
  repeat: {
    ulps: 0,
    cases: [
      on([3], (x) => a.repeat(x, [2]), 'a vector'),
      on([2, 3], (x) => a.repeat(x, [2, 1, 3]), 'a new axis'),
      on([2, 1], (x) => a.repeat(x, [1, 4]), 'a column'),
      on([2, 1], (x) => a.repeat(x, [0, 4]), 'to nothing'),
      on([1, 2, 1, 2, 1], (x) => a.repeat(x, [2, 2, 2, 2, 2]), 'of five axes'),
    ],
  },
  tril: {
    ulps: 0,
    cases: [
      on([4, 4], (x) => a.tril(x), 'a square'),
      on([2, 3, 5], (x) => a.tril(x, 1), 'rank 3'),
      on([1, 1], (x) => a.tril(x, -1), 'one element'),
    ],
  },
  triu: {
    ulps: 0,
    cases: [
      on([4, 4], (x) => a.triu(x), 'a square'),
      on([2, 3, 5], (x) => a.triu(x, -1), 'rank 3'),
      on([0, 3], (x) => a.triu(x), 'nothing'),
    ],
  },
  outer: { ulps: 0, cases: [sums(a.outer, [3], [5]), sums(a.outer, [1], [7]), sums(a.outer, [0], [2])] },
  dot: {
    ulps: 16,
    ofLargest: true,
    cases: [sums(a.dot, [7], [7]), sums(a.dot, [1], [1]), sums(a.dot, [0], [0])],
  },
  einsum: {
    ulps: 64,
    ofLargest: true,
    cases: [
      einsum('ij,jk->ik', [3, 5], [5, 2]),
      einsum('ij,jk', [3, 5], [5, 2]),
      einsum('bij,bjk->bik', [2, 3, 5], [2, 5, 4]),
      einsum('bhqd,bhkd->bhqk', [2, 3, 4, 5], [2, 3, 2, 5]),
      einsum('ij->ji', [3, 5]),
      einsum('ii', [4, 4]),
      einsum('iij->ij', [3, 3, 2]),
      einsum('ij->', [3, 5]),
      einsum('i,j->ij', [3], [4]),
      einsum('i,i', [4], [4]),
      einsum('ij,ij->ij', [3, 4], [3, 4]),
      einsum('...ij,jk->...ik', [2, 3, 4], [4, 2]),
      einsum('b...,b...->...', [3, 2, 4], [3, 4]),
      einsum('ij,jk,kl->il', [2, 3], [3, 4], [4, 2]),
      einsum('ijk,jil->kl', [2, 3, 4], [3, 2, 5]),
      einsum('ij,kj->ik', [0, 3], [2, 3]),
      einsum('bij,bjk->bik', [1, 3, 5], [2, 5, 4]),
    ],
  },
  creation: {
    ulps: 1,
    differentiable: false,
    cases: [
      constant('eye', () => a.eye(3)),
      constant('eye of a rectangle', () => a.eye(2, 4)),
      constant('arange', () => a.arange(5)),
      constant('arange, two ends', () => a.arange(-1, 2, 0.3)),
      constant('arange downwards', () => a.arange(5, 0, -2, 'i32')),
      constant('linspace', () => a.linspace(-1, 1, 7)),
      constant('linspace of one', () => a.linspace(3, 9, 1)),
      constant('oneHot', () => a.oneHot(labels([2, 3], 4), 4)),
    ],
  },
  sort: {
    ulps: 0,
    cases: [
      on([7], (x) => a.sort(x), 'a vector'),
      on([2, 5, 3], (x) => a.sort(x, 1, { descending: true }), 'middle axis'),
      on([2, 9], (x) => a.topK(x, 3).values, 'the largest three'),
      on([3, 1], (x) => a.sort(x), 'one column'),
    ],
  },
  'random numbers': {
    ulps: 2,
    ofLargest: true,
    differentiable: false,
    cases: [
      constant('bernoulli', () => a.withRandom({ seed: 1 }, () => a.bernoulli([31], 0.3))),
      constant('randint', () => a.withRandom({ seed: 1 }, () => a.randint([2, 17], -3, 5))),
      constant('permutation', () => a.withRandom({ seed: 1 }, () => a.permutation(100))),
      constant('randn', () => a.withRandom({ seed: 1 }, () => a.randn([3, 5]))),
    ],
  },
  dropout: {
    ulps: 1,
    cases: [
      on([3, 5], (x) => a.withRandom({ seed: 1 }, () => a.dropout(x, 0.3)), 'some'),
      on([7], (x) => a.dropout(x, 0), 'none'),
      on([7], (x) => a.dropout(x, 1), 'all'),
      on([7], (x) => a.withTraining(false, () => a.dropout(x, 0.3)), 'not while training'),
    ],
  },
  adaptiveMaxPool2d: {
    ulps: 0,
    cases: [
      on([2, 6, 4], (x) => a.adaptiveMaxPool2d(x, [3, 2]), 'side by side'),
      on([2, 3, 7, 5], (x) => a.adaptiveMaxPool2d(x, [3, 4]), 'windows that share positions'),
      on([3, 2], (x) => a.adaptiveMaxPool2d(x, [5, 1]), 'more windows than positions'),
      on([1, 1, 1], (x) => a.adaptiveMaxPool2d(x, 1), 'one position'),
    ],
  },
  adaptiveAvgPool2d: {
    ulps: 16,
    ofLargest: true,
    cases: [
      on([2, 6, 4], (x) => a.adaptiveAvgPool2d(x, [3, 2]), 'side by side'),
      on([2, 3, 7, 5], (x) => a.adaptiveAvgPool2d(x, [3, 4]), 'windows that share positions'),
      on([1, 1, 1], (x) => a.adaptiveAvgPool2d(x, 1), 'one position'),
    ],
  },
  upsample2d: {
    ulps: 16,
    ofLargest: true,
    cases: [
      on([2, 3, 2], (x) => a.upsample2d(x, [2, 3]), 'nearest'),
      on([1, 2, 3, 4], (x) => a.upsample2d(x, 2, { mode: 'bilinear' }), 'bilinear'),
      on([1, 1], (x) => a.upsample2d(x, 3, { mode: 'bilinear', alignCorners: true }), 'one position'),
    ],
  },
  'attention that broadcasts': {
    ulps: 32,
    ofLargest: true,
    cases: (
      [
        [[2, 2, 3, 2], [1, 2, 4, 2], [2, 1, 4, 3], undefined],
        [
          [2, 5, 2],
          [1, 3, 2],
          [1, 3, 6],
          [2, 5, 3],
        ],
        [[3, 1], [1, 1], [1, 17], undefined],
      ] as const
    ).map(([q, k, v, mask]) =>
      sums(
        (x, y, z) => a.scaledDotProductAttention(x, y, z, mask ? { mask: numbers(mask, -1, 1, 9) } : {}),
        q,
        k,
        v,
      ),
    ),
  },
  'attention with dropout': {
    ulps: 32,
    ofLargest: true,
    cases: [
      on(
        [2, 3, 4, 2],
        (x) =>
          a.withRandom({ seed: 3 }, () =>
            a.scaledDotProductAttention(x, x, x, { dropout: 0.4, causal: true }),
          ),
        'causal',
      ),
      on(
        [1, 5, 3, 2, 3],
        (x) => a.withRandom({ seed: 3 }, () => a.selfAttention(x, { dropout: 0.2 })),
        'of one projection',
      ),
      on(
        [2, 3],
        (x) =>
          a.withRandom({ seed: 3 }, () =>
            a.scaledDotProductAttention(x, x, x, {
              dropout: 0.5,
              mask: a.tensor([0, 0, 1, 0], { shape: [2, 2], dtype: 'bool' }),
            }),
          ),
        'a query that sees no key',
      ),
    ],
  },
  'clamp by tensors': {
    ulps: 0,
    cases: [
      ...unary((x) => a.clamp(x, a.full(x.shape, -1.1), 0.7), [-3, 3]),
      sums((x, low, high) => a.clamp(x, low, a.add(high, 3)), [3, 4], [4], [3, 1]),
    ],
  },
};
