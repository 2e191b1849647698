/** Functions where they are special, and losses on other shapes, against PyTorch in float64 (data/edges.json, by edges.py). */
import { readFileSync } from 'node:fs';
import * as a from '@lockstep/autograd';
import { loss } from '@lockstep/nn';
import { expect, it } from 'vitest';
import { labels as labelsOf, numbers } from '../../packages/autograd/test/cases.ts';

type Value = number | 'nan' | 'inf' | '-inf';
interface Edge {
  readonly inputs: readonly (readonly [shape: a.Shape, values: readonly Value[]])[];
  readonly shape: a.Shape;
  readonly y: readonly Value[];
  /** None: a forward pass alone. */
  readonly grads?: readonly (readonly Value[])[];
}
const golden: Readonly<Record<string, Edge>> = JSON.parse(
  readFileSync(new URL('./data/edges.json', import.meta.url), 'utf8'),
);

type Call = (x: a.Tensor, y: a.Tensor) => a.Tensor;
const float = (x: a.Tensor): a.Tensor => a.cast(x, 'f32');
const firsts = (x: a.Tensor): a.Tensor => a.zeros(x.shape, 'i32');
const ofNothing: Readonly<Record<string, Call>> = {
  gather: (x) => a.gather(x, -1, firsts(x)),
  gatherFirst: (x) => a.gather(x, 0, firsts(x)),
  scatterAdd: (x) => a.scatterAdd(x, -1, firsts(x), x),
  sort: (x) => a.sort(x),
  sortFirst: (x) => a.sort(x, 0),
  topK: (x) => a.topK(x, Math.floor(x.shape.at(-1)! / 2)).values,
  cumsum: (x) => a.cumsum(x, 0),
};
const calls: Readonly<Record<string, Call>> = {
  ...{ exp: a.exp, expm1: a.expm1, log: a.log, log1p: a.log1p, sqrt: a.sqrt, rsqrt: a.rsqrt, sin: a.sin },
  ...{ cos: a.cos, tanh: a.tanh, sigmoid: a.sigmoid, erf: a.erf, abs: a.abs, sign: a.sign, relu: a.relu },
  ...{ silu: a.silu, mish: a.mish, hardswish: a.hardswish, floor: a.floor, ceil: a.ceil, round: a.round },
  ...{ minimum: a.minimum, maximum: a.maximum, minimumOfEquals: a.minimum, maximumOfEquals: a.maximum },
  ...{ div: a.div, pow: a.pow },
  leakyRelu: (x) => a.leakyRelu(x, 0.25),
  elu: (x) => a.elu(x, 1.5),
  softplus: (x) => a.softplus(x),
  gelu: (x) => a.gelu(x),
  clamp: (x) => a.clamp(x, -1, 1),
  clampBackwards: (x) => a.clamp(x, 1, -1),
  powHalf: (x) => a.pow(x, 0.5),
  powZero: (x) => a.pow(x, 0),
  powThird: (x) => a.pow(x, 1 / 3),
  powTwo: (x) => a.pow(x, 2),
  powOfTwo: (x) => a.pow(2, x),
  where: (x) => a.where(a.gt(x, 0), x, a.neg(x)),
  max: (x) => a.max(x),
  maxOfEquals: (x) => a.max(x, -1),
  min: (x) => a.min(x),
  minOfEquals: (x) => a.min(x, -1),
  argmax: (x) => float(a.argmax(x)),
  argmin: (x) => float(a.argmin(x)),
  ...{ prod: (x) => a.prod(x, -1), prodOfNothing: (x) => a.prod(x, -1), cumsum: (x) => a.cumsum(x) },
  ...{ sumOfNothing: (x) => a.sum(x, 0), meanOfNothing: (x) => a.mean(x, 0) },
  ...{ variance: (x) => a.variance(x, -1), varianceOfOne: (x) => a.variance(x, -1) },
  ...{ std: (x) => a.std(x, -1), stdOfEquals: (x) => a.std(x) },
  norm: (x) => a.norm(x, -1),
  norm1: (x) => a.norm(x, 0, { p: 1 }),
  norm3: (x) => a.norm(x, 0, { p: 3 }),
  normMax: (x) => a.norm(x, 0, { p: Infinity }),
  ...{ logSumExp: (x) => a.logSumExp(x), logSumExpOfNoChance: (x) => a.logSumExp(x) },
  ...{ logSumExpOfNothing: (x) => a.logSumExp(x), logSumExpOfOne: (x) => a.logSumExp(x) },
  ...{ softmax: (x) => a.softmax(x), softmaxOfNoChance: (x) => a.softmax(x) },
  ...{ softmaxOfNothing: (x) => a.softmax(x, 0), softmaxOfOne: (x) => a.softmax(x) },
  logSoftmax: (x) => a.logSoftmax(x),
  ...{ sort: (x) => a.sort(x), sortDown: (x) => a.sort(x, -1, { descending: true }) },
  argsort: (x) => float(a.argsort(x)),
  argsortDown: (x) => float(a.argsort(x, -1, { descending: true })),
  ...{ tril: (x) => a.tril(x), squeeze: (x) => a.squeeze(x) },
  ...{ roll: (x) => a.roll(x, 4), rollTwo: (x) => a.roll(x, [1, -2], [0, 1]) },
  ...{ slice: (x) => a.slice(x, [-100, 100, 3]), sliceOfNothing: (x) => a.slice(x, [5, 2]) },
  layerNorm: (x) => a.standardize(x),
  ...{ maxPool2d: (x) => a.maxPool2d(x, 2), maxPool2dOfEquals: (x) => a.maxPool2d(x, 2, { stride: 1 }) },
  maxPool2dOfNaNs: (x) => a.maxPool2d(x, 2),
  geluTanh: (x) => a.gelu(x, { approximate: 'tanh' }),
  hardswishSlope: a.hardswish,
  topKOfEquals: (x) => a.topK(x, 2).values,
  ...{ cumsumOfOne: (x) => a.cumsum(x, 0), sortOfOne: (x) => a.sort(x, 0) },
  ...{ argmaxOfOne: (x) => float(a.argmax(x)), argminOfOne: (x) => float(a.argmin(x, 0)) },
  ...{ argsortOfOne: (x) => float(a.argsort(x)), topKOfOne: (x) => a.topK(x, 1, 0).values },
  topKOfNone: (x) => a.topK(x, 0).values,
  ...Object.fromEntries(
    ['0x3', '3x0', '2x0x3'].flatMap((shape) =>
      Object.entries(ofNothing).map(([name, call]) => [`${name}OfNothing${shape}`, call]),
    ),
  ),
  scatterAddNothing: (x) => a.scatterAdd(x, 0, a.zeros([0, 3], 'i32'), a.zeros([0, 3])),
  huberOfInfinity: (x, y) => loss.huber(x, y, { reduction: 'none' }),
  smoothL1OfInfinity: (x, y) => loss.smoothL1(x, y, { reduction: 'none', beta: 0.4 }),
  mseOfInfinity: (x, y) => loss.mse(x, y, { reduction: 'none' }),
  l1OfInfinity: (x, y) => loss.l1(x, y, { reduction: 'none' }),
  klDivOfNoTarget: (x, y) => loss.klDiv(x, y, { reduction: 'none' }),
};

