/** Training on many machines: batches are computed by nodes; sums, updates and validation are made here. */
import { type BatchPlace, Sampler } from '@lockstep/data';
import type { KernelVariant } from '@lockstep/kernels';
import {
  type Accept,
  type Bucket,
  batchShards,
  CoordinatorDriver,
  everyPart,
  type NodeInfo,
  type Report,
  type StepTime,
} from '@lockstep/sync';
import type { ClusterStep } from '../events.ts';
import type { BatchJob, Executor, ExecutorState, Sums } from '../executor.ts';
import { PoolExecutor, type PoolExecutorOptions } from '../pool.ts';
import type { Prepared } from '../prepare.ts';
import { BatchUpdate } from './batchUpdate.ts';
import { BucketMath } from './bucketMath.ts';
import { encodeBundle, makeBundle } from './bundle.ts';
import { columnsOf, encodeData } from './dataImage.ts';
import type { NodeOptions } from './node.ts';
import { Pieces } from './pieces.ts';
import type { ClusterProfile } from './profile.ts';
import { arithmeticProof } from './proof.ts';
import { modelBuckets, type Sizes, type UnitVector, unitVector } from './vectors.ts';

export interface ClusterOptions {
  /** SHA-256 (hex) of what the run is: nodes of another run are not heard. */
  readonly definition: string;
  /** Grows by one with every start of this run's coordinator. */
  readonly incarnation: number;
  /** The batch that the run begins or goes on with. */
  readonly from: number;
  /** Threads of the node of this process; 0: there is none. */
  readonly ownWorkers: number;
  /** So many nodes must be there before the first batch. */
  readonly minNodes: number;
  /** Milliseconds between two pings; who is silent for two of them is lost. */
  readonly heartbeat: number;
  readonly straggler: { readonly factor: number; readonly least: number; readonly unknown: number };
  /** Why a batch on these weights gives a number that is not finite; undefined: it does not. */
  readonly diagnose: (
    weights: Float32Array,
    batch: { step: number; index: number } & BatchPlace,
  ) => Error | undefined;
  /** Takes what nodes measure. */
  readonly profile?: ClusterProfile | undefined;
  /** Nobody is there to compute, and a batch that has changed weights must be finished. */
  readonly rescue: () => void;
  /** When it is aborted, batches that have not been computed are given up. */
  readonly signal?: AbortSignal | undefined;
  /** `step`: the optimizer step under way. */
  readonly report: (report: Report, step: number, nodes: readonly NodeInfo[]) => void;
}

/** Batches that the loop may hand over before they are done. */
const AHEAD = 64;

