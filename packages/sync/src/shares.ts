import { type ShardRange, units } from './tree.ts';

/**
 * Cuts the shards `range` of the tree over [0, shards) into one contiguous range per holder, in order, so that the
 * slowest of them is done as early as can be, and among those cuts one that falls apart into the fewest units.
 * Speeds are positive, in any common unit. Ranges may be empty.
 *
 * Every unit is a whole gradient on the wire. So a cut into fewer units is taken, where there is one, that is done at most
 * `slack` (a part of the time) later.
 */
export const shareOut = (
  range: ShardRange,
  shards: number,
  speeds: readonly number[],
  slack = 0,
): ShardRange[] => {
  const fastest = cut(range, shards, speeds, 0);
  if (slack === 0) return fastest;
  const later = cut(range, shards, speeds, slack);
  return countUnits(later, shards) < countUnits(fastest, shards) ? later : fastest;
};

const countUnits = (ranges: readonly ShardRange[], shards: number): number =>
  ranges.reduce((count, { lo, hi }) => count + units(lo, hi, shards).length, 0);

const cut = (range: ShardRange, shards: number, speeds: readonly number[], slack: number): ShardRange[] => {
  if (speeds.length === 0 || speeds.some((speed) => !(speed > 0 && Number.isFinite(speed)))) {
    throw new RangeError(`shareOut: got speeds ${speeds.join(' ')}, expected positive numbers, at least one`);
  }
  const limits = largestShares(range.hi - range.lo, speeds, slack);
  const { lo, hi } = range;
  // fewest[w][at]: the fewest units of [lo, at) cut among the first w holders, and where the last of them begins.
  const fewest: Map<number, { readonly units: number; readonly from: number }>[] = [
    new Map([[lo, { units: 0, from: lo }]]),
  ];
  for (const limit of limits) {
    const next = new Map<number, { units: number; from: number }>();
    for (const [from, { units: before }] of fewest.at(-1)!) {
      for (let at = from; at <= Math.min(hi, from + limit); at++) {
        const count = before + units(from, at, shards).length;
        const known = next.get(at);
        if (known === undefined || count < known.units) next.set(at, { units: count, from });
      }
    }
    fewest.push(next);
  }
  const ranges: ShardRange[] = [];
  for (let w = limits.length, at = hi; w > 0; w--) {
    const { from } = fewest[w]!.get(at)!;
    ranges.unshift({ lo: from, hi: at });
    at = from;
  }
  return ranges;
};

/** How long the slowest takes for these ranges. */
export const makespan = (ranges: readonly ShardRange[], speeds: readonly number[]): number =>
  Math.max(...ranges.map(({ lo, hi }, i) => (hi - lo) / speeds[i]!));

/** The most shards that each holder can take without making the earliest possible end later by more than `slack`. */
const largestShares = (count: number, speeds: readonly number[], slack: number): number[] => {
  const shares = speeds.map(() => 0);
  let end = 0;
  for (let n = 0; n < count; n++) {
    let best = 0;
    for (let i = 1; i < speeds.length; i++) {
      if ((shares[i]! + 1) / speeds[i]! < (shares[best]! + 1) / speeds[best]!) best = i;
    }
    shares[best]!++;
    end = Math.max(end, shares[best]! / speeds[best]!);
  }
  return shares.map((share, i) => {
    let most = share;
    while (most < count && (most + 1) / speeds[i]! <= end * (1 + slack)) most++;
    return most;
  });
};
