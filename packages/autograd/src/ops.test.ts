/** Every op: fast kernels against the float64 reference, bits alike on all variants, first and second gradients. */
import { inspect } from 'node:util';
import { availableVariants } from '@lockstep/kernels';
import { afterAll, describe, expect, it } from 'vitest';
import { numbers, type OpCase, type OpTest, opTests } from '../test/cases.ts';
import { compositeTests } from '../test/composites.ts';
import {
  checkGradients,
  grad,
  gradients,
  mul,
  noGrad,
  type OpName,
  ops,
  setEagerKernels,
  squeeze,
  sum,
  type Tensor,
  type TensorData,
  tensor,
  topK,
  variable,
  variance,
  withPrecision,
} from './index.ts';

const variants = availableVariants();
const entries = [...(Object.entries(opTests) as [OpName, OpTest][]), ...Object.entries(compositeTests)];
afterAll(() => setEagerKernels('auto'));

const inFloat64 = ({ inputs, call }: OpCase): Tensor =>
  withPrecision('float64', () => call(...inputs.map((x) => tensor(Float64Array.from(x.data()), x))));

const onVariant = (kernels: (typeof variants)[number], { inputs, call }: OpCase): Tensor => {
  setEagerKernels(kernels);
  return call(...inputs);
};

/** Bytes, every NaN alike. */
const bytes = (data: TensorData): Buffer =>
  Buffer.from(
    data instanceof Float32Array ? data.map((x) => (Number.isNaN(x) ? Number.NaN : x)).buffer : data.buffer,
  );

/** The distance of two neighbouring f32 around x. */
const ulp = (x: number): number => 2 ** Math.max(Math.floor(Math.log2(Math.abs(x))) - 23, -149);

/** Largest distance of f32 results from float64 ones, in ulps. */
function distance(found: TensorData, exact: TensorData, ofLargest: boolean): number {
  const largest = Math.max(0, ...Array.from(exact, Math.abs));
  let worst = 0;
  exact.forEach((x: number, i: number) => {
    const rounded = found instanceof Float32Array ? Math.fround(x) : x;
    const gap =
      Object.is(found[i], rounded) || (found[i] === 0 && rounded === 0) ? 0 : Math.abs(found[i]! - rounded);
    worst = Math.max(worst, gap === 0 ? 0 : gap / ulp(ofLargest ? largest : rounded));
    if (Number.isNaN(gap)) worst = Infinity;
  });
  return worst;
}

/** A scalar that depends on every element differently. */
const weighted = (y: Tensor, seed = 9): Tensor => sum(mul(y, numbers(y.shape, -1, 1, seed)));

it('has at least three cases for each op', () => {
  expect(Object.keys(opTests).sort()).toEqual(Object.keys(ops).sort());
  for (const [name, { cases }] of entries) expect(cases.length, name).toBeGreaterThanOrEqual(3);
});

describe.each(entries)('%s', (name, { cases, ulps, ofLargest = false, differentiable = true }) => {
  it.each(cases.map((c) => [c.title, c] as const))('forward: %s', (_, opCase) => {
    const exact = inFloat64(opCase);
    const [first, ...others] = variants.map((variant) => onVariant(variant, opCase));
    expect(first!.shape).toEqual(exact.shape);
    expect(first!.dtype).toBe(exact.dtype);
    expect(distance(first!.data(), exact.data(), ofLargest)).toBeLessThanOrEqual(ulps);
    others.forEach((other, i) => {
      expect(bytes(other.data()).equals(bytes(first!.data())), variants[i + 1]).toBe(true);
    });
  });

  if (differentiable === 'refused') {
    it('refuses inputs that require gradients', () => {
      for (const { inputs, call } of cases) {
        const refusal = new RegExp(
          `^${name}: got input \\d, f32\\[.*\\], that requires gradients, .*detach\\(x\\)`,
        );
        expect(() => call(...inputs.map(variable))).toThrow(refusal);
        expect(noGrad(() => call(...inputs.map(variable))).requiresGrad).toBe(false);
      }
    });
    return;
  }
  if (!differentiable) {
    it('passes no gradient on', () => {
      for (const { inputs, call } of cases) expect(call(...inputs.map(variable)).requiresGrad).toBe(false);
    });
    return;
  }

  it.each(cases.filter((c) => !c.forwardOnly && c.inputs.length > 0).map((c) => [c.title, c] as const))(
    'gradients: %s',
    (_, { inputs, call }) => {
      const loss = (...xs: Tensor[]): Tensor => weighted(call(...xs));
      expect(checkGradients(loss, inputs)).toMatchObject({ ok: true });
      const slope = (...xs: Tensor[]): Tensor =>
        grad(loss)(...xs)
          .map((g, i) => weighted(g, 11 + i))
          .reduce((total, term) => total.add(term));
      expect(checkGradients(slope, inputs, { tolerance: 1e-5 })).toMatchObject({ ok: true });
    },
  );

  it('gives every input a gradient of its shape, in float32', () => {
    for (const { inputs, call } of cases) {
      const xs = inputs.map(variable);
      if (xs.length === 0) continue;
      gradients(weighted(call(...xs)), xs).forEach((g, i) => {
        expect(g.shape).toEqual(xs[i]!.shape);
        expect(g.dtype).toBe('f32');
      });
    }
  });
});

