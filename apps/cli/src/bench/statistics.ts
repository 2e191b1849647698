/** Figures with their noise. */

/** What several rounds gave. */
export interface Measured {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Half of max − min: medians of two equal runs lie closer together than that. */
  readonly spread: number;
  /** In the order of measurement. */
  readonly rounds: readonly number[];
}

/** At least one figure. */
export function measured(rounds: readonly number[]): Measured {
  const sorted = rounds.toSorted((a, b) => a - b);
  const [min, max] = [sorted[0] ?? Number.NaN, sorted.at(-1) ?? Number.NaN];
  const middle = sorted.length >> 1;
  const low = sorted[sorted.length % 2 ? middle : middle - 1] ?? Number.NaN;
  return { median: (low + (sorted[middle] ?? low)) / 2, min, max, spread: (max - min) / 2, rounds };
}

/** Round by round: figures that were taken next to each other suffer the same noise. */
export const ratio = (above: Measured, below: Measured, factor = 1): Measured =>
  measured(above.rounds.map((figure, round) => (figure / below.rounds[round]!) * factor));

/** How many times the noise of both a change is. */
export function timesNoise(a: Measured, b: Measured): number {
  const change = Math.abs(b.median - a.median);
  return change === 0 ? 0 : change / Math.hypot(a.spread, b.spread);
}
