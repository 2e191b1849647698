/** Training on many machines: batches are computed by nodes; sums, updates and validation are made here. */

import { type BatchPlace, Sampler } from '@lockstep/data';
import type { KernelVariant } from '@lockstep/kernels';
import { type Accept, BucketLedger, batchShards, CoordinatorDriver, type StepTime } from '@lockstep/sync';
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
import { gradientBuckets, type UnitVector, unitVector } from '../wire/vectors.ts';
import { BatchUpdate } from './batchUpdate.ts';
import { BucketMath } from './bucketMath.ts';
import { contentsOf, type OwnContents } from './contents.ts';
import { ModelPublisher } from './modelPublisher.ts';
import type { ClusterOptions } from './options.ts';
import { StepAccounts } from './stepAccounts.ts';
import { optimizerStep, totalBatches } from './stepCount.ts';

/** Batches that the loop may hand over before they are done. */
const AHEAD = 64;

export class ClusterExecutor<M, F extends string> implements Executor {
  readonly ahead = AHEAD;
  /** What is to be ended before the executor is. */
  readonly closing: (() => Promise<void>)[] = [];
  /** Program and data, for a node of this process. */
  readonly own: OwnContents;
  readonly #inner: PoolExecutor<M, F>;
  readonly #driver: CoordinatorDriver;
  readonly #vector: UnitVector;
  readonly #jobs = new Map<number, BatchJob>();
  readonly #done: Sums[] = [];
  /** Sums of the batch that is applied. */
  #applied: Sums | undefined;
  readonly #accounts = new StepAccounts();
  #underWay = 0;
  #isRescued = false;
  #open: { readonly step: number; readonly update: BatchUpdate } | undefined;
  readonly #ledger: BucketLedger;
  readonly #model: ModelPublisher;
  readonly #signal: AbortSignal | undefined;
  readonly #options: ClusterOptions;
  readonly #stepOf: (batch: number) => number;
  readonly #placeOf: (batch: number) => BatchPlace;
  #failure: Error | undefined;
  #refused: BatchJob | undefined;
  /** Of the nodes whose units went into the run. */
  readonly #contributors = new Map<number, string>();
  #wakeJob: () => void = () => {};
  #wakeLoop: () => void = () => {};

  /** Throws as PoolExecutor and the compiler do. */
  static async start<M, F extends string>(
    prepared: Prepared<M, F>,
    pool: Pick<PoolExecutorOptions<M, F>, 'workers' | 'kernels'>,
    options: ClusterOptions,
  ): Promise<ClusterExecutor<M, F>> {
    const bundle = makeBundle(prepared);
    const external = { buckets: gradientBuckets(unitVector(bundle.sizes)) };
    const inner = await PoolExecutor.start({ ...prepared, ...pool, coalesce: true, external });
    return new ClusterExecutor(prepared, bundle, inner, options);
  }