describe('tensor', () => {
  const specOf = (x: Tensor): unknown => [x.dtype, [...x.shape], [...x.data()]];
  it.each<[string, Tensor, unknown]>([
    ['numbers', tensor([[1, 2]]), ['f32', [1, 2], [1, 2]]],
    ['a scalar', tensor(3), ['f32', [], [3]]],
    ['nothing', tensor([]), ['f32', [0], []]],
    ['booleans', tensor([[true], [false]]), ['bool', [2, 1], [1, 0]]],
    ['a boolean', tensor(true), ['bool', [], [1]]],
    ['booleans as numbers', tensor([true, false], { dtype: 'f32' }), ['f32', [2], [1, 0]]],
    ['numbers as bool', tensor([2, 0, 0.5, -0], { dtype: 'bool' }), ['bool', [4], [1, 0, 1, 0]]],
    ['numbers as bytes', tensor([255.9, 0], { dtype: 'u8' }), ['u8', [2], [255, 0]]],
    [
      'numbers as integers',
      tensor([-(2 ** 31), -0.9, 2 ** 31 - 0.5], { dtype: 'i32' }),
      ['i32', [3], [-(2 ** 31), 0, 2 ** 31 - 1]],
    ],
    ['integers', tensor(Int32Array.of(7, 8), { shape: [2, 1] }), ['i32', [2, 1], [7, 8]]],
  ])('of %s', (_, x, spec) => {
    expect(specOf(x)).toEqual(spec);
  });
});

it.each<[Tensor, string]>([
  [tensor(0.1), 'Tensor(f32[]: 0.1)'],
  [tensor([1, -2.5]), 'Tensor(f32[2]: [1, -2.5])'],
  [tensor([]), 'Tensor(f32[0]: [])'],
  [
    tensor([
      [true, false],
      [false, false],
    ]),
    'Tensor(bool[2, 2],\n[[true, false],\n [false, false]])',
  ],
  [numbers([9], 0, 0), 'Tensor(f32[9]: [0, 0, 0, …, 0, 0, 0])'],
  [
    tensor(
      Int32Array.from({ length: 4 }, (_, i) => i),
      { shape: [2, 1, 2] },
    ),
    'Tensor(i32[2, 1, 2],\n[[[0, 1]],\n [[2, 3]]])',
  ],
])('shows %s', (x, text) => {
  expect(String(x)).toBe(text);
  expect(inspect({ x })).toContain(text.split('\n')[0]);
});

it('squeezes one axis of size 1, or all of them', () => {
  const x = numbers([1, 2, 1, 3], -1, 1);
  expect(squeeze(x, -2).shape).toEqual([1, 2, 3]);
  expect(squeeze(x).shape).toEqual([2, 3]);
  expect(squeeze(tensor([[5]])).shape).toEqual([]);
});

it('has methods that are the functions', () => {
  const x = numbers([2, 3], -1, 1);
  expect([...x.topK(2).values.data()]).toEqual([...topK(x, 2).values.data()]);
  expect(x.isfinite().dtype).toBe('bool');
  expect(tensor(Int32Array.of(1)).oneHot(3).shape).toEqual([1, 3]);
  expect(x.var().item()).toBe(variance(x).item());
});
