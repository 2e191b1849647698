import {
  checkGradients,
  grad,
  gradients,
  OpError,
  randn,
  type Tensor,
  tensor,
  uniform,
  variable,
  withRandom,
} from '@lockstep/autograd';
import { describe, expect, test } from 'vitest';
import { golden, relativeError } from '../golden/read.ts';
import * as loss from './loss.ts';
import * as metrics from './metrics.ts';

interface Case {
  shape: number[];
  other?: number[];
  input: number[];
  target: number[];
  loss: number;
  gradient: number[];
}
const weight = [0.5, 2, 0, 1.5];
const ignoreIndex = -100;
const reference = golden<Record<string, Case>>('losses');

/** Every loss as the golden file has it. */
const losses: Record<string, (x: Tensor, y: Tensor) => Tensor> = {
  crossEntropy: loss.crossEntropy,
  mse: loss.mse,
  l1: loss.l1,
  huber: (x, y) => loss.huber(x, y, { delta: 0.75 }),
  bceWithLogits: loss.bceWithLogits,
  'crossEntropy weighted': (x, y) => loss.crossEntropy(x, y, { weight }),
  'crossEntropy ignoring': (x, y) => loss.crossEntropy(x, y, { ignoreIndex }),
  'crossEntropy smoothed': (x, y) => loss.crossEntropy(x, y, { labelSmoothing: 0.2 }),
  'crossEntropy all': (x, y) => loss.crossEntropy(x, y, { weight, ignoreIndex, labelSmoothing: 0.2 }),
  'shares of classes': loss.crossEntropy,
  'shares of classes, all': (x, y) => loss.crossEntropy(x, y, { weight, labelSmoothing: 0.2 }),
  'crossEntropy sum': (x, y) => loss.crossEntropy(x, y, { weight, reduction: 'sum' }),
  nll: loss.nll,
  'nll weighted': (x, y) => loss.nll(x, y, { weight, ignoreIndex }),
  smoothL1: (x, y) => loss.smoothL1(x, y, { beta: 0.4 }),
  bce: loss.bce,
  'bceWithLogits positive': (x, y) => loss.bceWithLogits(x, y, { positiveWeight: 3 }),
  klDiv: loss.klDiv,
  'klDiv log': (x, y) => loss.klDiv(x, y, { logTarget: true, reduction: 'mean' }),
  hinge: loss.hinge,
  multiMargin: (x, y) => loss.multiMargin(x, y, { margin: 0.75 }),
  cosineEmbedding: (x, y) =>
    loss.cosineEmbedding(x, tensor(reference.cosineEmbedding!.other!, { shape: x.shape }), y, {
      margin: 0.2,
    }),
};
const ofLabels = (name: string): boolean => /^(crossEntropy|nll|multiMargin)/.test(name);

describe('value and gradient as in PyTorch', () => {
  test('every golden case is checked', () => {
    expect(Object.keys(losses)).toEqual(Object.keys(reference));
  });
  test.each(Object.entries(losses))('%s', (name, f) => {
    const { shape, input, target, ...expected } = reference[name]!;
    const x = variable(tensor(input, { shape }));
    const perRow = name === 'cosineEmbedding';
    const y = ofLabels(name)
      ? tensor(Int32Array.from(target))
      : tensor(target, { shape: perRow ? shape.slice(0, -1) : shape });
    const value = f(x, y);
    expect(value.shape).toEqual([]);
    expect(relativeError([value.item()], [expected.loss])).toBeLessThan(1e-6);
    const [gradient] = gradients(value, [x]);
    expect(relativeError(gradient!.data(), expected.gradient, 1e-4)).toBeLessThan(1e-5);
  });
});

