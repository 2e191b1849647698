/**
 * Losses. Each is a mean over the rows of its batch (and over the features, where a row has several), a scalar. While
 * training, a batch is one shard; the trainer weights the shards by their rows.
 *
 * Note [Means of shards]: A mean over all elements is the same however the batch is cut. A mean that is weighted (class
 * weights, `ignoreIndex`) is PyTorch's formula within each shard: Σ weight · loss / Σ weight, 0 where no row counts.
 * Where the shards' weights differ much and that matters, take `reduction: 'sum'` and divide by what you mean.
 */
import {
  abs,
  add,
  cast,
  crossEntropyRows,
  customGradient,
  div,
  eq,
  expectTensors,
  formatShape,
  formatSpec,
  gt,
  inNameOf,
  le,
  log,
  logSoftmax,
  maximum,
  mean,
  mul,
  neg,
  OpError,
  oneHot,
  sameShape,
  softplus,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  tensor,
  where,
} from '@lockstep/autograd';
import {
  ConfigError,
  expectLabels,
  expectNumber,
  expectOptions,
  expectSameFloats,
  expectSameShape,
  formatValue,
} from '../common/errors.ts';

/** `mean` (default), `sum`, or `none`: the losses themselves, in the shape of the rows or elements. */
export type Reduction = 'mean' | 'sum' | 'none';

export interface LossOptions {
  readonly reduction?: Reduction;
}

function reduce(who: string, values: Tensor, reduction: Reduction = 'mean', weights?: Tensor): Tensor {
  if (reduction === 'none') return values;
  if (reduction === 'sum') return sum(values);
  if (reduction !== 'mean') {
    throw new ConfigError(who, `got reduction = ${formatValue(reduction)}, expected 'mean', 'sum' or 'none'`);
  }
  if (!weights) return mean(values);
  const total = sum(weights);
  return div(sum(values), where(gt(total, 0), total, 1));
}

// ─── classes ─────────────────────────────────────────────────────────────────────────────────────────────────────

export interface ClassLossOptions extends LossOptions {
  /** A factor for each class, at least 0. Default: 1. */
  readonly weight?: readonly number[];
  /** Rows with this label do not count. Default: every row counts. */
  readonly ignoreIndex?: number;
}

export interface CrossEntropyOptions extends ClassLossOptions {
  /** Share of the target that is spread over all classes, from 0 to 1 (Szegedy et al., 2016). Default 0. */
  readonly labelSmoothing?: number;
}

/** Labels that are sure to be classes, what each row counts, and the classes' weights. */
function weighRows(who: string, scores: Tensor, labels: Tensor, options: ClassLossOptions) {
  const { weight, ignoreIndex } = options;
  const classes = scores.shape.at(-1) ?? 0;
  if (!weight && ignoreIndex === undefined) return { classes, safe: labels };
  expectLabels(who, scores, labels);
  const byClass = weight && weightsOf(who, weight, classes);
  if (ignoreIndex !== undefined) expectNumber(who, 'ignoreIndex', ignoreIndex, { integer: true });
  const ignored = ignoreIndex === undefined ? undefined : eq(labels, ignoreIndex);
  const safe = ignored ? where(ignored, 0, labels) : labels;
  const own = byClass && sum(mul(oneHot(safe, classes), byClass), -1);
  const counts = ignored ? where(ignored, 0, own ?? cast(eq(safe, safe), 'f32')) : own;
  return { classes, safe, counts, byClass };
}

