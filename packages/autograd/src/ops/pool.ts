/**
 * Pooling over the last two axes, and resizing. The place of a maximum is found again in the backward pass instead of
 * being stored: nothing but the input is kept.
 */
import { apply, shortcut, tensor } from '../core/apply.ts';
import type { KernelOp } from '../core/op.ts';
import {
  expectDType,
  expectWhole,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  type Spec,
  sameShape,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Emitter, materialize, type View } from '../core/view.ts';
import { asRows, fromRows, type Pair, type PerAxis, pairOf } from './conv.ts';
import { add, addOp, div, relu, reluOp } from './elementwise.ts';
import { indexSelect } from './indexing.ts';
import { matmul } from './matmul.ts';
import { expand, reshape } from './shape.ts';

export interface PoolAttrs {
  readonly kernel: Pair;
  readonly stride: Pair;
  /** Skipped positions before the first row and column. */
  readonly padding: Pair;
  readonly dilation: Pair;
  /** Height and width of the op's result: of the outputs, or of the images. */
  readonly size: Pair;
}

const lastTwo = (shape: Shape): Pair => shape.slice(-2) as unknown as Pair;

function expectPlanes(op: string, what: string, spec: Spec): void {
  expectDType(op, what, spec, 'f32');
  if (spec.shape.length < 2 || lastTwo(spec.shape).some((n) => n < 1)) {
    throw new OpError(
      op,
      `got ${what} ${formatSpec(spec)}, expected [..., height, width] of at least 1 each`,
    );
  }
}

/** Operands of an instruction: `images` planes of `from`, outputs of `to`. */
const windowOf = (planes: View, from: Pair, to: Pair, attrs: PoolAttrs) => ({
  ...{ images: sizeOf(planes.shape.slice(0, -2)), h: from[0], w: from[1], oh: to[0], ow: to[1] },
  ...{ kh: attrs.kernel[0], kw: attrs.kernel[1], strideH: attrs.stride[0], strideW: attrs.stride[1] },
  ...{ padH: attrs.padding[0], padW: attrs.padding[1] },
  ...{ dilationH: attrs.dilation[0], dilationW: attrs.dilation[1] },
});

/** Contiguous views with as many planes as the output has, repeated where they are alike in all shards. */
const aligned = (emit: Emitter, output: View, inputs: readonly View[]): View[] =>
  inputs.map((input) => materialize(emit, input, [...output.shape.slice(0, -2), ...lastTwo(input.shape)]));

const resized = (name: string, what: string, x: Spec, size: Pair): Spec => {
  expectPlanes(name, what, x);
  return { shape: [...x.shape.slice(0, -2), ...size], dtype: 'f32' };
};

const sized = (attrs: PoolAttrs, like: Spec): PoolAttrs => ({ ...attrs, size: lastTwo(like.shape) });

/** The greatest of each window; the first of equal ones, or the first NaN. */
export const maxPool2dOp: KernelOp<PoolAttrs> = {
  kind: 'kernel',
  name: 'maxPool2d',
  infer: ([x], { size }) => resized('maxPool2d', 'input', x!, size),
  lower: (emit, output, inputs, attrs) => {
    const [x] = aligned(emit, output, inputs) as [View];
    emit.call('maxPool2d', {
      ...{ out: output.address, in: x.address, values: x.address },
      ...windowOf(output, lastTwo(x.shape), attrs.size, attrs),
    });
  },
  backward: [(g, { inputs: [x], attrs }) => apply(maxPool2dGradOp, [x!, g], sized(attrs, x!))],
};

/** Of a second tensor, what lies where the first has the greatest of each window. */
export const maxPool2dPickOp: KernelOp<PoolAttrs> = {
  kind: 'kernel',
  name: 'maxPool2dPick',
  infer: ([x, values], { size }) => {
    expectSame('maxPool2dPick', x!, values!, 2);
    return resized('maxPool2dPick', 'input', x!, size);
  },
  lower: (emit, output, inputs, attrs) => {
    const [x, values] = aligned(emit, output, inputs) as [View, View];
    emit.call('maxPool2d', {
      ...{ out: output.address, in: x.address, values: values.address },
      ...windowOf(output, lastTwo(x.shape), attrs.size, attrs),
    });
  },
  backward: ['flat', (g, { inputs: [x], attrs }) => apply(maxPool2dGradOp, [x!, g], sized(attrs, x!))],
};