describe('gradients and their gradients against differences', () => {
  const shapes = [[1], [3, 4], [2, 1, 5]];
  const smooth = ['mse', 'l1', 'huber', 'smoothL1', 'bceWithLogits', 'bceWithLogits positive', 'klDiv log'];
  test.each(Object.entries(losses).filter(([name]) => smooth.includes(name)))('%s', (_, f) => {
    for (const shape of shapes) {
      // Differences near 0 and near delta have kinks: these seeds keep 1e-3 away from them.
      const [x, y] = withRandom({ seed: 3 }, () => [randn(shape), uniform(shape, 0, 1)]);
      expect(checkGradients(f, [x!, y!])).toMatchObject({ ok: true });
      const slope = (a: Tensor, b: Tensor): Tensor =>
        grad((c) => f(c!, b))(a)[0]!
          .square()
          .sum();
      expect(checkGradients((a) => slope(a!, y!), [x!])).toMatchObject({ ok: true });
    }
  });
  test('crossEntropy', () => {
    const [x, y] = [
      withRandom({ seed: 5 }, () => randn([2, 3, 4])),
      tensor(new Int32Array([0, 3, 1, 2, 2, 0]), { shape: [2, 3] }),
    ];
    expect(checkGradients((a) => loss.crossEntropy(a!, y), [x])).toMatchObject({ ok: true });
    const slope = (a: Tensor): Tensor =>
      grad((c) => loss.crossEntropy(c!, y))(a)[0]!
        .square()
        .sum();
    expect(checkGradients((a) => slope(a!), [x])).toMatchObject({ ok: true });
  });
});

test('softplus keeps its slope at 0 and far away', () => {
  const x = variable(tensor([-200, 0, 200]));
  const value = loss.bceWithLogits(x, tensor([0, 0, 1]));
  expect(value.item()).toBeCloseTo(Math.LN2 / 3, 6);
  expect(relativeError(gradients(value, [x])[0]!.data(), [0, 1 / 6, 0], 1e-6)).toBeLessThan(1e-6);
});

test('metrics are means over rows', () => {
  const logits = tensor([
    [0, 2, 1],
    [3, 1, 3],
    [0, 0, 1],
    [5, 4, 3],
  ]);
  const labels = tensor(new Int32Array([1, 2, 2, 2]));
  expect(metrics.accuracy(logits, labels).item()).toBe(0.5);
  expect([1, 2, 3].map((k) => metrics.topK(logits, labels, k).item())).toEqual([0.75, 0.75, 1]);
  expect(metrics.binaryAccuracy(tensor([-1, 2, 3, 0]), tensor([0, 1, 0, 1])).item()).toBe(0.5);
  expect(metrics.mae(tensor([1, 2]), tensor([2, 4])).item()).toBe(1.5);
  expect(metrics.mse(tensor([1, 2]), tensor([2, 4])).item()).toBe(2.5);
});

test('rows that are ignored count for nothing, also when all are', () => {
  const logits = variable(
    tensor([
      [1, 2, 3],
      [0, 0, 9],
    ]),
  );
  const none = tensor(new Int32Array([-100, -100]));
  const value = loss.crossEntropy(logits, none, { ignoreIndex, labelSmoothing: 0.1 });
  expect(value.item()).toBe(0);
  expect(
    gradients(value, [logits])[0]!
      .data()
      .every((g) => g === 0),
  ).toBe(true);
});

test('reductions', () => {
  const [x, y] = [tensor([1, 2, 4]), tensor([1, 1, 1])];
  expect([...loss.mse(x, y, { reduction: 'none' }).data()]).toEqual([0, 1, 9]);
  expect(loss.l1(x, y, { reduction: 'sum' }).item()).toBe(4);
  expect(
    loss
      .klDiv(
        tensor([
          [0, -1],
          [0, -1],
        ]),
        tensor([
          [1, 0],
          [0, 1],
        ]),
      )
      .item(),
  ).toBe(0.5);
});

