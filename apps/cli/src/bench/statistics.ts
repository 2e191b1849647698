/** Figures with their noise. */

/** What several rounds gave. */
export interface Measured {
  readonly median: number;
  /**
   * Where the median lies, with a confidence of 97 %. The rounds, in their order, are cut into six blocks, and these are
   * the least and the greatest of the blocks' medians: all six lie on one side with a chance of 2 · 2⁻⁶, whatever the
   * distribution. Rounds next to each other suffer the same noise, so that they say less than as many independent ones;
   * blocks are long enough not to.
   */
  readonly low: number;
  readonly high: number;
  /** Half of high − low. */
  readonly spread: number;
  /** In the order of measurement. */
  readonly rounds: readonly number[];
}

const BLOCKS = 6;

/** At least one figure; of less than six rounds, each is a block. */
export function measured(rounds: readonly number[]): Measured {
  const medians = blocksOf(rounds).map(medianOf);
  const [low, high] = [Math.min(...medians), Math.max(...medians)];
  return { median: medianOf(rounds), low, high, spread: (high - low) / 2, rounds };
}

/** What only a tenth of the values stay below, block by block: how long it takes when nothing else runs. */
export const quickest = (rounds: readonly (readonly number[])[]): Measured =>
  measured(
    blocksOf(rounds).map((block) => {
      const sorted = block.flat().sort((a, b) => a - b);
      return sorted[Math.floor(QUICK * sorted.length)] ?? Number.NaN;
    }),
  );

const QUICK = 0.1;

function blocksOf<T>(rounds: readonly T[]): T[][] {
  const count = Math.min(BLOCKS, rounds.length);
  const at = (i: number): number => Math.floor((i * rounds.length) / count);
  return Array.from({ length: count }, (_, i) => rounds.slice(at(i), at(i + 1)));
}

/** NaN of none. */
export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const low = sorted[sorted.length % 2 ? middle : middle - 1] ?? Number.NaN;
  return (low + (sorted[middle] ?? low)) / 2;
}

/** Round by round: figures that were taken next to each other suffer the same noise. */
export const ratio = (above: Measured, below: Measured, factor = 1): Measured =>
  measured(above.rounds.map((figure, round) => (figure / below.rounds[round]!) * factor));

/** How many times the noise of both a change is; `machine`: by which share the machine itself was faster or slower. */
export function timesNoise(a: Measured, b: Measured, machine = 0): number {
  const change = Math.abs(b.median - a.median);
  return change === 0 ? 0 : change / Math.hypot(a.spread, b.spread, machine * a.median);
}
