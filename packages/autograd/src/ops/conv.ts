/**
 * Convolution over images [rows, channels, height, width] and its two gradients. Each is bilinear, and the gradients of
 * each are the other two, so gradients of gradients come for nothing. Orders of additions: see `convolutions` in the
 * instruction set.
 */
import {
  type Address,
  type ConvolutionShape,
  convInputGradScratchBytes,
  convScratchBytes,
  convWeightGradScratchBytes,
  ELEMENT_BYTES,
} from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import type { KernelOp } from '../core/op.ts';
import {
  expectDType,
  expectTensors,
  expectWhole,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  type Spec,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Emitter, materialize, type View } from '../core/view.ts';
import { reshape } from './shape.ts';

/** Along the height, along the width. */
export type Pair = readonly [height: number, width: number];

export interface ConvAttrs {
  readonly stride: Pair;
  /** Zeros before the first row and column; behind the last as many as the outputs look at. */
  readonly padding: Pair;
  readonly dilation: Pair;
  readonly groups: number;
  /** Height and width of the op's result: of the outputs, of the images, or of the kernel. */
  readonly size: Pair;
}

type Images = readonly [rows: number, channels: number, height: number, width: number];
const lastFour = (shape: Shape): Images => shape.slice(-4) as unknown as Images;

/** Four axes, none but the rows of size 0. */
function expectImages(op: string, what: string, axes: string, spec: Spec): Images {
  expectDType(op, what, spec, 'f32');
  if (spec.shape.length !== 4 || spec.shape.some((n, i) => n < 1 && (i > 0 || what === 'weight'))) {
    throw new OpError(
      op,
      `got ${what} ${formatSpec(spec)}, expected ${axes}, each of at least 1; reshape it`,
    );
  }
  return lastFour(spec.shape);
}

function shapeOf(x: Images, weight: Images, y: Images, attrs: ConvAttrs): ConvolutionShape {
  const { stride, padding, dilation, groups } = attrs;
  return {
    ...{ rows: x[0], c: x[1], h: x[2], w: x[3], o: y[1], oh: y[2], ow: y[3], kh: weight[2], kw: weight[3] },
    ...{ strideH: stride[0], strideW: stride[1], padH: padding[0], padW: padding[1] },
    ...{ dilationH: dilation[0], dilationW: dilation[1], groups },
  };
}

const shifted = (address: Address, elements: number): Address => ({
  ...address,
  offset: address.offset + elements * ELEMENT_BYTES,
});

const leadingOf = (view: View): number => sizeOf(view.shape.slice(0, -4));

/**
 * A call on all rows at once where the weight is alike in all shards, else one for each. `a` and the output have rows,
 * `b` is the weight.
 */
function callByWeight(
  emit: Emitter,
  [output, ...inputs]: readonly [View, ...View[]],
  shape: (rows: number) => ConvolutionShape,
  call: (operands: { out: Address; a: Address; b: Address }, shape: ConvolutionShape) => void,
): void {
  const [a, b] = inputs.map((input) => materialize(emit, input)) as [View, View];
  const rows = a.shape.at(-4)!;
  const shards = leadingOf(b);
  if (shards === 1) {
    const all = shape(rows * leadingOf(a));
    call({ out: output.address, a: a.address, b: b.address }, all);
    return;
  }
  const step = (view: View): number => (leadingOf(view) === 1 ? 0 : sizeOf(view.shape) / leadingOf(view));
  for (let shard = 0; shard < shards; shard++) {
    const [out, ...operands] = [output, a, b].map((view) => shifted(view.address, shard * step(view)));
    call({ out: out!, a: operands[0]!, b: operands[1]! }, shape(rows));
  }
}

export const conv2dOp: KernelOp<ConvAttrs> = {
  kind: 'kernel',
  name: 'conv2d',
  infer: ([x, weight], { groups, size }) => {
    const [rows, channels] = expectImages('conv2d', 'input', '[rows, channels, height, width]', x!);
    const [out, perGroup] = expectWeight('conv2d', weight!, groups);
    if (perGroup * groups !== channels) {
      throw new OpError(
        'conv2d',
        `got input ${formatSpec(x!)} and weight ${formatSpec(weight!)} in ${groups} groups, expected ` +
          `${perGroup * groups} channels; the weight is [out, in / groups, height, width]`,
      );
    }
    return { shape: [rows, out, ...size], dtype: 'f32' };
  },
  lower: (emit, output, [x, weight], attrs) => {
    const [image, kernel, result] = [x!, weight!, output].map((view) => lastFour(view.shape));
    const shape = (rows: number) => shapeOf([rows, ...tail(image!)], kernel!, result!, attrs);
    callByWeight(emit, [output, x!, weight!], shape, (operands, sizes) => {
      emit.call('conv2d', { ...operands, scratch: emit.scratch(convScratchBytes(sizes)), ...sizes });
    });
  },
  backward: [
    (g, { inputs: [x, weight], attrs }) => inputGrad(g, weight!, x!, attrs),
    (g, { inputs: [x, weight], attrs }) => weightGrad(x!, g, weight!, attrs),
  ],
};

