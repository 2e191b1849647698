/** Normalisation within a row: no statistics of the batch, the same in training and evaluation. Names are PyTorch's. */
import * as ops from '@lockstep/autograd';
import {
  add,
  expectTensors,
  formatSpec,
  mul,
  OpError,
  type Parameter,
  reshape,
  sizeOf,
  type Tensor,
} from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions } from '../common/errors.ts';
import { ones, zeros } from '../common/init.ts';
import { type Module, module, parameter, placeOf } from '../model/module.ts';

export interface LayerNormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly eps?: number;
  /** Add a learnt bias. Default true. */
  readonly bias?: boolean;
}

export interface Norm extends Module {
  /** [features] or the sizes of several axes, starts at 1. */
  readonly weight: Parameter;
  /** As `weight`, starts at 0. */
  readonly bias?: Parameter;
}

/** Checks the last axis, with the place in the model in the message. */
function expectFeatures(kind: string, x: Tensor, features: number, axis = -1): void {
  expectTensors(placeOf(kind), x);
  if (x.shape.at(axis) === features) return;
  throw new OpError(placeOf(kind), `got ${formatSpec(x)}, expected ${features} elements along axis ${axis}`);
}

/**
 * (x − mean) / √(variance + eps) · weight + bias over the last axis (Ba et al., 2016): [..., features] → the same; or over the
 * last axes together, whose sizes weight and bias then have. Throws ConfigError, and OpError on an input that does not fit.
 */
export function layerNorm(features: number | readonly number[], options: LayerNormOptions = {}): Norm {
  const who = 'nn.layerNorm';
  const sizes = typeof features === 'object' && features?.length > 0 ? features : [features];
  for (const n of sizes) expectNumber(who, 'features', n, { min: 1, integer: true });
  expectOptions(who, options, ['eps', 'bias']);
  const { bias: hasBias = true } = options;
  const eps = expectNumber(who, 'eps', options.eps ?? 1e-5, { min: 0 });
  const shape = sizes as readonly number[];
  const kind = `layerNorm(${shape.join(' × ')})`;
  const weight = parameter(ones()(shape));
  const bias = hasBias ? parameter(zeros()(shape)) : undefined;
  const asRow = (p: Tensor): Tensor => reshape(p, [p.size]);
  return module(kind, bias ? { weight, bias } : { weight }, (x: Tensor) => {
    shape.forEach((n, i) => {
      expectFeatures(kind, x, n, i - shape.length);
    });
    const rows = reshape(x, [...x.shape.slice(0, -shape.length), weight.size]);
    return reshape(ops.layerNorm(rows, asRow(weight), bias && asRow(bias), eps), x.shape);
  });
}

export interface RmsNormOptions {
  /** Added to the mean square. Default 1e-6. */
  readonly eps?: number;
}

/** x / √(mean(x²) + eps) · weight over the last axis (Zhang and Sennrich, 2019). Throws ConfigError and OpError. */
export function rmsNorm(features: number, options: RmsNormOptions = {}): Norm {
  const who = 'nn.rmsNorm';
  expectNumber(who, 'features', features, { min: 1, integer: true });
  expectOptions(who, options, ['eps']);
  const eps = expectNumber(who, 'eps', options.eps ?? 1e-6, { min: 0 });
  const kind = `rmsNorm(${features})`;
  const weight = parameter(ones()([features]));
  return module(kind, { weight }, (x: Tensor) => {
    expectFeatures(kind, x, features);
    return ops.rmsNorm(x, weight, eps);
  });
}

/**
 * Normalises groups of channels of each row of the batch (Wu and He, 2018): [rows, channels, ...] → the same; weight and
 * bias per channel. Throws ConfigError and OpError.
 */
export function groupNorm(groups: number, channels: number, options: LayerNormOptions = {}): Norm {
  const who = 'nn.groupNorm';
  expectNumber(who, 'groups', groups, { min: 1, integer: true });
  expectNumber(who, 'channels', channels, { min: 1, integer: true });
  expectOptions(who, options, ['eps', 'bias']);
  if (channels % groups !== 0) {
    throw new ConfigError(who, `got ${channels} channels in ${groups} groups, expected a multiple`);
  }
  const { bias: hasBias = true } = options;
  const eps = expectNumber(who, 'eps', options.eps ?? 1e-5, { min: 0 });
  const kind = `groupNorm(${groups}, ${channels})`;
  const weight = parameter(ones()([channels]));
  const bias = hasBias ? parameter(zeros()([channels])) : undefined;
  return module(kind, bias ? { weight, bias } : { weight }, (x: Tensor) => {
    expectTensors(placeOf(kind), x);
    if (x.rank < 2) expectFeatures(kind, x, channels, 1);
    expectFeatures(kind, x, channels, 1 - x.rank);
    const rows = x.shape[0]!;
    const hat = reshape(
      ops.standardize(reshape(x, [rows, groups, sizeOf(x.shape.slice(1)) / groups]), eps),
      x.shape,
    );
    const perChannel = (p: Tensor): Tensor =>
      reshape(p, [1, channels, ...new Array<number>(x.rank - 2).fill(1)]);
    const scaled = mul(hat, perChannel(weight));
    return bias ? add(scaled, perChannel(bias)) : scaled;
  });
}