/**
 * Mean of log Σ e^logits − logits[label]: softmax and negative log-likelihood in one. Logits [..., classes], labels i32
 * [...] in [0, classes), or f32 [..., classes]: a probability for each class. With weights or `ignoreIndex` see Note [Means
 * of shards]. PyTorch's cross_entropy with the classes on the last axis. Throws OpError, ConfigError.
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const who = 'loss.crossEntropy';
  expectOptions(who, options, ['weight', 'ignoreIndex', 'labelSmoothing', 'reduction']);
  const { labelSmoothing = 0, reduction } = options;
  expectNumber(who, 'labelSmoothing', labelSmoothing, { min: 0, max: 1 });
  expectTensors(who, logits, labels);
  if (labels.dtype === 'f32') return reduce(who, towardsShares(who, logits, labels, options), reduction);
  const { safe, counts, byClass, classes } = weighRows(who, logits, labels, options);
  const hard = inNameOf(who, () => crossEntropyRows(logits, safe));
  const weighted = counts ? mul(hard, counts) : hard;
  if (labelSmoothing === 0) return reduce(who, weighted, reduction, counts);
  const all = logSoftmax(logits);
  const even = neg(sum(byClass ? mul(all, byClass) : all, -1));
  const counted = options.ignoreIndex === undefined ? even : where(eq(labels, options.ignoreIndex), 0, even);
  const both = mul(weighted, 1 - labelSmoothing).add(mul(counted, labelSmoothing / classes));
  return reduce(who, both, reduction, counts);
}

/** −Σ weight · share · log softmax(logits) of each row. */
function towardsShares(who: string, logits: Tensor, shares: Tensor, options: CrossEntropyOptions): Tensor {
  const { weight, ignoreIndex, labelSmoothing = 0 } = options;
  if (!sameShape(logits.shape, shares.shape) || logits.rank === 0) {
    throw new OpError(
      who,
      `got logits ${formatSpec(logits)} and labels ${formatSpec(shares)}, expected a probability for each logit, or i32 class ` +
        `numbers ${formatShape(logits.shape.slice(0, -1))}; convert those with cast(x, 'i32')`,
    );
  }
  if (ignoreIndex !== undefined) {
    throw new ConfigError(who, 'got ignoreIndex with probabilities, expected it with class numbers');
  }
  const classes = logits.shape.at(-1)!;
  const smooth = mul(shares, 1 - labelSmoothing).add(labelSmoothing / classes);
  const target = labelSmoothing === 0 ? shares : smooth;
  const weighted = weight ? mul(target, weightsOf(who, weight, classes)) : target;
  return neg(sum(mul(weighted, logSoftmax(logits)), -1));
}

/** A factor for each class. Throws ConfigError. */
function weightsOf(who: string, weight: readonly number[], classes: number): Tensor {
  if (weight.length === classes && weight.every((w) => Number.isFinite(w) && w >= 0)) return tensor(weight);
  throw new ConfigError(
    who,
    `got ${weight.length} weights, expected ${classes} numbers >= 0, one for each class`,
  );
}

/**
 * Mean of −logProbabilities[label], for what went through logSoftmax already. Log-probabilities [..., classes], labels i32
 * [...]. See Note [Means of shards]. Throws OpError, ConfigError.
 */
export function nll(logProbabilities: Tensor, labels: Tensor, options: ClassLossOptions = {}): Tensor {
  const who = 'loss.nll';
  expectOptions(who, options, ['weight', 'ignoreIndex', 'reduction']);
  expectLabels(who, logProbabilities, labels);
  const { safe, counts, classes } = weighRows(who, logProbabilities, labels, options);
  // Not a product: −∞ · 0 is no number.
  const picked = where(cast(oneHot(safe, classes), 'bool'), logProbabilities, 0);
  const values = neg(sum(picked, -1));
  return reduce(who, counts ? mul(values, counts) : values, options.reduction, counts);
}

// ─── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Mean squared error. Throws OpError on unequal shapes. */
export function mse(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  expectOptions('loss.mse', options, ['reduction']);
  expectSameFloats('loss.mse', prediction, target);
  return reduce('loss.mse', square(sub(prediction, target)), options.reduction);
}

/** Mean absolute error. Throws OpError on unequal shapes. */
export function l1(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  expectOptions('loss.l1', options, ['reduction']);
  expectSameFloats('loss.l1', prediction, target);
  return reduce('loss.l1', abs(sub(prediction, target)), options.reduction);
}

export interface HuberOptions extends LossOptions {
  /** Where the square turns into a line, above 0. Default 1. */
  readonly delta?: number;
}