const tail = ([, channels, height, width]: Images) => [channels, height, width] as const;

function expectWeight(op: string, weight: Spec, groups: number): Images {
  const shape = expectImages(op, 'weight', '[out, in / groups, height, width]', weight);
  if (shape[0] % groups !== 0) {
    throw new OpError(
      op,
      `got weight ${formatSpec(weight)} in ${groups} groups, expected a divisor of ${shape[0]}`,
    );
  }
  return shape;
}

/** From the gradient by the outputs and the weight to that by the images; also the transposed convolution. */
export const conv2dInputGradOp: KernelOp<ConvAttrs> = {
  kind: 'kernel',
  name: 'conv2dInputGrad',
  infer: ([g, weight], { groups, size }) => {
    const [rows, channels] = expectImages('conv2dInputGrad', 'input', '[rows, channels, height, width]', g!);
    const [out, perGroup] = expectWeight('conv2dInputGrad', weight!, groups);
    if (out !== channels) {
      throw new OpError(
        'conv2dInputGrad',
        `got input ${formatSpec(g!)} and weight ${formatSpec(weight!)}, expected ${out} channels; the weight is ` +
          '[in, out / groups, height, width]',
      );
    }
    return { shape: [rows, perGroup * groups, ...size], dtype: 'f32' };
  },
  lower: (emit, output, [g, weight], attrs) => {
    const [grad, kernel, image] = [g!, weight!, output].map((view) => lastFour(view.shape));
    const shape = (rows: number) => shapeOf([rows, ...tail(image!)], kernel!, grad!, attrs);
    callByWeight(emit, [output, g!, weight!], shape, (operands, sizes) => {
      emit.call('conv2dInputGrad', {
        ...{ ...operands, ...sizes },
        scratch: emit.scratch(convInputGradScratchBytes(sizes)),
      });
    });
  },
  backward: [
    (u, { inputs: [g, weight], attrs }) => convolve(u, weight!, g!, attrs),
    (u, { inputs: [g, weight], attrs }) => weightGrad(u, g!, weight!, attrs),
  ],
};

function lowerWeightGrad(
  emit: Emitter,
  output: View,
  inputs: readonly View[],
  attrs: ConvAttrs,
  tree: boolean,
): void {
  const segments = Math.max(...inputs.map(leadingOf));
  const leading = inputs.find((input) => leadingOf(input) === segments)!.shape.slice(0, -4);
  const [x, g] = inputs.map((input) => materialize(emit, input, [...leading, ...lastFour(input.shape)]));
  const sizes = shapeOf(lastFour(x!.shape), lastFour(output.shape), lastFour(g!.shape), attrs);
  emit.call('conv2dWeightGrad', {
    ...{ out: output.address, a: x!.address, b: g!.address, ...sizes, segments, tree: Number(tree) },
    scratch: emit.scratch(convWeightGradScratchBytes(sizes, tree ? segments : 1)),
  });
}

/** From images and the gradient by the outputs to that by the weight. */
export const conv2dWeightGradOp: KernelOp<ConvAttrs> = {
  kind: 'kernel',
  name: 'conv2dWeightGrad',
  infer: ([x, g], { groups, size }) => {
    const axes = '[rows, channels, height, width]';
    const [rows, channels] = expectImages('conv2dWeightGrad', 'input', axes, x!);
    const [gradRows, out] = expectImages('conv2dWeightGrad', 'gradient', axes, g!);
    if (rows !== gradRows || channels % groups !== 0 || out % groups !== 0) {
      throw new OpError(
        'conv2dWeightGrad',
        `got ${formatSpec(x!)} and ${formatSpec(g!)}, expected as many rows, and channels that ${groups} divides`,
      );
    }
    return { shape: [out, channels / groups, ...size], dtype: 'f32' };
  },
  lower: (emit, output, inputs, attrs) => lowerWeightGrad(emit, output, inputs, attrs, false),
  lowerTreeSum: (emit, output, inputs, attrs) => {
    lowerWeightGrad(emit, output, inputs, attrs, true);
    return true;
  },
  backward: [
    (v, { inputs: [x, g], attrs }) => inputGrad(g!, v, x!, attrs),
    (v, { inputs: [x, g], attrs }) => convolve(x!, v, g!, attrs),
  ],
};

