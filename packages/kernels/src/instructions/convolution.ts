/**
 * Instructions of convolution and pooling over images, row-major [rows, channels, height, width].
 *
 * One geometry serves an op and its gradients: images of h × w, outputs of oh × ow; output (y, x) looks at the positions
 * y · strideH + i · dilationH − padH for i < kh, and likewise along x. For the convolution an image goes on with zeros
 * beyond its border, and a tap there is a term 0 · weight; pooling skips what is outside.
 */
import { define, elements, fields, oneOf, scratchOf, segmentCount } from './instruction.ts';
import { ELEMENT_BYTES } from './program.ts';

/** Floats of the copy of a strip of an image, what tiles may read beyond, and the widest vector (as in `conv.c`). */
const CONV_IMAGE = 64 * 1024;
const CONV_SLACK = 64;
const LANES = 16;

/** Sizes, strides and the like stay below: products of two of them are exact, and offsets fit 32 bits. */
const MAX_EXTENT = 2 ** 24;

/** One axis: `in` positions, `out` outputs, a window of `k` taps. */
interface Axis {
  readonly in: number;
  readonly out: number;
  readonly k: number;
  readonly stride: number;
  readonly pad: number;
  readonly dilation: number;
}

const window = {
  ...fields('u32', 'h', 'w', 'oh', 'ow', 'kh', 'kw'),
  ...fields('u32', 'strideH', 'strideW', 'padH', 'padW', 'dilationH', 'dilationW'),
} as const;
type Window = { readonly [K in keyof typeof window]: number };

/** The two axes. Throws an Error where they mean nothing. */
const axesOf = (v: Window): [y: Axis, x: Axis] => {
  const y = { in: v.h, out: v.oh, k: v.kh, stride: v.strideH, pad: v.padH, dilation: v.dilationH };
  const x = { in: v.w, out: v.ow, k: v.kw, stride: v.strideW, pad: v.padW, dilation: v.dilationW };
  for (const axis of [y, x]) {
    for (const [name, value] of Object.entries(axis)) {
      const least = name === 'pad' ? 0 : 1;
      if (value < least || value > MAX_EXTENT) {
        throw new Error(`${name} of an axis is ${value}, expected ${least} to ${MAX_EXTENT}`);
      }
    }
    const reach = (axis.out - 1) * axis.stride + (axis.k - 1) * axis.dilation + 1;
    if (reach > MAX_EXTENT) throw new Error(`outputs reach over ${reach} positions, at most ${MAX_EXTENT}`);
  }
  return [y, x];
};

const convolution = {
  ...fields('addr', 'out', 'a', 'b', 'scratch'),
  ...fields('u32', 'rows', 'c', 'h', 'w', 'o', 'oh', 'ow', 'kh', 'kw'),
  ...fields('u32', 'strideH', 'strideW', 'padH', 'padW', 'dilationH', 'dilationW', 'groups'),
} as const;

interface Channels {
  readonly rows: number;
  readonly c: number;
  readonly o: number;
  readonly groups: number;
}
export type ConvolutionShape = Channels & Window;

const convolutionAxes = (v: ConvolutionShape): [Axis, Axis] => {
  if (v.groups < 1 || v.c < 1 || v.o < 1 || v.c % v.groups !== 0 || v.o % v.groups !== 0) {
    throw new Error(`groups is ${v.groups}, expected a divisor of c = ${v.c} and o = ${v.o}`);
  }
  return axesOf(v);
};

const imageSize = (v: ConvolutionShape): number => v.rows * v.c * v.h * v.w;
const outputSize = (v: ConvolutionShape): number => v.rows * v.o * v.oh * v.ow;
const weightSize = (v: ConvolutionShape): number => (v.o * v.c * v.kh * v.kw) / v.groups;

/** Positions beyond its own that an output's window reaches, in steps of the stride. */
const reachOfOutput = ({ k, stride, dilation }: Axis): number => Math.floor(((k - 1) * dilation) / stride);

/** Outputs beyond one that an input is added from. */
const reachOfInput = ({ k, stride, pad, dilation }: Axis): number =>
  Math.floor((stride - 1 + pad) / stride) - Math.floor((pad - (k - 1) * dilation) / stride);

/** A strip of at least one output row. */
const stripSize = (planes: number, width: number, reachY: number, reachX: number): number =>
  Math.max(CONV_IMAGE, planes * (1 + reachY) * (width + reachX)) + CONV_SLACK;

/** Scratch of a convolution, in bytes: the lists of taps, and the copy of a strip. */
export const convScratchBytes = (v: ConvolutionShape): number => {
  const [y, x] = convolutionAxes(v);
  const channels = v.c / v.groups;
  const image = stripSize(channels * y.stride * x.stride, v.ow, reachOfOutput(y), reachOfOutput(x));
  return ELEMENT_BYTES * (channels * v.kh * v.kw + image);
};

/** Scratch of its gradient by the input: taps, a group's weights in their order, and the copy of a strip. */
export const convInputGradScratchBytes = (v: ConvolutionShape): number => {
  const [y, x] = convolutionAxes(v);
  const taps = (v.o / v.groups) * v.kh * v.kw;
  const image = stripSize(v.o / v.groups, Math.ceil(v.w / v.strideW), reachOfInput(y), reachOfInput(x));
  return ELEMENT_BYTES * (v.strideH * v.strideW + taps * (1 + v.c / v.groups) + image);
};