  private constructor(
    { definition, data, layout }: Prepared<M, F>,
    bundle: ReturnType<typeof makeBundle>,
    inner: PoolExecutor<M, F>,
    options: ClusterOptions,
  ) {
    this.#inner = inner;
    this.#vector = unitVector(bundle.sizes);
    this.#ledger = new BucketLedger('applied', this.#vector.buckets.length);
    this.#model = new ModelPublisher({
      sizes: bundle.sizes,
      current: () => inner.current,
      to: () => this.#driver,
    });
    const sampler = new Sampler(bundle.sampler);
    const { contents, own } = contentsOf(bundle, data);
    this.own = own;
    this.#signal = options.signal;
    this.#signal?.addEventListener('abort', this.#onAbort);
    const math = new BucketMath(inner.kernels as KernelVariant);
    this.#options = options;
    const batches = totalBatches(definition, sampler.stepsPerEpoch);
    this.#stepOf = (batch) => optimizerStep(definition, sampler.stepsPerEpoch, batch);
    this.#placeOf = (batch) => sampler.place(batch);
    this.#driver = new CoordinatorDriver({
      config: {
        run: BigInt(`0x${options.definition.slice(0, 16)}`),
        incarnation: options.incarnation,
        start: options.from,
        steps: batches,
        shards: (step) => batchShards(sampler.place(step).rows, definition.shards).used,
        minNodes: options.minNodes,
        heartbeat: options.heartbeat,
        straggler: options.straggler,
        checkpoint: { steps: Number.MAX_SAFE_INTEGER, time: Number.POSITIVE_INFINITY },
      },
      definition: options.definition,
      shards: definition.shards,
      parameters: layout.size,
      contents,
      unitBuckets: this.#vector.buckets,
      modelBuckets: this.#model.buckets,
      profile: options.profile?.window(options.from, batches),
      arithmetic: { name: 'strict', proof: arithmeticProof(inner.kernels as KernelVariant) },
      host: {
        reducing: math.reducing,
        isFinite: (value) => math.isFinite(value),
        hasDiverged: (step, model) => this.#hasDiverged(step, model),
        // Before the loop has said what becomes of a batch, nothing comes back: a validation may come first.
        streams: (step) => inner.hasBuckets && this.#jobs.has(step),
        model: () => this.#model.copies(),
        reduced: (step, bucket, total) => this.#reduced(step, bucket, total),
        apply: (step) => this.#apply(step),
        committed: (step, time) => this.#committed(step, time),
        release: (buckets) => this.#model.release(buckets),
        report: (report) => {
          options.report(report, this.#stepOf(report.step), this.#driver.nodes);
          this.#rescue();
        },
        contributed: (session) => this.#contributed(session),
        profiled: ({ name }, bytes, ahead) => options.profile?.node(name, bytes, ahead),
      },
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
    this.#jobs.set(job.index, job);
    this.#underWay++;
    this.#start();
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
    return (this.#signal?.aborted ?? false) && !this.#open?.update.hasBegun;
  }

  readonly #onAbort = (): void => {
    this.#open?.update.hold();
    this.#wakeLoop();
    this.#rescue();
  };

  /** A run is interrupted between two batches: what has begun is finished, if need be here. */
  #rescue(): void {
    const begun = this.#open?.update.hasBegun ?? false;
    if (this.#isRescued || !this.#signal?.aborted || !begun || this.#driver.nodes.length > 0) return;
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

  // The data plane of the open batch

  #updateOf(step: number): BatchUpdate {
    if (this.#open?.step === step) return this.#open.update;
    const update = new BatchUpdate({
      step,
      applied: this.#ledger,
      updater: this.#inner,
      vector: this.#vector,
      updated: (bucket) =>
        bucket === undefined ? this.#model.others(step + 1) : this.#model.trained(step + 1, bucket),
      kept: () => this.#model.kept(step + 1),
    });
    this.#open = { step, update };
    this.#start();
    return update;
  }

  /** The open batch may change weights once the loop has said how, and while the run is not aborted. */
  #start(): void {
    const job = this.#open && this.#jobs.get(this.#open.step);
    if (job && !this.#signal?.aborted) {
      this.#open!.update.start(job);
      this.#wakeJob();
    }
  }

  #hasDiverged(step: number, model: readonly Float32Array[]): boolean {
    const batch = { step: this.#stepOf(step), index: step, ...this.#placeOf(step) };
    this.#failure ??= this.#options.diagnose(this.#model.weightsOf(model), batch);
    if (this.#failure) this.#wakeLoop();
    return this.#failure !== undefined;
  }

  #reduced(step: number, bucket: number, total: Float32Array): void {
    this.#updateOf(step).take(bucket, total);
  }

  /** Gives the milliseconds in which the batch waited for the loop. */
  async #apply(step: number): Promise<number> {
    const update = this.#updateOf(step);
    const begin = performance.now();
    while (!this.#jobs.has(step) || (this.#signal?.aborted && !update.hasBegun)) {
      await new Promise<void>((resolve) => {
        this.#wakeJob = resolve;
      });
    }
    const waited = performance.now() - begin;
    this.#applied = await update.finish();
    this.#open = undefined;
    this.#refused = this.#inner.refused();
    if (!this.#refused) return waited;
    // The run is about to fail: nobody is to compute with these weights.
    this.#done.push(this.#applied);
    this.#wakeLoop();
    return new Promise(() => {});
  }

  #committed(step: number, time: StepTime): void {
    this.#options.profile?.step(step, time);
    this.#accounts.add(this.#stepOf(step), time, this.#driver.takeTraffic());
    this.#done.push(this.#applied!);
    this.#underWay--;
    this.#jobs.delete(step);
    this.#wakeLoop();
  }

  howWent(step: number): ClusterStep {
    const how = this.#accounts.take(step);
    return { nodes: this.#driver.nodes.length, workers: this.workers, ...how };
  }
}
