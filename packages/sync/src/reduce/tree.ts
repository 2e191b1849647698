/**
 * The shard tree: the one fixed order in which the sums of shards are combined (the exactness contract). Node
 * [lo, hi) is shard lo itself when hi − lo = 1, else node [lo, m) + node [m, hi) with m = `split(lo, hi)`.
 *
 * Why workers may hold any contiguous range: the range falls apart into few nodes of the tree (`units`), a worker
 * adds up each on its own, and `reductionPlan` finishes the tree over them. No grouping changes the bits.
 *
 * Why empty shards may be left out: a short batch leaves a suffix of the shards empty, and the tree over [0, S)
 * without its last shards is the tree over [0, E) (the left part of a node always holds a power of two).
 */

/** Shards lo, lo + 1, …, hi − 1. */
export interface ShardRange {
  readonly lo: number;
  readonly hi: number;
}

/** One addition of a reduction: value ids of the left and the right term. */
export type Addition = readonly [left: number, right: number];

/** Where the node [lo, hi) of at least two shards is cut: lo + the largest power of two below hi − lo. */
export const split = (lo: number, hi: number): number => {
  if (!(Number.isInteger(lo) && Number.isInteger(hi) && hi - lo >= 2)) {
    throw new RangeError(`split(${lo}, ${hi}): expected integers with hi - lo >= 2`);
  }
  return lo + 2 ** (31 - Math.clz32(hi - lo - 1));
};

/** All nodes of the tree over [0, shards): children before their parent, left before right; the last is the root. */
export const treeNodes = (shards: number): ShardRange[] => {
  checkCount('shards', shards, 1);
  const nodes: ShardRange[] = [];
  const visit = (lo: number, hi: number): void => {
    if (hi - lo > 1) {
      const m = split(lo, hi);
      visit(lo, m);
      visit(m, hi);
    }
    nodes.push({ lo, hi });
  };
  visit(0, shards);
  return nodes;
};

/**
 * The largest nodes of the tree over [0, shards) that make up the range [lo, hi), in order: the units that its
 * holder sums on its own. At most 2 · log2(shards); none for an empty range.
 */
export const units = (lo: number, hi: number, shards: number): ShardRange[] => {
  checkCount('shards', shards, 1);
  if (!(Number.isInteger(lo) && Number.isInteger(hi) && 0 <= lo && lo <= hi && hi <= shards)) {
    throw new RangeError(`units(${lo}, ${hi}): expected a range within the ${shards} shards`);
  }
  const found: ShardRange[] = [];
  const visit = (a: number, b: number): void => {
    if (b <= lo || hi <= a) return;
    if (lo <= a && b <= hi) {
      found.push({ lo: a, hi: b });
    } else {
      const m = split(a, b);
      visit(a, m);
      visit(m, b);
    }
  };
  visit(0, shards);
  return found;
};

/** How many `units` there are: without a list of them, since cuts are compared by it. */
export const countUnits = (lo: number, hi: number, shards: number): number => {
  let count = 0;
  for (let at = lo; at < hi; count++) {
    // Nodes at `at`: as many shards as divide it, by powers of two; at the tree's right edge, also all that are left.
    if (hi === shards && isRightEdge(at, shards)) return count + 1;
    const most = 2 ** (31 - Math.clz32(hi - at));
    at += at === 0 ? most : Math.min(at & -at, most);
  }
  return count;
};

const isRightEdge = (lo: number, shards: number): boolean => {
  let at = 0;
  while (at < lo && shards - at >= 2) at = split(at, shards);
  return at === lo;
};

/** The node of the tree over [0, shards) that this node is a child of; undefined: it is the root, or none of them. */
export const parentOf = ({ lo, hi }: ShardRange, shards: number): ShardRange | undefined => {
  for (let [a, b] = [0, shards]; b - a > 1; ) {
    const m = split(a, b);
    if ((lo === a && hi === m) || (lo === m && hi === b)) return { lo: a, hi: b };
    if (hi <= m) b = m;
    else a = m;
    if (lo < a || hi > b) return undefined;
  }
  return undefined;
};

/**
 * Contiguous ranges for the workers, in order: as equal as possible (sizes differ by at most one, so the slowest
 * has the least to do), and among those the ones that fall apart into the fewest units. With more workers than
 * shards some ranges are empty.
 */
