/** Long vectors of floats, cut into buckets of at most one frame. */
import { CHUNK_FLOATS } from '@lockstep/protocol';

/** Floats `from` to `to` (excluded) of a vector. */
export interface Bucket {
  readonly from: number;
  readonly to: number;
}

/**
 * Floats of a bucket, 256 KiB: while one is added up, applied and sent back, others are on their way. On a network that is
 * busy both ways, the weights are back as much later than the last of the gradient as a bucket takes (two nodes, 1 Gbit/s: 4 ms),
 * however small the last ones are; and larger buckets cost less work each.
 */
export const BUCKET_FLOATS = CHUNK_FLOATS / 4;

/** Cuts a stretch into buckets of so many floats; the last is what is left. */
export function cutBuckets(from: number, to: number, floats = BUCKET_FLOATS): Bucket[] {
  const count = Math.ceil((to - from) / floats);
  return Array.from({ length: count }, (_, i) => ({
    from: from + i * floats,
    to: Math.min(to, from + (i + 1) * floats),
  }));
}

/** Finds the bucket that a frame carries. */
export class BucketIndex {
  readonly #byOffset: ReadonlyMap<number, number>;
  readonly #buckets: readonly Bucket[];

  constructor(buckets: readonly Bucket[]) {
    this.#buckets = buckets;
    this.#byOffset = new Map(buckets.map(({ from }, i) => [from, i]));
  }

  /** Undefined where no bucket has this offset (in floats) and length (in bytes). */
  find({ offset, length }: { readonly offset: number; readonly length: number }): number | undefined {
    const bucket = this.#byOffset.get(offset);
    if (bucket === undefined) return undefined;
    const { from, to } = this.#buckets[bucket]!;
    return length === (to - from) * 4 ? bucket : undefined;
  }
}

export const bytesOf = (values: Float32Array, { from, to }: Bucket): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset + from * 4, (to - from) * 4);