/** Mean of d²/2 where |d| ≤ δ, else δ (|d| − δ/2): outliers pull with constant force (Huber, 1964). Throws OpError. */
export function huber(prediction: Tensor, target: Tensor, options: HuberOptions = {}): Tensor {
  expectOptions('loss.huber', options, ['delta', 'reduction']);
  const delta = expectNumber('loss.huber', 'delta', options.delta ?? 1, { above: 0 });
  expectSameFloats('loss.huber', prediction, target);
  const d = sub(prediction, target);
  const size = abs(d);
  const isSmall = le(size, delta);
  // The square of an infinite d is not taken, but its gradient would be 0 · ∞.
  const values = where(isSmall, mul(square(where(isSmall, d, 0)), 0.5), mul(sub(size, delta / 2), delta));
  return reduce('loss.huber', values, options.reduction);
}

export interface SmoothL1Options extends LossOptions {
  /** Where the square turns into a line, above 0. Default 1. */
  readonly beta?: number;
}

/** Mean of d²/(2β) where |d| ≤ β, else |d| − β/2: the Huber loss over β (Girshick, 2015). Throws OpError. */
export function smoothL1(prediction: Tensor, target: Tensor, options: SmoothL1Options = {}): Tensor {
  expectOptions('loss.smoothL1', options, ['beta', 'reduction']);
  const beta = expectNumber('loss.smoothL1', 'beta', options.beta ?? 1, { above: 0 });
  expectSameFloats('loss.smoothL1', prediction, target);
  const d = sub(prediction, target);
  const size = abs(d);
  const isSmall = le(size, beta);
  const values = where(isSmall, mul(square(where(isSmall, d, 0)), 0.5 / beta), sub(size, beta / 2));
  return reduce('loss.smoothL1', values, options.reduction);
}

// ─── probabilities ───────────────────────────────────────────────────────────────────────────────────────────────

/** −y log p − (1 − y) log(1 − p), each logarithm at least −100, with the derivative that has no 0 / 0. */
const bceOf = customGradient(
  (p: Tensor, y: Tensor) =>
    neg(mul(y, maximum(log(p), -100)).add(mul(sub(1, y), maximum(log(sub(1, p)), -100)))),
  (g, [p, y]) => {
    const slope = div(sub(p, y), maximum(mul(p, sub(1, p)), 1e-12));
    return [mul(g, slope), mul(g, sub(maximum(log(sub(1, p)), -100), maximum(log(p), -100)))];
  },
  'bce',
);

/**
 * Mean binary cross-entropy of probabilities in [0, 1] with targets in [0, 1]. From logits `bceWithLogits` is exact where
 * this one rounds. Throws OpError on unequal shapes.
 */
export function bce(probabilities: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  expectOptions('loss.bce', options, ['reduction']);
  expectSameFloats('loss.bce', probabilities, targets);
  return reduce('loss.bce', bceOf(probabilities, targets), options.reduction);
}

export interface BceWithLogitsOptions extends LossOptions {
  /** Factor on the part of the positive targets, at least 0. Default 1. */
  readonly positiveWeight?: number;
}

/**
 * Mean binary cross-entropy of sigmoid(logits) with targets in [0, 1], in the stable form softplus(x) − x · y; with a
 * positive weight p: (1 − y) x + (1 + (p − 1) y) · softplus(−x). Throws OpError on unequal shapes.
 */
export function bceWithLogits(logits: Tensor, targets: Tensor, options: BceWithLogitsOptions = {}): Tensor {
  const who = 'loss.bceWithLogits';
  expectOptions(who, options, ['positiveWeight', 'reduction']);
  const { positiveWeight = 1, reduction } = options;
  expectNumber(who, 'positiveWeight', positiveWeight, { min: 0 });
  expectSameFloats(who, logits, targets);
  if (positiveWeight === 1) return reduce(who, sub(softplus(logits), mul(logits, targets)), reduction);
  const weight = mul(targets, positiveWeight - 1).add(1);
  const values = mul(sub(1, targets), logits).add(mul(weight, softplus(neg(logits))));
  return reduce(who, values, reduction);
}

