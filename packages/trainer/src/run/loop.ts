/** The course of a run: epochs, batches ahead of the workers, validation, early stopping, events. */
import { Sampler } from '@lockstep/data';
import type { Optimizer, Validation } from '@lockstep/nn';
import type { ResolvedDefinition } from '../define/definition.ts';
import { countSums, type Measures, readSums } from '../step/metrics.ts';
import type { EpochEvent, Metrics, StepEvent, TrainingEvent } from './events.ts';
import type { BatchJob, Executor, ExecutorState, Sums } from './executor.ts';
import { Rewind } from './rewind.ts';

/** Results are picked up about this often (ms), so that short steps do not wake the main thread each time. */
const PICK_UP = 20;

export interface LoopOutcome {
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  readonly metrics: Metrics;
  readonly validation?: NonNullable<EpochEvent['validation']>;
  readonly samplesPerSecond: number;
  readonly interrupted: boolean;
}

/** Where a run stands between two optimizer steps: with it, another process goes on to the same bits. */
export interface Progress {
  /** Optimizer steps done. */
  readonly step: number;
  /** The open epoch, from 0. */
  readonly epoch: number;
  /** Batches of it that are done, and the index of the next one in the run: both follow from `step`. */
  readonly batch: number;
  readonly index: number;
  /** Of the open epoch so far. */
  readonly rows: number;
  readonly sums: readonly number[];
  /** Nothing is left to train. */
  readonly finished: boolean;
  readonly lastEpoch?: EpochEvent | undefined;
  /** Of the weights that are kept in the end. */
  readonly validation?: EpochEvent['validation'];
  readonly best?: Best | undefined;
  /** All so far. */
  readonly validations?: readonly Validation[] | undefined;
  readonly state: ExecutorState;
}

/** The best weights (then buffers) so far, by the early stopping's measure. */
export interface Best {
  readonly value: number;
  readonly epoch: number;
  readonly weights: Float32Array;
}

/** Takes what a run can go on from. */
export interface CheckpointSink {
  /** Whether it wants the progress after so many steps. */
  due(step: number): boolean;
  save(progress: Progress): void;
}

/** Holds a run up between two optimizer steps: its threads stay, and compute nothing. */
export interface Pause {
  /** Asked before each step. */
  readonly isWanted: boolean;
  /** Nothing is under way. The run goes on when this settles; to end it meanwhile, abort its signal and settle. */
  wait(): Promise<void>;
}

/** Takes the steps one at a time, where somebody wants that. */
export interface StepSink {
  /** Whether training is to wait after each step. */
  readonly isRead: boolean;
  /** Settles when training may go on. */
  give(steps: readonly StepEvent[]): Promise<void>;
}

export interface LoopOptions {
  readonly steps?: StepSink | undefined;
  readonly checkpoints?: CheckpointSink | undefined;
  readonly pause?: Pause | undefined;
  readonly emit: (event: TrainingEvent) => void;
  /** The digest of the weights: epochs 1, 2, 4, 8 and so on report it. */
  readonly digest?: (() => string) | undefined;
  /** Finds what to go on from after a Rewind. */
  readonly rewind?: ((rewind: Rewind) => Promise<Progress>) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds; default: of this process. */
  readonly clock?: (() => number) | undefined;
  /** Called on the batch whose update was refused because a number is not finite: finds out where, and throws. */
  readonly explain: (job: BatchJob) => never;
}

/** Sums over rows, and what comes of them. */
class Mean {
  rows: number;
  readonly #sums: Float64Array;
  readonly #definitions: object;

  constructor(definitions: object, { rows = 0, sums = [] }: Partial<Pick<Progress, 'rows' | 'sums'>> = {}) {
    this.#definitions = definitions;
    this.rows = rows;
    this.#sums = new Float64Array(countSums(definitions));
    this.#sums.set(sums);
  }

