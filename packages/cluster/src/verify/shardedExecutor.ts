/**
 * Training on this machine as a cluster does it, one shard after another: each shard's results can be looked at before they are
 * added up. Slower than `PoolExecutor`, to the same bits.
 */
import type { KernelVariant } from '@lockstep/kernels';
import {
  type BatchJob,
  type Executor,
  type ExecutorState,
  PoolExecutor,
  type Prepared,
  resolveKernels,
  resolveWorkers,
  type Sums,
  type ThreadOptions,
} from '@lockstep/trainer';
import { BucketMath } from '../coordinator/bucketMath.ts';
import { BucketPipeline } from '../coordinator/bucketPipeline.ts';
import { NodeEngine } from '../node/engine.ts';
import { makeBundle } from '../wire/bundle.ts';
import { columnsOf } from '../wire/dataImage.ts';
import { gradientBuckets, modelLayout, type Sizes, type UnitVector } from '../wire/vectors.ts';

export interface ShardedListener {
  /** The results of a shard; `vector` is good during the call. What it changes is what is trained with. */
  shard(job: BatchJob, shard: number, vector: Float32Array): void;
  /** All shards of a batch were heard of. */
  added(job: BatchJob): void;
  /** An optimizer step is done. */
  step(job: BatchJob, state: ExecutorState): void;
}

export class ShardedExecutor<M, F extends string> implements Executor {
  readonly ahead = 1;
  readonly vector: UnitVector;
  readonly #inner: PoolExecutor<M, F>;
  readonly #engine: NodeEngine;
  readonly #pipeline: BucketPipeline;
  #sums: Sums | undefined;
  readonly #listener: ShardedListener;
  #waiting: BatchJob[] = [];

  /** Throws as PoolExecutor and the compiler do. */
  static async start<M, F extends string>(
    prepared: Prepared<M, F>,
    { workers: threads, kernels: choice }: ThreadOptions,
    listener: ShardedListener,
  ): Promise<ShardedExecutor<M, F>> {
    const [workers, kernels] = [resolveWorkers(threads), resolveKernels(choice)];
    const bundle = makeBundle(prepared);
    const engine = await NodeEngine.start({ bundle, data: columnsOf(prepared.data), workers, kernels });
    try {
      const external = { buckets: gradientBuckets(engine.vector) };
      const inner = await PoolExecutor.start({ ...prepared, workers, kernels, coalesce: true, external });
      return new ShardedExecutor(inner, engine, bundle.sizes, kernels, listener);
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  private constructor(
    inner: PoolExecutor<M, F>,
    engine: NodeEngine,
    sizes: Sizes,
    kernels: KernelVariant,
    listener: ShardedListener,
  ) {
    this.#inner = inner;
    this.#engine = engine;
    this.#listener = listener;
    this.vector = engine.vector;
    this.#pipeline = new BucketPipeline({
      unit: this.vector,
      model: modelLayout(sizes),
      // What is not finite is found by the update.
      arithmetic: { reducing: new BucketMath(kernels).reducing, isFinite: () => true },
      updater: inner,
      receivers: () => [],
      hasDiverged: () => false,
      applied: (sums) => {
        this.#sums = sums;
      },
    });
  }

  get kernels(): string {
    return this.#inner.kernels;
  }

  get workers(): number {
    return this.#inner.workers;
  }

  setOrder(): void {
    // The engine knows the order of the rows from the seed.
  }

  submit(job: BatchJob): void {
    this.#waiting.push(job);
  }

  async drain(): Promise<Sums[]> {
    const done: Sums[] = [];
    for (const job of this.#waiting.splice(0)) {
      if (this.refused()) break;
      done.push(await this.#train(job));
    }
    return done;
  }

  async #train(job: BatchJob): Promise<Sums> {
    const [engine, inner] = [this.#engine, this.#inner];
    const { weights, buffers } = inner.current;
    engine.model.set(weights);
    engine.model.set(buffers, weights.length);
    const shards = engine.shardsOf(job.index);
    const pipeline = this.#pipeline;
    pipeline.open(job.index, shards, []);
    const units = Array.from({ length: shards }, (_, lo) => ({ lo, hi: lo + 1 }));
    await engine.compute(job.index, units, ({ unit, vector }, _, release) => {
      if (!release) return;
      this.#listener.shard(job, unit.lo, vector);
      for (const [bucket, { from, to }] of this.vector.buckets.entries()) {
        const value = vector.subarray(from, to);
        pipeline.take({ step: job.index, unit, bucket, value, checksum: 0, session: 0 });
      }
      release();
    });
    this.#listener.added(job);
    pipeline.submit(job);
    await pipeline.apply(job.index);
    // Nobody is sent a model; the next batch need not be the one after this.
    for (const step of [job.index, job.index + 1]) pipeline.forget(step);
    if (job.update) this.#listener.step(job, inner.state());
    return this.#sums!;
  }

  refused(): BatchJob | undefined {
    return this.#inner.refused();
  }

  validate(): Promise<Sums> {
    return this.#inner.validate();
  }

  weights(): Float32Array {
    return this.#inner.weights();
  }

  setWeights(weights: Float32Array): void {
    this.#inner.setWeights(weights);
  }

  state(): ExecutorState {
    return this.#inner.state();
  }

  setState(state: ExecutorState): void {
    this.#inner.setState(state);
  }

  async close(): Promise<void> {
    await Promise.all([this.#engine.close(), this.#inner.close()]);
  }
}
