/** The backward kernels of fused layers against their gradients in tensor ops, which are used where more is asked. */
import { attentionScratchBytes } from '@lockstep/kernels';
import { expect, it } from 'vitest';
import { numbers, opTests } from '../../test/cases.ts';
import {
  checkGradients,
  expand,
  eye,
  gradients,
  mul,
  recurrent,
  scaledDotProductAttention,
  selfAttention,
  sum,
  type Tensor,
  tensor,
  variable,
  withPrecision,
  withRandom,
  withTraining,
} from '../index.ts';

const weighted = (y: Tensor): Tensor => sum(mul(y, numbers(y.shape, -1, 1, 9)));

it.each(
  (['normalize', 'attention', 'selfAttention'] as const).flatMap((name) =>
    opTests[name].cases.map((test) => [`${name} ${test.title}`, test] as const),
  ),
)('%s', (_, { inputs, call }) => {
  withPrecision('float64', () => {
    const xs = inputs.map((x) => variable(tensor(Float64Array.from(x.data()), x)));
    const kernels = gradients(weighted(call(...xs)), xs);
    const parts = gradients(weighted(call(...xs)), xs, { createGraph: true });
    kernels.forEach((g, i) => {
      const expected = parts[i]!.data();
      const largest = Math.max(1, ...Array.from(expected, Math.abs));
      g.data().forEach((x: number, j: number) => {
        expect(Math.abs(x - expected[j]!)).toBeLessThan(1e-6 * largest);
      });
    });
  });
});

const kinds = [
  ['tanh', 1],
  ['relu', 1],
  ['lstm', 4],
  ['gru', 3],
] as const;
it.each(
  kinds.flatMap(([kind, gates]) =>
    [false, true].flatMap((reverse) =>
      [false, true].flatMap((initial) =>
        (kind === 'lstm' ? [false, true] : [false]).map((cells) => ({
          kind,
          gates,
          reverse,
          initial,
          cells,
        })),
      ),
    ),
  ),
)('$kind, reverse $reverse, initial $initial, cells $cells', ({ kind, gates, reverse, initial, cells }) => {
  const [rows, steps, hidden] = [2, 4, 3];
  const states = kind === 'lstm' ? 2 : 1;
  withPrecision('float64', () => {
    const shapes = [
      [rows, steps, gates * hidden],
      [gates * hidden, hidden],
      [gates * hidden],
      ...(initial ? new Array(states).fill([rows, hidden]) : []),
    ];
    const xs = shapes.map((shape, i) =>
      variable(tensor(Float64Array.from(numbers(shape, -1, 1, i + 1).data()), { shape })),
    );
    const [x, w, bias, h0, c0] = xs as [Tensor, Tensor, Tensor, Tensor?, Tensor?];
    const y = () =>
      recurrent(x, w, { kind, bias, reverse, cells, ...(h0 ? { h0 } : {}), ...(c0 ? { c0 } : {}) });
    const kernels = gradients(weighted(y()), xs);
    const parts = gradients(weighted(y()), xs, { createGraph: true });
    kernels.forEach((g, i) => {
      expect(g.shape).toEqual(xs[i]!.shape);
      g.data().forEach((value: number, j: number) => {
        expect(Math.abs(value - parts[i]!.data()[j]!)).toBeLessThan(1e-6);
      });
    });
    const slope = (...given: Tensor[]): Tensor => {
      const [x, w, bias, h0, c0] = given as [Tensor, Tensor, Tensor, Tensor?, Tensor?];
      return weighted(
        recurrent(x, w, { kind, bias, reverse, cells, ...(h0 ? { h0 } : {}), ...(c0 ? { c0 } : {}) }),
      );
    };
    expect(checkGradients(slope, xs)).toMatchObject({ ok: true });
  });
});

it('attention over 2,048 steps: memory of kernels does not grow with T², and averages come out', () => {
  const [steps, heads, size] = [2048, 2, 16];
  // Keys of zeros weigh all values alike: the causal output is the running mean.
  const shape = [1, steps, 3, heads, size];
  const values = numbers([steps, heads, size], -1, 1).data();
  const packed = new Float32Array(steps * 3 * heads * size);
  for (let t = 0; t < steps; t++) {
    packed.set(
      values.slice(t * heads * size, (t + 1) * heads * size) as Float32Array,
      (3 * t + 2) * heads * size,
    );
  }
  const x = variable(tensor(packed, { shape }));
  const y = selfAttention(x, { causal: true });
  for (const t of [0, 1, 31, 32, 127, 128, 1000, 2047]) {
    let mean = 0;
    for (let s = 0; s <= t; s++) mean += values[s * heads * size + 3]! / (t + 1);
    expect(y.data()[t * heads * size + 3]).toBeCloseTo(mean, 5);
  }
  // dv of the last step is its own share of g; of the first step, 1 + 1/2 + 1/3 + ….
  const [g] = gradients(sum(y), [x]);
  const slopeOf = (t: number): number => g.data()[((3 * t + 2) * heads + 1) * size + 5]!;
  let harmonic = 0;
  for (let t = steps; t >= 1; t--) harmonic += 1 / t;
  expect(slopeOf(steps - 1)).toBeCloseTo(1 / steps, 6);
  expect(slopeOf(0)).toBeCloseTo(harmonic, 4);
  expect(attentionScratchBytes(size)).toBeLessThan(2 * 2 ** 20);
});

it('dropout leaves a share of the probabilities out, and the others grow; without it the kernel gives the same', () => {
  const steps = 40;
  const [q, k] = [numbers([6, steps, steps], -1, 1, 1), numbers([6, steps, steps], -1, 1, 2)];
  // Values that are unit vectors show the probabilities themselves.
  const v = expand(eye(steps), [6, steps, steps]);
  const whole = scaledDotProductAttention(q, k, v).data();
  for (const dropout of [0.1, 0.5]) {
    const some = withRandom({ seed: 5 }, () => scaledDotProductAttention(q, k, v, { dropout })).data();
    let dropped = 0;
    some.forEach((p: number, i: number) => {
      if (p === 0) dropped++;
      else expect(p / (whole[i]! / (1 - dropout))).toBeCloseTo(1, 4);
    });
    const deviation = Math.sqrt((dropout * (1 - dropout)) / some.length);
    expect(Math.abs(dropped / some.length - dropout)).toBeLessThan(5 * deviation);
    const calm = withTraining(false, () => scaledDotProductAttention(q, k, v, { dropout }));
    expect(calm.data()).toEqual(scaledDotProductAttention(q, k, v).data());
  }
});
