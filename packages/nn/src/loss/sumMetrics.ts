/** Metrics that aren't means over rows: made of sums over rows, so that they are exact whatever the shards. */
import {
  argmax,
  cast,
  concat,
  crossEntropyRows,
  formatSpec,
  full,
  gt,
  inNameOf,
  matmul,
  noGrad,
  OpError,
  oneHot,
  reshape,
  square,
  sub,
  sum,
  type Tensor,
} from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions, expectSameFloats, formatValue } from '../common/errors.ts';
import { exp } from '../common/exactMath.ts';

/** What is summed over rows, and the number that comes of the sums. */
export interface SumMetric {
  /** How many sums. */
  readonly size: number;
  /** The sums over the rows of a batch: f32 [size]. Counts are exact up to 2²⁴ rows a batch. */
  measure(prediction: Tensor, target: Tensor): Tensor;
  /** The metric, from the sums over all rows. */
  compute(sums: readonly number[]): number;
  /** What else the sums tell, as a table. */
  table?(sums: readonly number[]): readonly (readonly number[])[];
}

const scalars = (...values: Tensor[]): Tensor => concat(values.map((value) => reshape(value, [1])));

/** One-hot rows [n, classes] of predictions (logits [..., classes], or one logit per row of two classes) and of labels. */
function oneHots(who: string, prediction: Tensor, labels: Tensor, classes: number): [Tensor, Tensor] {
  const asLogits = prediction.shape.at(-1) === classes && prediction.rank === labels.rank + 1;
  const asLogit = classes === 2 && prediction.size === labels.size;
  if (!(asLogits || asLogit) || prediction.dtype !== 'f32' || prediction.size === 0) {
    throw new OpError(
      who,
      `got ${formatSpec(prediction)} and labels ${formatSpec(labels)}, expected logits [..., ${classes}]` +
        `${classes === 2 ? ', or one logit per row,' : ''} and one label per row`,
    );
  }
  const predicted = asLogits ? argmax(prediction) : cast(gt(prediction, 0), 'i32');
  const rows = (index: Tensor): Tensor => oneHot(reshape(index, [labels.size]), classes);
  return [rows(predicted), rows(cast(labels, 'i32'))];
}

export interface ConfusionOptions {
  /** How many classes: 2 to 256. */
  readonly classes: number;
}

/**
 * The confusion matrix: entry [i][j] counts rows of class i that were taken for class j (as a table); its number is the
 * accuracy. Predictions are logits [..., classes], targets i32 labels. Throws ConfigError, OpError.
 */
export function confusion(options: ConfusionOptions): SumMetric {
  expectOptions('metrics.confusion', options, ['classes']);
  const { classes } = options;
  expectNumber('metrics.confusion', 'classes', classes, { min: 2, max: 256, integer: true });
  const rowsOf = (sums: readonly number[]): number[][] =>
    Array.from({ length: classes }, (_, i) => sums.slice(i * classes, (i + 1) * classes));
  return {
    size: classes * classes,
    measure: (prediction, labels) =>
      noGrad(() => {
        const [predicted, actual] = oneHots('metrics.confusion', prediction, labels, classes);
        return reshape(matmul(actual, predicted, { transA: true }), [classes * classes]);
      }),
    compute: (sums) => {
      const total = sums.reduce((a, b) => a + b, 0);
      return rowsOf(sums).reduce((hits, row, i) => hits + row[i]!, 0) / total;
    },
    table: rowsOf,
  };
}

export interface ClassMetricOptions {
  /** How many classes. Default 2. */
  readonly classes?: number;
  /**
   * `macro`: the mean over the classes; `micro`: of all rows together; a class number: of that class alone. Default: class
   * 1 of two, else `macro`.
   */
  readonly average?: 'macro' | 'micro' | number;
}

/** From true positives, predicted and actual rows of a class. 0 / 0 is 0. */
type Score = (hits: number, predicted: number, actual: number) => number;