const sizeLike = (spec: Spec): Pair => spec.shape.slice(-2) as unknown as Pair;
const convolve = (x: Tensor, weight: Tensor, outputs: Spec, attrs: ConvAttrs): Tensor =>
  apply(conv2dOp, [x, weight], { ...attrs, size: sizeLike(outputs) });
const inputGrad = (g: Tensor, weight: Tensor, images: Spec, attrs: ConvAttrs): Tensor =>
  apply(conv2dInputGradOp, [g, weight], { ...attrs, size: sizeLike(images) });
const weightGrad = (x: Tensor, g: Tensor, kernel: Spec, attrs: ConvAttrs): Tensor =>
  apply(conv2dWeightGradOp, [x, g], { ...attrs, size: sizeLike(kernel) });

// ─── what users call ─────────────────────────────────────────────────────────────────────────────────────────────────

/** One number for both axes, or one for each. */
export type PerAxis = number | Pair;

export interface ConvOptions {
  /** Steps from one output to the next. Default 1. */
  readonly stride?: PerAxis;
  /**
   * Zeros on each side. Default 0, also called `valid`; `same`: as many outputs as inputs, at stride 1, an odd one of
   * the zeros behind.
   */
  readonly padding?: PerAxis | 'same' | 'valid';
  /** Distance between the taps of the kernel. Default 1. */
  readonly dilation?: PerAxis;
  /** Channels in as many groups, each convolved on its own. Default 1. */
  readonly groups?: number;
}

export interface ConvTransposeOptions extends ConvOptions {
  readonly padding?: PerAxis;
  /** Further rows and columns of the result behind the last. Default 0. */
  readonly outputPadding?: PerAxis;
}

/** Both numbers, whole and at least `least`. Throws OpError. */
export function pairOf(op: string, name: string, value: PerAxis, least: number): Pair {
  const pair: Pair = typeof value === 'number' ? [value, value] : value;
  if (!Array.isArray(pair) || pair.length !== 2 || pair.some((n) => !Number.isInteger(n) || n < least)) {
    throw new OpError(
      op,
      `got ${name} ${value}, expected an integer of at least ${least}, or one for each axis`,
    );
  }
  return pair;
}

interface Settings extends Omit<ConvAttrs, 'size'> {
  readonly padding: Pair;
  readonly total: Pair;
}

/** Checked options, and the sum of the zeros on both sides. */
function settingsOf(op: string, options: ConvOptions, weight: Spec): Settings {
  const { groups = 1, padding: given = 0 } = options;
  if (!Number.isInteger(groups) || groups < 1) {
    throw new OpError(op, `got groups ${groups}, expected an integer of at least 1`);
  }
  const stride = pairOf(op, 'stride', options.stride ?? 1, 1);
  const dilation = pairOf(op, 'dilation', options.dilation ?? 1, 1);
  if (given === 'same') {
    if (stride.some((n) => n !== 1)) {
      throw new OpError(
        op,
        `got padding 'same' with stride ${stride}, expected stride 1; give the padding in numbers`,
      );
    }
    const total = bothAxes((axis) => dilation[axis] * (weight.shape.at(axis - 2)! - 1));
    return { stride, dilation, groups, total, padding: bothAxes((axis) => Math.floor(total[axis] / 2)) };
  }
  const padding = pairOf(op, 'padding', given === 'valid' ? 0 : given, 0);
  return { stride, dilation, groups, padding, total: bothAxes((axis) => 2 * padding[axis]) };
}

const bothAxes = (f: (axis: 0 | 1) => number): Pair => [f(0), f(1)];

/** Throws OpError where a kernel does not fit into the padded image once. */
function expectOutputs(op: string, x: Spec, weight: Spec, size: Pair): Pair {
  if (size.some((n) => n < 1)) {
    throw new OpError(
      op,
      `got input ${formatSpec(x)} and weight ${formatSpec(weight)}, which leaves outputs of ${size.join(' × ')}; pad the ` +
        'input or take a smaller kernel or dilation',
    );
  }
  return size;
}

/**
 * Cross-correlation of images [rows, in, height, width] with a weight [out, in / groups, kernelHeight, kernelWidth], as
 * PyTorch's conv2d: outputs [rows, out, …] of ⌊(height + 2 · padding − dilation · (kernel − 1) − 1) / stride⌋ + 1 rows.
 * Throws OpError.
 */
