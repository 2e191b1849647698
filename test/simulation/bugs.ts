import { type Arrival, type Piece, Reducer, type ShardRange } from '@lockstep/sync';
import { mix } from './digest.ts';

/** Mistakes that are made on purpose, in the drivers around the real core. Each must be caught. */
export const BUGS = [
  /** A gradient that comes twice is added twice. */
  'noDedupe',
  /** Frames of other runs, lives and sessions are taken. */
  'noFencing',
  /** The name of a checkpoint is said to be saved before it is. */
  'noFolderSync',
  /** The bytes of a checkpoint are. */
  'noFileSync',
  /** Units are added from left to right. */
  'wrongTree',
  /** A node computes on whatever buckets of weights came last. */
  'mixedWeights',
  /** A checkpoint is written from the weights as they are when the disk gets to it. */
  'noSnapshot',
  /** A coordinator does not write down that it was started. */
  'sameIncarnation',
] as const;
export type Bug = (typeof BUGS)[number];

export const makeReducer = (buckets: number, bug: Bug | undefined): TotalReducer => {
  const options = { buckets, add: mix };
  if (bug === 'noDedupe') return new AddingReducer(options);
  return bug === 'wrongTree' ? new LinearReducer(options) : new TotalReducer(options);
};

/** Keeps the sums that it gives. */
class TotalReducer extends Reducer<number> {
  readonly #totals = new Map<string, number>();

  override put(piece: Piece<number>): Arrival<number> {
    const arrival = super.put(piece);
    if (arrival.kind === 'kept' && arrival.total !== undefined) {
      this.#totals.set(`${piece.step} ${piece.bucket}`, arrival.total);
    }
    return arrival;
  }

  total(bucket: number, _: readonly ShardRange[], step: number): number {
    return this.#totals.get(`${step} ${bucket}`)!;
  }
}

class AddingReducer extends TotalReducer {
  #again: Piece<number>[] = [];

  override put(piece: Piece<number>): Arrival<number> {
    const arrival = super.put(piece);
    if (arrival.kind === 'same') this.#again.push(piece);
    return arrival;
  }

  override total(bucket: number, parts: readonly ShardRange[], step: number): number {
    const extra = this.#again.filter((piece) => piece.bucket === bucket && piece.step === step);
    return extra.reduce((sum, { value }) => mix(sum, value), super.total(bucket, parts, step));
  }
}

class LinearReducer extends TotalReducer {
  readonly #values = new Map<string, number>();

  override put(piece: Piece<number>): Arrival<number> {
    const { step, unit, bucket, value } = piece;
    const arrival = super.put(piece);
    if (arrival.kind === 'kept') this.#values.set(`${step} ${bucket} ${unit.lo}-${unit.hi}`, value);
    return arrival;
  }

  override total(bucket: number, parts: readonly ShardRange[], step: number): number {
    return parts.map(({ lo, hi }) => this.#values.get(`${step} ${bucket} ${lo}-${hi}`)!).reduce(mix);
  }
}