/** Made by the sources' own tensors: only the numbers cross. */
const targets = (shape: a.Shape): a.Tensor => a.tensor(numbers(shape, 0.1, 0.9, 2).data(), { shape });
const labels = (shape: a.Shape): a.Tensor => a.tensor(labelsOf(shape, 4).data(), { shape, dtype: 'i32' });
const weight = [0.5, 2, 0.25, 1.5];
/** Of predictions, and labels of their rows. */
const losses: Readonly<Record<string, (x: a.Tensor, rows: a.Shape) => a.Tensor>> = {
  mse: (x) => loss.mse(x, targets(x.shape)),
  l1: (x) => loss.l1(x, targets(x.shape)),
  huber: (x) => loss.huber(x, targets(x.shape), { delta: 0.75 }),
  smoothL1: (x) => loss.smoothL1(x, targets(x.shape), { beta: 0.4 }),
  bceWithLogits: (x) => loss.bceWithLogits(x, targets(x.shape)),
  bce: (x) => loss.bce(a.sigmoid(x), targets(x.shape)),
  klDiv: (x) => loss.klDiv(x, targets(x.shape)),
  hinge: (x) => loss.hinge(x, a.sub(a.mul(targets(x.shape), 2), 1)),
  crossEntropy: (x, rows) => loss.crossEntropy(x, labels(rows)),
  crossEntropyAll: (x, rows) =>
    loss.crossEntropy(x, labels(rows), { weight, ignoreIndex: 0, labelSmoothing: 0.3 }),
  nll: (x, rows) => loss.nll(x, labels(rows), { weight }),
  multiMargin: (x, rows) => loss.multiMargin(x, labels(rows), { margin: 0.75 }),
  cosineEmbedding: (x, rows) => {
    const odd = a.eq(a.sub(labels(rows), a.mul(a.div(labels(rows), 2), 2)), 1);
    const other = a.add(a.flip(a.detach(x), -1), 0.5);
    return loss.cosineEmbedding(x, other, a.where(odd, a.full(rows, 1), -1));
  },
};

