/** Every op and its gradients against PyTorch in float64 (data/ops.json, written by ops.py). */
import { readFileSync } from 'node:fs';
import * as a from '@lockstep/autograd';
import { describe, expect, it } from 'vitest';
import { labels as labelsOf, numbers as numbersOf } from '../../packages/autograd/test/cases.ts';

type Range = readonly [number, number];
interface GoldenCase {
  readonly inputs: readonly a.Shape[];
  readonly shape: a.Shape;
  readonly y: readonly number[];
  /** null: not differentiable. */
  readonly grads: readonly (readonly number[])[] | null;
}
const golden: {
  readonly ranges: Readonly<Record<string, readonly Range[]>>;
  readonly cases: Readonly<Record<string, readonly GoldenCase[]>>;
} = JSON.parse(readFileSync(new URL('./data/ops.json', import.meta.url), 'utf8'));

/** Made by the sources' own tensors: only the numbers cross. */
const numbers = (shape: a.Shape, [low, high]: Range, seed: number): a.Tensor =>
  a.tensor(numbersOf(shape, low, high, seed).data(), { shape });
const index = (shape: a.Shape, n: number): a.Tensor =>
  a.tensor(labelsOf(shape, n).data(), { shape, dtype: 'i32' });
const float = (x: a.Tensor): a.Tensor => a.cast(x, 'f32');
const last = (x: a.Tensor): number => x.shape.at(-1)!;
const first = (x: a.Tensor): number => x.shape[0]!;
const positive = (x: a.Tensor): a.Tensor => a.gt(x, 0);

type Call = (x: a.Tensor, y: a.Tensor) => a.Tensor;
const calls: Readonly<Record<string, Call>> = {
  ...{ neg: a.neg, abs: a.abs, square: a.square, sqrt: a.sqrt, rsqrt: a.rsqrt, exp: a.exp, expm1: a.expm1 },
  ...{ log: a.log, log1p: a.log1p, sin: a.sin, cos: a.cos, tanh: a.tanh, sigmoid: a.sigmoid, erf: a.erf },
  ...{ relu: a.relu, sign: a.sign, floor: a.floor, ceil: a.ceil, round: a.round },
  leakyRelu: (x) => a.leakyRelu(x, 0.25),
  elu: (x) => a.elu(x, 1.5),
  gelu: (x) => a.gelu(x),
  geluTanh: (x) => a.gelu(x, { approximate: 'tanh' }),
  silu: a.silu,
  softplus: (x) => a.softplus(x, 2.5),
  ...{ hardswish: a.hardswish, mish: a.mish },
  clamp: (x) => a.clamp(x, -0.5, 1),
  ...{ add: a.add, sub: a.sub, mul: a.mul, div: a.div, pow: a.pow, minimum: a.minimum, maximum: a.maximum },
  where: (x, y) => a.where(a.gt(x, y), x, y),
  lt: (x, y) => float(a.lt(x, y)),
  le: (x, y) => float(a.le(x, y)),
  gt: (x, y) => float(a.gt(x, y)),
  ge: (x, y) => float(a.ge(x, y)),
  eq: (x, y) => float(a.eq(a.round(x), a.round(y))),
  ne: (x, y) => float(a.ne(a.round(x), a.round(y))),
  logicalAnd: (x, y) => float(a.logicalAnd(positive(x), positive(y))),
  logicalOr: (x, y) => float(a.logicalOr(positive(x), positive(y))),
  logicalNot: (x) => float(a.logicalNot(positive(x))),
  isfinite: (x) => float(a.isfinite(a.div(1, a.round(x)))),
  cast: (x) => float(a.cast(x, 'i32')),
  full: (x) => a.add(x, a.full(x.shape, 0.75)),
  sum: (x) => a.sum(x),
  sumRows: (x) => a.sum(x, -1, { keepDims: true }),
  mean: (x) => a.mean(x, 0),
  prod: (x) => a.prod(x, -1),
  max: (x) => a.max(x, -1),
  min: (x) => a.min(x, 0),
  argmax: (x) => float(a.argmax(x)),
  argmin: (x) => float(a.argmin(x, 0)),
  var: (x) => a.variance(x, -1, { correction: 0 }),
  std: (x) => a.std(x),
  norm: (x) => a.norm(x),
  norm3: (x) => a.norm(x, -1, { p: 3 }),
  logSumExp: (x) => a.logSumExp(x),
  cumsum: (x) => a.cumsum(x, 0),
  any: (x) => float(a.any(a.gt(x, 0.5), -1)),
  all: (x) => float(a.all(a.gt(x, -1.5), -1)),
  softmax: (x) => a.softmax(x),
  softmaxFirst: (x) => a.softmax(x, 0),
  logSoftmax: (x) => a.logSoftmax(x),
  crossEntropy: (x) => a.crossEntropyRows(x, index([first(x)], last(x))),
  reshape: (x) => a.reshape(x, [x.size, 1]),
  flatten: (x) => a.flatten(x, 0),
  transpose: (x) => a.transpose(x),
  permute: (x) => a.permute(x, [...x.shape.keys()].reverse()),
  squeeze: (x) => a.squeeze(a.unsqueeze(x, 0), 0),
  unsqueeze: (x) => a.unsqueeze(x, -1),
  expand: (x) => a.expand(x, [4, ...x.shape]),
  repeat: (x) => a.repeat(x, [2, ...x.shape.map(() => 3)]),
  concat: (x, y) => a.concat([x, y, x], -1),
  stack: (x, y) => a.stack([x, y], -1),
  split: (x) => a.concat(a.split(x, 3, -1).reverse(), -1),
  chunk: (x) => a.chunk(x, 3, 0).at(-1)!,
  slice: (x) => a.slice(x, ...x.shape.slice(1).map(() => null), [0, -1, 2]),
  narrow: (x) => a.narrow(x, -1, 0, 1),
  pad: (x) => a.pad(x, [[1, 2]], -0.5),
  flip: (x) => a.flip(x, [0, -1]),
  roll: (x) => a.roll(x, 3, 0),
  tril: (x) => a.tril(x, 1),
  triu: (x) => a.triu(x),
  diagonal: (x) => a.diagonal(x),
  indexSelect: (x) => a.indexSelect(x, 0, index([9], first(x))),
  gather: (x) => a.gather(x, 0, index(x.shape, first(x))),
  scatterAdd: (x, y) => a.scatterAdd(x, 0, index(y.shape, first(x)), y),
  indexAdd: (x, y) => a.indexAdd(x, -1, index([6], last(x)), y),
  sort: (x) => a.sort(x, 0, { descending: true }),
  topK: (x) => a.topK(x, 1).values,
  oneHot: (x) => a.mul(x, a.oneHot(index(x.shape.slice(0, -1), last(x)), last(x))),
  matmul: (x, y) => a.matmul(x, y),
  outer: a.outer,
  dot: a.dot,
  einsum: (x, y) => a.einsum('bij,bkj->ikb', x, y),
  einsumDots: (x, y) => a.einsum('...ij,j->...i', x, y),
  take: (x) => a.take(x, index([2, 3], first(x))),
  attention: (x, y) => a.scaledDotProductAttention(x, y, y),
  attentionCausal: (x, y) => a.scaledDotProductAttention(x, y, y, { causal: true }),
  arange: (x) => a.mul(x, a.arange(-1, -1 + x.size * 0.5, 0.5)),
  linspace: (x) => a.mul(x, a.linspace(-1, 2, x.size)),
  eye: (x) => a.mul(x, a.eye(first(x), last(x))),
};