export function conv2d(x: Tensor, weight: Tensor, options: ConvOptions = {}): Tensor {
  expectImages('conv2d', 'input', '[rows, channels, height, width]', x);
  expectImages('conv2d', 'weight', '[out, in / groups, height, width]', weight);
  const { total, ...attrs } = settingsOf('conv2d', options, weight);
  const size = bothAxes((axis) => {
    const reach = attrs.dilation[axis] * (weight.shape[2 + axis]! - 1) + 1;
    return Math.floor((x.shape[2 + axis]! + total[axis] - reach) / attrs.stride[axis]) + 1;
  });
  return apply(conv2dOp, [x, weight], { ...attrs, size: expectOutputs('conv2d', x, weight, size) });
}

/**
 * The gradient of conv2d by its input as a layer of its own (a "deconvolution"): images [rows, in, height, width] and a
 * weight [in, out / groups, kernelHeight, kernelWidth] give [rows, out, …] of
 * (height − 1) · stride − 2 · padding + dilation · (kernel − 1) + outputPadding + 1 rows, as PyTorch. Throws OpError.
 */
export function convTranspose2d(x: Tensor, weight: Tensor, options: ConvTransposeOptions = {}): Tensor {
  const op = 'convTranspose2d';
  expectImages(op, 'input', '[rows, channels, height, width]', x);
  expectImages(op, 'weight', '[in, out / groups, height, width]', weight);
  const { total, ...attrs } = settingsOf(op, options, weight);
  const extra = pairOf(op, 'outputPadding', options.outputPadding ?? 0, 0);
  const { stride, dilation } = attrs;
  if (extra.some((n, axis) => n >= Math.max(stride[axis]!, dilation[axis]!))) {
    throw new OpError(
      op,
      `got outputPadding ${extra}, expected less than stride ${stride} or dilation ${dilation}`,
    );
  }
  const size = bothAxes((axis) => {
    const reach = dilation[axis] * (weight.shape[2 + axis]! - 1) + 1;
    return (x.shape[2 + axis]! - 1) * stride[axis] - total[axis] + reach + extra[axis];
  });
  const all = { ...attrs, size: expectOutputs(op, x, weight, size) };
  return inNameOf(op, () => apply(conv2dInputGradOp, [x, weight], all));
}

export interface Conv1dOptions {
  readonly stride?: number;
  readonly padding?: number | 'same' | 'valid';
  readonly dilation?: number;
  readonly groups?: number;
}
export interface ConvTranspose1dOptions extends Conv1dOptions {
  readonly padding?: number;
  readonly outputPadding?: number;
}

/** [a, b, n] as [a, b, 1, n]. Throws OpError. */
export function asRows(op: string, what: string, x: Tensor): Tensor {
  expectTensors(op, x);
  if (x.rank !== 3) {
    throw new OpError(
      op,
      `got ${what} ${formatSpec(x)}, expected three axes, the last one the length; reshape it`,
    );
  }
  return reshape(x, [x.shape[0]!, x.shape[1]!, 1, x.shape[2]!]);
}
export const fromRows = (x: Tensor): Tensor => reshape(x, [x.shape[0]!, x.shape[1]!, x.shape[3]!]);

function alongWidth(op: string, { stride = 1, dilation = 1, groups = 1 }: Conv1dOptions) {
  expectWhole(op, 'stride', stride, 1);
  expectWhole(op, 'dilation', dilation, 1);
  return { stride: [1, stride], dilation: [1, dilation], groups } as const;
}

/** conv2d along one axis: [rows, in, length] and [out, in / groups, kernel]. Throws OpError. */
export function conv1d(x: Tensor, weight: Tensor, options: Conv1dOptions = {}): Tensor {
  const op = 'conv1d';
  const { padding = 0 } = options;
  if (padding !== 'same' && padding !== 'valid') expectWhole(op, 'padding', padding, 0);
  const both = typeof padding === 'number' ? ([0, padding] as const) : padding;
  const [rows, kernels] = [asRows(op, 'input', x), asRows(op, 'weight', weight)];
  const settings = { ...alongWidth(op, options), padding: both };
  return inNameOf(op, () => fromRows(conv2d(rows, kernels, settings)));
}

/** convTranspose2d along one axis: [rows, in, length] and [in, out / groups, kernel]. Throws OpError. */
export function convTranspose1d(x: Tensor, weight: Tensor, options: ConvTranspose1dOptions = {}): Tensor {
  const { padding = 0, outputPadding = 0 } = options;
  const op = 'convTranspose1d';
  expectWhole(op, 'padding', padding, 0);
  expectWhole(op, 'outputPadding', outputPadding, 0);
  const [rows, kernels] = [asRows(op, 'input', x), asRows(op, 'weight', weight)];
  const settings = {
    ...alongWidth(op, options),
    padding: [0, padding] as const,
    outputPadding: [0, outputPadding] as const,
  };
  return inNameOf(op, () => fromRows(convTranspose2d(rows, kernels, settings)));
}
