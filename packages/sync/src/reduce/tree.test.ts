import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  assign,
  batchShards,
  combine,
  countUnits,
  evenRanges,
  firstRow,
  reductionPlan,
  type ShardRange,
  shardRows,
  split,
  treeNodes,
  units,
} from './tree.ts';

/** The naive twin: the definition, in f32. An absent shard is undefined. */
const naive = (values: readonly number[]): number => {
  if (values.length === 1) return values[0]!;
  let m = 1;
  while (m * 2 < values.length) m *= 2;
  return Math.fround(naive(values.slice(0, m)) + naive(values.slice(m)));
};
const add = (a: number, b: number): number => Math.fround(a + b);
const bits = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0]!;
/** A sum of floats as a kernel leaves it: the accumulator starts at +0, so it is never -0. */
const shardSum = fc
  .array(fc.float({ noNaN: true, min: -(2 ** 100), max: 2 ** 100 }), { maxLength: 3 })
  .map((terms) => terms.reduce(add, 0));
const text = (ranges: readonly ShardRange[]): string => ranges.map(({ lo, hi }) => `${lo}-${hi}`).join(' ');

describe('the tree', () => {
  test.each([
    [0, 2, 1],
    [0, 3, 2],
    [0, 4, 2],
    [0, 5, 4],
    [4, 7, 6],
    [0, 8, 4],
    [0, 9, 8],
    [8, 24, 16],
  ])('split(%i, %i) is %i', (lo, hi, m) => expect(split(lo, hi)).toBe(m));

  test('lists its nodes, children first', () => {
    expect(text(treeNodes(5))).toBe('0-1 1-2 0-2 2-3 3-4 2-4 0-4 4-5 0-5');
  });

  test.each([
    [0, 8, 8, '0-8'],
    [0, 3, 8, '0-2 2-3'],
    [3, 6, 8, '3-4 4-6'],
    [1, 7, 8, '1-2 2-4 4-6 6-7'],
    [4, 7, 7, '4-7'],
    [2, 2, 4, ''],
  ])('the units of [%i, %i) of %i are %s', (lo, hi, shards, expected) => {
    expect(text(units(lo, hi, shards))).toBe(expected);
  });

  test('units are counted as they are listed', () => {
    for (let shards = 1; shards <= 33; shards++) {
      for (let lo = 0; lo <= shards; lo++) {
        for (let hi = lo; hi <= shards; hi++) {
          expect(countUnits(lo, hi, shards)).toBe(units(lo, hi, shards).length);
        }
      }
    }
  });

  test.each([
    [8, 1, '0-8'],
    [8, 2, '0-4 4-8'],
    [8, 3, '0-2 2-5 5-8'],
    [8, 5, '0-2 2-4 4-6 6-7 7-8'],
    [8, 8, '0-1 1-2 2-3 3-4 4-5 5-6 6-7 7-8'],
    [2, 3, '0-1 1-2 2-2'],
    [16, 3, '0-5 5-10 10-16'],
  ])('%i shards on %i workers', (shards, workers, expected) => {
    const ranges = assign(shards, workers);
    const cost = (all: readonly ShardRange[]): number =>
      all.reduce((n, { lo, hi }) => n + units(lo, hi, shards).length, 0);
    const wanted = expected.split(' ').map((range) => {
      const [lo = 0, hi = 0] = range.split('-').map(Number);
      return { lo, hi };
    });
    expect(cost(ranges)).toBeLessThanOrEqual(cost(wanted));
    expect(ranges.map(({ lo, hi }) => hi - lo).sort()).toEqual(wanted.map(({ lo, hi }) => hi - lo).sort());
  });

  test('ranges follow each other, differ by one at most, and cost no more units than plain ones', () => {
    const small = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(small, small, (shards, workers) => {
        const ranges = assign(shards, workers);
        expect(ranges).toHaveLength(workers);
        let hi = 0;
        let total = 0;
        let plain = 0;
        for (const [w, range] of ranges.entries()) {
          expect(range.lo).toBe(hi);
          hi = range.hi;
          expect([Math.floor(shards / workers), Math.ceil(shards / workers)]).toContain(range.hi - range.lo);
          total += units(range.lo, range.hi, shards).length;
          const cut = (i: number): number => i * Math.floor(shards / workers) + Math.min(i, shards % workers);
          plain += units(cut(w), cut(w + 1), shards).length;
        }
        expect(hi).toBe(shards);
        expect(total).toBeLessThanOrEqual(plain);
      }),
    );
  });
});

