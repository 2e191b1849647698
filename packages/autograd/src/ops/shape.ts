/** Ops that move no data: other windows on the same memory. */
import { apply } from '../core/apply.ts';
import type { ViewOp } from '../core/op.ts';
import {
  axisFromEnd,
  expectArray,
  expectNumbers,
  expectTensors,
  expectWhole,
  formatShape,
  formatSpec,
  OpError,
  type Shape,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { contiguousView, isContiguous } from '../core/view.ts';

export interface ShapeAttrs {
  readonly shape: Shape;
}

export const reshapeOp: ViewOp<ShapeAttrs> = {
  kind: 'view',
  name: 'reshape',
  infer: ([x], { shape }) => {
    if (sizeOf(shape) !== sizeOf(x!.shape) || !shape.every((n) => Number.isInteger(n) && n >= 0)) {
      throw new OpError(
        'reshape',
        `got ${formatSpec(x!)} (${sizeOf(x!.shape)} elements) and shape ${formatShape(shape)} (${sizeOf(shape)} ` +
          'elements), expected as many elements; one size may be -1',
      );
    }
    return { shape, dtype: x!.dtype };
  },
  view: (input, { shape }, leading) =>
    isContiguous(input)
      ? contiguousView(input.address, [...input.shape.slice(0, leading), ...shape])
      : undefined,
  backward: [(g, { inputs }) => reshape(g, inputs[0]!.shape)],
};

/** The same elements in another shape; one size may be −1 and is then inferred. Throws OpError. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  expectTensors('reshape', x);
  expectNumbers('reshape', 'shape', shape);
  const known = sizeOf(shape.filter((n) => n !== -1));
  const inferred = x.size / known;
  const full = Number.isInteger(inferred) ? shape.map((n) => (n === -1 ? inferred : n)) : shape;
  if (full.length === x.rank && full.every((n, i) => n === x.shape[i])) return x;
  return apply(reshapeOp, [x], { shape: full });
}

/** Merges the axes from `start` (default 1: all but the batch) to the end. Throws OpError. */
export function flatten(x: Tensor, start = 1): Tensor {
  expectTensors('flatten', x);
  const at = start === x.rank ? start : x.rank + axisFromEnd('flatten', start, x.rank);
  return reshape(x, [...x.shape.slice(0, at), sizeOf(x.shape.slice(at))]);
}

export interface AxesAttrs {
  /** Source axis of each output axis, counted from the end. */
  readonly axes: readonly number[];
}

export const permuteOp: ViewOp<AxesAttrs> = {
  kind: 'view',
  name: 'permute',
  infer: ([x], { axes }) => {
    const rank = x!.shape.length;
    if (axes.length !== rank || new Set(axes).size !== rank) {
      throw new OpError(
        'permute',
        `got axes ${formatShape(axes)} for ${formatSpec(x!)}, expected each axis once`,
      );
    }
    return { shape: axes.map((axis) => x!.shape[rank + axis]!), dtype: x!.dtype };
  },
  view: ({ address, shape, strides }, { axes }, leading) => {
    const source = [...shape.slice(0, leading).keys(), ...axes.map((axis) => shape.length + axis)];
    return { address, shape: source.map((i) => shape[i]!), strides: source.map((i) => strides[i]!) };
  },
  backward: [
    (g, { attrs }) => {
      const rank = attrs.axes.length;
      const inverse = new Array<number>(rank);
      attrs.axes.forEach((axis, i) => {
        inverse[rank + axis] = i - rank;
      });
      return apply(permuteOp, [g], { axes: inverse });
    },
  ],
};

/** Axes in another order: output axis i is input axis `axes[i]`. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  expectTensors('permute', x);
  expectArray('permute', 'axes', axes);
  return apply(permuteOp, [x], { axes: axes.map((axis) => axisFromEnd('permute', axis, x.rank)) });
}

/** Two axes swapped; the last two by default. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  expectTensors('transpose', x);
  const axes = x.shape.map((_, i) => i - x.rank);
  const [i, j] = [axisFromEnd('transpose', a, x.rank), axisFromEnd('transpose', b, x.rank)];
  axes[x.rank + i] = j;
  axes[x.rank + j] = i;
  return apply(permuteOp, [x], { axes });
}

export const expandOp: ViewOp<ShapeAttrs> = {
  kind: 'view',
  name: 'expand',
  infer: ([x], { shape }) => {
    if (shape.length !== x!.shape.length || x!.shape.some((n, i) => n !== shape[i] && n !== 1)) {
      throw new OpError(
        'expand',
        `got ${formatSpec(x!)} and shape ${formatShape(shape)}, expected equal sizes except where the input has 1`,
      );
    }
    return { shape, dtype: x!.dtype };
  },
  view: ({ address, shape, strides }, attrs, leading) => {
    const target = [...shape.slice(0, leading), ...attrs.shape];
    return {
      address,
      shape: target,
      strides: strides.map((stride, i) => (i >= leading && shape[i] === 1 ? 0 : stride)),
    };
  },
  // The engine sums the gradient to the input's shape.
  backward: [(g) => g],
};

/** Repeats axes of size 1 to reach `shape`; further axes are added on the left. */
export function expand(x: Tensor, shape: Shape): Tensor {
  expectTensors('expand', x);
  expectArray('expand', 'shape', shape);
  const padded = withRank(x, shape.length);
  const full = shape.map((n, i) => (n === -1 ? padded.shape[i]! : n));
  if (full.every((n, i) => n === padded.shape[i])) return padded;
  return apply(expandOp, [padded], { shape: full });
}

/** Adds axes of size 1 on the left until the tensor has `rank` axes. */
export function withRank(x: Tensor, rank: number): Tensor {
  expectTensors('withRank', x);
  expectWhole('withRank', 'rank', rank, 0);
  return x.rank >= rank ? x : reshape(x, [...new Array<number>(rank - x.rank).fill(1), ...x.shape]);
}

/** Adds an axis of size 1 before `axis` (−1: at the end). */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  expectTensors('unsqueeze', x);
  const at = x.rank + 1 + axisFromEnd('unsqueeze', axis, x.rank + 1);
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

/** Removes `axis`, which must have size 1; without one, all axes of size 1. Throws OpError. */
export function squeeze(x: Tensor, axis?: number): Tensor {
  expectTensors('squeeze', x);
  if (axis === undefined)
    return reshape(
      x,
      x.shape.filter((n) => n !== 1),
    );
  const at = x.rank + axisFromEnd('squeeze', axis, x.rank);
  if (x.shape[at] !== 1) {
    throw new OpError('squeeze', `got ${formatSpec(x)} and axis ${axis}, expected an axis of size 1`);
  }
  return reshape(
    x,
    x.shape.filter((_, i) => i !== at),
  );
}
