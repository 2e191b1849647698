/** Cutting and joining: windows on a tensor, and tensors made of parts. */
import { apply } from '../core/apply.ts';
import type { KernelOp, ViewOp } from '../core/op.ts';
import {
  axisFromEnd,
  expectArray,
  expectConstant,
  expectNumbers,
  expectReal,
  expectTensors,
  formatShape,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  sameShape,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { copyInto, type Emitter, expandedStrides, moved, type View } from '../core/view.ts';
import type { Axes } from './reduce.ts';
import { expand, flatten, permute, reshape, unsqueeze } from './shape.ts';

/** Element i of axis a is element starts[a] + i · steps[a] of the whole; the arrays belong to the last axes. */
interface Window {
  readonly starts: readonly number[];
  readonly steps: readonly number[];
}

/** A window of shape `sizes` on the last axes of a view. */
function windowOf({ address, shape, strides }: View, { starts, steps }: Window, sizes: Shape): View {
  const leading = shape.length - starts.length;
  const first = starts.reduce((sum, start, a) => sum + start * strides[leading + a]!, 0);
  return {
    address: moved(address, sizes.includes(0) ? 0 : first),
    shape: [...shape.slice(0, leading), ...sizes],
    strides: strides.map((stride, i) => (i < leading ? stride : stride * steps[i - leading]!)),
  };
}

// ─── slices ──────────────────────────────────────────────────────────────────────────────────────────────────────

export interface SliceAttrs extends Window {
  readonly sizes: Shape;
}

export const sliceOp: ViewOp<SliceAttrs> = {
  kind: 'view',
  name: 'slice',
  infer: ([x], { sizes }) => ({ shape: sizes, dtype: x!.dtype }),
  view: (input, attrs) => windowOf(input, attrs, attrs.sizes),
  backward: [(g, { inputs: [x], attrs: { starts, steps } }) => place(g, x!.shape, { starts, steps }, 0)],
};

/** [start, end) with a step; null: from the beginning, to the end. */
export type Range = readonly [start: number | null, end?: number | null, step?: number];

function resolveRange(x: Tensor, axis: number, [start, end, step = 1]: Range) {
  for (const bound of [start, end])
    if (bound !== null && bound !== undefined) expectReal('slice', 'range', bound);
  const n = x.shape[axis]!;
  const clip = (at: number): number => Math.min(Math.max(at < 0 ? at + n : at, 0), n);
  const [from, to] = [clip(start ?? 0), clip(end ?? n)];
  if (!(Number.isInteger(from) && Number.isInteger(to) && Number.isInteger(step) && step > 0)) {
    throw new OpError(
      'slice',
      `got [${start}, ${end}, ${step}] for axis ${axis} of ${formatSpec(x)}, expected whole numbers and a step above ` +
        '0; reverse with flip(x, axes)',
    );
  }
  return { start: from, step, size: Math.max(0, Math.ceil((to - from) / step)) };
}

/**
 * A part of each axis, like x[a:b, i, ::s] in Python: a `Range` (negative: from the end; clipped), a number, which picks
 * one element and drops the axis, or null for all. Missing axes are taken whole. No data move. Throws OpError.
 */
export function slice(x: Tensor, ...ranges: readonly (Range | number | null)[]): Tensor {
  expectTensors('slice', x);
  if (ranges.length > x.rank) {
    throw new OpError(
      'slice',
      `got ${ranges.length} ranges for ${formatSpec(x)}, expected at most ${x.rank}`,
    );
  }
  const parts = x.shape.map((n, axis) => {
    const range = ranges[axis] ?? null;
    if (range !== null && typeof range !== 'number') expectArray('slice', `range ${axis}`, range);
    if (typeof range !== 'number') return resolveRange(x, axis, range ?? [null]);
    if (!Number.isInteger(range) || range < -n || range >= n) {
      throw new OpError(
        'slice',
        `got ${range} for axis ${axis} of ${formatSpec(x)}, expected a whole number from ${-n} to ${n - 1}`,
      );
    }
    return { start: range < 0 ? range + n : range, step: 1, size: 1 };
  });
  const sizes = parts.map(({ size }) => size);
  const part = sameShape(sizes, x.shape)
    ? x
    : apply(sliceOp, [x], {
        starts: parts.map(({ start }) => start),
        steps: parts.map(({ step }) => step),
        sizes,
      });
  return reshape(
    part,
    sizes.filter((_, axis) => typeof ranges[axis] !== 'number'),
  );
}

/** `length` elements of `axis` from `start` on. No data move. Throws OpError. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  expectTensors('narrow', x);
  const at = x.rank + axisFromEnd('narrow', axis, x.rank);
  const n = x.shape[at]!;
  if (
    !(Number.isInteger(start) && Number.isInteger(length) && start >= 0 && length >= 0 && start + length <= n)
  ) {
    throw new OpError(
      'narrow',
      `got start ${start} and length ${length} for axis ${axis} of ${formatSpec(x)}, expected a part of its ${n} elements`,
    );
  }
  return slice(x, ...new Array<null>(at).fill(null), [start, start + length]);
}

/** Parts of `axis` of a size (the last may be smaller), or of the given sizes. Throws OpError. */
export function split(x: Tensor, sizes: number | readonly number[], axis = 0): Tensor[] {
  expectTensors('split', x);
  if (typeof sizes !== 'number') expectArray('split', 'sizes', sizes);
  const at = axisFromEnd('split', axis, x.rank);
  const n = x.shape[x.rank + at]!;
  const list =
    typeof sizes !== 'number'
      ? sizes
      : sizes > 0
        ? Array.from({ length: Math.max(1, Math.ceil(n / sizes)) }, (_, i) => Math.min(sizes, n - i * sizes))
        : [Number.NaN];
  const whole = list.every((size) => Number.isInteger(size) && size >= 0);
  if (!whole || list.reduce((sum, size) => sum + size, 0) !== n) {
    throw new OpError(
      'split',
      `got sizes ${typeof sizes === 'number' ? sizes : formatShape(sizes)} for axis ${axis} of ${formatSpec(x)}, expected ` +
        `whole numbers that add up to ${n}, or one above 0`,
    );
  }
  let start = 0;
  return list.map((size) => {
    start += size;
    return narrow(x, at, start - size, size);
  });
}

/** At most `count` parts of `axis` of ⌈n / count⌉ elements, as in PyTorch. Throws OpError. */
export function chunk(x: Tensor, count: number, axis = 0): Tensor[] {
  expectTensors('chunk', x);
  if (!Number.isInteger(count) || count < 1) {
    throw new OpError('chunk', `got ${count} chunks, expected a whole number above 0`);
  }
  const n = x.shape[x.rank + axisFromEnd('chunk', axis, x.rank)]!;
  return split(x, Math.max(1, Math.ceil(n / count)), axis);
}

// ─── padding ─────────────────────────────────────────────────────────────────────────────────────────────────────

export interface PlaceAttrs extends Window {
  readonly shape: Shape;
  readonly value: number;
  readonly isFloat: boolean;
}

function fill(emit: Emitter, target: View, { value, isFloat }: PlaceAttrs): void {
  emit.elementwise({
    dims: target.shape,
    inputs: [],
    steps: [{ op: 'constant', args: [], ...(isFloat ? { imm: value } : { bits: value }) }],
    outputs: [{ address: target.address, value: 0 }],
  });
}

/** Puts a tensor into a larger one of a constant: what padding is, and the gradient of slices. */
export const placeOp: KernelOp<PlaceAttrs> = {
  kind: 'kernel',
  name: 'place',
  infer: ([x], { shape }) => ({ shape, dtype: x!.dtype }),
  lower: (emit, output, [input], attrs) => {
    const x = input!;
    const target = windowOf(output, attrs, x.shape.slice(x.shape.length - attrs.shape.length));
    if (!sameShape(target.shape, output.shape)) fill(emit, output, attrs);
    const source = { ...x, shape: target.shape, strides: expandedStrides(x, target.shape) };
    if (!source.shape.includes(0)) copyInto(emit, source, target);
  },
  backward: [
    (g, { inputs: [x], attrs: { starts, steps } }) => apply(sliceOp, [g], { starts, steps, sizes: x!.shape }),
  ],
};

const place = (x: Tensor, shape: Shape, { starts, steps }: Window, value: number): Tensor =>
  apply(placeOp, [x], { shape, starts, steps, value, isFloat: x.dtype === 'f32' });

/**
 * Adds `value` around a tensor: one [before, after] per axis, for the last axes if there are fewer of them than axes.
 * Throws OpError.
 */
export function pad(
  x: Tensor,
  widths: readonly (readonly [before: number, after: number])[],
  value = 0,
): Tensor {
  expectTensors('pad', x);
  expectArray('pad', 'widths', widths);
  for (const pair of widths) expectNumbers('pad', 'a width', pair);
  const valid = widths.every(
    (pair) => pair.length === 2 && pair.every((width) => Number.isInteger(width) && width >= 0),
  );
  if (!valid || widths.length > x.rank) {
    throw new OpError(
      'pad',
      `got widths [${widths.map((pair) => formatShape(pair)).join(', ')}] for ${formatSpec(x)}, expected at most ` +
        `${x.rank} pairs of whole numbers from 0 on; cut with narrow or slice`,
    );
  }
  expectConstant('pad', value, x.dtype);
  const all = [...new Array<[number, number]>(x.rank - widths.length).fill([0, 0]), ...widths];
  if (all.every(([before, after]) => before + after === 0)) return x;
  return place(
    x,
    x.shape.map((n, axis) => n + all[axis]![0] + all[axis]![1]),
    { starts: all.map(([before]) => before), steps: all.map(() => 1) },
    value,
  );
}

// ─── joining ─────────────────────────────────────────────────────────────────────────────────────────────────────

export interface AxisAttrs {
  /** Counted from the end. */
  readonly axis: number;
}

export const concatOp: KernelOp<AxisAttrs> = {
  kind: 'kernel',
  name: 'concat',
  infer: (inputs, { axis }) => {
    const [first] = inputs;
    const rank = first!.shape.length;
    const fits = inputs.every(
      ({ shape, dtype }) =>
        dtype === first!.dtype &&
        shape.length === rank &&
        shape.every((n, i) => i === rank + axis || n === first!.shape[i]),
    );
    if (!fits) {
      throw new OpError(
        'concat',
        `got ${inputs.map(formatSpec).join(', ')} along axis ${axis}, expected one type and equal sizes in all other axes`,
      );
    }
    const size = inputs.reduce((sum, { shape }) => sum + shape[rank + axis]!, 0);
    return { shape: first!.shape.map((n, i) => (i === rank + axis ? size : n)), dtype: first!.dtype };
  },
  lower: (emit, output, inputs, { axis }) => {
    let start = 0;
    for (const input of inputs) {
      const size = input.shape.at(axis)!;
      const shape = output.shape.map((n, i) => (i === output.shape.length + axis ? size : n));
      const target = { ...output, address: moved(output.address, start * output.strides.at(axis)!), shape };
      const source = { ...input, shape, strides: expandedStrides(input, shape) };
      if (!shape.includes(0)) copyInto(emit, source, target);
      start += size;
    }
  },
  backward:
    (index) =>
    (g, { inputs, attrs: { axis } }) => {
      const size = (x: Tensor): number => x.shape.at(axis)!;
      const start = inputs.slice(0, index).reduce((sum, x) => sum + size(x), 0);
      return narrow(g, axis, start, size(inputs[index]!));
    },
};

/** Tensors one after another along an axis that they have. Throws OpError. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  expectArray('concat', 'tensors', tensors);
  expectTensors('concat', ...tensors);
  const [first] = tensors;
  if (!first) throw new OpError('concat', 'got no tensors, expected at least one');
  const at = axisFromEnd('concat', axis, first.rank);
  return tensors.length === 1 ? first : apply(concatOp, tensors, { axis: at });
}

/** Tensors of one shape along a new axis before `axis`. Throws OpError. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  expectArray('stack', 'tensors', tensors);
  expectTensors('stack', ...tensors);
  const [first] = tensors;
  if (!first || !tensors.every(({ shape }) => sameShape(shape, first.shape))) {
    const got = first ? tensors.map(formatSpec).join(', ') : 'no tensors';
    throw new OpError('stack', `got ${got}, expected tensors of one shape`);
  }
  const at = axisFromEnd('stack', axis, first.rank + 1);
  const wide = tensors.map((x) => unsqueeze(x, at));
  return inNameOf('stack', () => concat(wide, at));
}

// ─── other orders ────────────────────────────────────────────────────────────────────────────────────────────────

export interface FlipAttrs {
  /** Counted from the end. */
  readonly axes: readonly number[];
}

