import { countUnits, type ShardRange } from '../reduce/tree.ts';

/** What a holder needs, in any common unit of time. */
export interface Cost {
  /** For a shard. Positive. */
  readonly shard: number;
  /** For each unit besides: a whole gradient on the wire. At least 0. */
  readonly unit: number;
}

/**
 * Cuts the shards `range` of the tree over [0, shards) into one contiguous range per holder, in order, so that the
 * slowest of them is done as early as can be, and among those cuts one that falls apart into the fewest units. A cut
 * into still fewer is taken, where there is one, that is done at most `slack` (a part of the time) later: so much less is on
 * the wire for everybody. Ranges may be empty.
 */
export const shareOut = (
  range: ShardRange,
  shards: number,
  costs: readonly Cost[],
  slack = 0,
): ShardRange[] => {
  if (costs.length === 0 || costs.some(({ shard, unit }) => !(isTime(shard) && shard > 0 && isTime(unit)))) {
    const got = costs.map(({ shard, unit }) => `${shard} and ${unit}`).join(', ');
    throw new RangeError(
      `shareOut: got costs ${got || 'for no node'}, expected positive numbers for shards, at least 0 for units`,
    );
  }
  // Some cut, so that those which take longer need not be looked at.
  const first = makespan(plain(range, costs), shards, costs);
  const { time } = cut(range, shards, costs, first, (_, later) => later).best;
  return cut(range, shards, costs, time * (1 + slack), (units) => units).ranges;
};

const isTime = (value: number): boolean => value >= 0 && Number.isFinite(value);

/** How long the slowest takes for these ranges. */
export const makespan = (ranges: readonly ShardRange[], shards: number, costs: readonly Cost[]): number =>
  Math.max(...ranges.map((range, i) => timeOf(range, shards, costs[i]!)));

/** How long a holder takes for a range. */
export const timeOf = ({ lo, hi }: ShardRange, shards: number, { shard, unit }: Cost): number =>
  (hi - lo) * shard + countUnits(lo, hi, shards) * unit;

/** A cut by the costs of shards alone: one after the other goes to whoever is done with it first. */
const plain = ({ lo, hi }: ShardRange, costs: readonly Cost[]): ShardRange[] => {
  const counts = costs.map(() => 0);
  const end = (i: number): number => (counts[i]! + 1) * costs[i]!.shard;
  for (let n = lo; n < hi; n++) {
    let best = 0;
    for (let i = 1; i < costs.length; i++) if (end(i) < end(best)) best = i;
    counts[best]!++;
  }
  let at = lo;
  return counts.map((count) => {
    at += count;
    return { lo: at - count, hi: at };
  });
};

interface Cut {
  readonly units: number;
  readonly time: number;
  /** Where the last range begins. */
  readonly from: number;
}

/** The best of all cuts in which nobody takes longer than `limit`: the least units or time, then the least of the other. */
const cut = (
  { lo, hi }: ShardRange,
  shards: number,
  costs: readonly Cost[],
  limit: number,
  first: (units: number, time: number) => number,
): { best: Cut; ranges: ShardRange[] } => {
  const isLess = (a: Cut, b: Cut): boolean => {
    const [x, y] = [first(a.units, a.time), first(b.units, b.time)];
    return x < y || (x === y && (a.units < b.units || (a.units === b.units && a.time < b.time)));
  };
  // By holder: the best cut of [lo, at) among the first ones.
  const cuts: Map<number, Cut>[] = [new Map([[lo, { units: 0, time: 0, from: lo }]])];
  for (const cost of costs) {
    const next = new Map<number, Cut>();
    for (const [from, before] of cuts.at(-1)!) {
      for (let at = from; at <= hi && (at - from) * cost.shard <= limit; at++) {
        const count = countUnits(from, at, shards);
        const time = (at - from) * cost.shard + count * cost.unit;
        if (time > limit) continue;
        const made = { units: before.units + count, time: Math.max(before.time, time), from };
        const known = next.get(at);
        if (known === undefined || isLess(made, known)) next.set(at, made);
      }
    }
    cuts.push(next);
  }
  const ranges: ShardRange[] = [];
  for (let w = costs.length, at = hi; w > 0; w--) {
    const { from } = cuts[w]!.get(at)!;
    ranges.unshift({ lo: from, hi: at });
    at = from;
  }
  return { best: cuts.at(-1)!.get(hi)!, ranges };
};
