/**
 * What travels at every step, as flat vectors in buckets. Up: a unit's results, [sums, padded | statistics | gradient]. Down:
 * the model, [weights | buffers].
 */
import { ALIGNMENT, ELEMENT_BYTES } from '@lockstep/kernels';
import { type Bucket, cutBuckets } from '@lockstep/sync';

/** In floats. */
export interface Sizes {
  readonly weights: number;
  readonly buffers: number;
  /** Of the gradient: the weights that are trained, which come first. */
  readonly trained: number;
  /** Loss and metrics. */
  readonly values: number;
}

/** Where things lie in a unit's vector, in floats. */
export interface UnitVector {
  readonly statistics: number;
  readonly gradient: number;
  readonly size: number;
  readonly buckets: readonly Bucket[];
}

const LINE = ALIGNMENT / ELEMENT_BYTES;

export function unitVector({ values, buffers, trained }: Sizes): UnitVector {
  const statistics = Math.ceil(values / LINE) * LINE;
  const gradient = statistics + buffers;
  const size = gradient + trained;
  return { statistics, gradient, size, buckets: [...cutBuckets(0, gradient), ...cutBuckets(gradient, size)] };
}

/** The buckets of the gradient, as places in it. */
export const gradientBuckets = ({ buckets, gradient }: UnitVector) =>
  buckets
    .filter(({ from }) => from >= gradient)
    .map(({ from, to }) => ({ from: from - gradient, to: to - gradient }));

/** The first ones are those of the gradient, in the same order: what it updates. */
export const modelBuckets = ({ weights, buffers, trained }: Sizes): Bucket[] => [
  ...cutBuckets(0, trained),
  ...cutBuckets(trained, weights),
  ...cutBuckets(weights, weights + buffers),
];