export const assign = (shards: number, workers: number): ShardRange[] => {
  checkCount('shards', shards, 1);
  checkCount('workers', workers, 1);
  const small = Math.floor(shards / workers);
  const larger = shards % workers;
  // best[g] = [fewest units, the last worker's size] when the first w workers have g of the larger ranges.
  type Best = readonly [units: number, size: number];
  let best = new Map<number, Best>([[0, [0, 0]]]);
  const history: Map<number, Best>[] = [];
  for (let w = 0; w < workers; w++) {
    const next = new Map<number, Best>();
    for (const [g, [count]] of best) {
      const lo = w * small + g;
      for (const grown of larger > 0 ? [1, 0] : [0]) {
        if (g + grown > larger || larger - g - grown > workers - w - 1) continue;
        const total = count + units(lo, lo + small + grown, shards).length;
        const known = next.get(g + grown);
        if (known === undefined || total < known[0]) next.set(g + grown, [total, small + grown]);
      }
    }
    history.push(next);
    best = next;
  }
  const ranges: ShardRange[] = [];
  let hi = shards;
  for (let w = workers - 1, g = larger; w >= 0; w--) {
    const size = history[w]!.get(g)![1];
    ranges.unshift({ lo: hi - size, hi });
    hi -= size;
    g -= size - small;
  }
  return ranges;
};

/**
 * The additions that finish the tree, given units that cover [0, shards) in order. Value ids: unit u is value u, the
 * i-th addition makes value `parts.length + i`; the last addition is the sum of all (none when one unit is all).
 * Depth first, so few values are alive at once. Throws when the parts are not nodes or leave a gap.
 */
export const reductionPlan = (parts: readonly ShardRange[]): Addition[] => {
  const plan: Addition[] = [];
  let next = 0;
  const visit = (lo: number, hi: number): number => {
    const part = parts[next];
    if (part?.lo === lo && part.hi === hi) return next++;
    if (part === undefined || part.lo !== lo || hi - lo < 2 || part.hi > hi) {
      const got = parts.map((p) => `[${p.lo}, ${p.hi})`).join(' ');
      throw new RangeError(`reductionPlan: expected units of one shard tree in order from 0, got ${got}`);
    }
    const m = split(lo, hi);
    const left = visit(lo, m);
    plan.push([left, visit(m, hi)]);
    return parts.length + plan.length - 1;
  };
  visit(0, parts.at(-1)?.hi ?? 0);
  return plan;
};

/** Combines the values of units (which cover [0, shards) in order) by the tree. Throws as `reductionPlan` does. */
export const combine = <T>(
  parts: readonly ShardRange[],
  values: readonly T[],
  add: (left: T, right: T) => T,
): T => {
  if (values.length !== parts.length) {
    throw new RangeError(`combine: got ${values.length} values for ${parts.length} units`);
  }
  const all = [...values];
  for (const [left, right] of reductionPlan(parts)) all.push(add(all[left]!, all[right]!));
  return all.at(-1)!;
};

/** How a batch lies in shards, in order of its rows: the first `larger` shards have `rows + 1` rows, the others `rows`. */
export interface BatchShards {
  /** Shards that have rows at all; they come first. */
  readonly used: number;
  readonly rows: number;
  /** From 0 to below `used`. */
  readonly larger: number;
}

/**
 * Spreads a batch of at least one row over shards as evenly as possible: 21 rows in 5 shards are 5, 4, 4, 4, 4. Fewer shards
 * are used where some would get one row and others two: batch statistics need two rows, and 9 rows in 8 shards are 3, 2, 2, 2.
 */
export const batchShards = (rows: number, shards: number): BatchShards => {
  checkCount('rows', rows, 1);
  checkCount('shards', shards, 1);
  const used = rows <= shards ? rows : Math.min(shards, Math.floor(rows / 2));
  return { used, rows: Math.floor(rows / used), larger: rows % used };
};

/** Rows of a batch that come before those of a shard; of the shard `used`: all rows. */
export const firstRow = ({ rows, larger }: BatchShards, shard: number): number =>
  shard * rows + Math.min(shard, larger);

/** The rows of one shard. */
export const shardRows = ({ rows, larger }: BatchShards, shard: number): number =>
  shard < larger ? rows + 1 : rows;

/** A range of shards as one range or two, in each of which all shards have the same number of rows. */
export const evenRanges = (
  { rows, larger }: BatchShards,
  { lo, hi }: ShardRange,
): (ShardRange & { readonly rows: number })[] => {
  const cut = Math.max(lo, Math.min(hi, larger));
  const ranges = [
    { lo, hi: cut, rows: rows + 1 },
    { lo: cut, hi, rows },
  ];
  return ranges.filter((range) => range.lo < range.hi);
};

const checkCount = (what: string, got: number, least: number): void => {
  if (!Number.isSafeInteger(got) || got < least) {
    throw new RangeError(`${what} is ${got}, expected an integer of at least ${least}`);
  }
};
