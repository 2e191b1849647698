/** The backward kernels of fused layers against their gradients in tensor ops, which are used where more is asked. */
import { expect, it } from 'vitest';
import { numbers, opTests } from '../test/cases.ts';
import {
  checkGradients,
  gradients,
  mul,
  recurrent,
  sum,
  type Tensor,
  tensor,
  variable,
  withPrecision,
} from './index.ts';

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
