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
  type AuditCounts,
  type BatchJob,
  type ClusterStep,
  type Executor,
  type ExecutorState,
  PoolExecutor,
  type PoolExecutorOptions,
  type Prepared,
  Rewind,
  resolveWorkers,
  type Sums,
  type TrainingEvent,
} from '@lockstep/trainer';
import { type AuditedNode, Auditor, type Verdict } from '../audit/auditor.ts';
import { Recomputer } from '../audit/recomputer.ts';
import { makeBundle } from '../wire/bundle.ts';
import { columnsOf } from '../wire/dataImage.ts';
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
  /**
   * Computes units a second time, on models that it is given by batch. Absent: nothing is audited, and who is wrong where two
   * nodes contradict one another stays open.
   */
  readonly recompute?: (model: (batch: number) => readonly Float32Array[]) => UnitRecomputer;
}

/** What computes units on this machine, to compare. */
export type UnitRecomputer = Pick<Recomputer, 'compute' | 'reset' | 'warmUp' | 'close'>;

/** From one start, or one Rewind, to the next: nothing of one ever reaches another. */
interface Course {
  readonly driver: CoordinatorDriver;
  readonly pipeline: BucketPipeline;
}

export class ClusterExecutor implements Executor {
  readonly ahead = AHEAD;
  /** What is to be ended before the executor is. */
  readonly closing: (() => Promise<void>)[] = [];
  /** Program and data, for a node of this process. */
  readonly own: OwnContents;
  readonly #inner: ClusterParts['inner'];
  readonly #parts: ClusterParts;
  #course: Course;
  #done: Sums[] = [];
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
  /** Ids of the nodes whose units went into the run. */
  readonly #contributors = new Set<string>();
  readonly #recomputer: UnitRecomputer | undefined;
  readonly #auditor: Auditor | undefined;
  /** Ids of the nodes that are part of this process. */
  readonly #own = new Set<string>();
  #incarnation: number;
  /** Milliseconds in which nobody was there to compute, before the last Rewind. */
  #idleBefore = 0;
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
        recompute: (model) =>
          new Recomputer({
            ...{ bundle, kernels, model, data: columnsOf(data) },
            workers: options.ownWorkers > 0 ? options.ownWorkers : resolveWorkers(),
            modelBuckets: modelLayout(bundle.sizes).buckets,
          }),
      },
      options,
    );
  }

  constructor(parts: ClusterParts, options: ClusterOptions) {
    const { sampler, counts, sizes, bucketFloats } = parts;
    this.#parts = parts;
    this.#inner = parts.inner;
    this.own = parts.own;
    this.#options = options;
    this.#incarnation = options.incarnation;
    this.#signal = options.signal;
    this.#signal?.addEventListener('abort', this.#onAbort);
    this.#stepOf = (batch) => optimizerStep(counts, sampler.stepsPerEpoch, batch);
    this.#placeOf = (batch) => sampler.place(batch);
    this.#recomputer = parts.recompute?.((batch) => this.#course.pipeline.model(batch));
    if (this.#recomputer) {
      const { rate = 0, secret } = options.audit ?? {};
      if (rate > 0) this.#recomputer.warmUp();
      this.#auditor = new Auditor({
        ...{ rate, secret, buckets: unitVector(sizes, bucketFloats).buckets },
        recompute: (batch, unit) => this.#recomputer!.compute(batch, unit),
        nodeOf: (session) => this.#nodeOf(session),
      });
    }
    this.#course = this.#begin(options.from, options.minNodes);
  }

  /** `from`: the first batch, on the state that `inner` has. */
  #begin(from: number, minNodes: number): Course {
    const parts = this.#parts;
    const options = this.#options;
    const { inner, sizes, bucketFloats, sampler, clock } = parts;
    const batches = totalBatches(parts.counts, sampler.stepsPerEpoch);
    const unit = unitVector(sizes, bucketFloats);
    const pipeline = new BucketPipeline({
      unit,
      model: modelLayout(sizes, bucketFloats),
      arithmetic: parts.arithmetic,
      updater: inner,
      receivers: () => driver.receivers(),
      hasDiverged: (step, weights) => this.#hasDiverged(step, weights),
      applied: (sums, step) => this.#wasApplied(pipeline, sums, step),
      clock,
    });
    if (this.#signal?.aborted) pipeline.hold();
    const driver = new CoordinatorDriver({
      config: {
        run: BigInt(`0x${options.definition.slice(0, 16)}`),
        incarnation: this.#incarnation,
        // A run that has finished goes on from the end of an epoch that it need not have reached.
        start: Math.min(from, batches),
        steps: batches,
        shards: (step) => batchShards(sampler.place(step).rows, parts.shards).used,
        minNodes,
        heartbeat: options.heartbeat,
        straggler: options.straggler,
      },
      definition: options.definition,
      shards: parts.shards,
      parameters: sizes.weights,
      contents: parts.contents,
      unitBuckets: unit.buckets,
      profile: options.profile?.window(from, batches),
      arithmetic: { name: 'strict', proof: parts.proof },
      plane: pipeline,
      host: {
        committed: (step, time) => this.#committed(step, time),
        report: (report) => {
          options.report(report, this.#stepOf(report.step), driver.nodes);
          this.#rescue();
        },
        contributed: (session) => this.#contributed(session),
        profiled: ({ name }, bytes, ahead) => options.profile?.node(name, bytes, ahead),
        arrived: (piece, arrival) => this.#auditor?.arrived(piece, arrival),
        refusal: (id) => this.#refusals.get(id),
      },
      clock,
    });
    driver.failed.catch(() => {});
    return { driver, pipeline };
  }

  get #driver(): CoordinatorDriver {
    return this.#course.driver;
  }

  get #pipeline(): BucketPipeline {
    return this.#course.pipeline;
  }

  /** Takes the connections of nodes. */
  readonly accept: Accept = (connection) => this.#driver.accept(connection);

  /** A node of this id is part of this process: its results are as good as this process's own. */
  trust(id: string): void {
    this.#own.add(id);
  }

  // Nodes that lie: see Notes [Audits] and [Rewinding]

  /** By id of the node, what it did. */
  readonly #refusals = new Map<string, string>();

  #nodeOf(session: number): AuditedNode | undefined {
    const node = this.#driver.nodes.find((each) => each.session === session);
    return node && { id: node.id, name: node.name, isOwn: this.#own.has(node.id) };
  }

  /** Units of other processes, how many of them were audited, and whose results were wrong. */
  get audit(): AuditCounts | undefined {
    if (!this.#auditor) return undefined;
    return { rate: this.#options.audit?.rate ?? 0, ...this.#auditor.counts };
  }

  doubts(): readonly number[] {
    return this.#auditor?.standing.doubts() ?? [];
  }

  #sentence({ lies, back, reason }: Verdict, step: number): void {
    for (const { id, name, lo, hi, batch } of lies) {
      this.#refusals.set(
        id,
        `${name} gave wrong results for shards ${lo} to ${hi - 1} of step ${this.#stepOf(batch)}`,
      );
    }
    const nodes = this.#driver.nodes.length;
    const liars = lies.map(
      ({ id, name, lo, hi, batch, reason: why }): TrainingEvent => ({
        ...{ type: 'liar', step: this.#stepOf(batch), nodes, name, id, reason: why, lo, hi },
      }),
    );
    if (back === undefined) {
      for (const event of liars) this.#options.emit?.(event);
      for (const { id } of lies) this.#driver.expel(id, this.#refusals.get(id)!);
      return;
    }
    this.#rewind = new Rewind(back, (kept) => [
      ...liars,
      { type: 'rewind', step: this.#stepOf(step), nodes, kept, reason },
    ]);
    // Whatever is still on its way is of a course of the run that is over.
    this.#driver.stop(false);
    this.#wakeLoop();
  }

  #rewind: Rewind | undefined;

  /** Sessions end, and nodes come back with new ones: no frame from before can speak for what is computed again. */
  async rewind(batch: number): Promise<void> {
    this.#idleBefore += this.#driver.idle;
    this.#auditor?.rewound(batch);
    this.#recomputer?.reset();
    this.#rewind = undefined;
    this.#refused = undefined;
    this.#done = [];
    this.#underWay = 0;
    this.#incarnation = Math.max(this.#incarnation + 1, (await this.#options.renew?.()) ?? 0);
    // Whoever lied is gone: the others may be fewer than the run was to begin with.
    this.#course = this.#begin(batch, 1);
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
    return this.#contributors.size;
  }

  get idle(): number {
    return this.#idleBefore + this.#driver.idle;
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
    while (this.#underWay > keep && !this.#refused && !this.#failure && !this.#rewind && !this.#givesUp) {
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#wakeLoop = resolve;
        }),
        this.#driver.failed,
      ]);
    }
    this.#driver.check();
    if (this.#rewind) {
      // An update may be under way.
      await this.#inner.drain(0);
      throw this.#rewind;
    }
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
    await this.#recomputer?.close();
    await this.#inner.close();
  }

  #contributed(session: number): void {
    const node = this.#driver.nodes.find((each) => each.session === session);
    if (node) this.#contributors.add(node.id);
  }

  #hasDiverged(step: number, weights: Float32Array): boolean {
    if (this.#rewind) return true;
    const batch = { step: this.#stepOf(step), index: step, ...this.#placeOf(step) };
    const failure = this.#options.diagnose(weights, batch);
    const verdict = failure && this.#auditor?.diverged(step);
    if (verdict) this.#sentence(verdict, step);
    else this.#failure ??= failure;
    if (failure) this.#wakeLoop();
    return failure !== undefined;
  }

  /** Settles when the step is over: its audits agree. Never, where that step is not to be. */
  async #wasApplied(pipeline: BucketPipeline, sums: Sums, step: number): Promise<void> {
    const refused = this.#inner.refused();
    const isOver = (): boolean => pipeline !== this.#course.pipeline || this.#rewind !== undefined;
    if (isOver()) return never();
    let verdict = await this.#auditor?.settle(step);
    if (isOver()) return never();
    if (refused) verdict ??= this.#auditor?.diverged(step);
    if (verdict) this.#sentence(verdict, step);
    if (this.#rewind) return never();
    this.#applied = sums;
    this.#refused = refused;
    if (!refused) return;
    // The run is about to fail: nobody is to compute with these weights.
    this.#done.push(sums);
    this.#wakeLoop();
    return never();
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

const never = (): Promise<never> => new Promise(() => {});