const share = (a: number, b: number): number => (b === 0 ? 0 : a / b);

function classMetric(who: string, options: ClassMetricOptions, score: Score): SumMetric {
  expectOptions(who, options, ['classes', 'average']);
  const classes = expectNumber(who, 'classes', options.classes ?? 2, { min: 2, integer: true });
  const { average = classes === 2 ? 1 : 'macro' } = options;
  const isClass =
    typeof average === 'number' && Number.isInteger(average) && average >= 0 && average < classes;
  if (!isClass && average !== 'macro' && average !== 'micro') {
    throw new ConfigError(
      who,
      `got average = ${formatValue(average)}, expected 'macro', 'micro' or a class from 0 to ${classes - 1}`,
    );
  }
  return {
    size: 3 * classes,
    measure: (prediction, labels) =>
      noGrad(() => {
        const [predicted, actual] = oneHots(who, prediction, labels, classes);
        return concat([sum(predicted.mul(actual), 0), sum(predicted, 0), sum(actual, 0)]);
      }),
    compute: (sums) => {
      const of = (c: number): number => score(sums[c]!, sums[classes + c]!, sums[2 * classes + c]!);
      if (typeof average === 'number') return of(average);
      const all = (k: number): number =>
        sums.slice(k * classes, (k + 1) * classes).reduce((a, b) => a + b, 0);
      if (average === 'micro') return score(all(0), all(1), all(2));
      return Array.from({ length: classes }, (_, c) => of(c)).reduce((a, b) => a + b, 0) / classes;
    },
  };
}

/** Share of the rows taken for a class that are of it; 0 where there are none. Throws ConfigError, OpError. */
export const precision = (options: ClassMetricOptions = {}): SumMetric =>
  classMetric('metrics.precision', options, (hits, predicted) => share(hits, predicted));

/** Share of a class's rows that are taken for it; 0 where there are none. Throws ConfigError, OpError. */
export const recall = (options: ClassMetricOptions = {}): SumMetric =>
  classMetric('metrics.recall', options, (hits, _, actual) => share(hits, actual));

/** 2 hits / (predicted + actual): the harmonic mean of precision and recall. Throws ConfigError, OpError. */
export const f1 = (options: ClassMetricOptions = {}): SumMetric =>
  classMetric('metrics.f1', options, (hits, predicted, actual) => share(2 * hits, predicted + actual));

const count = (x: Tensor): Tensor => full([1], x.size);

/**
 * R², the coefficient of determination: 1 − Σ(y − ŷ)² / Σ(y − ȳ)², over all elements. Equal shapes. Targets far from
 * 0 lose digits in f32: standardize them. Throws OpError.
 */
export const r2 = (): SumMetric => ({
  size: 4,
  measure: (prediction, target) =>
    noGrad(() => {
      expectSameFloats('metrics.r2', prediction, target);
      const errors = sum(square(sub(target, prediction)));
      return scalars(errors, sum(target), sum(square(target)), count(target));
    }),
  compute: ([errors = 0, total = 0, squares = 0, n = 0]) => 1 - errors / (squares - (total * total) / n),
});

/** Root of the mean squared error over all elements. Equal shapes. Throws OpError. */
export const rmse = (): SumMetric => ({
  size: 2,
  measure: (prediction, target) =>
    noGrad(() => {
      expectSameFloats('metrics.rmse', prediction, target);
      return scalars(sum(square(sub(target, prediction))), count(target));
    }),
  compute: ([errors = 0, n = 0]) => Math.sqrt(errors / n),
});

/** e^(mean cross-entropy) over all labels: logits [..., classes] and i32 labels [...]. Throws OpError. */
export const perplexity = (): SumMetric => ({
  size: 2,
  measure: (logits, labels) =>
    inNameOf('metrics.perplexity', () =>
      noGrad(() => scalars(sum(crossEntropyRows(logits, labels)), count(labels))),
    ),
  compute: ([total = 0, n = 0]) => exp(total / n),
});
