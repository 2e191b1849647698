/** The backward kernels of fused layers against their gradients in tensor ops, which are used where more is asked. */
import { expect, it } from 'vitest';
import { numbers, opTests } from '../test/cases.ts';
import { gradients, mul, sum, type Tensor, tensor, variable, withPrecision } from './index.ts';

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
