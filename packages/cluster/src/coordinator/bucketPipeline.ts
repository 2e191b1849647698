/**
 * Gradients on their way into the weights, and weights on their way out: all that happens to a bucket on the coordinator.
 *
 * Note [A bucket's life], in the order of this file:
 *   1. take     A piece of a unit's vector came. What is not finite, came before or comes too late ends here.
 *   2. reduce   It is added up with others by the shard tree. The piece that completes a bucket's sum brings it on, once.
 *   3. place    The sum lies where the optimizer reads it, until the batch's loss is known and the loop has said what becomes
 *               of the batch (its job).
 *   4. apply    The optimizer updates these weights, and no others.
 *   5. publish  A copy of them goes to every node that computes.
 *   6. release  When it has left and the next model has replaced it, the copy's memory is used again.
 * Clipping by norm, layer-wise rules and accumulation need the whole gradient first: there, 4 and 5 come for all buckets at
 * once, when the last one is in its place. Each of 2, 4 and 5 happens once per batch (Note [Once per batch]).
 */
import {
  type Arrival,
  BucketLedger,
  type Clock,
  type DataPlane,
  type ModelReceiver,
  type NotFinite,
  type Piece,
  Published,
  Reducer,
  systemClock,
} from '@lockstep/sync';
import type { BatchJob, PoolExecutor, Sums } from '@lockstep/trainer';
import type { ModelLayout, UnitVector } from '../wire/vectors.ts';
import type { BucketMath } from './bucketMath.ts';

/** Where the weights are, and what changes them. */
export type Updater = Pick<
  PoolExecutor<never, never>,
  'given' | 'current' | 'hasBuckets' | 'begin' | 'update' | 'submit' | 'drain'
>;

export interface BucketPipelineOptions {
  readonly unit: UnitVector;
  readonly model: ModelLayout;
  readonly arithmetic: Pick<BucketMath, 'isFinite' | 'reducing'>;
  readonly updater: Updater;
  /** Those who get every model, in buckets. */
  readonly receivers: () => Iterable<ModelReceiver>;
  /** Whether a batch on these weights does give numbers that are not finite: then the run has failed, and is ended. */
  readonly hasDiverged: (step: number, weights: Float32Array) => boolean;
  /** A batch is in the weights, with its loss and metrics: its step is over when this settles. */
  readonly applied: (sums: Sums, step: number) => void | Promise<void>;
  readonly clock?: Clock | undefined;
}

/** The open batch. */
interface Batch {
  readonly step: number;
  /** Sums of the first buckets, which are no gradient, until the batch begins: validation uses their place. */
  readonly head: Map<number, Float32Array>;
  /** Buckets of the gradient that are in their place and not applied. */
  placed: number[];
  /** Loss and metrics; from then on weights may have changed, and the batch has to be finished. */
  sums: Sums | undefined;
  hasBegun: boolean;
}

/** Copies of so many models are used again at most. */
const MODELS_REUSED = 3;

export class BucketPipeline implements DataPlane {
  readonly #options: BucketPipelineOptions;
  /** Buckets before those of the gradient. */
  readonly #head: number;
  readonly #reducer: Reducer<Float32Array>;
  readonly #applied: BucketLedger;
  readonly #published: Published<ModelReceiver>;
  readonly #clock: Clock;
  readonly #jobs = new Map<number, BatchJob>();
  #batch: Batch | undefined;
  #isHeld = false;
  /** More batches of the same optimizer step follow those that were applied, and these have changed the buffers. */
  #isInGroup = false;
  #wake: () => void = () => {};
  /** Copies that nobody needs, by length. */
  readonly #free = new Map<number, Float32Array[]>();