export const flipOp: KernelOp<FlipAttrs> = {
  kind: 'kernel',
  name: 'flip',
  infer: ([x]) => x!,
  lower: (emit, output, [input], { axes }) => {
    const { address, shape, strides } = input!;
    if (shape.includes(0)) return;
    const rank = shape.length;
    const last = axes.reduce((sum, axis) => sum + (shape[rank + axis]! - 1) * strides[rank + axis]!, 0);
    const backwards = strides.map((stride, i) => (axes.includes(i - rank) ? -stride : stride));
    copyInto(emit, { address: moved(address, last), shape, strides: backwards }, output);
  },
  backward: [(g, { attrs }) => apply(flipOp, [g], attrs)],
};

/** The elements of `axes` in reverse. Throws OpError. */
export function flip(x: Tensor, axes: number | readonly number[]): Tensor {
  expectTensors('flip', x);
  const list = [...new Set([axes].flat().map((axis) => axisFromEnd('flip', axis, x.rank)))];
  return list.length === 0 ? x : apply(flipOp, [x], { axes: list });
}

/**
 * Elements moved by `shift` along `axis`, or by a shift along each of several axes; what leaves at one end comes in at the
 * other. Without an axis all elements move in their row-major order, as in PyTorch. Throws OpError.
 */
export function roll(x: Tensor, shift: number | readonly number[], axis?: Axes): Tensor {
  expectTensors('roll', x);
  if (axis === undefined) return reshape(roll(reshape(x, [x.size]), shift, 0), x.shape);
  const [shifts, axes] = [[shift].flat(), [axis].flat()];
  if (!shifts.every(Number.isInteger) || shifts.length !== axes.length) {
    throw new OpError('roll', `got shift ${shift} along axis ${axis}, expected a whole number for each axis`);
  }
  return axes.reduce((rolled, along, i) => rollAlong(rolled, shifts[i]!, along), x);
}

