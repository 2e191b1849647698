/** Training on all cores: turns batches into ticks of a worker pool. */
import { seedWords } from '@lockstep/autograd';
import type { Dataset } from '@lockstep/data';
import type { KernelChoice } from '@lockstep/kernels';
import { type RecordView, SharedHeap, type WorkerLoss, WorkerPool } from '@lockstep/workers';
import type { ResolvedDefinition } from '../define/definition.ts';
import type { FlatLayout, Stretch } from '../define/layout.ts';
import { markPrograms, type ProfileOptions, Profiler } from '../profile/spans.ts';
import type { BatchJob, Executor, ExecutorState, Sums } from '../run/executor.ts';
import { RECORD_WORDS } from '../step/programs.ts';
import { DirectRunner } from './inlineRunner.ts';
import { bucketKey, headKey, PlanBook, planKey } from './plans.ts';

type WorkerListener = (loss: WorkerLoss, step: number) => void;

export interface PoolExecutorOptions<M, F extends string> {
  readonly definition: ResolvedDefinition<M, F>;
  readonly model: M;
  readonly layout: FlatLayout;
  readonly data: Dataset<F>;
  readonly workers: number;
  readonly kernels: KernelChoice;
  /** Run neighbouring shards as one (default), or each on its own: the same bits, slower. */
  readonly coalesce: boolean;
  /** Only updates and validates: what training batches gave, in these buckets, is put into `given` before each `submit`. */
  readonly external?: { readonly buckets: readonly Stretch[] } | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Measure where the time goes. */
  readonly profile?: ProfileOptions | undefined;
  /** `step`: the optimizer step under way, 0 before the first. */
  readonly onWorkerLost?: WorkerListener | undefined;
  readonly onWorkerReplaced?: WorkerListener | undefined;
}

/** Ticks that can be under way. */
const RING = 64;

export class PoolExecutor<M, F extends string> implements Executor {
  readonly kernels: string;
  readonly workers: number;
  readonly ahead = RING;
  /** The pool itself, for drills. */
  readonly pool: WorkerPool;
  readonly #definition: ResolvedDefinition<M, F>;
  readonly #book: PlanBook<M, F>;
  readonly #profiler: Profiler | undefined;
  readonly #isMeasured: () => boolean;
  readonly #validationRows: number;
  readonly #seed: readonly [number, number];
  /** Runs batches that come in buckets; and the last of them. */
  readonly #direct: DirectRunner | undefined;
  #current: BatchJob | undefined;
  readonly #underWay: number[] = [];
  /** By tick, modulo RING. */
  readonly #jobs: (BatchJob | undefined)[] = [];

  static async start<M, F extends string>(options: PoolExecutorOptions<M, F>): Promise<PoolExecutor<M, F>> {
    const executor = new PoolExecutor(options);
    await executor.pool.start();
    return executor;
  }