  constructor(options: BucketPipelineOptions) {
    this.#options = options;
    const { unit, model, arithmetic } = options;
    this.#head = unit.buckets.filter(({ from }) => from < unit.gradient).length;
    this.#reducer = new Reducer({ buckets: unit.buckets.length, ...arithmetic.reducing });
    this.#applied = new BucketLedger('applied', unit.buckets.length);
    this.#clock = options.clock ?? systemClock;
    this.#published = new Published<ModelReceiver>({
      buckets: model.buckets.length,
      first: () => model.buckets.map((_, bucket) => this.#copyOf(bucket)),
      send: (node, step, bucket, values) => node.weights(step, model.buckets[bucket]!.from, values),
      kept: (node, step, from, to) => node.kept(step, from, to),
    });
  }

  /** The model before a batch that is not over, by bucket. Nothing of it may change. */
  model(step: number): readonly Float32Array[] {
    return this.#published.model(step);
  }

  // What the loop says

  /** What becomes of a batch: nothing of it changes weights before. */
  submit(job: BatchJob): void {
    this.#jobs.set(job.index, job);
    this.#advance();
    this.#wake();
  }

  /** No batch begins to change weights any more; one that has begun is finished. */
  hold(): void {
    this.#isHeld = true;
  }

  /**
   * Whether something that a checkpoint holds may have changed since the last optimizer step: then this one has to be finished.
   * Of batches whose gradients are accumulated that is the running statistics.
   */
  get hasBegun(): boolean {
    return this.#isInGroup || (this.#batch?.hasBegun ?? false);
  }

  /** The job of the open batch, once it is known and may begin. */
  get #job(): BatchJob | undefined {
    const batch = this.#batch;
    return batch && (!this.#isHeld || this.hasBegun) ? this.#jobs.get(batch.step) : undefined;
  }

  // 1. A piece comes

  /** Before the loop has said what becomes of a batch, nothing comes back: a validation may come first. */
  streams(step: number): boolean {
    return this.#options.updater.hasBuckets && this.#jobs.has(step);
  }

  open(step: number, shards: number, awaited: readonly number[]): void {
    this.#reducer.open(step, shards, awaited);
    // The model that the batch is computed with is copied before anything changes it, though nobody may have asked for it.
    this.#published.model(step);
    this.#batch = { step, head: new Map(), placed: [], sums: undefined, hasBegun: false };
  }

  take(piece: Piece<Float32Array>): Arrival<Float32Array> | NotFinite {
    const { step, bucket, value } = piece;
    if (!this.#options.arithmetic.isFinite(value)) {
      // Of a batch that is over, nobody can say any more whether it gives such numbers, and nobody uses it.
      const isLate = step !== this.#batch?.step;
      return isLate || this.#isDivergence(step) ? { kind: 'stale' } : { kind: 'notFinite' };
    }
    const arrival = this.#reducer.put(piece);
    if (arrival.kind === 'kept' && arrival.total !== undefined) this.#place(bucket, arrival.total);
    return arrival;
  }

  #isDivergence(step: number): boolean {
    if (step !== this.#batch?.step) return false;
    const { model, hasDiverged } = this.#options;
    const weights = new Float32Array(model.weights);
    for (const [bucket, values] of this.#published.model(step).entries()) {
      const { from } = model.buckets[bucket]!;
      if (from < weights.length) weights.set(values, from);
    }
    return hasDiverged(step, weights);
  }

  // 2. Reduced (sync/src/reducer.ts): 3. placed

  #place(bucket: number, total: Float32Array): void {
    const { unit, updater } = this.#options;
    const { head, placed } = this.#batch!;
    if (bucket < this.#head) {
      head.set(bucket, total);
    } else {
      updater.given.gradient.set(total, unit.buckets[bucket]!.from - unit.gradient);
      placed.push(bucket);
    }
    this.#advance();
  }

  // 4. Applied

  /** Applies what is in its place, where that may be done bucket by bucket. */
  #advance(): void {
    const { updater } = this.#options;
    const [batch, job] = [this.#batch, this.#job];
    if (!updater.hasBuckets || batch === undefined || job === undefined) return;
    if (batch.head.size < this.#head) return;
    if (!batch.hasBegun) {
      this.#begin(batch);
      batch.sums = updater.begin(job);
      this.#publishOthers(batch.step + 1);
    }
    for (const bucket of batch.placed.splice(0)) {
      this.#applied.pass(batch.step, bucket);
      updater.update(job, bucket - this.#head);
      this.#publish(batch.step + 1, bucket - this.#head);
    }
  }

  /** Sums and statistics, in buckets that may hold some of both, go to their places: from now on the batch changes something. */
  #begin(batch: Batch): void {
    const { unit, updater } = this.#options;
    const { sums, statistics } = updater.given;
    for (let bucket = 0; bucket < this.#head; bucket++) this.#applied.pass(batch.step, bucket);
    for (const [bucket, total] of batch.head) {
      const { from } = unit.buckets[bucket]!;
      copyOverlap(total, from, sums, 0);
      copyOverlap(total, from, statistics, unit.statistics);
    }
    batch.hasBegun = true;
  }

  /** Rejects with an InvariantError, before anything that it finds wrong is written. */
  async apply(step: number): Promise<number> {
    this.#reducer.checkAll();
    const began = this.#clock.now();
    // For the loop, or for ever: the run is interrupted.
    while (this.#job === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    // Nothing is awaited from here until the batch has begun: what may begin now, may not a moment later.
    const [batch, job] = [this.#batch!, this.#job];
    const waited = this.#clock.now() - began;
    const sums = batch.sums ?? (await this.#applyAtOnce(batch, job));
    this.#isInGroup = job.update === undefined && this.#options.updater.current.buffers.length > 0;
    this.#applied.checkAll(step);
    this.#published.checkAll(step + 1);
    this.#jobs.delete(step);
    await this.#options.applied(sums, step);
    return waited;
  }

  async #applyAtOnce(batch: Batch, job: BatchJob): Promise<Sums> {
    const { updater } = this.#options;
    this.#begin(batch);
    for (const bucket of batch.placed) this.#applied.pass(batch.step, bucket);
    this.#applied.checkAll(batch.step);
    updater.submit(job);
    const [sums] = await updater.drain(0);
    this.#publishOthers(batch.step + 1);
    // While gradients are accumulated, weights stay as they are.
    if (job.update === undefined) this.#keep(batch.step + 1, 0, this.#options.model.firstFrozen);
    else for (const bucket of batch.placed) this.#publish(batch.step + 1, bucket - this.#head);
    return sums!;
  }

  // 5. Published (sync/src/driver/published.ts)

  /** The buffers are new. Weights that are not trained never change. */
  #publishOthers(step: number): void {
    const { buckets, firstFrozen, firstBuffer } = this.#options.model;
    this.#keep(step, firstFrozen, firstBuffer);
    for (let bucket = firstBuffer; bucket < buckets.length; bucket++) this.#publish(step, bucket);
  }

  #publish(step: number, bucket: number): void {
    this.#published.publish(step, bucket, this.#copyOf(bucket), this.#options.receivers());
  }

  #keep(step: number, from: number, to: number): void {
    if (from < to) this.#published.keep(step, from, to, this.#options.receivers());
  }

  /** What is published stays as it is, while the next update goes on. */
  #copyOf(bucket: number): Float32Array {
    const { model, updater } = this.#options;
    const { from, to } = model.buckets[bucket]!;
    const { weights, buffers } = updater.current;
    const values =
      from < weights.length
        ? weights.subarray(from, to)
        : buffers.subarray(from - weights.length, to - weights.length);
    const copy = this.#free.get(values.length)?.pop() ?? new Float32Array(values.length);
    copy.set(values);
    return copy;
  }

  complete(step: number, node: ModelReceiver): void {
    this.#published.complete(step, node);
  }

  // 6. Released

  forget(step: number): void {
    // Not before: until its sums are handed over, a batch that has changed weights is not given up (`hasBegun`).
    if (this.#batch?.step === step) this.#batch = undefined;
    const { buckets, nodes } = this.#published.forget(step);
    const left = [...nodes].map((node) => node.flushed());
    void Promise.all(left).then(() => {
      for (const values of buckets) this.#reuse(values);
    });
  }

  /** More than a few models' worth is what a slow node had held: it goes back to the system. */
  #reuse(values: Float32Array): void {
    const free = this.#free.get(values.length) ?? [];
    this.#free.set(values.length, free);
    if (free.length < MODELS_REUSED * this.#options.model.buckets.length) free.push(values);
  }
}

/** Copies what a stretch that begins at `from` has of the vector that begins at `start`. */
function copyOverlap(stretch: Float32Array, from: number, vector: Float32Array, start: number): void {
  const first = Math.max(from, start);
  const end = Math.min(from + stretch.length, start + vector.length);
  if (first < end) vector.set(stretch.subarray(first - from, end - from), first - start);
}