describe('metrics made of sums, over batches of any size', () => {
  const actual = [0, 2, 1, 2, 0, 1, 2, 2, 0, 2];
  const predicted = [0, 2, 2, 2, 0, 1, 1, 2, 2, 0];
  const logits = predicted.map((c) => [0, 1, 2].map((i) => (i === c ? 1 : 0)));
  const values = predicted.map((c) => c / 4);
  const run = (
    metric: metrics.SumMetric,
    x: readonly (number | number[])[],
    y: readonly number[],
    type: 'i32' | 'f32',
  ) => {
    const totals = [1, 3, 10].map((size) => {
      const sums = new Array<number>(metric.size).fill(0);
      for (let at = 0; at < x.length; at += size) {
        const target = y.slice(at, at + size);
        const labels = tensor(type === 'i32' ? Int32Array.from(target) : target);
        const part = metric.measure(tensor(x.slice(at, at + size) as number[]), labels);
        expect(part.shape).toEqual([metric.size]);
        part.data().forEach((v, i) => {
          sums[i]! += v;
        });
      }
      return sums;
    });
    const found = totals.map((sums) => metric.compute(sums));
    expect(new Set(found.map((v) => v.toFixed(5))).size).toBe(1);
    return { value: found[0]!, sums: totals[0]! };
  };
  // By scikit-learn's definitions, counted by hand from the matrix below.
  const matrix = [
    [2, 0, 1],
    [0, 1, 1],
    [1, 1, 3],
  ];
  test('confusion', () => {
    const metric = metrics.confusion({ classes: 3 });
    const { value, sums } = run(metric, logits, actual, 'i32');
    expect(metric.table!(sums)).toEqual(matrix);
    expect(value).toBeCloseTo(0.6, 12);
  });
  const third = (a: number, b: number, c: number): number => (a + b + c) / 3;
  test.each<[string, metrics.SumMetric, number]>([
    ['precision', metrics.precision({ classes: 3 }), third(2 / 3, 1 / 2, 3 / 5)],
    ['recall', metrics.recall({ classes: 3 }), third(2 / 3, 1 / 2, 3 / 5)],
    ['precision of class 2', metrics.precision({ classes: 3, average: 2 }), 3 / 5],
    ['f1', metrics.f1({ classes: 3 }), third(4 / 6, 2 / 4, 6 / 10)],
    ['f1 of all', metrics.f1({ classes: 3, average: 'micro' }), 0.6],
  ])('%s', (_, metric, expected) => {
    expect(run(metric, logits, actual, 'i32').value).toBeCloseTo(expected, 12);
  });
  test('one logit per row of two classes', () => {
    const single = [1, -1, 2, 3, -2, 0, 5, -1, -3, 1];
    const truth = [1, 0, 0, 1, 1, 0, 1, 0, 0, 1];
    expect(run(metrics.precision(), single, truth, 'i32').value).toBeCloseTo(4 / 5, 12);
    expect(run(metrics.recall(), single, truth, 'f32').value).toBeCloseTo(4 / 5, 12);
    expect(run(metrics.f1({ average: 0 }), single, truth, 'i32').value).toBeCloseTo(4 / 5, 12);
    expect(metrics.f1().compute([0, 0, 0, 0, 0, 0])).toBe(0);
  });
  test('r2 and rmse', () => {
    const target = actual.map((c) => c / 4 + 0.125);
    const errors = target.reduce((sum, y, i) => sum + (y - values[i]!) ** 2, 0);
    const mean = target.reduce((a, b) => a + b) / 10;
    const spread = target.reduce((sum, y) => sum + (y - mean) ** 2, 0);
    expect(run(metrics.r2(), values, target, 'f32').value).toBeCloseTo(1 - errors / spread, 5);
    expect(run(metrics.rmse(), values, target, 'f32').value).toBeCloseTo(Math.sqrt(errors / 10), 6);
  });
  test('perplexity', () => {
    const labels = tensor(Int32Array.from(actual));
    const expected = Math.exp(loss.crossEntropy(tensor(logits), labels).item());
    expect(run(metrics.perplexity(), logits, actual, 'i32').value).toBeCloseTo(expected, 5);
  });
  test('wrong use', () => {
    expect(() => metrics.f1({ classes: 1 })).toThrow('metrics.f1: got classes = 1');
    expect(() => metrics.recall({ average: 2 })).toThrow("expected 'macro', 'micro' or a class from 0 to 1");
    expect(() =>
      metrics.confusion({ classes: 3 }).measure(tensor([[1, 2]]), tensor(new Int32Array(1))),
    ).toThrow('metrics.confusion: got f32[1, 2] and labels i32[1], expected logits [..., 3]');
    expect(() => metrics.confusion(3 as never)).toThrow('expected an object of options: classes');
    expect(() => metrics.r2().measure(tensor([1]), tensor([1, 2]))).toThrow('metrics.r2');
  });
});