/** Brings each output's gradient to the place of its greatest. */
export const maxPool2dGradOp: KernelOp<PoolAttrs> = {
  kind: 'kernel',
  name: 'maxPool2dGrad',
  infer: ([x, g], { size }) => {
    expectSame('maxPool2dGrad', x!, g!, 0);
    return resized('maxPool2dGrad', 'input', x!, size);
  },
  lower: (emit, output, inputs, attrs) => {
    const [x, g] = aligned(emit, output, inputs) as [View, View];
    emit.call('maxPool2dGrad', {
      ...{ out: output.address, in: x.address, grad: g.address },
      ...windowOf(output, attrs.size, lastTwo(g.shape), attrs),
    });
  },
  backward: ['flat', (u, { inputs: [x, g], attrs }) => apply(maxPool2dPickOp, [x!, u], sized(attrs, g!))],
};

/** Equal axes but for the last two, of which `planeAxes` are compared, too. */
function expectSame(op: string, x: Spec, other: Spec, planeAxes: 0 | 2): void {
  const compared = (spec: Spec): string => spec.shape.slice(0, planeAxes === 2 ? undefined : -2).join();
  if (x.shape.length === other.shape.length && compared(x) === compared(other)) return;
  throw new OpError(op, `got ${formatSpec(x)} and ${formatSpec(other)}, expected planes for planes`);
}

export const sumPool2dOp: KernelOp<PoolAttrs> = {
  kind: 'kernel',
  name: 'sumPool2d',
  infer: ([x], { size }) => resized('sumPool2d', 'input', x!, size),
  lower: (emit, output, inputs, attrs) => {
    const [x] = aligned(emit, output, inputs) as [View];
    emit.call('sumPool2d', {
      ...{ out: output.address, in: x.address },
      ...windowOf(output, lastTwo(x.shape), attrs.size, attrs),
    });
  },
  backward: [(g, { inputs: [x], attrs }) => apply(sumPool2dGradOp, [g], sized(attrs, x!))],
};

export const sumPool2dGradOp: KernelOp<PoolAttrs> = {
  kind: 'kernel',
  name: 'sumPool2dGrad',
  infer: ([g], { size }) => resized('sumPool2dGrad', 'input', g!, size),
  lower: (emit, output, inputs, attrs) => {
    const [g] = aligned(emit, output, inputs) as [View];
    emit.call('sumPool2dGrad', {
      ...{ out: output.address, in: g.address },
      ...windowOf(output, attrs.size, lastTwo(g.shape), attrs),
    });
  },
  backward: [(u, { inputs: [g], attrs }) => apply(sumPool2dOp, [u], sized(attrs, g!))],
};

// ─── what users call ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface PoolOptions {
  /** Default: the kernel's size, so that windows lie side by side. */
  readonly stride?: PerAxis;
  /** Positions around the image that count as none, at most half of the kernel. Default 0. */
  readonly padding?: PerAxis;
  /** A last window may hang over the border. Default false. */
  readonly ceilMode?: boolean;
}
export interface MaxPoolOptions extends PoolOptions {
  /** Distance between the positions of a window. Default 1. */
  readonly dilation?: PerAxis;
}
export interface AvgPoolOptions extends PoolOptions {
  /** Divide by the size of the kernel also where a part of it lies in the padding. Default true. */
  readonly countIncludePad?: boolean;
}

const bothAxes = (f: (axis: 0 | 1) => number): Pair => [f(0), f(1)];

