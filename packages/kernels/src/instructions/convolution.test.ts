import { describe, expect, it } from 'vitest';
import { type Call, call, type Data, floats, run, sameBits, twin } from '../../test/rig.ts';
import { availableVariants } from '../run/load.ts';
import {
  type ConvolutionShape,
  convInputGradScratchBytes,
  convScratchBytes,
  convWeightGradScratchBytes,
} from './convolution.ts';

interface Geometry {
  readonly size: readonly [h: number, w: number];
  readonly kernel: readonly [kh: number, kw: number];
  readonly stride?: readonly [number, number];
  readonly pad?: readonly [number, number];
  readonly dilation?: readonly [number, number];
}
interface Convolution extends Geometry {
  readonly rows?: number;
  readonly channels: readonly [c: number, o: number];
  readonly groups?: number;
}

/** All windows that fit. */
const windows = ({ size, kernel, stride = [1, 1], pad = [0, 0], dilation = [1, 1] }: Geometry) => {
  const outputs = (axis: 0 | 1): number =>
    Math.floor((size[axis] + 2 * pad[axis] - (kernel[axis] - 1) * dilation[axis] - 1) / stride[axis]) + 1;
  return {
    h: size[0],
    w: size[1],
    oh: outputs(0),
    ow: outputs(1),
    kh: kernel[0],
    kw: kernel[1],
    strideH: stride[0],
    strideW: stride[1],
    padH: pad[0],
    padW: pad[1],
    dilationH: dilation[0],
    dilationW: dilation[1],
  };
};

type Values = (n: number, seed?: number) => Float32Array;
const scratch = (bytes: number): Float32Array => new Float32Array(bytes / 4).fill(Number.NaN);
const nothing = (n: number): Float32Array => new Float32Array(n).fill(Number.NaN);

/** The convolution and its gradients, the one by the weight over `segments` segments. */
const calls = (geometry: Convolution, segments: number, values: Values = floats): Record<string, Call> => {
  const { rows = 1, channels, groups = 1 } = geometry;
  const v: ConvolutionShape = { rows, c: channels[0], o: channels[1], groups, ...windows(geometry) };
  const image = rows * v.c * v.h * v.w;
  const output = rows * v.o * v.oh * v.ow;
  const weight = (v.o * v.c * v.kh * v.kw) / groups;
  const [x, w, g] = [values(segments * image, 1), values(weight, 2), values(segments * output, 3)];
  const fields = { ...v };
  const byWeight = (tree: number): Call =>
    call('conv2dWeightGrad', {
      ...{ out: nothing(tree ? weight : segments * weight), a: x, b: g, ...fields, segments, tree },
      scratch: scratch(convWeightGradScratchBytes(v, tree ? segments : 1)),
    });
  return {
    conv2d: call('conv2d', {
      ...{ out: nothing(output), a: x, b: w, ...fields },
      scratch: scratch(convScratchBytes(v)),
    }),
    conv2dInputGrad: call('conv2dInputGrad', {
      ...{ out: nothing(image), a: g, b: w, ...fields },
      scratch: scratch(convInputGradScratchBytes(v)),
    }),
    'conv2dWeightGrad of each segment': byWeight(0),
    'conv2dWeightGrad by the tree': byWeight(1),
  };
};

const check = (named: Record<string, Call>): void => {
  for (const [name, asked] of Object.entries(named)) {
    const [expected] = twin(asked);
    for (const variant of availableVariants()) {
      const [got] = run(variant, asked);
      if (!sameBits(got!, expected!)) expect(got, `${name} ${variant}`).toEqual(expected);
      expect(sameBits(got!, expected!), `${name} ${variant}`).toBe(true);
    }
  }
};

const convolutions: Record<string, Convolution> = {
  'one tap': { channels: [1, 1], size: [1, 1], kernel: [1, 1] },
  'no margin': { channels: [3, 5], size: [6, 7], kernel: [3, 3], rows: 2 },
  'a margin': { channels: [2, 9], size: [5, 14], kernel: [3, 3], pad: [1, 1], rows: 2 },
  'a row of more than two vectors': { channels: [1, 16], size: [3, 70], kernel: [3, 5], pad: [1, 2] },
  'narrow images': { channels: [4, 17], size: [9, 2], kernel: [3, 2], pad: [1, 1] },
  'a kernel larger than the image': { channels: [2, 3], size: [2, 3], kernel: [5, 4], pad: [2, 2] },
  'a margin wider than the kernel': { channels: [1, 2], size: [3, 3], kernel: [2, 2], pad: [4, 3] },
  stride: { channels: [3, 4], size: [9, 11], kernel: [3, 3], stride: [2, 2], pad: [1, 1], rows: 2 },
  'unlike strides': { channels: [2, 3], size: [10, 13], kernel: [3, 4], stride: [3, 2], pad: [0, 1] },
  'strides beyond the kernel': { channels: [2, 2], size: [11, 9], kernel: [2, 1], stride: [4, 5] },
  dilation: { channels: [2, 5], size: [9, 10], kernel: [3, 3], dilation: [2, 3], pad: [2, 3] },
  'stride and dilation': {
    ...{ channels: [2, 3], size: [12, 13], kernel: [3, 3] },
    ...{ stride: [2, 3], dilation: [3, 2], pad: [3, 1] },
  },
  groups: { channels: [6, 4], groups: 2, size: [5, 6], kernel: [3, 3], pad: [1, 1], rows: 2 },
  'a group for each channel': { channels: [4, 8], groups: 4, size: [6, 5], kernel: [3, 2], stride: [2, 1] },
  'one dimension': { channels: [3, 33], size: [1, 40], kernel: [1, 5], pad: [0, 2], stride: [1, 2] },
  'many channels': { channels: [20, 40], size: [4, 4], kernel: [3, 3], pad: [1, 1] },
};