test('metrics give no gradients', () => {
  expect(metrics.mae(variable(tensor([1, 2])), tensor([2, 4])).requiresGrad).toBe(false);
});

test('what is no tensor is refused by the loss', () => {
  const [x, labels] = [tensor([[1, 2]]), tensor(new Int32Array(1))];
  for (const [name, f] of Object.entries({ ...loss, accuracy: metrics.accuracy, mae: metrics.mae })) {
    const call = f as (...xs: unknown[]) => Tensor;
    const rest = name === 'cosineEmbedding' ? [labels] : [];
    expect(() => call([[1, 2]], labels, ...rest), name).toThrow(/: got an array, expected a tensor/);
    expect(() => call(x, undefined, ...rest), name).toThrow(/: got undefined, expected a tensor/);
  }
});

test.each<[() => unknown, string]>([
  [
    () => loss.mse(tensor([[1], [2]]), tensor([1, 2])),
    'loss.mse: got prediction f32[2, 1] and target f32[2]',
  ],
  [
    () => loss.l1(tensor([1]), tensor([1, 2])),
    'loss.l1: got prediction f32[1] and target f32[2], expected equal',
  ],
  [() => loss.huber(tensor([1]), tensor(1)), 'loss.huber'],
  [() => loss.bceWithLogits(tensor([1]), tensor([[1]])), 'loss.bceWithLogits'],
  [
    () => loss.crossEntropy(tensor([[1, 2]]), tensor([1])),
    'loss.crossEntropy: got logits f32[1, 2] and labels f32[1], expected a probability for each logit, or i32 class numbers [1]',
  ],
  [
    () => metrics.accuracy(tensor([[1, 2]]), tensor([1])),
    'metrics.accuracy: got logits f32[1, 2] and labels f32[1]',
  ],
  [() => metrics.accuracy(tensor([[1, 2]]), tensor(new Int32Array(2))), 'one i32 class number per row'],
])('wrong inputs, case %#', (run, message) => {
  expect(run).toThrow(OpError);
  expect(run).toThrow(message);
});

test.each<[() => unknown, string]>([
  [
    () => loss.crossEntropy(tensor([[1, 2]]), tensor(new Int32Array(1)), { weight: [1] }),
    'loss.crossEntropy: got 1 weights, expected 2 numbers >= 0, one for each class',
  ],
  [
    () => loss.crossEntropy(tensor([[1, 2]]), tensor([0]), { ignoreIndex: -1 }),
    'expected a probability for each logit, or i32 class numbers [1]',
  ],
  [
    () => loss.crossEntropy(tensor([[1, 2]]), tensor([[0, 1]]), { ignoreIndex: -1 }),
    'got ignoreIndex with probabilities',
  ],
  [
    () => loss.mse(tensor([1]), tensor([1]), { reduction: 'avg' as never }),
    `got reduction = "avg", expected 'mean'`,
  ],
  [() => loss.nll(tensor([[1, 2]]), tensor(new Int32Array(2))), 'loss.nll: got'],
  [() => loss.smoothL1(tensor([1]), tensor([1]), { beta: 0 }), 'got beta = 0'],
  [() => loss.cosineEmbedding(tensor([[1, 2]]), tensor([[1, 2]]), tensor([1, 1])), 'loss.cosineEmbedding'],
  [() => loss.multiMargin(tensor([[1, 2]]), tensor([1])), 'loss.multiMargin: got logits f32[1, 2]'],
  [() => loss.hinge(tensor([1]), tensor([1]), { delta: 1 } as never), 'got unknown option delta'],
])('wrong options, case %#', (run, message) => {
  expect(run).toThrow(message);
});

test('huber refuses a delta of 0', () => {
  expect(() => loss.huber(tensor([1]), tensor([1]), { delta: 0 })).toThrow('got delta = 0');
});