function rollAlong(x: Tensor, shift: number, axis: number): Tensor {
  const at = axisFromEnd('roll', axis, x.rank);
  const n = x.shape[x.rank + at]!;
  const cut = n === 0 ? 0 : ((-shift % n) + n) % n;
  return cut === 0 ? x : concat([narrow(x, at, cut, n - cut), narrow(x, at, 0, cut)], at);
}

/** The whole tensor again and again: `counts[i]` times along axis i (new axes on the left). Throws OpError. */
export function repeat(x: Tensor, counts: readonly number[]): Tensor {
  expectTensors('repeat', x);
  expectArray('repeat', 'counts', counts);
  if (counts.length < x.rank || !counts.every((count) => Number.isInteger(count) && count >= 0)) {
    throw new OpError(
      'repeat',
      `got counts ${formatShape(counts)} for ${formatSpec(x)}, expected at least ${x.rank} whole numbers from 0 on`,
    );
  }
  const shape = [...new Array<number>(counts.length - x.rank).fill(1), ...x.shape];
  const pairs = (first: (i: number) => number): number[] => shape.flatMap((n, i) => [first(i), n]);
  const wide = expand(
    reshape(
      x,
      pairs(() => 1),
    ),
    pairs((i) => counts[i]!),
  );
  return reshape(
    wide,
    shape.map((n, i) => n * counts[i]!),
  );
}

/** The elements [i, i] of two axes of one size, along a new last axis. Throws OpError. */
export function diagonal(x: Tensor, axisA = -2, axisB = -1): Tensor {
  expectTensors('diagonal', x);
  const [a, b] = [axisFromEnd('diagonal', axisA, x.rank), axisFromEnd('diagonal', axisB, x.rank)];
  const n = x.shape[x.rank + a]!;
  if (a === b || x.shape[x.rank + b] !== n) {
    throw new OpError(
      'diagonal',
      `got axes ${axisA} and ${axisB} of ${formatSpec(x)}, expected two axes of one size`,
    );
  }
  const others = x.shape.map((_, i) => i - x.rank).filter((axis) => axis !== a && axis !== b);
  const flat = flatten(permute(x, [...others, a, b]), others.length);
  return slice(flat, ...others.map(() => null), [null, null, n + 1]);
}