/** Where Lockstep gives other numbers, by result and element; the guide says so. */
interface Difference {
  /** What the guide's table says about it. */
  readonly guide: string;
  readonly y?: Readonly<Record<number, number>>;
  /** Of each input, where element i of the output has the weight 1 + i / 4. */
  readonly grad?: Readonly<Record<number, number>>;
}
const NaNs = 'a NaN stays a NaN in values and gradients';
const smooth = { guide: 'the limits, 1 and 0', grad: { 1: 1.25, 2: 0 } };
const differences: Readonly<Record<string, Difference>> = {
  abs: { guide: NaNs, grad: { 0: Number.NaN } },
  sign: { guide: NaNs, y: { 0: Number.NaN } },
  l1OfInfinity: { guide: NaNs, grad: { 3: Number.NaN } },
  ...{ gelu: smooth, geluTanh: smooth, silu: smooth, mish: smooth },
  topKOfEquals: { guide: 'the first of equal elements', grad: { 0: 1, 1: 1.25, 2: 0 } },
  maxPool2dOfNaNs: { guide: 'the first NaN', grad: { 0: 1, 1: 0 } },
  klDivOfNoTarget: { guide: '0 where the target is 0', y: { 0: 0, 1: 0 } },
  logSumExpOfNoChance: { guide: 'NaN beside an infinite one', grad: { 3: Number.NaN } },
};
const guide = readFileSync(new URL('../../docs/guide.md', import.meta.url), 'utf8');

/** PyTorch's numbers, with what differs; every difference must be one. */
function withDifferences(values: readonly Value[], other: Readonly<Record<number, number>> = {}): Value[] {
  const shown = (x: number): Value =>
    Number.isNaN(x) ? 'nan' : x === Infinity ? 'inf' : x === -Infinity ? '-inf' : x;
  return values.map((value, i) => {
    if (!(i in other)) return value;
    expect(shown(other[i]!), `element ${i}`).not.toBe(value);
    return shown(other[i]!);
  });
}

it('has each difference in the table of the guide', () => {
  const table = guide.slice(guide.indexOf('## Where the same name is not the same'));
  for (const [name, { guide: text }] of Object.entries(differences)) expect(table, name).toContain(text);
});

function callOf(name: string): Call {
  const [, of] = name.split(' ');
  return of ? (x) => losses[of]!(x, x.shape.slice(0, -1)) : calls[name]!;
}

const plain = (x: Value): number =>
  typeof x === 'number' ? x : x === 'nan' ? Number.NaN : x === 'inf' ? Infinity : -Infinity;

/** Equal where not finite; else to 1e-5 of the largest. Zeros of either sign are alike. */
function expectClose(found: a.Tensor, values: readonly Value[], what: string): void {
  const exact = values.map(plain);
  const largest = Math.max(1e-3, ...exact.filter(Number.isFinite).map(Math.abs));
  const shown = `${what}: got ${[...found.data()]}, expected ${exact}`;
  expect(found.size, shown).toBe(exact.length);
  exact.forEach((x, i) => {
    const y = found.data()[i]!;
    if (Number.isFinite(x)) expect(Math.abs(y - x) / largest, shown).toBeLessThanOrEqual(1e-5);
    else expect(y, shown).toBe(x);
  });
}

it('has a function for every golden case', () => {
  const plainNames = Object.keys(golden).filter((name) => !name.startsWith('loss '));
  expect(Object.keys(calls).sort()).toEqual(plainNames.sort());
  const ofLosses = Object.keys(golden).flatMap((name) =>
    name.startsWith('loss ') ? [name.split(' ')[1]!] : [],
  );
  expect(Object.keys(losses).sort()).toEqual([...new Set(ofLosses)].sort());
});

it.each(Object.entries(golden))('%s', (name, { inputs, shape, y, grads }) => {
  const xs = inputs.map(([s, values]) => a.variable(a.tensor(values.map(plain), { shape: s })));
  const found = callOf(name)(xs[0]!, xs[1]!);
  expect(found.shape).toEqual(shape);
  const { y: otherY, grad } = differences[name] ?? {};
  expectClose(found, withDifferences(y, otherY), 'value');
  if (!grads || y.length === 0) return;
  const seed = a.tensor(
    y.map((_, i) => 1 + i / 4),
    { shape },
  );
  a.gradients(found, xs, { seed }).forEach((g, i) => {
    expectClose(g, withDifferences(grads[i]!, grad), `gradient ${i}`);
  });
});
