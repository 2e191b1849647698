/**
 * Note [Rewinding]: what a node contributed to a run can turn out to be wrong when the batch has long been applied. Then the
 * run goes back to a state from before, as a resumed one does, in the same process: newer checkpoints are deleted first (they
 * are of wrong weights, and a crash must not bring them back), then metrics.jsonl is cut, then training goes on from there.
 */
import type { TrainingEvent } from './events.ts';

/** Thrown by an executor's `drain`: batches from this one on are not to be trusted. */
export class Rewind extends Error {
  override readonly name = 'Rewind';
  /** Counted over the run, from 0. */
  readonly batch: number;
  /** What is reported of it, where these optimizer steps stay. */
  readonly events: (kept: number) => readonly TrainingEvent[];

  constructor(batch: number, events: (kept: number) => readonly TrainingEvent[]) {
    super(`batches from ${batch} on are computed again`);
    this.batch = batch;
    this.events = events;
  }
}
