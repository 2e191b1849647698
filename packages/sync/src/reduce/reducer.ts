/** The data plane of a step: buckets of unit gradients on their way in, buckets of weights on their way out. */
import { BucketLedger } from './bucketLedger.ts';
import { parentOf, type ShardRange } from './tree.ts';

export interface ReducerOptions<T> {
  /** Buckets that a unit's gradient is sent in. */
  readonly buckets: number;
  /** A piece's value as it is kept: a copy where the value is good only now. Default: itself. */
  readonly keep?: (value: T, bucket: number) => T;
  /** left + right of a bucket. Uses both up. */
  readonly add: (left: T, right: T, bucket: number) => T;
  /** A value that is not needed any more. */
  readonly drop?: (value: T, bucket: number) => void;
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
export type Arrival<T> =
  /** It is the first of its kind. */
  | {
      readonly kind: 'kept';
      /** Whether its unit is whole with it. */
      readonly isUnitWhole: boolean;
      /** With it the sums of all buckets of the step are there, whatever units they came in. */
      readonly isStepWhole?: true;
      /**
       * The sum of its bucket over all shards: given once, with the piece that completes it. It stays the reducer's, and is
       * good until the next `open`.
       */
      readonly total?: T;
    }
  /** It was there already, with the same bits; whether all of its unit is. */
  | { readonly kind: 'same'; readonly isUnitWhole: boolean }
  /** It was there already, with other bits (and this checksum), from session `first`: somebody computes wrongly. */
  | {
      readonly kind: 'conflict';
      readonly first: number;
      readonly checksum: number;
      readonly isUnitWhole: boolean;
    }
  /** Of a step that is over, and nothing is left to compare it with. */
  | { readonly kind: 'stale' };

/** What came of a unit: by bucket. */
type Arrived = Map<number, { readonly checksum: number; readonly session: number }>;

/** The sum of the shards [lo, hi) of one bucket. */
interface Partial<T> extends ShardRange {
  readonly value: T;
}

/** Steps after which a late duplicate is still compared. */
const REMEMBERED = 2;

/**
 * Collects the buckets of the open step and adds them up by the shard tree as they come: two neighbours become their
 * parent at once, so little waits in memory, and a bucket is done when its last piece is here. The sum of a node of
 * the tree has one value, whoever computed it: what a lost node left behind is as good as any other piece.
 *
 * A duplicate is never added: it is compared, also when the step is over already, as a straggler's usually is.
 */
export class Reducer<T> {
  readonly #options: ReducerOptions<T>;
  /** Checksums by step and unit. */
  readonly #steps = new Map<number, Map<number, Arrived>>();
  /** Of the open step: disjoint nodes of the tree, by bucket. */
  #partials: Partial<T>[][] = [];
  #step = -1;
  #shards = 1;
  readonly #completed: BucketLedger;
  /** Buckets of the open step whose sums are not there. */
  #incomplete = 0;

  constructor(options: ReducerOptions<T>) {
    this.#options = options;
    this.#completed = new BucketLedger('completed', options.buckets);
  }

  /**
   * Begins a step, of so many shards; the values of the one before are dropped.
   * @param awaited older steps of which something is still to be compared
   */
  open(step: number, shards: number, awaited: readonly number[] = []): void {
    for (const [bucket, partials] of this.#partials.entries()) {
      for (const { value } of partials) this.#options.drop?.(value, bucket);
    }
    this.#partials = Array.from({ length: this.#options.buckets }, () => []);
    this.#incomplete = this.#options.buckets;
    this.#steps.set(step, new Map());
    this.#step = step;
    this.#shards = shards;
    for (const old of this.#steps.keys()) {
      if ((old < step - REMEMBERED && !awaited.includes(old)) || old > step) this.#steps.delete(old);
    }
  }

  /** Takes a piece. Whether its unit is wanted from that session is the coordinator's to say, before. */
  put({ step, unit, bucket, value, checksum, session }: Piece<T>): Arrival<T> {
    const units = this.#steps.get(step);
    const key = keyOf(unit);
    let arrived = units?.get(key);
    const known = arrived?.get(bucket);
    if (known !== undefined) {
      const isUnitWhole = arrived!.size === this.#options.buckets;
      return known.checksum === checksum
        ? { kind: 'same', isUnitWhole }
        : { kind: 'conflict', first: known.session, checksum: known.checksum, isUnitWhole };
    }
    if (units === undefined || step !== this.#step) return { kind: 'stale' };
    if (arrived === undefined) {
      arrived = new Map();
      units.set(key, arrived);
    }
    arrived.set(bucket, { checksum, session });
    const isUnitWhole = arrived.size === this.#options.buckets;
    const node = this.#add(bucket, unit, value);
    if (node?.lo !== 0 || node.hi !== this.#shards) return { kind: 'kept', isUnitWhole };
    this.#completed.pass(step, bucket);
    const isStepWhole = --this.#incomplete === 0;
    return { kind: 'kept', isUnitWhole, ...(isStepWhole && { isStepWhole }), total: node.value };
  }

  /** Throws an InvariantError unless the sums of all buckets of the open step are there. */
  checkAll(): void {
    this.#completed.checkAll(this.#step);
  }

  /** Gives the node of the tree that the piece ended up in; undefined: one that is there has these shards already. */
  #add(bucket: number, { lo, hi }: ShardRange, given: T): Partial<T> | undefined {
    const { keep, add, drop } = this.#options;
    const partials = this.#partials[bucket]!;
    // A bucket of a lost node's unit that is whole already, and now comes from those among whom the unit was cut anew.
    if (partials.some((each) => each.lo <= lo && hi <= each.hi)) return undefined;
    const outside = partials.filter((each) => each.hi <= lo || hi <= each.lo);
    for (const each of partials) if (!outside.includes(each)) drop?.(each.value, bucket);
    let node: Partial<T> = { lo, hi, value: keep === undefined ? given : keep(given, bucket) };
    for (;;) {
      const parent = parentOf(node, this.#shards);
      if (parent === undefined) break;
      const left = node.lo === parent.lo;
      const place = outside.findIndex((each) =>
        left ? each.lo === node.hi && each.hi === parent.hi : each.hi === node.lo && each.lo === parent.lo,
      );
      const [sibling] = place < 0 ? [] : outside.splice(place, 1);
      if (sibling === undefined) break;
      const [a, b] = left ? [node, sibling] : [sibling, node];
      node = { ...parent, value: add(a.value, b.value, bucket) };
    }
    this.#partials[bucket] = [...outside, node];
    return node;
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

  /** Buckets of a step that are here, while it is collected. */
  count(step: number): number {
    return step === this.#step ? this.#buckets - this.#missing : 0;
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
