/** One batch on its way into the weights, bucket by bucket where the optimizer allows it. */
import { type BucketLedger, InvariantError } from '@lockstep/sync';
import type { BatchJob, PoolExecutor, Sums } from '@lockstep/trainer';
import type { UnitVector } from '../wire/vectors.ts';

type Updater = Pick<
  PoolExecutor<never, never>,
  'given' | 'hasBuckets' | 'begin' | 'update' | 'submit' | 'drain'
>;

export interface BatchUpdateOptions {
  /** The batch's number in the run: the core's step. */
  readonly step: number;
  /** Which buckets of the unit vector went into the weights, with which batch: one for all batches of a run. */
  readonly applied: BucketLedger;
  readonly updater: Updater;
  readonly vector: UnitVector;
  /** These weights are new (bucket of the gradient), or all that is not trained is (undefined). */
  readonly updated: (bucket: number | undefined) => void;
  /** No weights are new: the gradient was added to what is accumulated. */
  readonly kept: () => void;
}

export class BatchUpdate {
  readonly #options: BatchUpdateOptions;
  /** Buckets before those of the gradient. */
  readonly #head: number;
  /** Those that are here. Their place is also that of validation's sums, until the batch begins. */
  readonly #headTotals = new Map<number, Float32Array>();
  readonly #taken = new Set<number>();
  #waiting: number[] = [];
  #job: BatchJob | undefined;
  #sums: Sums | undefined;
  #isApplied = false;

  constructor(options: BatchUpdateOptions) {
    this.#options = options;
    const { buckets, gradient } = options.vector;
    this.#head = buckets.filter(({ from }) => from < gradient).length;
  }

  /** Whether weights may have changed: then the batch has to be finished. */
  get hasBegun(): boolean {
    return this.#sums !== undefined || this.#isApplied;
  }

  /** The job of this batch: nothing changes before it is known. */
  start(job: BatchJob): void {
    this.#job = job;
    if (this.#options.updater.hasBuckets) this.#go();
  }

  /** Takes back `start`, if nothing has changed yet. */
  hold(): void {
    if (!this.hasBegun) this.#job = undefined;
  }

  /**
   * The sum of a bucket over all shards. Throws an InvariantError where it was taken before: the bucket may be in the
   * weights already.
   */
  take(bucket: number, total: Float32Array): void {
    const { vector, updater, step } = this.#options;
    if (this.#taken.has(bucket)) {
      throw new InvariantError(`step ${step}: the sum of bucket ${bucket} is handed over a second time`);
    }
    this.#taken.add(bucket);
    if (bucket < this.#head) {
      this.#headTotals.set(bucket, total);
    } else {
      updater.given.gradient.set(total, vector.buckets[bucket]!.from - vector.gradient);
      this.#waiting.push(bucket - this.#head);
    }
    if (updater.hasBuckets) this.#go();
  }

  /**
   * After `start`, when all buckets are here. Settles when the update is done. Rejects with an InvariantError, before anything is
   * written, where a bucket is missing or was applied before.
   */
  async finish(): Promise<Sums> {
    const { updater, updated, kept, step, applied } = this.#options;
    if (this.#sums === undefined) for (const bucket of this.#taken) applied.pass(step, bucket);
    applied.checkAll(step);
    if (this.#sums !== undefined) return this.#sums;
    this.#isApplied = true;
    this.#placeHead();
    updater.submit(this.#job!);
    const [sums] = await updater.drain(0);
    updated(undefined);
    if (this.#job!.update === undefined) kept();
    else for (const bucket of this.#waiting) updated(bucket);
    return sums!;
  }

  /** Sums, then statistics, in buckets that may hold some of both. */
  #placeHead(): void {
    const { vector, updater } = this.#options;
    const { sums, statistics } = updater.given;
    for (const [bucket, total] of this.#headTotals) {
      const { from } = vector.buckets[bucket]!;
      copyOverlap(total, from, sums, 0);
      copyOverlap(total, from, statistics, vector.statistics);
    }
  }

  #go(): void {
    const job = this.#job;
    if (job === undefined || this.#headTotals.size < this.#head) return;
    const { updater, updated, step, applied } = this.#options;
    if (this.#sums === undefined) {
      for (let bucket = 0; bucket < this.#head; bucket++) applied.pass(step, bucket);
      this.#placeHead();
      this.#sums = updater.begin(job);
      updated(undefined);
    }
    for (const bucket of this.#waiting.splice(0)) {
      applied.pass(step, this.#head + bucket);
      updater.update(job, bucket);
      updated(bucket);
    }
  }
}

/** Copies what a stretch that begins at `from` has of the vector that begins at `start`. */
function copyOverlap(stretch: Float32Array, from: number, vector: Float32Array, start: number): void {
  const first = Math.max(from, start);
  const end = Math.min(from + stretch.length, start + vector.length);
  if (first < end) vector.set(stretch.subarray(first - from, end - from), first - start);
}