  get sums(): readonly number[] {
    return [...this.#sums];
  }

  add(sums: Sums, rows: number): void {
    this.rows += rows;
    for (let i = 0; i < sums.length; i++) this.#sums[i]! += sums[i]!;
  }

  /** With the tables. */
  read(): Measures {
    return readSums(this.#definitions, this.#sums, this.rows);
  }

  get loss(): number {
    return this.#sums[0]! / this.rows;
  }

  get metrics(): Metrics {
    return this.read().metrics;
  }
}

const isPowerOfTwo = (n: number): boolean => (n & (n - 1)) === 0;

/** What the loop knows of a run. */
export interface LoopInput {
  readonly definition: Pick<
    ResolvedDefinition<never, never>,
    'batch' | 'seed' | 'shuffle' | 'dropLast' | 'accumulate' | 'epochs' | 'steps' | 'earlyStopping'
  > & { readonly metrics: object; readonly optimizer: Pick<Optimizer, 'scalarsAt' | 'learningRate'> };
  readonly data: { readonly length: number; readonly validation?: { readonly length: number } };
}

export class Loop {
  readonly sampler: Sampler;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly #input: LoopInput;
  readonly #executor: Executor;
  readonly #options: LoopOptions;
  readonly #clock: () => number;
  readonly #metrics: object;
  readonly #pending: BatchJob[] = [];
  #trained = 0;
  #trainingMs = 0;
  #best: Best | undefined;
  #lastEpoch: EpochEvent | undefined;
  /** All so far, for schedules that watch them. */
  #validations: readonly Validation[] = [];
  /** Of the weights that are kept in the end. */
  #validation: EpochEvent['validation'];

  constructor(input: LoopInput, executor: Executor, options: LoopOptions) {
    const { definition, data } = input;
    const { batch, seed, shuffle, dropLast, accumulate, epochs, steps } = definition;
    this.#input = input;
    this.#executor = executor;
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.#metrics = definition.metrics;
    this.sampler = new Sampler({ length: data.length, batch, seed, shuffle, dropLast });
    this.stepsPerEpoch = Math.ceil(this.sampler.stepsPerEpoch / accumulate);
    this.totalSteps = Math.min(epochs * this.stepsPerEpoch, steps ?? Number.POSITIVE_INFINITY);
  }

  /** Runs to the end, from where a run stood. */
  async run(from?: Progress): Promise<LoopOutcome> {
    for (let begin = from; ; ) {
      try {
        return await this.#run(begin);
      } catch (error) {
        if (!(error instanceof Rewind) || !this.#options.rewind) throw error;
        begin = await this.#options.rewind(error);
        this.#pending.length = 0;
        this.#orderOf = -1;
        this.#executor.setState(begin.state);
        await this.#executor.rewind?.(begin.index);
      }
    }
  }

  async #run(from?: Progress): Promise<LoopOutcome> {
    const { signal, emit } = this.#options;
    const stopped = (): boolean => signal?.aborted ?? false;
    let { step = 0, epoch = 0, finished = false } = from ?? {};
    let mean = new Mean(this.#metrics, from);
    let cut = false;
    if (from) this.#goOnFrom(from);
    for (; !finished && step < this.totalSteps && !stopped(); epoch++) {
      const result = await this.#epoch(epoch, step, mean);
      ({ step, cut } = result);
      mean = new Mean(this.#metrics);
      // Interrupted before its first step: there is nothing to tell of it.
      if (result.mean.rows === 0) break;
      const event = await this.#endOfEpoch(epoch, step, result);
      this.#lastEpoch = event;
      if (event.best ?? true) this.#validation = event.validation;
      emit(event);
      finished = this.#shouldStop(event);
    }
    if (!cut && !from?.finished) this.#save(step, epoch, mean, finished || step >= this.totalSteps);
    if (this.#best) this.#executor.setWeights(this.#best.weights);
    const last = this.#lastEpoch;
    return {
      step,
      epoch: last?.epoch ?? 0,
      loss: last?.loss ?? Number.NaN,
      metrics: last?.metrics ?? {},
      ...(this.#validation && { validation: this.#validation }),
      samplesPerSecond: this.#samplesPerSecond,
      interrupted: stopped(),
    };
  }

  #goOnFrom({ state, best, lastEpoch, validation, validations = [] }: Progress): void {
    this.#executor.setState(state);
    this.#best = best;
    this.#lastEpoch = lastEpoch;
    this.#validation = validation;
    this.#validations = validations;
  }

  /** Only between two optimizer steps, while no batch is under way. */
  #save(step: number, epoch: number, { rows, sums }: Mean, finished = false): void {
    const batch = finished ? 0 : this.#batchesBefore(epoch, step);
    this.#options.checkpoints?.save({
      step,
      epoch,
      batch,
      index: epoch * this.sampler.stepsPerEpoch + batch,
      rows,
      sums,
      finished,
      lastEpoch: this.#lastEpoch,
      validation: this.#validation,
      validations: this.#validations,
      best: this.#best,
      state: this.#executor.state(),
    });
  }

  /** Milliseconds of a clock that stands still while nobody is there to compute. */
  get #now(): number {
    return this.#clock() - (this.#executor.idle ?? 0);
  }

  get #samplesPerSecond(): number {
    return this.#trainingMs === 0 ? 0 : (this.#trained / this.#trainingMs) * 1000;
  }

