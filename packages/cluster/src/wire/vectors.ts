/**
 * What travels at every step, as flat vectors in buckets. Up: a unit's results, [sums, padded | statistics | gradient]. Down:
 * the model, [weights | buffers].
 */
import { ALIGNMENT, ELEMENT_BYTES } from '@lockstep/kernels';
import { BUCKET_FLOATS, type Bucket, cutBuckets } from '@lockstep/sync';

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

/** @param bucketFloats floats of a bucket at most */
export function unitVector({ values, buffers, trained }: Sizes, bucketFloats = BUCKET_FLOATS): UnitVector {
  const statistics = Math.ceil(values / LINE) * LINE;
  const gradient = statistics + buffers;
  const size = gradient + trained;
  const buckets = [...cutBuckets(0, gradient, bucketFloats), ...cutBuckets(gradient, size, bucketFloats)];
  return { statistics, gradient, size, buckets };
}

/** The buckets of the gradient, as places in it. */
export const gradientBuckets = ({ buckets, gradient }: UnitVector) =>
  buckets
    .filter(({ from }) => from >= gradient)
    .map(({ from, to }) => ({ from: from - gradient, to: to - gradient }));

/** How a model is cut. The first buckets are those of the gradient, in the same order: what it updates. */
export interface ModelLayout {
  /** Floats of all weights. */
  readonly weights: number;
  readonly buckets: readonly Bucket[];
  /** The first bucket of weights that are not trained, and of buffers. */
  readonly firstFrozen: number;
  readonly firstBuffer: number;
}

export function modelLayout({ weights, buffers, trained }: Sizes, bucketFloats = BUCKET_FLOATS): ModelLayout {
  const [learned, frozen, state] = [
    cutBuckets(0, trained, bucketFloats),
    cutBuckets(trained, weights, bucketFloats),
    cutBuckets(weights, weights + buffers, bucketFloats),
  ];
  return {
    weights,
    buckets: [...learned, ...frozen, ...state],
    firstFrozen: learned.length,
    firstBuffer: learned.length + frozen.length,
  };
}
