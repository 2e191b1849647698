import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addFloats, type Cost, Inbox, makespan, Reducer, shareOut, units } from '../index.ts';

describe('shares', () => {
  const plainly = (speeds: readonly number[]): Cost[] =>
    speeds.map((speed) => ({ shard: 60 / speed, unit: 0 }));
  const sizes = (ranges: readonly { lo: number; hi: number }[]): number[] =>
    ranges.map(({ lo, hi }) => hi - lo).sort();

  test.each<[number, number[], number[]]>([
    [8, [1], [8]],
    [8, [1, 1], [4, 4]],
    [8, [3, 1], [2, 6]],
    [8, [1, 3], [2, 6]],
    [8, [1, 1000], [0, 8]],
    [2, [1, 1, 1], [0, 1, 1]],
  ])('%i shards at speeds %j: %j', (shards, speeds, expected) => {
    expect(sizes(shareOut({ lo: 0, hi: shards }, shards, plainly(speeds)))).toEqual(expected);
  });

  test('no other cut is faster, and none that is as fast has fewer units', () => {
    const cost = fc.record({ shard: fc.integer({ min: 1, max: 9 }), unit: fc.integer({ min: 0, max: 9 }) });
    const costs = fc.array(cost, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), costs, (shards, given) => {
        const count = (ranges: readonly { lo: number; hi: number }[]): number =>
          ranges.reduce((n, { lo, hi }) => n + units(lo, hi, shards).length, 0);
        const best = shareOut({ lo: 0, hi: shards }, shards, given);
        const all: { lo: number; hi: number }[][] = [];
        const cut = (ranges: { lo: number; hi: number }[], lo: number): void => {
          if (ranges.length === given.length - 1) all.push([...ranges, { lo, hi: shards }]);
          else for (let hi = lo; hi <= shards; hi++) cut([...ranges, { lo, hi }], hi);
        };
        cut([], 0);
        const time = makespan(best, shards, given);
        expect(Math.min(...all.map((ranges) => makespan(ranges, shards, given)))).toBe(time);
        const asFast = all.filter((ranges) => makespan(ranges, shards, given) === time);
        expect(count(best)).toBe(Math.min(...asFast.map(count)));
      }),
    );
  });

  test.each<[number[], number, number, number[]]>([
    [[1, 1.3], 0, 0, [3, 5]],
    [[1, 1.3], 0, 0.15, [4, 4]],
    [[1, 1.7], 0, 0.15, [3, 5]],
    [[1, 1.7], 0, 0.25, [2, 6]],
    [[1, 3], 0, 0.25, [2, 6]],
    [[1, 1, 1], 0, 0.25, [2, 3, 3]],
    // Where a unit takes as long as two shards, one more has to be worth it.
    [[1, 1.7], 120, 0, [4, 4]],
    [[1, 3], 20, 0, [2, 6]],
    [[1, 3], 120, 0, [0, 8]],
    [[1, 1, 1], 30, 0, [2, 3, 3]],
    [[1, 1, 1], 120, 0, [0, 4, 4]],
    [[1, 5], 900, 0, [0, 8]],
  ])('8 shards at speeds %j, units of %d, which may take %d longer: %j', (speeds, unit, slack, expected) => {
    const costs = plainly(speeds).map((cost) => ({ ...cost, unit }));
    expect(sizes(shareOut({ lo: 0, hi: 8 }, 8, costs, slack))).toEqual(expected);
  });

  test.each<[Cost[]]>([
    [[]],
    [[{ shard: 0, unit: 0 }]],
    [[{ shard: 1, unit: -1 }]],
    [
      [
        { shard: 1, unit: 0 },
        { shard: Number.NaN, unit: 0 },
      ],
    ],
  ])('costs %j are refused', (costs) =>
    expect(() => shareOut({ lo: 0, hi: 4 }, 4, costs)).toThrow('expected positive numbers'),
  );
});

