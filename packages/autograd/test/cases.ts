/**
 * Test cases of every op, keyed by its name: an op without cases does not compile. Inputs come from a fixed generator,
 * away from the points where an op has no derivative.
 */
import type { OpName, Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';
import { convolutionTests } from './convolution.ts';
import { elementwiseTests } from './elementwise.ts';
import { fusedTests } from './fused.ts';
import { movingTests } from './moving.ts';
import { labels, name, numbers, type OpCase, type OpTest, on, one, reduction } from './support.ts';

/** The very module that the cases call: who runs them must use no other copy. */
export * as autograd from '../src/index.ts';
export { labels, numbers, type OpCase, type OpTest } from './support.ts';

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
  on([3, 0], f, 'no columns'),
  on([], f, 'a scalar'),
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

const product = (p: Shape, q: Shape, options: a.MatmulOptions = {}): OpCase =>
  one(
    `${name(p)}${options.transA ? 'ᵀ' : ''} × ${name(q)}${options.transB ? 'ᵀ' : ''}`,
    [numbers(p, -2, 2), numbers(q, -2, 2, 2)],
    (x, y) => a.matmul(x, y, options),
  );

export const opTests: { readonly [K in OpName]: OpTest } = {
  ...convolutionTests(numbers),
  ...elementwiseTests,
  ...movingTests,
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
      one(name(shape), [], () =>
        a.withRandom({ seed: 2 ** 40 + 12345, step: 77, shard: 3 }, () => a.rand(shape)),
      ),
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
