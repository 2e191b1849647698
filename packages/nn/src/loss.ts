/**
 * Losses. Each is a mean over the rows of its batch (and over the features, where a row has several), a scalar. While
 * training, a batch is one shard; the trainer weights the shards by their rows.
 */
import { abs, crossEntropyRows, le, mean, mul, square, sub, type Tensor, where } from '@lockstep/autograd';
import { softplusOf } from './activations.ts';
import { expectNumber, expectOptions, expectSameShape } from './errors.ts';

/**
 * Mean of log Σ e^logits − logits[label]: softmax and negative log-likelihood in one. Logits [..., classes], labels i32
 * [...] in [0, classes). Throws OpError.
 */
export const crossEntropy = (logits: Tensor, labels: Tensor): Tensor =>
  mean(crossEntropyRows(logits, labels));

/** Mean squared error. Throws OpError on unequal shapes. */
export function mse(prediction: Tensor, target: Tensor): Tensor {
  expectSameShape('loss.mse', prediction, target);
  return mean(square(sub(prediction, target)));
}

/** Mean absolute error. Throws OpError on unequal shapes. */
export function l1(prediction: Tensor, target: Tensor): Tensor {
  expectSameShape('loss.l1', prediction, target);
  return mean(abs(sub(prediction, target)));
}

export interface HuberOptions {
  /** Where the square turns into a line, above 0. Default 1. */
  readonly delta?: number;
}

/** Mean of d²/2 where |d| ≤ δ, else δ (|d| − δ/2): outliers pull with constant force (Huber, 1964). Throws OpError. */
export function huber(prediction: Tensor, target: Tensor, options: HuberOptions = {}): Tensor {
  expectOptions('loss.huber', options, ['delta']);
  const delta = expectNumber('loss.huber', 'delta', options.delta ?? 1, { above: 0 });
  expectSameShape('loss.huber', prediction, target);
  const d = sub(prediction, target);
  const size = abs(d);
  return mean(where(le(size, delta), mul(square(d), 0.5), mul(sub(size, delta / 2), delta)));
}

/**
 * Mean binary cross-entropy of sigmoid(logits) with targets in [0, 1], in the stable form softplus(x) − x · y. Throws
 * OpError on unequal shapes.
 */
export function bceWithLogits(logits: Tensor, targets: Tensor): Tensor {
  expectSameShape('loss.bceWithLogits', logits, targets);
  return mean(sub(softplusOf(logits), mul(logits, targets)));
}
