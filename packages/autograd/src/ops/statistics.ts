/** Reductions made of other ops, and running sums. */
import { apply } from '../core/apply.ts';
import type { KernelOp } from '../core/op.ts';
import {
  axisFromEnd,
  expectDType,
  expectTensors,
  inNameOf,
  OpError,
  type Shape,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { materialize } from '../core/view.ts';
import {
  abs,
  cast,
  div,
  eq,
  full,
  gt,
  logicalNot,
  mul,
  pow,
  sqrt,
  square,
  sub,
  where,
} from './elementwise.ts';
import { narrow } from './parts.ts';
import { type Axes, max, mean, type ReduceOptions, sum } from './reduce.ts';
import { flatten, permute, reshape } from './shape.ts';

/** `axes` (default: all) merged into one last axis, and the shape of x without them. */
export function lastOf(
  op: string,
  x: Tensor,
  axes: Axes | undefined,
): { rows: Tensor; kept: Shape; full: Shape } {
  const list = axes === undefined ? x.shape.map((_, i) => i) : [axes].flat();
  const reduced = new Set(list.map((axis) => axisFromEnd(op, axis, x.rank)));
  const all = x.shape.map((_, i) => i - x.rank);
  const others = all.filter((axis) => !reduced.has(axis));
  const order = [...others, ...all.filter((axis) => reduced.has(axis))];
  const sorted = order.every((axis, i) => axis === all[i]) ? x : permute(x, order);
  return {
    rows: reduced.size === 0 ? reshape(x, [...x.shape, 1]) : flatten(sorted, others.length),
    kept: others.map((axis) => x.shape[x.rank + axis]!),
    full: x.shape.map((n, i) => (reduced.has(i - x.rank) ? 1 : n)),
  };
}

/**
 * Product over `axes` (default: all; 1 where there is nothing): by halves, so that gradients of any order are right even
 * where an element is 0. Throws OpError.
 */
export function prod(x: Tensor, axes?: Axes, { keepDims = false }: ReduceOptions = {}): Tensor {
  expectDType('prod', 'input', x, 'f32');
  const { rows, kept, full: shape } = lastOf('prod', x, axes);
  let part = rows;
  let odd: Tensor | undefined;
  for (let n = rows.shape.at(-1)!; n > 1; n = part.shape.at(-1)!) {
    const half = Math.floor(n / 2);
    if (n % 2 === 1) {
      const last = narrow(part, -1, n - 1, 1);
      odd = odd ? mul(odd, last) : last;
    }
    part = mul(narrow(part, -1, 0, half), narrow(part, -1, half, half));
  }
  if (part.shape.at(-1) === 0) return full(keepDims ? shape : kept, 1);
  return reshape(odd ? mul(part, odd) : part, keepDims ? shape : kept);
}

/** √s with the gradient 0 where s is 0. */
function rootOf(s: Tensor): Tensor {
  const zero = eq(s, 0);
  return where(zero, 0, sqrt(where(zero, 1, s)));
}

export interface VarianceOptions extends ReduceOptions {
  /** The sum of squares is divided by n − correction. Default 1 (Bessel); 0 for the whole population. */
  readonly correction?: number;
}

/** Variance over `axes` (default: all), by the mean first. Throws OpError. */
export function variance(
  x: Tensor,
  axes?: Axes,
  { correction = 1, keepDims = false }: VarianceOptions = {},
): Tensor {
  return inNameOf('variance', () => {
    const centred = sub(x, mean(x, axes, { keepDims: true }));
    const total = sum(square(centred), axes, { keepDims });
    const n = total.size === 0 ? 1 : x.size / total.size;
    return div(total, Math.max(0, n - correction));
  });
}

/** Standard deviation: the root of `variance`; its gradient is 0 where it is 0. Throws OpError. */
export const std = (x: Tensor, axes?: Axes, options: VarianceOptions = {}): Tensor =>
  inNameOf('std', () => rootOf(variance(x, axes, options)));

export interface NormOptions extends ReduceOptions {
  /** Order: (Σ |x|^p)^(1/p), or the largest |x| for Infinity. Default 2. */
  readonly p?: number;
}

/** Norm of the elements over `axes` (default: all); its gradient is 0 where it is 0. Throws OpError. */
export function norm(x: Tensor, axes?: Axes, { p = 2, ...options }: NormOptions = {}): Tensor {
  if (!(p > 0)) throw new OpError('norm', `got p = ${p}, expected a number above 0 or Infinity`);
  return inNameOf('norm', () => normOf(x, axes, p, options));
}

function normOf(x: Tensor, axes: Axes | undefined, p: number, options: ReduceOptions): Tensor {
  if (p === Infinity) return max(abs(x), axes, options);
  if (p === 1) return sum(abs(x), axes, options);
  if (p === 2) return rootOf(sum(square(x), axes, options));
  const absent = eq(x, 0);
  const powers = where(absent, 0, pow(where(absent, 1, abs(x)), p));
  const total = sum(powers, axes, options);
  const zero = eq(total, 0);
  return where(zero, 0, pow(where(zero, 1, total), 1 / p));
}

/** Whether any element over `axes` (default: all) is true, or not 0. */
export const any = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  inNameOf('any', () => gt(sum(cast(cast(x, 'bool'), 'f32'), axes, options), 0));

/** Whether all elements over `axes` (default: all) are true, or not 0. */
export const all = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  inNameOf('all', () => eq(sum(cast(logicalNot(cast(x, 'bool')), 'f32'), axes, options), 0));

export interface CumsumAttrs {
  /** Counted from the end. */
  readonly axis: number;
  /** Sums from each element to the end. */
  readonly reverse: boolean;
}

export const cumsumOp: KernelOp<CumsumAttrs> = {
  kind: 'kernel',
  name: 'cumsum',
  infer: ([x]) => {
    expectDType('cumsum', 'input', x!, 'f32');
    return x!;
  },
  lower: (emit, output, [input], { axis, reverse }) => {
    const x = materialize(emit, input!);
    const at = x.shape.length + axis;
    emit.call('cumsum', {
      out: output.address,
      in: x.address,
      outer: sizeOf(x.shape.slice(0, at)),
      n: x.shape[at]!,
      inner: sizeOf(x.shape.slice(at + 1)),
      reverse: Number(reverse),
    });
  },
  backward: [(g, { attrs: { axis, reverse } }) => apply(cumsumOp, [g], { axis, reverse: !reverse })],
};

/** Running sums along `axis`: x₀, x₀ + x₁, …, in order. A scalar is one element. Throws OpError. */
export function cumsum(x: Tensor, axis = -1): Tensor {
  expectTensors('cumsum', x);
  if (x.rank === 0) return reshape(cumsum(reshape(x, [1]), axis), []);
  return apply(cumsumOp, [x], { axis: axisFromEnd('cumsum', axis, x.rank), reverse: false });
}
