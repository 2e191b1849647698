/** Metrics: means over the rows of a batch, so that the trainer can combine shards exactly. No gradients flow. */
import {
  argmax,
  cast,
  eq,
  expectDType,
  gt,
  inNameOf,
  lt,
  max,
  mean,
  noGrad,
  oneHot,
  sum,
  type Tensor,
  where,
} from '@lockstep/autograd';
import { expectLabels, expectNumber, expectSameShape } from '../common/errors.ts';
import { l1, mse as meanSquaredError } from './loss.ts';

const share = (hits: Tensor): Tensor => mean(cast(hits, 'f32'));

/** Share of rows whose largest logit (the first, if equal) is at the label. Logits [..., classes], labels i32 [...]. */
export const accuracy = (logits: Tensor, labels: Tensor): Tensor =>
  noGrad(() => {
    expectLabels('metrics.accuracy', logits, labels);
    return inNameOf('metrics.accuracy', () => share(eq(argmax(logits), labels)));
  });

/** Share of rows with fewer than k logits above the one at the label. Throws ConfigError, OpError. */
export const topK = (logits: Tensor, labels: Tensor, k: number): Tensor =>
  noGrad(() => {
    expectNumber('metrics.topK', 'k', k, { min: 1, integer: true });
    expectLabels('metrics.topK', logits, labels);
    return inNameOf('metrics.topK', () => {
      const isLabel = cast(oneHot(labels, logits.shape.at(-1)!), 'bool');
      const atLabel = max(where(isLabel, logits, -Infinity), -1, { keepDims: true });
      return share(lt(sum(cast(gt(logits, atLabel), 'f32'), -1), k));
    });
  });

/** Share of elements where logit > 0 agrees with target > ½. Equal shapes. Throws OpError. */
export const binaryAccuracy = (logits: Tensor, targets: Tensor): Tensor =>
  noGrad(() => {
    expectSameShape('metrics.binaryAccuracy', logits, targets);
    expectDType('metrics.binaryAccuracy', 'prediction', logits, 'f32');
    return share(eq(gt(logits, 0), gt(cast(targets, 'f32'), 0.5)));
  });

/** Mean absolute error. Throws OpError on unequal shapes. */
export const mae = (prediction: Tensor, target: Tensor): Tensor =>
  noGrad(() => inNameOf('metrics.mae', () => l1(prediction, target)));

/** Mean squared error. Throws OpError on unequal shapes. */
export const mse = (prediction: Tensor, target: Tensor): Tensor =>
  noGrad(() => inNameOf('metrics.mse', () => meanSquaredError(prediction, target)));

export {
  type ClassMetricOptions,
  type ConfusionOptions,
  confusion,
  f1,
  perplexity,
  precision,
  r2,
  recall,
  rmse,
  type SumMetric,
} from './sumMetrics.ts';