describe('convolution has the bits of the naive sum', () => {
  it.each(Object.entries(convolutions))('%s', (_, geometry) => {
    for (const segments of [1, 3]) check(calls(geometry, segments));
  });

  it.each([2, 4, 5, 8])('%s segments, added by the tree', (segments) => {
    check(calls({ channels: [2, 18], size: [4, 5], kernel: [2, 2], rows: 2 }, segments));
  });

  it('in strips, where an image is larger than the cache', () => {
    const wide: Convolution = { channels: [2, 1], size: [21, 2000], kernel: [3, 2], pad: [1, 0] };
    check(calls(wide, 1));
    check(calls({ ...wide, stride: [2, 3] }, 1));
    const deep: Convolution = { channels: [40, 2], size: [4, 900], kernel: [2, 2], pad: [1, 1] };
    check(calls(deep, 1));
  });

  it('and writes nothing without rows, but gradients of 0 of the weight', () => {
    check(calls({ channels: [2, 3], size: [3, 3], kernel: [2, 2], rows: 0 }, 2));
  });

  it('keeps subnormals, infinities, NaN and the sign of zero', () => {
    const special = [-0, 0, 1e-40, -3e-39, 1e-22, -2e-20, Infinity, -Infinity, Number.NaN, 3e38, 1, -1];
    const values: Values = (length, seed = 0) =>
      Float32Array.from({ length }, (_, i) => special[(i * 7 + seed) % (i % 29 === 0 ? 12 : 6)]!);
    check(calls({ channels: [2, 3], size: [7, 8], kernel: [3, 3], pad: [1, 1], stride: [2, 1] }, 2, values));
  });
});

describe('pooling has the bits of the naive one', () => {
  const pools = (geometry: Geometry, images: number, values: Values): Record<string, Call> => {
    const v = { images, ...windows(geometry) };
    const [inputs, outputs] = [images * v.h * v.w, images * v.oh * v.ow];
    const [x, y, g]: Data[] = [values(inputs, 1), values(inputs, 2), values(outputs, 3)];
    return {
      greatest: call('maxPool2d', { out: nothing(outputs), in: x!, values: x!, ...v }),
      'values there': call('maxPool2d', { out: nothing(outputs), in: x!, values: y!, ...v }),
      gradient: call('maxPool2dGrad', { out: nothing(inputs), in: x!, grad: g!, ...v }),
      sum: call('sumPool2d', { out: nothing(outputs), in: x!, ...v }),
      'gradient of the sum': call('sumPool2dGrad', { out: nothing(inputs), in: g!, ...v }),
    };
  };
  const geometries: Record<string, Geometry> = {
    'halving, even': { size: [4, 6], kernel: [2, 2], stride: [2, 2] },
    'halving, odd': { size: [5, 77], kernel: [2, 2], stride: [2, 2] },
    'halving one row': { size: [2, 33], kernel: [2, 2], stride: [2, 2] },
    overlapping: { size: [9, 8], kernel: [3, 3], stride: [2, 2], pad: [1, 1] },
    'every position': { size: [4, 5], kernel: [3, 2], pad: [1, 1] },
    gaps: { size: [10, 9], kernel: [2, 2], stride: [3, 4] },
    dilation: { size: [9, 9], kernel: [3, 2], dilation: [2, 3], pad: [1, 1] },
    'the whole image': { size: [7, 7], kernel: [7, 7] },
    'one dimension': { size: [1, 20], kernel: [1, 3], stride: [1, 3] },
    'windows outside': { size: [2, 2], kernel: [2, 2], pad: [3, 3] },
  };
  const few: Values = (n, seed = 1) => floats(n, seed).map((x) => Math.round(x) / 2);
  const special: Values = (length, seed = 0) =>
    Float32Array.from(
      { length },
      (_, i) => [-0, 0, 1e-40, Number.NaN, -Infinity, 3, 3][(i * 5 + seed * 3) % (i % 3 ? 3 : 7)]!,
    );

  it.each(Object.entries(geometries))('%s', (_, geometry) => {
    for (const values of [floats, few, special]) check(pools(geometry, 3, values));
  });
});
