/** The data plane of a step: buckets of unit gradients on their way in, buckets of weights on their way out. */
import { combine, type ShardRange } from './tree.ts';

export interface ReducerOptions<T> {
  /** Buckets that a unit's gradient is sent in. */
  readonly buckets: number;
  /** left + right. May reuse `left`, which is not needed any more. */
  readonly add: (left: T, right: T) => T;
}

/** A bucket of a unit's gradient as it came. */
export interface Piece<T> {
  readonly step: number;
  readonly unit: ShardRange;
  readonly bucket: number;
  readonly value: T;
  /** Equal for equal bits: the CRC-32 that the frame carries. */
  readonly checksum: number;
  readonly session: number;
}

/** What became of a piece. */
export type Arrival =
  /** Kept; the unit lacks others. */
  | { readonly kind: 'kept' }
  /** Kept, and the unit is whole. */
  | { readonly kind: 'complete' }
  /** It was there already, with the same bits. */
  | { readonly kind: 'same' }
  /** It was there already, with other bits, from session `first`: somebody computes wrongly. */
  | { readonly kind: 'conflict'; readonly first: number }
  /** Of a step that is over, and nothing is left to compare it with. */
  | { readonly kind: 'stale' };

interface Slot<T> {
  readonly values: (T | undefined)[];
  readonly arrived: Map<number, { readonly checksum: number; readonly session: number }>;
}

/** Steps after which a late duplicate is still compared. */
const REMEMBERED = 2;

/**
 * Collects the buckets of the open step, first come first kept, and adds them up by the shard tree. A duplicate is
 * never added: it is compared, also when the step is over already, as a straggler's usually is.
 */
export class Reducer<T> {
  readonly #options: ReducerOptions<T>;
  /** By step; all but the open one are kept for their checksums alone. */
  readonly #steps = new Map<number, Map<number, Slot<T>>>();
  #step = -1;

  constructor(options: ReducerOptions<T>) {
    this.#options = options;
  }

  /** Begins a step; the values of the one before are dropped. */
  open(step: number): void {
    const before = this.#steps.get(this.#step);
    for (const { values } of before?.values() ?? []) values.length = 0;
    this.#steps.set(step, new Map());
    this.#step = step;
    for (const old of this.#steps.keys()) if (old < step - REMEMBERED || old > step) this.#steps.delete(old);
  }

  /** Takes a piece. Whether its unit is wanted from that session is the coordinator's to say, before. */
  put({ step, unit, bucket, value, checksum, session }: Piece<T>): Arrival {
    const slots = this.#steps.get(step);
    const key = keyOf(unit);
    let slot = slots?.get(key);
    const known = slot?.arrived.get(bucket);
    if (known !== undefined) {
      return known.checksum === checksum ? { kind: 'same' } : { kind: 'conflict', first: known.session };
    }
    if (slots === undefined || step !== this.#step) return { kind: 'stale' };
    if (slot === undefined) {
      slot = { values: [], arrived: new Map() };
      slots.set(key, slot);
    }
    slot.values[bucket] = value;
    slot.arrived.set(bucket, { checksum, session });
    return { kind: slot.arrived.size === this.#options.buckets ? 'complete' : 'kept' };
  }

  /** Whether the bucket is there of all these units, so that `reduce` can run while others still arrive. */
  has(bucket: number, parts: readonly ShardRange[]): boolean {
    const slots = this.#steps.get(this.#step);
    return parts.every((part) => slots?.get(keyOf(part))?.arrived.has(bucket) === true);
  }

  /** The sum of one bucket over all shards; `parts` are the units of the step in order. Uses their values up. */
  reduce(bucket: number, parts: readonly ShardRange[]): T {
    const slots = this.#steps.get(this.#step);
    const values = parts.map((part) => {
      const value = slots?.get(keyOf(part))?.values[bucket];
      if (value === undefined) {
        throw new Error(
          `bucket ${bucket} of unit [${part.lo}, ${part.hi}) of step ${this.#step} is not there`,
        );
      }
      return value;
    });
    return combine(parts, values, this.#options.add);
  }
}

const keyOf = ({ lo, hi }: ShardRange): number => lo * 65_536 + hi;

/** left + right in f32, in place: the sum of two f32 in f64, rounded to f32, is their sum in f32. */
export const addFloats = (left: Float32Array, right: Float32Array): Float32Array => {
  for (let i = 0; i < left.length; i++) left[i]! += right[i]!;
  return left;
};

/** Weights on their way in, in buckets, in any order: complete or nothing. Only the newest step is collected. */
export class Inbox<T> {
  readonly #buckets: number;
  #step = -1;
  #values: (T | undefined)[] = [];
  #missing = 0;

  constructor(buckets: number) {
    this.#buckets = buckets;
  }

  /** Forgets everything: another session begins. */
  clear(): void {
    this.#step = -1;
    this.#values = [];
    this.#missing = 0;
  }

  /** Whether this bucket is still missing. */
  wants(step: number, bucket: number): boolean {
    return step > this.#step || (step === this.#step && this.#values[bucket] === undefined);
  }

  /** All buckets of the step, once, when this one completes them. */
  put(step: number, bucket: number, value: T): T[] | undefined {
    if (step < this.#step) return undefined;
    if (step > this.#step) {
      this.#step = step;
      this.#values = new Array(this.#buckets);
      this.#missing = this.#buckets;
    }
    if (this.#values[bucket] !== undefined) return undefined;
    this.#values[bucket] = value;
    return --this.#missing === 0 ? (this.#values as T[]) : undefined;
  }
}
