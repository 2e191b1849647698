/** Training on many machines: batches are computed by nodes; sums, updates and validation are made here. */

import { type BatchPlace, Sampler } from '@lockstep/data';
import type { KernelVariant } from '@lockstep/kernels';
import {
  type Accept,
  batchShards,
  type Clock,
  CoordinatorDriver,
  type CoordinatorDriverOptions,
  type StepTime,
} from '@lockstep/sync';
import {
  type BatchJob,
  type ClusterStep,
  type Executor,
  type ExecutorState,
  PoolExecutor,
  type PoolExecutorOptions,
  type Prepared,
  type Sums,
} from '@lockstep/trainer';
import { makeBundle } from '../wire/bundle.ts';
import { arithmeticProof } from '../wire/knownAnswer.ts';
import { gradientBuckets, modelLayout, type Sizes, unitVector } from '../wire/vectors.ts';
import { BucketMath } from './bucketMath.ts';
import { BucketPipeline, type BucketPipelineOptions, type Updater } from './bucketPipeline.ts';
import { contentsOf, type OwnContents } from './contents.ts';
import type { ClusterOptions } from './options.ts';
import { StepAccounts } from './stepAccounts.ts';
import { optimizerStep, type StepCounts, totalBatches } from './stepCount.ts';

/** Batches that the loop may hand over before they are done. */
const AHEAD = 64;

/** What a run is made of, as far as the executor uses it. */
export interface ClusterParts {
  /** Updates and validates. */
  readonly inner: Updater &
    Pick<
      PoolExecutor<never, never>,
      'kernels' | 'refused' | 'validate' | 'weights' | 'setWeights' | 'state' | 'setState' | 'close'
    >;
  readonly arithmetic: BucketPipelineOptions['arithmetic'];
  readonly sizes: Sizes;
  /** Floats of a bucket at most; default: what is best for networks. */
  readonly bucketFloats?: number;
  readonly shards: number;
  readonly counts: StepCounts;
  readonly sampler: Sampler;
  readonly contents: CoordinatorDriverOptions['contents'];
  /** Program and data, for a node of this process. */
  readonly own: OwnContents;
  /** What nodes' known-answer test must give. */
  readonly proof: string;
  readonly clock?: Clock;
}

export class ClusterExecutor implements Executor {
  readonly ahead = AHEAD;
  /** What is to be ended before the executor is. */
  readonly closing: (() => Promise<void>)[] = [];
  /** Program and data, for a node of this process. */
  readonly own: OwnContents;
  readonly #inner: ClusterParts['inner'];
  readonly #driver: CoordinatorDriver;
  readonly #pipeline: BucketPipeline;
  readonly #done: Sums[] = [];
  /** Of the batch that was applied last. */
  #applied: Sums | undefined;
  readonly #accounts = new StepAccounts();
  #underWay = 0;
  #isRescued = false;
  readonly #signal: AbortSignal | undefined;
  readonly #options: ClusterOptions;
  readonly #stepOf: (batch: number) => number;
  readonly #placeOf: (batch: number) => BatchPlace;
  #failure: Error | undefined;
  #refused: BatchJob | undefined;
  /** Of the nodes whose units went into the run. */
  readonly #contributors = new Map<number, string>();
  #wakeLoop: () => void = () => {};

  /** Throws as PoolExecutor and the compiler do. */
  static async start<M, F extends string>(
    prepared: Prepared<M, F>,
    pool: Pick<PoolExecutorOptions<M, F>, 'workers' | 'kernels'>,
    options: ClusterOptions,
  ): Promise<ClusterExecutor> {
    const bundle = makeBundle(prepared);
    const external = { buckets: gradientBuckets(unitVector(bundle.sizes)) };
    const inner = await PoolExecutor.start({ ...prepared, ...pool, coalesce: true, external });
    const kernels = inner.kernels as KernelVariant;
    const { definition, data } = prepared;
    return new ClusterExecutor(
      {
        inner,
        arithmetic: new BucketMath(kernels),
        sizes: bundle.sizes,
        shards: definition.shards,
        counts: definition,
        sampler: new Sampler(bundle.sampler),
        ...contentsOf(bundle, data),
        proof: arithmeticProof(kernels),
      },
      options,
    );
  }