export interface KlDivOptions {
  /** The target, too, is given as log-probabilities. Default false. */
  readonly logTarget?: boolean;
  /** `batchMean` (default): the sum over the number of rows, which is the divergence's definition; or see {@link Reduction}. */
  readonly reduction?: Reduction | 'batchMean';
}

/**
 * Kullback–Leibler divergence of the target distribution from the predicted one: t (log t − x), 0 where t = 0, with x
 * log-probabilities. Throws OpError on unequal shapes.
 */
export function klDiv(logProbabilities: Tensor, target: Tensor, options: KlDivOptions = {}): Tensor {
  const who = 'loss.klDiv';
  expectOptions(who, options, ['logTarget', 'reduction']);
  const { logTarget = false, reduction = 'batchMean' } = options;
  expectSameFloats(who, logProbabilities, target);
  const isSome = gt(target, 0);
  const values = logTarget
    ? mul(target.exp(), sub(target, logProbabilities))
    : where(isSome, mul(target, sub(log(where(isSome, target, 1)), logProbabilities)), 0);
  if (reduction !== 'batchMean') return reduce(who, values, reduction);
  return div(sum(values), values.shape[0] ?? 1);
}

// ─── margins ─────────────────────────────────────────────────────────────────────────────────────────────────────

export interface MarginOptions extends LossOptions {
  readonly margin?: number;
}

/** Mean of max(0, margin − y · x) for targets y of −1 and 1; margin 1 by default. Throws OpError on unequal shapes. */
export function hinge(prediction: Tensor, target: Tensor, options: MarginOptions = {}): Tensor {
  expectOptions('loss.hinge', options, ['margin', 'reduction']);
  const margin = expectNumber('loss.hinge', 'margin', options.margin ?? 1);
  expectSameFloats('loss.hinge', prediction, target);
  return reduce('loss.hinge', sub(margin, mul(prediction, target)).relu(), options.reduction);
}

/**
 * Mean over rows of 1 − cos(a, b) where the target is 1, max(0, cos(a, b) − margin) where it is −1. Vectors [..., n],
 * targets [...]; margin 0 by default. PyTorch's cosine_embedding_loss. Throws OpError.
 */
export function cosineEmbedding(a: Tensor, b: Tensor, target: Tensor, options: MarginOptions = {}): Tensor {
  const who = 'loss.cosineEmbedding';
  expectOptions(who, options, ['margin', 'reduction']);
  const margin = expectNumber(who, 'margin', options.margin ?? 0);
  expectSameFloats(who, a, b);
  const lengths = mul(sum(square(a), -1).add(1e-12), sum(square(b), -1).add(1e-12));
  const cosine = div(sum(mul(a, b), -1), sqrt(lengths));
  expectSameShape(who, cosine, target);
  const values = where(gt(cast(target, 'f32'), 0), sub(1, cosine), sub(cosine, margin).relu());
  return reduce(who, values, options.reduction);
}

/**
 * Mean over rows of Σ max(0, margin − x[label] + x[j]) over the other classes j, divided by the number of classes: the hinge
 * loss of more than two classes. Scores [..., classes], labels i32 [...]; margin 1 by default. PyTorch's
 * multi_margin_loss. Throws OpError.
 */
export function multiMargin(scores: Tensor, labels: Tensor, options: MarginOptions = {}): Tensor {
  const who = 'loss.multiMargin';
  expectOptions(who, options, ['margin', 'reduction']);
  const margin = expectNumber(who, 'margin', options.margin ?? 1);
  expectLabels(who, scores, labels);
  const classes = scores.shape.at(-1)!;
  const isLabel = cast(oneHot(labels, classes), 'bool');
  const own = sum(where(isLabel, scores, 0), -1, { keepDims: true });
  const others = where(isLabel, 0, add(sub(scores, own), margin).relu());
  return reduce(who, div(sum(others, -1), classes), options.reduction);
}