describe('the reducer', () => {
  const piece = (step: number, lo: number, hi: number, bucket: number, value: number, session = 1) => ({
    step,
    unit: { lo, hi },
    bucket,
    value,
    checksum: value,
    session,
  });
  const make = (shards: number): Reducer<number> => {
    const reducer = new Reducer<number>({ buckets: 2, add: (a, b) => 10 * a + b });
    reducer.open(4, shards);
    return reducer;
  };

  test('adds by the tree, whatever came first; a bucket may be reduced before the others are there', () => {
    const reducer = make(4);
    expect(reducer.put(piece(4, 2, 4, 0, 3))).toEqual({ kind: 'kept', isUnitWhole: false });
    expect(reducer.put(piece(4, 1, 2, 0, 2))).toEqual({ kind: 'kept', isUnitWhole: false });
    expect(reducer.put(piece(4, 0, 1, 1, 1))).toEqual({ kind: 'kept', isUnitWhole: false });
    expect(reducer.put(piece(4, 0, 1, 0, 1))).toEqual({ kind: 'kept', isUnitWhole: true, total: 123 });
    expect(() => reducer.checkAll()).toThrow('step 4: bucket 1 of 2 was never completed');
  });

  test('a bucket is completed once, whatever else comes of it', () => {
    const reducer = make(2);
    const totals = (
      [
        [0, 2, 0],
        [0, 1, 0],
        [1, 2, 0],
        [0, 1, 1],
        [1, 2, 1],
        [0, 2, 1],
      ] as const
    ).map(([lo, hi, bucket]) => {
      const arrival = reducer.put(piece(4, lo, hi, bucket, 10 * lo + hi));
      return arrival.kind === 'kept' ? arrival.total : arrival;
    });
    expect(totals).toEqual([2, undefined, undefined, undefined, 22, undefined]);
    expect(() => reducer.checkAll()).not.toThrow();
  });

  test('compares what comes twice, also after the step, and never adds it', () => {
    const reducer = make(8);
    reducer.put(piece(4, 0, 8, 0, 7));
    expect(reducer.put(piece(4, 0, 8, 0, 7, 2))).toEqual({ kind: 'same', isUnitWhole: false });
    expect(reducer.put(piece(4, 0, 8, 0, 8, 2))).toMatchObject({
      kind: 'conflict',
      first: 1,
      isUnitWhole: false,
    });
    reducer.open(5, 8);
    expect(reducer.put(piece(4, 0, 8, 0, 7, 2))).toEqual({ kind: 'same', isUnitWhole: false });
    expect(reducer.put(piece(4, 0, 8, 0, 9, 2))).toMatchObject({
      kind: 'conflict',
      first: 1,
      isUnitWhole: false,
    });
    expect(reducer.put(piece(4, 0, 8, 1, 9, 2))).toEqual({ kind: 'stale' });
    reducer.open(6, 8);
    reducer.open(7, 8);
    expect(reducer.put(piece(4, 0, 8, 0, 9, 2))).toEqual({ kind: 'stale' });
  });

  test('compares with a step that is long over, while something of it is awaited', () => {
    const reducer = make(8);
    reducer.put(piece(4, 0, 8, 0, 7));
    for (const step of [5, 6, 7, 8]) reducer.open(step, 8, [4]);
    expect(reducer.put(piece(4, 0, 8, 0, 7, 2))).toEqual({ kind: 'same', isUnitWhole: false });
    expect(reducer.put(piece(4, 0, 8, 0, 9, 2))).toMatchObject({ kind: 'conflict', first: 1 });
    expect(reducer.put(piece(5, 0, 8, 0, 9, 2))).toEqual({ kind: 'stale' });
    reducer.open(9, 8);
    expect(reducer.put(piece(4, 0, 8, 0, 7, 2))).toEqual({ kind: 'stale' });
  });

  test('what a lost node left is used, once, whatever units its shards were cut into after', () => {
    const left = make(4);
    left.put(piece(4, 2, 4, 0, 34));
    left.put(piece(4, 0, 1, 0, 1));
    expect(left.put(piece(4, 0, 2, 0, 12, 2))).toEqual({ kind: 'kept', isUnitWhole: false, total: 154 });
    expect(left.put(piece(4, 2, 3, 0, 3, 2))).toEqual({ kind: 'kept', isUnitWhole: false });
    expect(left.put(piece(4, 3, 4, 0, 4, 2))).toEqual({ kind: 'kept', isUnitWhole: false });
    const dropped: number[] = [];
    const right = new Reducer<number>({
      buckets: 1,
      add: (a, b) => 100 * a + b,
      drop: (value) => dropped.push(value),
    });
    right.open(0, 4);
    right.put(piece(0, 1, 2, 0, 2));
    right.put(piece(0, 0, 2, 0, 12));
    expect(right.put(piece(0, 2, 4, 0, 34))).toMatchObject({
      kind: 'kept',
      isUnitWhole: true,
      isStepWhole: true,
      total: 1234,
    });
    expect(dropped).toEqual([2]);
  });

  test('floats are added as f32 are', () => {
    const [a, b] = [Float32Array.of(1, 16777216, 3.4e38), Float32Array.of(2 ** -24, 1, 3.4e38)];
    expect([...addFloats(a, b)]).toEqual([1, 16777216, Number.POSITIVE_INFINITY]);
  });
});

describe('the inbox', () => {
  test('gives weights out whole, once, and only the newest', () => {
    const inbox = new Inbox<string>(2);
    expect(inbox.put(3, 1, 'b')).toBeUndefined();
    expect(inbox.put(3, 1, 'b')).toBeUndefined();
    expect(inbox.put(4, 1, 'd')).toBeUndefined();
    expect(inbox.put(3, 0, 'a')).toBeUndefined();
    expect(inbox.put(4, 0, 'c')).toEqual(['c', 'd']);
    expect(inbox.put(4, 0, 'c')).toBeUndefined();
    inbox.clear();
    expect(inbox.put(0, 0, 'x')).toBeUndefined();
    expect(inbox.put(0, 1, 'y')).toEqual(['x', 'y']);
  });
});