  constructor(parts: ClusterParts, options: ClusterOptions) {
    const { inner, sizes, bucketFloats, sampler, counts, clock } = parts;
    this.#inner = inner;
    this.own = parts.own;
    this.#options = options;
    this.#signal = options.signal;
    this.#signal?.addEventListener('abort', this.#onAbort);
    const batches = totalBatches(counts, sampler.stepsPerEpoch);
    this.#stepOf = (batch) => optimizerStep(counts, sampler.stepsPerEpoch, batch);
    this.#placeOf = (batch) => sampler.place(batch);
    const unit = unitVector(sizes, bucketFloats);
    this.#pipeline = new BucketPipeline({
      unit,
      model: modelLayout(sizes, bucketFloats),
      arithmetic: parts.arithmetic,
      updater: inner,
      receivers: () => this.#driver.receivers(),
      hasDiverged: (step, weights) => this.#hasDiverged(step, weights),
      applied: (sums) => this.#wasApplied(sums),
      clock,
    });
    if (this.#signal?.aborted) this.#pipeline.hold();
    this.#driver = new CoordinatorDriver({
      config: {
        run: BigInt(`0x${options.definition.slice(0, 16)}`),
        incarnation: options.incarnation,
        start: options.from,
        steps: batches,
        shards: (step) => batchShards(sampler.place(step).rows, parts.shards).used,
        minNodes: options.minNodes,
        heartbeat: options.heartbeat,
        straggler: options.straggler,
        checkpoint: { steps: Number.MAX_SAFE_INTEGER, time: Number.POSITIVE_INFINITY },
      },
      definition: options.definition,
      shards: parts.shards,
      parameters: sizes.weights,
      contents: parts.contents,
      unitBuckets: unit.buckets,
      profile: options.profile?.window(options.from, batches),
      arithmetic: { name: 'strict', proof: parts.proof },
      plane: this.#pipeline,
      host: {
        committed: (step, time) => this.#committed(step, time),
        report: (report) => {
          options.report(report, this.#stepOf(report.step), this.#driver.nodes);
          this.#rescue();
        },
        contributed: (session) => this.#contributed(session),
        profiled: ({ name }, bytes, ahead) => options.profile?.node(name, bytes, ahead),
      },
      clock,
    });
    this.#driver.failed.catch(() => {});
  }

  /** Takes the connections of nodes. */
  get accept(): Accept {
    return this.#driver.accept;
  }

  get kernels(): string {
    const kinds = new Set(this.#driver.nodes.map(({ kernels }) => kernels));
    return kinds.size === 0 ? this.#inner.kernels : [...kinds].sort().join(', ');
  }

  /** Of the nodes that are there; before there are any, of this machine's own, which will join. */
  get workers(): number {
    const { nodes } = this.#driver;
    return nodes.length === 0
      ? this.#options.ownWorkers
      : nodes.reduce((sum, { workers }) => sum + workers, 0);
  }

  /** That computed something of what went into the run. */
  get nodes(): number {
    return new Set(this.#contributors.values()).size;
  }

  get idle(): number {
    return this.#driver.idle;
  }

  setOrder(): void {
    // Nodes know the order of the rows from the seed.
  }

  submit(job: BatchJob): void {
    this.#underWay++;
    this.#pipeline.submit(job);
  }

  async drain(keep: number): Promise<Sums[]> {
    this.#driver.check();
    while (this.#underWay > keep && !this.#refused && !this.#failure && !this.#givesUp) {
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#wakeLoop = resolve;
        }),
        this.#driver.failed,
      ]);
    }
    this.#driver.check();
    if (this.#failure) throw this.#failure;
    return this.#done.splice(0);
  }

  /** Nothing is applied any more. */
  get #givesUp(): boolean {
    return (this.#signal?.aborted ?? false) && !this.#pipeline.hasBegun;
  }

  readonly #onAbort = (): void => {
    this.#pipeline.hold();
    this.#wakeLoop();
    this.#rescue();
  };

  /** A run is interrupted between two batches: what has begun is finished, if need be here. */
  #rescue(): void {
    const { hasBegun } = this.#pipeline;
    if (this.#isRescued || !this.#signal?.aborted || !hasBegun || this.#driver.nodes.length > 0) return;
    this.#isRescued = true;
    this.#options.rescue();
  }

  refused(): BatchJob | undefined {
    return this.#refused;
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

  #isOver = true;
  #digest: string | null = null;

  finish(digest: string | undefined): void {
    this.#isOver = digest !== undefined;
    this.#digest = digest ?? null;
  }

  /** Nodes end when the run is over for good, or failed; else they wait for a coordinator that goes on. */
  async close(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#driver.stop(this.#isOver, this.#digest);
    await Promise.allSettled(this.closing.map((end) => end()));
    await this.#inner.close();
  }

  #contributed(session: number): void {
    if (this.#contributors.has(session)) return;
    const node = this.#driver.nodes.find((each) => each.session === session);
    if (node) this.#contributors.set(session, node.id);
  }

  #hasDiverged(step: number, weights: Float32Array): boolean {
    const batch = { step: this.#stepOf(step), index: step, ...this.#placeOf(step) };
    this.#failure ??= this.#options.diagnose(weights, batch);
    if (this.#failure) this.#wakeLoop();
    return this.#failure !== undefined;
  }

  #wasApplied(sums: Sums): Promise<void> | void {
    this.#applied = sums;
    this.#refused = this.#inner.refused();
    if (!this.#refused) return;
    // The run is about to fail: nobody is to compute with these weights.
    this.#done.push(sums);
    this.#wakeLoop();
    return new Promise(() => {});
  }

  #committed(step: number, time: StepTime): void {
    this.#options.profile?.step(step, time);
    this.#accounts.add(this.#stepOf(step), time, this.#driver.takeTraffic());
    this.#done.push(this.#applied!);
    this.#underWay--;
    this.#wakeLoop();
  }

  howWent(step: number): ClusterStep {
    const how = this.#accounts.take(step);
    return { nodes: this.#driver.nodes.length, workers: this.workers, ...how };
  }
}