  private constructor(options: PoolExecutorOptions<M, F>) {
    const { definition, data, workers, kernels, signal } = options;
    this.#definition = definition;
    this.#validationRows = data.validation?.length ?? 0;
    this.workers = workers;
    this.#seed = seedWords(definition.seed);
    const heap = new SharedHeap();
    const recordWords = RECORD_WORDS.scalars + definition.optimizer.scalars.length;
    this.#book = new PlanBook(options, heap, recordWords);
    const { profile } = options;
    const programs = profile ? markPrograms(this.#book.programs, profile.depth) : this.#book.programs;
    this.#profiler = profile && new Profiler(this.#book.plans, programs, profile);
    this.#isMeasured = profile?.isOn ?? (() => true);
    const resultWords = this.#book.memory.values;
    if (this.#book.direct.length > 0) {
      const { direct: plans } = this.#book;
      this.#direct = new DirectRunner({ heap, kernels, programs, plans, recordWords, resultWords });
    }
    this.pool = new WorkerPool({
      heap,
      workers,
      kernels,
      programs,
      measure: profile !== undefined,
      plans: this.#book.plans,
      recordWords,
      resultWords,
      ring: RING,
      ...(signal && { signal }),
    });
    this.kernels = kernels;
    const tell = (listener: WorkerListener | undefined) => (loss: WorkerLoss) =>
      listener?.(loss, this.#stepOf(loss.tick));
    this.pool.on('workerLost', tell(options.onWorkerLost));
    this.pool.on('workerReplaced', tell(options.onWorkerReplaced));
  }

  /** Where sums, statistics and gradient of a batch go, of an executor whose batches come from elsewhere. */
  get given(): {
    readonly sums: Float32Array;
    readonly statistics: Float32Array;
    readonly gradient: Float32Array;
  } {
    return this.#book.memory.given;
  }

  /** What the next batch is computed with. */
  get current(): { readonly weights: Float32Array; readonly buffers: Float32Array } {
    return this.#book.memory;
  }

  /** Whether a batch can be begun and updated in buckets instead of submitted. */
  get hasBuckets(): boolean {
    return this.#book.hasBuckets;
  }

  /** Begins a batch that comes in buckets: takes `given.sums` and `given.statistics`. Gives the sums. */
  begin(job: BatchJob): Sums {
    this.#current = job;
    return this.#direct!.run(this.#book.directOf(headKey(job.rows)), this.#recordOf(job)).slice();
  }

  /** Updates the weights of a bucket, from `given.gradient`. After `begin`. */
  update(job: BatchJob, bucket: number): void {
    this.#direct!.run(this.#book.directOf(bucketKey(bucket)), this.#recordOf(job));
  }

  setOrder(epoch: number, order: Int32Array): void {
    this.#book.memory.index.set(order, this.#orderStart(epoch));
  }

  /** Two orders take turns, so that the next epoch can begin while the last batches of this one are under way. */
  #orderStart(epoch: number): number {
    return (epoch % 2) * this.#book.memory.trainRows;
  }

  submit(job: BatchJob): void {
    this.pool.isMeasuring = this.#isMeasured();
    const tick = this.pool.submit(this.#planOf(job), this.#recordOf(job));
    this.#underWay.push(tick);
    this.#jobs[tick % RING] = job;
  }

  #recordOf(job: BatchJob) {
    return ({ u32, f32 }: RecordView): void => {
      [u32[RECORD_WORDS.seedLow], u32[RECORD_WORDS.seedHigh]] = this.#seed;
      u32[RECORD_WORDS.index] = job.index;
      u32[RECORD_WORDS.start] = this.#orderStart(job.epoch) + job.start;
      f32[RECORD_WORDS.scale] = job.update ? 1 / job.update.rows : 0;
      f32[RECORD_WORDS.rows] = job.rows;
      f32.set(job.update?.scalars ?? [], RECORD_WORDS.scalars);
    };
  }

  #planOf(job: BatchJob): number {
    return this.#book.planOf(planKey(job.rows, job.update ? 'update' : 'accumulate', job.accumulate));
  }

  async drain(keep: number): Promise<Sums[]> {
    const last = this.#underWay.at(-1 - keep);
    if (last !== undefined) await this.pool.wait(last);
    const done = this.#underWay.findIndex((tick) => tick > this.pool.completed);
    const ticks = this.#underWay.splice(0, done === -1 ? this.#underWay.length : done);
    return ticks.map((tick) => {
      const job = this.#jobs[tick % RING]!;
      if (this.pool.isMeasured(tick)) this.#profiler?.batch(this.pool, tick, this.#planOf(job), job.rows);
      return this.pool.result(tick).slice();
    });
  }

  /** Ticks of validation belong to the step before them. */
  #stepOf(tick: number): number {
    for (let t = tick; t > Math.max(0, tick - RING); t--)
      if (this.#jobs[t % RING]) return this.#jobs[t % RING]!.step;
    return 0;
  }

  refused(): BatchJob | undefined {
    const tick = this.#book.memory.refusedTick(this.pool.completed);
    if (tick !== 0 && this.#current) return this.#current;
    return tick === 0 ? undefined : this.#jobs[tick % RING];
  }

  async validate(): Promise<Sums> {
    const total = new Float64Array(this.#book.memory.values);
    const { batch } = this.#definition;
    for (let start = 0; start < this.#validationRows; ) {
      const ticks: number[] = [];
      for (; start < this.#validationRows && ticks.length < RING / 2; start += batch) {
        const rows = Math.min(batch, this.#validationRows - start);
        const index = start / batch;
        const position = 2 * this.#book.memory.trainRows + start;
        const tick = this.pool.submit(this.#book.planOf(planKey(rows, 'validate', 'first')), ({ u32 }) => {
          [u32[RECORD_WORDS.seedLow], u32[RECORD_WORDS.seedHigh]] = this.#seed;
          u32[RECORD_WORDS.index] = index;
          u32[RECORD_WORDS.start] = position;
        });
        this.#jobs[tick % RING] = undefined;
        ticks.push(tick);
      }
      await this.pool.wait(ticks.at(-1)!);
      for (const tick of ticks) {
        this.pool.result(tick).forEach((sum, i) => {
          total[i]! += sum;
        });
      }
    }
    return Float32Array.from(total);
  }

  weights(): Float32Array {
    return this.#book.memory.model;
  }

  setWeights(weights: Float32Array): void {
    this.#book.memory.model = weights;
  }

  state(): ExecutorState {
    return new Map([...this.#book.memory.state].map(([name, vector]) => [name, vector.slice()]));
  }

  setState(state: ExecutorState): void {
    for (const [name, vector] of this.#book.memory.state) vector.set(state.get(name)!);
    this.#book.memory.pardon();
  }

  close(): Promise<void> {
    return this.pool.close();
  }
}
