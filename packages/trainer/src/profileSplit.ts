/** Adds up what workers were at, over many batches. */
import { type Activity, activities, type ProfiledBatch } from './profile.ts';

/** Milliseconds per step. */
export type Split = Readonly<Record<Activity, number>>;

export class SplitTotals {
  batches = 0;
  rows = 0;
  /** Operations and bytes of all workers. */
  flops = 0;
  readonly bytes: Record<Activity, number> = zeros();
  #milliseconds = 0;
  readonly #workers: Record<Activity, number>[] = [];

  add({ rows, spans, moments }: ProfiledBatch): void {
    this.batches++;
    this.rows += rows;
    let [began, ended] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const [worker, own] of spans.entries()) {
      const at = moments[worker]!;
      this.#workers[worker] ??= zeros();
      const totals = this.#workers[worker];
      for (let i = 0; i < own.length; i++) {
        const { activity, flops, bytes } = own[i]!;
        totals[activity] += at[i + 1]! - at[i]!;
        this.flops += flops;
        this.bytes[activity] += bytes;
      }
      began = Math.max(began, at[0]!);
      ended = Math.max(ended, at[own.length]!);
    }
    this.#milliseconds += ended - began;
  }

  /** From the end of the last worker in one batch to that in the next, over all batches (s). */
  get seconds(): number {
    return this.#milliseconds / 1000;
  }

  /** Per worker: the mean over the batches. */
  get split(): Split[] {
    return this.#workers.map((totals) => {
      const means = zeros();
      for (const activity of activities) means[activity] = totals[activity] / this.batches;
      return means;
    });
  }
}

const zeros = (): Record<Activity, number> =>
  Object.fromEntries(activities.map((activity) => [activity, 0])) as Record<Activity, number>;
