/** Activations, and other modules without parameters. */

import type { Tensor } from '@lockstep/autograd';
import * as ops from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions, formatValue } from '../common/errors.ts';
import { type Module, module, placeOf } from '../model/module.ts';

const { tanh: tanhOf } = ops;

const activation = (kind: string, f: (x: Tensor) => Tensor): Module => module(kind, {}, f);

/** max(x, 0). */
export const relu = (): Module => activation('relu', ops.relu);
/** Hyperbolic tangent. */
export const tanh = (): Module => activation('tanh', tanhOf);
/** 1 / (1 + e⁻ˣ). */
export const sigmoid = (): Module => activation('sigmoid', ops.sigmoid);
/** x · sigmoid(x), also called swish (Elfwing et al., 2018). */
export const silu = (): Module => activation('silu', ops.silu);
/** x · relu6(x + 3) / 6, silu made of lines and a parabola (Howard et al., 2019). */
export const hardswish = (): Module => activation('hardswish', ops.hardswish);
/** x · tanh(softplus(x)) (Misra, 2019). */
export const mish = (): Module => activation('mish', ops.mish);
/** log(1 + eˣ). */
export const softplus = (): Module => activation('softplus', (x) => ops.softplus(x));
/** eˣ / Σ eˣ over the last axis. For a loss use logits and `loss.crossEntropy` instead. */
export const softmax = (): Module => activation('softmax', (x) => ops.softmax(x));
/** x − log Σ eˣ over the last axis; `loss.nll` takes it. */
export const logSoftmax = (): Module => activation('logSoftmax', (x) => ops.logSoftmax(x));
/** The input as it is: a place that holds nothing. */
export const identity = (): Module => activation('identity', (x) => x);

/** x for x > 0, else slope · x. Throws ConfigError. */
export function leakyRelu(slope = 0.01): Module {
  expectNumber('nn.leakyRelu', 'slope', slope);
  return activation(`leakyRelu(${slope})`, (x) => ops.leakyRelu(x, slope));
}

/** x for x > 0, else alpha · (eˣ − 1) (Clevert et al., 2016). Throws ConfigError. */
export function elu(alpha = 1): Module {
  expectNumber('nn.elu', 'alpha', alpha);
  return activation(`elu(${alpha})`, (x) => ops.elu(x, alpha));
}

export interface GeluOptions {
  /** `none`: by erf (default). `tanh`: the approximation of older models. */
  readonly approximate?: 'none' | 'tanh';
}

/** x · Φ(x) with the normal distribution function Φ (Hendrycks and Gimpel, 2016). */
export function gelu(options: GeluOptions = {}): Module {
  expectOptions('nn.gelu', options, ['approximate']);
  const { approximate = 'none' } = options;
  if (approximate !== 'none' && approximate !== 'tanh') {
    throw new ConfigError(
      'nn.gelu',
      `got approximate = ${formatValue(approximate)}, expected 'none' or 'tanh'`,
    );
  }
  const name = approximate === 'tanh' ? "gelu({ approximate: 'tanh' })" : 'gelu';
  return activation(name, (x) => ops.gelu(x, { approximate }));
}

/**
 * While training: each element is 0 with probability p, from 0 to 1, else scaled by 1 / (1 − p), so that the mean stays
 * (Srivastava et al., 2014). Otherwise: the input. The mask depends on seed, step, shard and place alone. Throws ConfigError.
 */
export function dropout(p = 0.5): Module {
  expectNumber('nn.dropout', 'p', p, { min: 0, max: 1 });
  return activation(`dropout(${p})`, (x) => {
    ops.expectTensors(placeOf('dropout'), x);
    return ops.dropout(x, p);
  });
}

/** Merges all axes but the first, the batch: [rows, a, b, …] → [rows, a · b · …]. */
export const flatten = (): Module => activation('flatten', (x) => ops.flatten(x, 1));
