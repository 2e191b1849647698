/** What the coordinator's driver hands gradients to, and what models are sent to. */
import type { Arrival, Piece } from '../reduce/reducer.ts';
import type { Copies } from './published.ts';

/** A node, as the one who publishes models knows it. */
export interface ModelReceiver {
  /** What it was sent. */
  readonly copies: Copies;
  /** Sends a bucket of the model before `step` that lies so many floats behind its begin. It must not change until it has left. */
  weights(step: number, offset: number, values: Float32Array): void;
  /** Tells that buckets [from, to) of the model before `step` are those of the model before it, which it has. */
  kept(step: number, from: number, to: number): void;
  /** Settles when all that it was sent so far has left, or never will. */
  flushed(): Promise<void>;
}

/** A piece is refused: it has a number that is not finite, where the batch gives none. */
export interface NotFinite {
  readonly kind: 'notFinite';
}

/** The life of gradients and weights on the coordinator: all that is done with numbers. Knows no sessions that live or die. */
export interface DataPlane {
  /** Whether buckets of this step are published as soon as they are reduced, whatever else happens. */
  streams(step: number): boolean;
  /**
   * A batch of so many shards begins: pieces of it are taken from now on.
   * @param awaited older steps of which pieces are still to be compared
   */
  open(step: number, shards: number, awaited: readonly number[]): void;
  /** Takes a piece of a unit that its session was asked for. Its value is good only now. */
  take(piece: Piece<Float32Array>): Arrival<Float32Array> | NotFinite;
  /**
   * All units of the step are whole. Settles when all of the new model is published, with the milliseconds in which something
   * else was waited for.
   */
  apply(step: number): Promise<number>;
  /** Sends a node what it lacks of the model before `step`. */
  complete(step: number, node: ModelReceiver): void;
  /** Nobody joins the batch before `step` any more: its model is kept only for those to whom some of it is still on its way. */
  forget(step: number): void;
}