/** Checked options, and how many windows there are (as PyTorch: one that begins behind the image is left out). */
function attrsOf(op: string, x: Spec, kernelSize: PerAxis, options: MaxPoolOptions): PoolAttrs {
  expectPlanes(op, 'input', x);
  const kernel = pairOf(op, 'kernel', kernelSize, 1);
  const stride = pairOf(op, 'stride', options.stride ?? kernel, 1);
  const padding = pairOf(op, 'padding', options.padding ?? 0, 0);
  const dilation = pairOf(op, 'dilation', options.dilation ?? 1, 1);
  if (padding.some((n, axis) => 2 * n > kernel[axis]!)) {
    throw new OpError(
      op,
      `got padding ${padding} for a kernel of ${kernel.join(' × ')}, expected at most half of it`,
    );
  }
  const image = lastTwo(x.shape);
  const size = bothAxes((axis) => {
    const room = image[axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1;
    if (!options.ceilMode) return Math.floor(room / stride[axis]) + 1;
    const count = Math.ceil(room / stride[axis]) + 1;
    return (count - 1) * stride[axis] >= image[axis] + padding[axis] ? count - 1 : count;
  });
  if (size.some((n) => n < 1)) {
    throw new OpError(
      op,
      `got input ${formatSpec(x)} and a kernel of ${kernel.join(' × ')}, expected one that fits into the image`,
    );
  }
  const attrs = { kernel, stride, padding, dilation, size };
  for (const axis of [0, 1] as const) {
    if (windowsMeet(attrs, image[axis], axis)) continue;
    throw new OpError(
      op,
      `got input ${formatSpec(x)}, a kernel of ${kernel.join(' × ')}, padding ${padding} and dilation ${dilation}, expected ` +
        'windows that each reach into the image; lower the padding or the dilation',
    );
  }
  return attrs;
}

/** Whether every window has a position in the image; with a dilation all of one may lie in the padding. */
function windowsMeet(
  { kernel, stride, padding, dilation, size }: PoolAttrs,
  n: number,
  axis: 0 | 1,
): boolean {
  return Array.from({ length: size[axis] }, (_, i) => i * stride[axis] - padding[axis]).every((start) =>
    Array.from({ length: kernel[axis] }, (_, k) => start + k * dilation[axis]).some(
      (at) => at >= 0 && at < n,
    ),
  );
}

/**
 * Greatest of each window of [..., height, width], as PyTorch's max_pool2d. NaN if there is one. Throws OpError.
 *
 * A relu and a bias of each channel before it are done after it, on what is left: both never change which of two numbers is
 * the greater, so the values have the same bits, and there is less to compute and nothing large to keep. Gradients with respect
 * to the relu's and the sum's results are there all the same: see Note [Shortcuts]. (Of numbers that only rounding makes
 * equal, the greatest before the bias gets the gradient.)
 */
export function maxPool2d(x: Tensor, kernel: PerAxis, options: MaxPoolOptions = {}): Tensor {
  const attrs = attrsOf('maxPool2d', x, kernel, options);
  const rest = monotone(x);
  if (!rest) return apply(maxPool2dOp, [x], attrs);
  return shortcut(rest.again(maxPool2d(rest.input, kernel, options)), maxPool2dOp, x, attrs);
}

/** The input of the op that made x, and the same op on another input, where it keeps the order within a plane. */
function monotone(x: Tensor): { readonly input: Tensor; readonly again: (y: Tensor) => Tensor } | undefined {
  const { op, inputs = [] } = x.origin ?? {};
  const [input, other] = inputs;
  if (op === reluOp) return { input: input!, again: relu };
  const isBias = other?.shape.slice(-2).every((n) => n === 1) && sameShape(input!.shape, x.shape);
  return op === addOp && isBias ? { input: input!, again: (y) => add(y, other!) } : undefined;
}

/** Mean of each window of [..., height, width], as PyTorch's avg_pool2d. Throws OpError. */
export function avgPool2d(x: Tensor, kernel: PerAxis, options: AvgPoolOptions = {}): Tensor {
  const attrs = attrsOf('avgPool2d', x, kernel, options);
  const { countIncludePad = true } = options;
  const counts = bothAxesOf((axis) => windowLengths(attrs, lastTwo(x.shape), axis, countIncludePad));
  const sums = apply(sumPool2dOp, [x], attrs);
  const [rows, columns] = counts;
  const uniform = counts.every((lengths) => lengths.every((n) => n === lengths[0]));
  if (uniform) return div(sums, rows[0]! * columns[0]!);
  const sizes = rows.flatMap((height) => columns.map((width) => height * width));
  return div(sums, tensor(sizes, { shape: attrs.size }));
}

const bothAxesOf = <T>(f: (axis: 0 | 1) => T): readonly [T, T] => [f(0), f(1)];

/** How many positions each window counts along an axis; those beyond the padding never do. */
function windowLengths(attrs: PoolAttrs, image: Pair, axis: 0 | 1, withPadding: boolean): number[] {
  const [kernel, stride, padding] = [attrs.kernel[axis], attrs.stride[axis], attrs.padding[axis]];
  const [low, high] = withPadding ? [-padding, image[axis] + padding] : [0, image[axis]];
  return Array.from({ length: attrs.size[axis] }, (_, i) => {
    const start = i * stride - padding;
    return Math.min(start + kernel, high) - Math.max(start, low);
  });
}

/** A linear map of one axis as a matrix [to, from], from the weights of each of its rows. */
const mapOf = (
  from: number,
  to: number,
  weights: (row: number) => readonly (readonly [number, number])[],
): Tensor => {
  const values = new Float64Array(to * from);
  for (let row = 0; row < to; row++) {
    for (const [column, weight] of weights(row)) values[row * from + column]! += weight;
  }
  return tensor(Array.from(values), { shape: [to, from] });
};

/** Rows · x · columnsᵀ over the last two axes. */
const mapPlanes = (x: Tensor, rows: Tensor, columns: Tensor): Tensor =>
  matmul(rows, matmul(x, columns, { transB: true }));

/**
 * Means of size[0] × size[1] windows that cover [..., height, width] evenly, as PyTorch's adaptive_avg_pool2d: window i is
 * from ⌊i · n / size⌋ to ⌈(i + 1) · n / size⌉. Throws OpError.
 */
export function adaptiveAvgPool2d(x: Tensor, size: PerAxis): Tensor {
  const op = 'adaptiveAvgPool2d';
  expectPlanes(op, 'input', x);
  const to = pairOf(op, 'size', size, 1);
  const from = lastTwo(x.shape);
  if (from.every((n, axis) => n % to[axis]! === 0))
    return avgPool2d(
      x,
      bothAxes((axis) => from[axis] / to[axis]),
    );
  const [rows, columns] = bothAxesOf((axis) =>
    mapOf(from[axis], to[axis], (i) => {
      const { start, length } = evenWindow(i, from[axis], to[axis]);
      return Array.from({ length }, (_, k) => [start + k, 1 / length] as const);
    }),
  );
  return mapPlanes(x, rows, columns);
}

/** Window i of `to` that cover `from` positions; neighbours may share one. */
const evenWindow = (i: number, from: number, to: number): { start: number; length: number } => {
  const start = Math.floor((i * from) / to);
  return { start, length: Math.ceil(((i + 1) * from) / to) - start };
};

/**
 * Greatest of size[0] × size[1] windows that cover [..., height, width] evenly, as PyTorch's adaptive_max_pool2d; see
 * `adaptiveAvgPool2d` for the windows. Throws OpError.
 */
export function adaptiveMaxPool2d(x: Tensor, size: PerAxis): Tensor {
  const op = 'adaptiveMaxPool2d';
  expectPlanes(op, 'input', x);
  const to = pairOf(op, 'size', size, 1);
  const from = lastTwo(x.shape);
  // All windows as long as the longest: its last position again, which changes no maximum and gets no gradient.
  const kernel = bothAxes((axis) => Math.ceil(from[axis] / to[axis]) + Number(from[axis] % to[axis] !== 0));
  const spread = [0, 1].reduce((y, axis) => {
    if (from[axis]! % to[axis]! === 0) return y;
    const places = Array.from({ length: to[axis]! }, (_, i) => {
      const { start, length } = evenWindow(i, from[axis]!, to[axis]!);
      return Array.from({ length: kernel[axis]! }, (_, k) => start + Math.min(k, length - 1));
    });
    return indexSelect(y, axis - 2, tensor(Int32Array.from(places.flat())));
  }, x);
  return maxPool2d(spread, kernel);
}

export interface UpsampleOptions {
  /** `nearest` (default) repeats, `bilinear` interpolates. */
  readonly mode?: 'nearest' | 'bilinear';
  /** With `bilinear`: corners lie on corners, instead of areas on areas. Default false. */
  readonly alignCorners?: boolean;
}

/** [..., height, width] made larger by whole factors, as PyTorch's interpolate. Throws OpError. */
export function upsample2d(x: Tensor, factor: PerAxis, options: UpsampleOptions = {}): Tensor {
  const op = 'upsample2d';
  expectPlanes(op, 'input', x);
  const { mode = 'nearest', alignCorners = false } = options;
  const [fy, fx] = pairOf(op, 'factor', factor, 1);
  const [height, width] = lastTwo(x.shape);
  const outer = x.shape.slice(0, -2);
  if (mode === 'nearest') {
    const spread = expand(reshape(x, [...outer, height, 1, width, 1]), [...outer, height, fy, width, fx]);
    return reshape(spread, [...outer, height * fy, width * fx]);
  }
  if (mode !== 'bilinear') throw new OpError(op, `got mode ${String(mode)}, expected nearest or bilinear`);
  const map = (n: number, f: number): Tensor =>
    mapOf(n, n * f, (i) => {
      const at = alignCorners
        ? n * f > 1
          ? (i * (n - 1)) / (n * f - 1)
          : 0
        : Math.max(0, (i + 0.5) / f - 0.5);
      const low = Math.min(Math.floor(at), n - 1);
      return [
        [low, 1 - (at - low)],
        [Math.min(low + 1, n - 1), at - low],
      ];
    });
  return mapPlanes(x, map(height, fy), map(width, fx));
}

interface Along {
  readonly stride?: number;
  readonly padding?: number;
  readonly ceilMode?: boolean;
}
export interface MaxPool1dOptions extends Along {
  readonly dilation?: number;
}
export interface AvgPool1dOptions extends Along {
  readonly countIncludePad?: boolean;
}

function alongWidth<O extends Along>(
  op: string,
  kernel: number,
  { stride = kernel, padding = 0, ...rest }: O,
) {
  expectWhole(op, 'kernel', kernel, 1);
  expectWhole(op, 'stride', stride, 1);
  expectWhole(op, 'padding', padding, 0);
  return { ...rest, stride: [1, stride] as const, padding: [0, padding] as const };
}

/** maxPool2d along the last axis of [rows, channels, length]. Throws OpError. */
export function maxPool1d(
  x: Tensor,
  kernel: number,
  { dilation = 1, ...options }: MaxPool1dOptions = {},
): Tensor {
  const op = 'maxPool1d';
  const rows = asRows(op, 'input', x);
  expectWhole(op, 'dilation', dilation, 1);
  const settings = { ...alongWidth(op, kernel, options), dilation: [1, dilation] as const };
  return inNameOf(op, () => fromRows(maxPool2d(rows, [1, kernel], settings)));
}

/** avgPool2d along the last axis of [rows, channels, length]. Throws OpError. */
export function avgPool1d(x: Tensor, kernel: number, options: AvgPool1dOptions = {}): Tensor {
  const op = 'avgPool1d';
  const rows = asRows(op, 'input', x);
  const settings = alongWidth(op, kernel, options);
  return inNameOf(op, () => fromRows(avgPool2d(rows, [1, kernel], settings)));
}
