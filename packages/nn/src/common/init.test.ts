import { type Shape, withRandom } from '@lockstep/autograd';
import { describe, expect, test } from 'vitest';
import { ConfigError } from './errors.ts';
import * as init from './init.ts';

const draw = (initialiser: init.Initialiser, shape: Shape, seed = 1): number[] =>
  Array.from(withRandom({ seed }, () => initialiser(shape)).data());

function moments(values: number[]): { mean: number; std: number; low: number; high: number } {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  const [low, high] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [Infinity, -Infinity]);
  return { mean, std: Math.sqrt(variance), low: low!, high: high! };
}

/** Standard deviations by the formulas of the papers; of a normal cut at ±2σ: 0.87963 σ. */
describe('mean and spread', () => {
  const shape = [80, 50, 3, 3];
  const [fanIn, fanOut] = [450, 720];
  const r3 = Math.sqrt(3);
  test.each<[string, init.Initialiser, { mean?: number; std: number; bound?: number }]>([
    ['uniform', init.uniform(-1, 3), { mean: 1, std: 2 / r3, bound: 2 }],
    ['normal', init.normal({ mean: 2, std: 0.5 }), { mean: 2, std: 0.5 }],
    ['truncatedNormal', init.truncatedNormal({ mean: 1, std: 0.5 }), { mean: 1, std: 0.43981, bound: 1 }],
    [
      'xavierUniform',
      init.xavierUniform(),
      { std: Math.sqrt(2 / (fanIn + fanOut)), bound: Math.sqrt(6 / (fanIn + fanOut)) },
    ],
    ['xavierNormal', init.xavierNormal({ gain: 2 }), { std: 2 * Math.sqrt(2 / (fanIn + fanOut)) }],
    [
      'kaimingUniform',
      init.kaimingUniform({ a: Math.sqrt(5) }),
      { std: 1 / (r3 * Math.sqrt(fanIn)), bound: 1 / Math.sqrt(fanIn) },
    ],
    ['kaimingNormal', init.kaimingNormal({ mode: 'fanOut' }), { std: Math.sqrt(2 / fanOut) }],
  ])('%s', (_, initialiser, { mean = 0, std, bound = Infinity }) => {
    const found = moments(draw(initialiser, shape));
    // 36,000 values: five standard errors.
    expect(Math.abs(found.mean - mean)).toBeLessThan((5 * std) / Math.sqrt(36_000));
    expect(Math.abs(found.std / std - 1)).toBeLessThan(0.02);
    expect(found.low).toBeGreaterThanOrEqual(mean - bound * (1 + 1e-6));
    expect(found.high).toBeLessThanOrEqual(mean + bound * (1 + 1e-6));
  });
});

/** PyTorch's Q is the one whose R = QᵀA has a positive diagonal; A is what the same seed draws. */
test.each([[[3, 5]], [[5, 3]], [[4, 2, 3, 3]], [[6, 6]], [[1, 1]], [[2, 0]], [[37, 20]]])(
  'orthogonal of %j: right angles, and the decomposition that PyTorch takes',
  (shape) => {
    const rows = shape[0]!;
    const columns = shape.slice(1).reduce((product, n) => product * n, 1);
    const [q, drawn] = [init.orthogonal({ gain: 3 }), init.normal()].map((each) => draw(each, shape));
    const wide = rows <= columns;
    const [count, length] = wide ? [rows, columns] : [columns, rows];
    const entry = (values: number[], i: number, j: number): number =>
      wide ? values[i * columns + j]! : values[j * columns + i]!;
    const dot = (a: number[], i: number, b: number[], j: number): number =>
      Array.from({ length }, (_, k) => entry(a, i, k) * entry(b, j, k)).reduce((sum, x) => sum + x, 0);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        expect(dot(q!, i, q!, j)).toBeCloseTo(i === j ? 9 : 0, 5);
        if (j < i) expect(dot(q!, i, drawn!, j), 'below the diagonal of R').toBeCloseTo(0, 4);
      }
      if (length > 0) expect(dot(q!, i, drawn!, i), 'on the diagonal of R').toBeGreaterThan(0);
    }
  },
);

test('the seed and the order of calls decide, nothing else', () => {
  const initialiser = init.truncatedNormal();
  expect(draw(initialiser, [1000])).toEqual(draw(initialiser, [1000]));
  expect(draw(initialiser, [1000])).not.toEqual(draw(initialiser, [1000], 2));
  const [first, second] = withRandom({ seed: 1 }, () => [init.normal()([9]), init.normal()([9])]);
  expect(first!.data()).not.toEqual(second!.data());
});

test('constants, empty shapes and scalars', () => {
  expect(draw(init.zeros(), [2, 2])).toEqual([0, 0, 0, 0]);
  expect(draw(init.ones(), [2])).toEqual([1, 1]);
  expect(draw(init.constant(-3), [])).toEqual([-3]);
  expect(draw(init.truncatedNormal(), [0, 3])).toEqual([]);
  expect(draw(init.truncatedNormal({ std: 0 }), [2])).toEqual([0, 0]);
});

test.each<[() => unknown, string]>([
  [() => init.uniform(1, 0), 'init.uniform: got high = 0, expected a finite number >= 1'],
  [() => init.normal({ std: -1 }), 'init.normal: got std = -1'],
  [() => init.normal({ sd: 1 } as never), 'init.normal: got unknown option sd'],
  [() => init.orthogonal()([5]), 'init.orthogonal: got shape [5], expected [out, in, ...]'],
  [() => init.orthogonal({ gain: -1 }), 'init.orthogonal: got gain = -1'],
  [() => init.xavierUniform()([5]), 'init.xavierUniform: got shape [5], expected [out, in, ...]'],
  [() => init.kaimingNormal({ mode: 'in' as never }), "got mode = \"in\", expected 'fanIn' or 'fanOut'"],
  [() => init.truncatedNormal({ low: 8, high: 9 })([4]), 'which hold almost no values; widen them'],
])('wrong use, case %#', (run, message) => {
  expect(run).toThrow(ConfigError);
  expect(run).toThrow(message);
});
