import { checkInteger, DataError } from '../common/errors.ts';
import { KeyedRandom, shuffled, streams } from '../common/random.ts';

export interface SamplerOptions {
  /** Rows of the data set, at least 1. */
  readonly length: number;
  /** Rows of a global batch, at least 1. */
  readonly batch: number;
  /** Whole number from 0 to 2^53 − 1. Default 0. */
  readonly seed?: number;
  /** A new order in every epoch (default), or the order of the data set. */
  readonly shuffle?: boolean;
  /** Leave out the last batch of an epoch when it is short. Default false: it is trained on. */
  readonly dropLast?: boolean;
}

/** Where a step of the run stands. */
export interface BatchPlace {
  readonly epoch: number;
  /** Position of the batch's first row in the epoch's permutation. */
  readonly start: number;
  /** Rows of this batch: `batch`, or fewer in the last one of an epoch. */
  readonly rows: number;
}

/**
 * The order in which rows are trained on: a pure function of (seed, epoch), whoever asks and whatever came before.
 */
export class Sampler {
  readonly length: number;
  readonly batch: number;
  readonly seed: number;
  readonly shuffle: boolean;
  /** Batches of an epoch. */
  readonly stepsPerEpoch: number;

  constructor(options: SamplerOptions) {
    const { length, batch, seed = 0, shuffle = true, dropLast = false } = options;
    checkInteger('Sampler: length', length, 1, 2 ** 31 - 1);
    checkInteger('Sampler: batch', batch, 1, 2 ** 31 - 1);
    checkInteger('Sampler: seed', seed, 0);
    this.length = length;
    this.batch = batch;
    this.seed = seed;
    this.shuffle = shuffle;
    this.stepsPerEpoch = dropLast ? Math.floor(length / batch) : Math.ceil(length / batch);
    if (this.stepsPerEpoch === 0) {
      throw new DataError(
        'DATA_OPTION',
        `Sampler: ${length} rows give no batch of ${batch} when the last short batch is dropped. Take a smaller batch ` +
          'or keep the last one.',
      );
    }
  }

  /**
   * The order of the rows in an epoch (from 0): Fisher–Yates by Philox, keyed by (seed, 'shuffle', epoch).
   * Writes into `out` (of `length` numbers) when given.
   */
  permutation(epoch: number, out: Int32Array = new Int32Array(this.length)): Int32Array {
    checkInteger('Sampler: epoch', epoch, 0, 2 ** 32 - 1);
    checkInteger('Sampler: length of out', out.length, this.length, this.length);
    if (this.shuffle) return shuffled(new KeyedRandom(this.seed, streams.shuffle, epoch), out);
    for (let i = 0; i < out.length; i++) out[i] = i;
    return out;
  }

  /** The place of a step of the run (from 0, counted over all epochs). */
  place(step: number): BatchPlace {
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const start = (step - epoch * this.stepsPerEpoch) * this.batch;
    return { epoch, start, rows: Math.min(this.batch, this.length - start) };
  }

  /** The batches of one epoch, in order. */
  *batches(epoch: number): Generator<BatchPlace> {
    for (let i = 0; i < this.stepsPerEpoch; i++) yield this.place(epoch * this.stepsPerEpoch + i);
  }
}