/** Largest distance, as a part of the largest number. */
function distance(found: a.Tensor, exact: readonly number[]): number {
  const largest = Math.max(1e-3, ...exact.map(Math.abs));
  expect(found.size).toBe(exact.length);
  return Math.max(0, ...exact.map((x, i) => Math.abs(found.data()[i]! - x) / largest));
}

const TOLERANCE = 1e-5;

/** Held to PyTorch elsewhere: with layers (golden files of the networks), or not at all, as PyTorch has no such op. */
const elsewhere =
  /^(conv|.*[pP]ool|normalize|attention|selfAttention|recurrent|random|blockSquares|lstm|gru|rnn)/;

describe('ops against PyTorch', () => {
  const seen = new Set<string>();
  it('has a function for every golden case, and three shapes for each', () => {
    expect(Object.keys(calls).sort()).toEqual(Object.keys(golden.cases).sort());
    for (const [name, cases] of Object.entries(golden.cases))
      expect(cases.length, name).toBeGreaterThanOrEqual(3);
  });

  it.each(Object.entries(golden.cases))('%s', (name, cases) => {
    const ranges = golden.ranges[name] ?? [[-3, 3]];
    for (const { inputs, shape, y, grads } of cases) {
      const xs = inputs.map((s, i) => a.variable(numbers(s, ranges[i] ?? ranges.at(-1)!, i + 1)));
      a.withObserver(
        (label) => seen.add(label.split('/').at(-1)!),
        () => {
          const found = calls[name]!(xs[0]!, xs[1]!);
          expect(found.shape).toEqual(shape);
          expect(distance(found, y)).toBeLessThanOrEqual(TOLERANCE);
          if (!grads) return;
          const loss = a.sum(a.mul(found, numbers(shape, [-1, 1], 9)));
          a.gradients(loss, xs).forEach((g, i) => {
            expect(distance(g, grads[i]!), `gradient ${i}`).toBeLessThanOrEqual(TOLERANCE);
          });
        },
      );
    }
  });

  it('has met every op of the table', () => {
    expect(
      Object.values(a.ops).flatMap((op) => (seen.has(op.name) || elsewhere.test(op.name) ? [] : [op.name])),
    ).toEqual([]);
  });
});
