/** What runs steps. Training is the same on each executor, to the bit; they differ in speed and in what can die. */

import type { AuditCounts, ClusterStep } from './events.ts';

/** The place of one batch, and the numbers that its step needs. */
export interface BatchJob {
  /** The optimizer step that it belongs to, from 1. */
  readonly step: number;
  /** Counts batches over the whole run: keys the random numbers. */
  readonly index: number;
  readonly epoch: number;
  /** Position of the first row in the epoch's order. */
  readonly start: number;
  readonly rows: number;
  /** What becomes of the gradient: added to what was accumulated, and applied by the optimizer where `update` is set. */
  readonly accumulate: 'first' | 'next';
  readonly update?: {
    /** Rows whose gradients have been added up. */
    readonly rows: number;
    /** The optimizer's scalars of this step. */
    readonly scalars: readonly number[];
  };
}

/** Everything that later steps depend on, by name: `weights`, and `slot NAME` for each slot of the optimizer. */
export type ExecutorState = ReadonlyMap<string, Float32Array>;

/** Loss, then metrics: sums over the rows of the batch. */
export type Sums = Float32Array;

export interface Executor {
  /** Name of the kernels in use, and threads. */
  readonly kernels: string;
  readonly workers: number;
  /** Processes that computed something of the run; absent: this one alone. */
  readonly nodes?: number;
  /** Milliseconds so far in which nobody was there to compute; absent: somebody always is. */
  readonly idle?: number;
  /** How an optimizer step went, of executors that are clusters. Once for each step that is done. */
  howWent?(step: number): ClusterStep;
  /** Batches that can be under way at once. */
  readonly ahead: number;
  /** The order of the rows in an epoch; set before its first batch, and not before the last epoch but one is done. */
  setOrder(epoch: number, order: Int32Array): void;
  /** Starts a training batch. Batches run in the order of submission. */
  submit(job: BatchJob): void;
  /**
   * Waits until at most `keep` batches are under way; gives the sums of all that are done and not yet given, in order. When
   * the run is aborted, an executor may give up batches that nobody has computed: then it does not wait for them.
   */
  drain(keep: number): Promise<Sums[]>;
  /** The batch whose update did not go through because a number was not finite; nothing after it changed a weight. */
  refused(): BatchJob | undefined;
  /** Sums over the rows of the validation part. Only while no training batch is under way. */
  validate(): Promise<Sums>;
  /** The weights to keep now (their moving average where there is one), then the buffers, as one vector. Only while no batch is under way. */
  weights(): Float32Array;
  /** Replaces the weights, their average and the buffers (to go back to the best ones). */
  setWeights(weights: Float32Array): void;
  /** A copy of the state. Only between two optimizer steps, while no batch is under way. */
  state(): ExecutorState;
  /** Goes on from a state: of the same names and sizes. Only before the first batch, and after `drain` threw a Rewind. */
  setState(state: ExecutorState): void;
  /** The next batch is this one, on the state that was set: after `drain` threw a Rewind. See Note [Rewinding]. */
  rewind?(batch: number): Promise<void>;
  /** What was computed a second time, of executors that do that. */
  readonly audit?: AuditCounts | undefined;
  /** Batches that the run may have to go back to, of executors that rewind: a checkpoint before each has to stay. */
  doubts?(): readonly number[];
  /** The run is over, with these weights; undefined: it was interrupted, and can go on later. */
  finish?(digest: string | undefined): void;
  close(): Promise<void>;
}
