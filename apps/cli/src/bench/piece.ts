/** Training that goes on only while it is measured, a piece at a time: its threads stay, so pieces can be short and many. */
import type { KernelVariant } from '@lockstep/kernels';
import { type Prepared, type ProfiledBatch, type ProfileOptions, SplitTotals } from '@lockstep/trainer';
import { type TrainingDefinition, type TrainOptions, train } from 'lockstep';
import { ConfigFileError } from '../common/failure.ts';
import { Gate } from './gate.ts';

/** Part of a piece that is not counted: caches get warm. The first batch waited for the piece to begin. */
const WARM_UP = 0.1;
const COLD_BATCHES = 1;
const LEAST_BATCHES = 3;
/** Of the piece that nothing is taken from (s): code gets compiled. */
const FIRST = 0.3;
/** The timeline of a report. */
const TIMELINE_BATCHES = 3;

export interface SubjectOptions {
  readonly workers: number;
  readonly kernels: KernelVariant;
  readonly execution?: 'coalesced' | 'separate';
}

/** What was measured in one go. */
export class Piece {
  readonly totals = new SplitTotals();
  /** Milliseconds of each batch. */
  readonly steps: number[] = [];
  /** The quickest few batches in a row: the least disturbed. */
  quickest: readonly ProfiledBatch[] = [];
  readonly #seconds: number;
  readonly #last: ProfiledBatch[] = [];
  #seen = 0;
  #began = 0;
  #ended = 0;

  readonly #onBatch: ProfileOptions['onBatch'];

  constructor(seconds: number, onBatch: ProfileOptions['onBatch']) {
    this.#seconds = seconds;
    this.#onBatch = onBatch;
  }

  get batches(): number {
    return this.totals.batches;
  }

  get seconds(): number {
    return this.totals.seconds;
  }

  get milliseconds(): number {
    return (1000 * this.seconds) / this.batches;
  }

  get isEnough(): boolean {
    return this.#ended - this.#began >= 1000 * this.#seconds && this.totals.batches >= LEAST_BATCHES;
  }

  add(batch: ProfiledBatch): void {
    const before = this.#ended;
    this.#ended = Math.max(...batch.moments.map((own) => own.at(-1)!));
    if (this.#seen++ === 0) this.#began = this.#ended;
    const isWarm = this.#ended - this.#began >= WARM_UP * 1000 * this.#seconds;
    if (!isWarm || this.#seen <= COLD_BATCHES) return;
    this.totals.add(batch);
    this.steps.push(this.#ended - before);
    this.#onBatch(batch);
    this.#last.push(batch);
    if (this.#last.length > TIMELINE_BATCHES) this.#last.shift();
    const [last, { quickest }] = [this.#last, this];
    if (quickest.length < last.length || duration(last) < duration(quickest)) this.quickest = [...last];
  }
}

/** From the first worker's beginning to its end (ms). */
const duration = (batches: readonly ProfiledBatch[]): number =>
  batches.at(-1)!.moments[0]!.at(-1)! - batches[0]!.moments[0]![0]!;

/** Training of one kind, as long as it is measured. */
export class Subject {
  readonly #gate: Gate;
  readonly #end = new AbortController();
  readonly #run: Promise<unknown>;
  readonly #ended: Promise<never>;
  #take: ProfileOptions['onBatch'] = () => {};

  /** Throws what training throws, and the reason of an aborted signal. */
  static async start<M, F extends string>(
    definition: TrainingDefinition<M, F>,
    options: SubjectOptions,
    signal: AbortSignal,
  ): Promise<Subject> {
    signal.throwIfAborted();
    const subject = new Subject(signal, (part) => train(definition, { ...options, ...part }));
    await Promise.race([subject.#gate.holds(), subject.#ended]);
    await subject.measure(FIRST);
    return subject;
  }

  private constructor(
    signal: AbortSignal,
    begin: (part: Pick<TrainOptions, 'profile' | 'pause' | 'signal'>) => PromiseLike<unknown>,
  ) {
    const either = AbortSignal.any([signal, this.#end.signal]);
    this.#gate = new Gate(either);
    const onBatch: ProfileOptions['onBatch'] = (batch) => this.#take(batch);
    this.#run = Promise.resolve(
      begin({ profile: { depth: 'parts', onBatch }, pause: this.#gate, signal: either }),
    );
    this.#ended = this.#run.then(() => {
      signal.throwIfAborted();
      throw new Error('bench: training has ended');
    });
    this.#ended.catch(() => {});
  }

  /** Trains for so long; `onBatch` gets what counts. Throws what training throws, and the reason of an aborted signal. */
  async measure(seconds: number, onBatch: ProfileOptions['onBatch'] = () => {}): Promise<Piece> {
    const piece = new Piece(seconds, onBatch);
    this.#take = (batch) => {
      piece.add(batch);
      if (piece.isEnough) this.#gate.shut();
    };
    const held = this.#gate.holds();
    this.#gate.open();
    await Promise.race([held, this.#ended]);
    return piece;
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#run.catch(() => {});
  }
}

/** Training without end, on full batches, with nothing in between; batch and shards multiplied. Throws ConfigFileError. */
export function endless<M, F extends string>(
  { definition, data }: Prepared<M, F>,
  times: number,
): TrainingDefinition<M, F> {
  const { epochs: _, earlyStopping: __, ...rest } = definition;
  const [batch, shards] = [definition.batch * times, definition.shards * times];
  if (!Number.isInteger(batch) || !Number.isInteger(shards) || batch > data.length) {
    throw new ConfigFileError(
      `bench: ${times} times the batch of ${definition.batch} rows in ${definition.shards} shards, for more workers, does ` +
        `not go with ${data.length} rows of data; use --strong, other --workers or a smaller --batch`,
    );
  }
  const { validation: ___, ...training } = data;
  return {
    ...rest,
    batch,
    shards,
    steps: Number.MAX_SAFE_INTEGER,
    validation: 0,
    dropLast: true,
    data: () => training,
  };
}
