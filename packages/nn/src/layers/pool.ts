/** Pooling and resizing layers over [..., height, width]; see the ops of the same names. They have no parameters. */

import type {
  AvgPool1dOptions,
  AvgPoolOptions,
  MaxPool1dOptions,
  MaxPoolOptions,
  PerAxis,
  UpsampleOptions,
} from '@lockstep/autograd';
import * as ops from '@lockstep/autograd';
import { expectOptions, expectPair } from '../common/errors.ts';
import { type Module, module } from '../model/module.ts';

/** The sizes of a layer, checked, for people. */
function format(who: string, what: string, size: PerAxis): string {
  const [height, width] = expectPair(`nn.${who}`, what, size);
  return typeof size === 'number' ? `${who}(${size})` : `${who}(${height} × ${width})`;
}
const COMMON = ['stride', 'padding', 'ceilMode'];

/** Greatest of each window. Throws ConfigError on unknown options, OpError on sizes that do not fit. */
export function maxPool2d(kernelSize: PerAxis, options: MaxPoolOptions = {}): Module {
  expectOptions('nn.maxPool2d', options, [...COMMON, 'dilation']);
  return module(format('maxPool2d', 'kernelSize', kernelSize), {}, (x) =>
    ops.maxPool2d(x, kernelSize, options),
  );
}

/** Mean of each window. Throws as `nn.maxPool2d`. */
export function avgPool2d(kernelSize: PerAxis, options: AvgPoolOptions = {}): Module {
  expectOptions('nn.avgPool2d', options, [...COMMON, 'countIncludePad']);
  return module(format('avgPool2d', 'kernelSize', kernelSize), {}, (x) =>
    ops.avgPool2d(x, kernelSize, options),
  );
}

/** Greatest of each window along the last axis of [rows, channels, length]. Throws as `nn.maxPool2d`. */
export function maxPool1d(kernelSize: number, options: MaxPool1dOptions = {}): Module {
  expectOptions('nn.maxPool1d', options, [...COMMON, 'dilation']);
  return module(format('maxPool1d', 'kernelSize', kernelSize), {}, (x) =>
    ops.maxPool1d(x, kernelSize, options),
  );
}

/** Mean of each window along the last axis of [rows, channels, length]. Throws as `nn.maxPool2d`. */
export function avgPool1d(kernelSize: number, options: AvgPool1dOptions = {}): Module {
  expectOptions('nn.avgPool1d', options, [...COMMON, 'countIncludePad']);
  return module(format('avgPool1d', 'kernelSize', kernelSize), {}, (x) =>
    ops.avgPool1d(x, kernelSize, options),
  );
}

/** Means over as many windows as `size` says, which cover the image evenly. 1: the mean of the whole image. */
export const adaptiveAvgPool2d = (size: PerAxis): Module =>
  module(format('adaptiveAvgPool2d', 'size', size), {}, (x) => ops.adaptiveAvgPool2d(x, size));

/** Greatest of as many windows as `size` says, which cover the image evenly. */
export const adaptiveMaxPool2d = (size: PerAxis): Module =>
  module(format('adaptiveMaxPool2d', 'size', size), {}, (x) => ops.adaptiveMaxPool2d(x, size));

/** Images made larger by whole factors. Throws as `nn.maxPool2d`. */
export function upsample2d(factor: PerAxis, options: UpsampleOptions = {}): Module {
  expectOptions('nn.upsample2d', options, ['mode', 'alignCorners']);
  return module(format('upsample2d', 'factor', factor), {}, (x) => ops.upsample2d(x, factor, options));
}