/** Scratch of its gradient by the weight: taps, copies of a strip of both, and the partial sums of the tree. */
export const convWeightGradScratchBytes = (v: ConvolutionShape, segments: number): number => {
  const [y, x] = convolutionAxes(v);
  const channels = v.c / v.groups;
  const image = stripSize(channels * y.stride * x.stride, v.ow, reachOfOutput(y), reachOfOutput(x));
  const turned = Math.max(CONV_IMAGE, v.ow * 2 * LANES);
  const lanes = Math.ceil(v.o / v.groups / LANES) * LANES;
  const levels = 1 + Math.ceil(Math.log2(segments));
  const sums = v.c * v.kh * v.kw * lanes * levels;
  return ELEMENT_BYTES * (channels * v.kh * v.kw + image + turned + sums);
};

const pool = { ...fields('addr', 'out', 'in') } as const;

const poolSizes = (v: Window & { readonly images: number }): [inputs: number, outputs: number] => {
  axesOf(v);
  return [v.images * v.h * v.w, v.images * v.oh * v.ow];
};

export const convolutions = {
  /** out[rows, o, oh, ow] = a[rows, c, h, w] * b[o, c/groups, kh, kw]; an element adds over (c, kh, kw) in order, from +0. */
  conv2d: define({
    code: 24,
    fields: convolution,
    extents: (v) => [
      scratchOf(v.scratch, convScratchBytes(v)),
      elements('out', v.out, outputSize(v), 'write'),
      elements('a', v.a, imageSize(v)),
      elements('b', v.b, weightSize(v)),
    ],
  }),
  /**
   * out[rows, c, h, w], the gradient by the image, from a[rows, o, oh, ow], that by the output, and the weight b. An element
   * adds over (o, kh, kw) in order, from +0, as far as the stride hits it.
   */
  conv2dInputGrad: define({
    code: 25,
    fields: convolution,
    extents: (v) => [
      scratchOf(v.scratch, convInputGradScratchBytes(v)),
      elements('out', v.out, imageSize(v), 'write'),
      elements('a', v.a, outputSize(v)),
      elements('b', v.b, weightSize(v)),
    ],
  }),
  /**
   * out[o, c/groups, kh, kw], the gradient by the weight, from images a[segments, rows, c, h, w] and gradients
   * b[segments, rows, o, oh, ow]. An element adds over (row, y, x) in order, from +0; with `tree` the segments are added
   * by the shard tree, else each has an out of its own.
   */
  conv2dWeightGrad: define({
    code: 26,
    fields: { ...convolution, ...fields('u32', 'segments', 'tree') },
    extents: (v) => {
      segmentCount(v.segments);
      oneOf('tree', v.tree, 2);
      return [
        scratchOf(v.scratch, convWeightGradScratchBytes(v, v.tree ? v.segments : 1)),
        elements('out', v.out, weightSize(v) * (v.tree ? 1 : v.segments), 'write'),
        elements('a', v.a, imageSize(v) * v.segments),
        elements('b', v.b, outputSize(v) * v.segments),
      ];
    },
  }),
  /**
   * out[images, oh, ow] = values[images, h, w] at the place of the greatest of the window in `in`: its first in the order
   * of rows, or its first NaN. `values` is `in` for the greatest itself. 0 where the window is empty.
   */
  maxPool2d: define({
    code: 27,
    fields: { ...pool, values: 'addr', images: 'u32', ...window },
    extents: (v) => {
      const [inputs, outputs] = poolSizes(v);
      return [
        elements('out', v.out, outputs, 'write'),
        elements('in', v.in, inputs),
        elements('values', v.values, inputs),
      ];
    },
  }),
  /** out[images, h, w] = Σ of grad[images, oh, ow] over the windows whose greatest is here, in order, from +0. */
  maxPool2dGrad: define({
    code: 28,
    fields: { ...pool, grad: 'addr', images: 'u32', ...window },
    extents: (v) => {
      const [inputs, outputs] = poolSizes(v);
      return [
        elements('out', v.out, inputs, 'write'),
        elements('in', v.in, inputs),
        elements('grad', v.grad, outputs),
      ];
    },
  }),
  /** out[images, oh, ow] = Σ over the window of in[images, h, w], in the order of rows, from +0. */
  sumPool2d: define({
    code: 29,
    fields: { ...pool, images: 'u32', ...window },
    extents: (v) => {
      const [inputs, outputs] = poolSizes(v);
      return [elements('out', v.out, outputs, 'write'), elements('in', v.in, inputs)];
    },
  }),
  /** out[images, h, w] = Σ of in[images, oh, ow] over the windows that this position is in, in order, from +0. */
  sumPool2dGrad: define({
    code: 30,
    fields: { ...pool, images: 'u32', ...window },
    extents: (v) => {
      const [inputs, outputs] = poolSizes(v);
      return [elements('out', v.out, inputs, 'write'), elements('in', v.in, outputs)];
    },
  }),
} as const;