export class ClusterExecutor<M, F extends string> implements Executor {
  readonly ahead = AHEAD;
  /** What is to be ended before the executor is. */
  readonly closing: (() => Promise<void>)[] = [];
  /** Program and data, for a node of this process. */
  readonly own: Required<Pick<NodeOptions, 'store' | 'data'>>;
  readonly #inner: PoolExecutor<M, F>;
  readonly #driver: CoordinatorDriver;
  readonly #vector: UnitVector;
  readonly #jobs = new Map<number, BatchJob>();
  readonly #done: Sums[] = [];
  /** Sums of the batch that is applied. */
  #applied: Sums | undefined;
  /** By optimizer step: where the time of its batches went, and what travelled. */
  readonly #steps = new Map<number, Pick<ClusterStep, 'time' | 'bytes'>>();
  #underWay = 0;
  #isRescued = false;
  #open: { readonly step: number; readonly update: BatchUpdate } | undefined;
  readonly #sizes: Sizes;
  readonly #modelBuckets: readonly Bucket[];
  /** The first of the model's buckets: those of the weights that are trained, those of all weights. */
  readonly #bucketCounts: { readonly trained: number; readonly weights: number };
  /** Buckets that nobody needs, by length. */
  readonly #free = new Map<number, Float32Array[]>();
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
    const { buckets, gradient } = unitVector(bundle.sizes);
    const external = {
      buckets: buckets
        .filter(({ from }) => from >= gradient)
        .map(({ from, to }) => ({ from: from - gradient, to: to - gradient })),
    };
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
    this.#sizes = bundle.sizes;
    this.#vector = unitVector(bundle.sizes);
    this.#modelBuckets = modelBuckets(bundle.sizes);
    const below = (limit: number): number => this.#modelBuckets.filter(({ from }) => from < limit).length;
    this.#bucketCounts = { trained: below(bundle.sizes.trained), weights: below(bundle.sizes.weights) };
    const sampler = new Sampler(bundle.sampler);
    const columns = columnsOf(data);
    const contents = { program: new Pieces(encodeBundle(bundle)), data: new Pieces(...encodeData(columns)) };
    this.own = {
      store: {
        get: async (hash, bytes) =>
          hash === contents.program.hash ? contents.program.read(0, bytes) : undefined,
        put: async () => {},
      },
      data: { hash: contents.data.hash, columns },
    };
    this.#signal = options.signal;
    this.#signal?.addEventListener('abort', this.#onAbort);
    const math = new BucketMath(inner.kernels as KernelVariant);
    this.#options = options;
    this.#stepOf = (batch) => optimizerStep(definition, sampler, batch);
    this.#placeOf = (batch) => sampler.place(batch);
    this.#driver = new CoordinatorDriver({
      config: {
        run: BigInt(`0x${options.definition.slice(0, 16)}`),
        incarnation: options.incarnation,
        start: options.from,
        steps: totalBatches(definition, sampler),
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
      modelBuckets: this.#modelBuckets,
      profile: options.profile?.window(options.from, totalBatches(definition, sampler)),
      arithmetic: { name: 'strict', proof: arithmeticProof(inner.kernels as KernelVariant) },
      host: {
        reducing: math.reducing,
        isFinite: (value) => math.isFinite(value),
        hasDiverged: (step, model) => this.#hasDiverged(step, model),
        // Before the loop has said what becomes of a batch, nothing comes back: a validation may come first.
        streams: (step) => inner.hasBuckets && this.#jobs.has(step),
        model: () => this.#modelBuckets.map((_, i) => this.#copyOf(i)),
        reduced: (step, bucket, total) => this.#reduced(step, bucket, total),
        apply: (step) => this.#apply(step),
        committed: (step, time) => this.#committed(step, time),
        release: (buckets) => this.#release(buckets),
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

  setOrder(): void {
    // Nodes know the order of the rows from the seed.
  }

  submit(job: BatchJob): void {
    this.#jobs.set(job.index, job);
    this.#underWay++;
    this.#start();
  }

  async drain(keep: number): Promise<Sums[]> {
    while (this.#underWay > keep && !this.#refused && !this.#failure && !this.#givesUp) {
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#wakeLoop = resolve;
        }),
        this.#driver.failed,
      ]);
    }
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
      updater: this.#inner,
      vector: this.#vector,
      updated: (bucket) => this.#updated(step + 1, bucket),
      kept: () => this.#driver.keep(step + 1, 0, this.#bucketCounts.trained),
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
    const weights = new Float32Array(this.#sizes.weights);
    for (const [i, values] of model.entries()) {
      const { from } = this.#modelBuckets[i]!;
      if (from < weights.length) weights.set(values, from);
    }
    const batch = { step: this.#stepOf(step), index: step, ...this.#placeOf(step) };
    this.#failure ??= this.#options.diagnose(weights, batch);
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
    const optimizerStep = this.#stepOf(step);
    this.#options.profile?.step(step, time);
    const before = this.#steps.get(optimizerStep);
    const { sent, received } = this.#driver.takeTraffic();
    this.#steps.set(optimizerStep, {
      time: addTimes(time, before?.time),
      bytes: { sent: sent + (before?.bytes.sent ?? 0), received: received + (before?.bytes.received ?? 0) },
    });
    this.#done.push(this.#applied!);
    this.#underWay--;
    this.#jobs.delete(step);
    this.#wakeLoop();
  }

  howWent(step: number): ClusterStep {
    const how = this.#steps.get(step)!;
    this.#steps.delete(step);
    return { nodes: this.#driver.nodes.length, workers: this.workers, ...how };
  }

  /** Weights of a bucket are new; undefined: the buffers are. Weights that are not trained never change. */
  #updated(step: number, bucket: number | undefined): void {
    if (bucket !== undefined) {
      this.#driver.publish(step, bucket, this.#copyOf(bucket));
      return;
    }
    const { trained, weights } = this.#bucketCounts;
    this.#driver.keep(step, trained, weights);
    for (let i = weights; i < this.#modelBuckets.length; i++) {
      this.#driver.publish(step, i, this.#copyOf(i));
    }
  }

  /** What is published stays as it is, while the next update goes on. */
  #copyOf(bucket: number): Float32Array {
    const { from, to } = this.#modelBuckets[bucket]!;
    const { weights, buffers } = this.#inner.current;
    const values =
      from < weights.length
        ? weights.subarray(from, to)
        : buffers.subarray(from - weights.length, to - weights.length);
    const copy = this.#free.get(values.length)?.pop() ?? new Float32Array(values.length);
    copy.set(values);
    return copy;
  }

  #release(buckets: readonly Float32Array[]): void {
    for (const values of buckets) {
      const free = this.#free.get(values.length);
      if (free) free.push(values);
      else this.#free.set(values.length, [values]);
    }
  }
}

/** In whole microseconds. */
const addTimes = (a: StepTime, b: StepTime | undefined): StepTime =>
  everyPart((part) => Math.round((a[part] + (b?.[part] ?? 0)) * 1000) / 1000);

interface Course {
  readonly epochs: number;
  readonly steps?: number;
  readonly accumulate: number;
}

/** The optimizer step that a batch belongs to, from 1. */
function optimizerStep({ accumulate }: Course, { stepsPerEpoch: perEpoch }: Sampler, batch: number): number {
  const epoch = Math.floor(batch / perEpoch);
  return epoch * Math.ceil(perEpoch / accumulate) + Math.floor((batch - epoch * perEpoch) / accumulate) + 1;
}

/** Batches of a whole run. */
function totalBatches({ epochs, steps, accumulate }: Course, { stepsPerEpoch: perEpoch }: Sampler): number {
  const updates = Math.ceil(perEpoch / accumulate);
  const total = Math.min(epochs * updates, steps ?? Number.POSITIVE_INFINITY);
  const whole = Math.floor(total / updates);
  const batches = whole * perEpoch + Math.min((total - whole * updates) * accumulate, perEpoch);
  return Math.min(batches, 2 ** 32 - 1);
}