  /** The rest of an epoch; `cut`: it was left before its end. */
  async #epoch(epoch: number, firstStep: number, begun: Mean) {
    const { signal, checkpoints, pause, steps } = this.#options;
    let began = this.#now;
    const before = this.#trainingMs;
    let mean = begun;
    const rowsBefore = mean.rows;
    const group = { mean: new Mean(this.#metrics), before: mean };
    const pickUp = async (keep: number) => {
      const events = await this.#pickUp(keep, epoch, mean, group, () => before + this.#now - began);
      if (!steps?.isRead) return;
      const waits = this.#now;
      await steps.give(events);
      began += this.#now - waits;
    };
    this.#prepareOrder(epoch);
    let step = firstStep;
    let ordered = false;
    let cut = false;
    for (const job of this.#batches(epoch, firstStep)) {
      // What has been accumulated lies in no checkpoint: a run is left, and saved, between two optimizer steps.
      if (job.accumulate === 'first') {
        if (pause?.isWanted) {
          await pickUp(0);
          const paused = this.#now;
          await pause.wait();
          began += this.#now - paused;
        }
        cut = signal?.aborted ?? false;
        if (cut) break;
        if (checkpoints?.due(step)) {
          await pickUp(0);
          // Interrupted meanwhile, a cluster gives up what was under way: that step was never done.
          cut = signal?.aborted ?? false;
          if (cut) break;
          this.#save(step, epoch, mean);
        }
      }
      this.#executor.submit(job);
      this.#pending.push(job);
      if (job.update) step = job.step;
      const ahead = steps?.isRead ? 1 : this.#ahead(this.#now - began, mean.rows - rowsBefore);
      if (this.#pending.length < ahead) continue;
      if (!ordered) {
        ordered = true;
        this.#prepareOrder(epoch + 1);
      }
      await pickUp(Math.floor(ahead / 2));
    }
    await pickUp(0);
    const [givenUp] = this.#pending.splice(0);
    if (givenUp) {
      cut = true;
      step = givenUp.step - 1;
      if (givenUp.accumulate === 'next') mean = group.before;
    }
    if (cut) this.#save(step, epoch, mean);
    this.#trainingMs = before + this.#now - began;
    return { step, mean, cut, seconds: (this.#now - began) / 1000 };
  }

  /** Batches under way: as many as take about two pick-ups. */
  #ahead(elapsed: number, rows: number): number {
    const batches = rows / this.#input.definition.batch;
    const wanted = batches === 0 ? 4 : Math.ceil((2 * PICK_UP * batches) / elapsed);
    return Math.max(2, Math.min(this.#executor.ahead, wanted));
  }

  #orderOf = -1;

  #prepareOrder(epoch: number): void {
    if (epoch <= this.#orderOf) return;
    this.#executor.setOrder(epoch, this.sampler.permutation(epoch));
    this.#orderOf = epoch;
  }

  /** Batches of an epoch that belong to the run's first `step` steps. */
  #batchesBefore(epoch: number, step: number): number {
    return (step - epoch * this.stepsPerEpoch) * this.#input.definition.accumulate;
  }

  /** The batches of an epoch in groups that end with an optimizer step. */
  *#batches(epoch: number, firstStep: number): Generator<BatchJob> {
    const { accumulate, optimizer } = this.#input.definition;
    const perEpoch = this.sampler.stepsPerEpoch;
    let step = firstStep;
    let first = this.#batchesBefore(epoch, firstStep);
    for (; first < perEpoch && step < this.totalSteps; first += accumulate) {
      const places = Array.from({ length: Math.min(accumulate, perEpoch - first) }, (_, i) =>
        this.sampler.place(epoch * perEpoch + first + i),
      );
      const rows = places.reduce((sum, place) => sum + place.rows, 0);
      const scalars = optimizer.scalarsAt(step, this.totalSteps, this.#validations);
      step++;
      for (const [i, { start, rows: own }] of places.entries()) {
        yield {
          step,
          index: epoch * perEpoch + first + i,
          epoch,
          start,
          rows: own,
          accumulate: i === 0 ? 'first' : 'next',
          ...(i === places.length - 1 && { update: { rows, scalars } }),
        };
      }
    }
  }

  async #pickUp(
    keep: number,
    epoch: number,
    epochMean: Mean,
    group: { mean: Mean; before: Mean },
    trainingMs: () => number,
  ) {
    const events: StepEvent[] = [];
    const { optimizer } = this.#input.definition;
    const done = await this.#executor.drain(keep);
    const refused = this.#executor.refused();
    for (const sums of done) {
      const job = this.#pending.shift()!;
      if (job === refused) this.#options.explain(job);
      if (job.accumulate === 'first') group.before = new Mean(this.#metrics, epochMean);
      epochMean.add(sums, job.rows);
      group.mean.add(sums, job.rows);
      this.#trained += job.rows;
      if (!job.update) continue;
      this.#trainingMs = trainingMs();
      const event: StepEvent = {
        type: 'step',
        step: job.step,
        epoch: epoch + 1,
        loss: group.mean.loss,
        metrics: group.mean.metrics,
        learningRate: optimizer.learningRate(job.step - 1, this.totalSteps, this.#validations),
        samplesPerSecond: this.#samplesPerSecond,
        ...this.#executor.howWent?.(job.step),
      };
      group.mean = new Mean(this.#metrics);
      this.#options.emit(event);
      events.push(event);
    }
    return events;
  }

  async #endOfEpoch(
    epoch: number,
    step: number,
    { mean, seconds }: { mean: Mean; seconds: number },
  ): Promise<EpochEvent> {
    const held = this.#input.data.validation;
    const { digest } = this.#options;
    const event: EpochEvent = {
      type: 'epoch',
      epoch: epoch + 1,
      step,
      loss: mean.loss,
      metrics: mean.metrics,
      seconds,
      ...(digest && isPowerOfTwo(epoch + 1) && { weightsDigest: digest() }),
    };
    if (!held) return event;
    const validation = new Mean(this.#metrics);
    validation.add(await this.#executor.validate(), held.length);
    const found = validation.read();
    this.#validations = [...this.#validations, { step, loss: found.loss, metrics: found.metrics }];
    const { earlyStopping } = this.#input.definition;
    if (!earlyStopping) return { ...event, validation: found };
    return { ...event, validation: found, best: this.#isBest(epoch, this.#watched(found)) };
  }

  #watched(found: { loss: number; metrics: Metrics }): number {
    const metric = this.#input.definition.earlyStopping?.metric ?? 'loss';
    return metric === 'loss' ? found.loss : found.metrics[metric]!;
  }

  /** Keeps the weights when they are the best so far. */
  #isBest(epoch: number, value: number): boolean {
    const { mode, minDelta = 0 } = this.#input.definition.earlyStopping!;
    const sign = mode === 'max' ? -1 : 1;
    if (this.#best && !(sign * value < sign * this.#best.value - minDelta)) return false;
    this.#best = { value, epoch, weights: this.#executor.weights() };
    return true;
  }

  #shouldStop({ epoch }: EpochEvent): boolean {
    const { earlyStopping } = this.#input.definition;
    if (!earlyStopping || !this.#best || epoch - 1 - this.#best.epoch < earlyStopping.patience) return false;
    this.#options.emit({
      type: 'earlyStop',
      epoch,
      bestEpoch: this.#best.epoch + 1,
      metric: earlyStopping.metric ?? 'loss',
      value: this.#best.value,
    });
    return true;
  }
}
