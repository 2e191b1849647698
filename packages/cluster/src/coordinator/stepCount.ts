/** How a run's batches, which the cluster counts, and its optimizer steps and epochs go together. */

export interface StepCounts {
  readonly epochs: number;
  /** Optimizer steps after which the run ends, if not before. */
  readonly steps?: number;
  /** Batches of an optimizer step; the last one of an epoch may have fewer. */
  readonly accumulate: number;
}

/** Of a u32, which a step is in a frame. */
const MOST_BATCHES = 2 ** 32 - 1;

/** The optimizer step, from 1, that a batch, from 0, belongs to. `perEpoch`: batches of an epoch. */
export function optimizerStep({ accumulate }: StepCounts, perEpoch: number, batch: number): number {
  const epoch = Math.floor(batch / perEpoch);
  return epoch * Math.ceil(perEpoch / accumulate) + Math.floor((batch - epoch * perEpoch) / accumulate) + 1;
}

/** Batches of a whole run. */
export function totalBatches({ epochs, steps, accumulate }: StepCounts, perEpoch: number): number {
  const updates = Math.ceil(perEpoch / accumulate);
  const total = Math.min(epochs * updates, steps ?? Number.POSITIVE_INFINITY);
  const whole = Math.floor(total / updates);
  const batches = whole * perEpoch + Math.min((total - whole * updates) * accumulate, perEpoch);
  return Math.min(batches, MOST_BATCHES);
}