describe('sums', () => {
  const cuts = fc.array(fc.nat(40), { maxLength: 8 });

  test('any grouping into contiguous ranges has the bits of the definition', () => {
    fc.assert(
      fc.property(fc.array(shardSum, { minLength: 1, maxLength: 40 }), cuts, (values, at) => {
        const bounds = [0, ...at.map((c) => c % values.length).sort((a, b) => a - b), values.length];
        const parts = bounds.slice(1).flatMap((hi, i) => units(bounds[i]!, hi, values.length));
        const sums = parts.map(({ lo, hi }) => naive(values.slice(lo, hi)));
        expect(bits(combine(parts, sums, add))).toBe(bits(naive(values)));
      }),
    );
  });

  test('leaving out the empty shards of a short batch has the bits of adding their +0', () => {
    fc.assert(
      fc.property(
        fc.array(shardSum, { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 0, max: 40 }),
        (values, empty) => {
          const all = [...values, ...new Array<number>(empty).fill(0)];
          expect(bits(naive(values))).toBe(bits(naive(all)));
        },
      ),
    );
  });

  test('a -0 that no kernel makes would break this: why accumulators start at +0', () => {
    expect(bits(naive([-0]))).not.toBe(bits(naive([-0, 0])));
    expect(bits(add(0, -0))).toBe(0);
  });

  test('plans name values in order', () => {
    const parts = [...units(0, 3, 8), ...units(3, 8, 8)];
    expect(text(parts)).toBe('0-2 2-3 3-4 4-8');
    expect(reductionPlan(parts)).toEqual([
      [1, 2],
      [0, 4],
      [5, 3],
    ]);
    expect(reductionPlan([{ lo: 0, hi: 4 }])).toEqual([]);
  });

  test.each([
    ['nothing', []],
    ['a gap', [{ lo: 0, hi: 2 }, { lo: 3, hi: 4 }]], // biome-ignore format: one case a line
    ['a part that is no node', [{ lo: 0, hi: 3 }, { lo: 3, hi: 4 }]], // biome-ignore format: one case a line
    ['a wrong start', [{ lo: 1, hi: 2 }]],
    ['a wrong order', [{ lo: 1, hi: 2 }, { lo: 0, hi: 1 }]], // biome-ignore format: one case a line
  ])('a plan refuses %s', (_, parts) => expect(() => reductionPlan(parts)).toThrow('expected units'));
});

describe('batches', () => {
  test.each([
    [128, 8, [16, 16, 16, 16, 16, 16, 16, 16]],
    [100, 8, [13, 13, 13, 13, 12, 12, 12, 12]],
    [21, 5, [5, 4, 4, 4, 4]],
    [12, 8, [2, 2, 2, 2, 2, 2]],
    [9, 8, [3, 2, 2, 2]],
    [8, 8, [1, 1, 1, 1, 1, 1, 1, 1]],
    [3, 8, [1, 1, 1]],
    [1, 1, [1]],
  ])('%i rows in %i shards: %j', (rows, shards, expected) => {
    const cut = batchShards(rows, shards);
    expect(Array.from({ length: cut.used }, (_, shard) => shardRows(cut, shard))).toEqual(expected);
  });

  test('any rows in any shards: all rows once, and as even as can be', () => {
    for (let rows = 1; rows <= 150; rows++) {
      for (let shards = 1; shards <= 40; shards++) {
        const cut = batchShards(rows, shards);
        const sizes = Array.from({ length: cut.used }, (_, shard) => shardRows(cut, shard));
        const starts = Array.from({ length: cut.used + 1 }, (_, shard) => firstRow(cut, shard));
        expect(cut.used).toBeLessThanOrEqual(shards);
        expect(starts.at(-1)).toBe(rows);
        expect(sizes.every((size, shard) => starts[shard]! + size === starts[shard + 1])).toBe(true);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        // One row alone has no variance.
        if (rows > shards) expect(Math.min(...sizes)).toBeGreaterThan(1);
        // A shard less than there could be is only for that.
        if (rows >= 2 * shards || rows <= shards) expect(cut.used).toBe(Math.min(rows, shards));
      }
    }
  });

  test('a range is cut where the number of rows changes', () => {
    const cut = batchShards(23, 5); // 5, 5, 5, 4, 4
    const [before, after] = [{ lo: 1, hi: 3, rows: 5 }, { lo: 3, hi: 5, rows: 4 }]; // biome-ignore format: one line
    expect(evenRanges(cut, { lo: 1, hi: 5 })).toEqual([before, after]);
    expect(evenRanges(cut, { lo: 1, hi: 3 })).toEqual([before]);
    expect(evenRanges(cut, { lo: 3, hi: 5 })).toEqual([after]);
    expect(evenRanges(cut, { lo: 2, hi: 2 })).toEqual([]);
  });

  test('wrong counts are refused by name', () => {
    expect(() => batchShards(0, 8)).toThrow('rows is 0, expected an integer of at least 1');
    expect(() => assign(8, 1.5)).toThrow('workers is 1.5');
    expect(() => split(3, 4)).toThrow('hi - lo >= 2');
    expect(() => units(3, 9, 8)).toThrow('within the 8 shards');
  });
});
