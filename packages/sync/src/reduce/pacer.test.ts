import { describe, expect, test } from 'vitest';
import { Pacer } from './pacer.ts';

/** A pacer of five buckets, the first of which is no gradient; buckets are sent as `step unit bucket`. */
const bench = (order: readonly number[] = [0, 4, 3, 2, 1]) => {
  const sent: string[] = [];
  const back = new Map<number, number>();
  const pacer = new Pacer<string>({
    order,
    head: 1,
    size: () => 1,
    returned: (step) => back.get(step) ?? 0,
    send: (step, { lo, hi }, vector, bucket) => sent.push(`${step} ${lo}-${hi} ${vector}${bucket}`),
  });
  const offer = (
    step: number,
    vector: string,
    buckets: readonly number[],
    ahead: number,
    release?: () => void,
  ): string[] => {
    pacer.offer(step, { unit: { lo: 0, hi: 4 }, vector, ahead }, buckets, release);
    return sent.splice(0);
  };
  const comesBack = (step: number, count: number): string[] => {
    back.set(step, count);
    pacer.pump();
    return sent.splice(0);
  };
  return { pacer, offer, comesBack };
};

describe('the pacer', () => {
  test('sends in one order, whatever is done first', () => {
    const { offer } = bench();
    expect(offer(7, 'v', [1, 3], 9)).toEqual([]);
    expect(offer(7, 'v', [0], 9)).toEqual(['7 0-4 v0']);
    expect(offer(7, 'v', [2, 4], 9)).toEqual(['7 0-4 v4', '7 0-4 v3', '7 0-4 v2', '7 0-4 v1']);
  });

  test('sends so far ahead of what comes back, and frees the vector behind the last', () => {
    const { offer, comesBack } = bench();
    let freed = 0;
    expect(offer(7, 'v', [0, 1, 2, 3, 4], 2, () => freed++)).toEqual(['7 0-4 v0', '7 0-4 v4', '7 0-4 v3']);
    expect(comesBack(6, 4)).toEqual([]);
    expect(comesBack(7, 1)).toEqual(['7 0-4 v2']);
    expect(freed).toBe(0);
    expect(comesBack(7, 2)).toEqual(['7 0-4 v1']);
    expect(freed).toBe(1);
    expect(comesBack(7, 4)).toEqual([]);
  });

  test('units that are wanted at once do not wait behind one that is paced', () => {
    const { offer } = bench();
    expect(offer(7, 'v', [0, 4, 3, 2, 1], 1)).toEqual(['7 0-4 v0', '7 0-4 v4']);
    expect(offer(7, 'w', [0, 4, 3, 2, 1], Number.POSITIVE_INFINITY).length).toBe(5);
  });

  test('what was not sent is dropped with its step, and freed', () => {
    const { pacer, offer, comesBack } = bench();
    let freed = 0;
    offer(7, 'v', [0, 1, 2, 3, 4], 1, () => freed++);
    expect(offer(8, 'w', [0, 4], 1, () => freed++)).toEqual(['8 0-4 w0', '8 0-4 w4']);
    expect(freed).toBe(1);
    expect(comesBack(7, 4)).toEqual([]);
    pacer.drop();
    expect(freed).toBe(2);
    expect(comesBack(8, 4)).toEqual([]);
  });

  test('nodes that pace each other all come to their end', () => {
    // Whatever is done first on each, and however little they may send ahead: less than a bucket, too.
    for (const ahead of [0.5, 1, 2, 5, 10]) {
      const here = [new Set<number>(), new Set<number>()];
      const whole = (): number =>
        [1, 2, 3, 4].filter((bucket) => here.every((set) => set.has(bucket))).length;
      const pacers = here.map(
        (set) =>
          new Pacer<string>({
            order: [0, 4, 3, 2, 1],
            head: 1,
            size: (bucket) => bucket,
            returned: whole,
            send: (_step, _unit, _vector, bucket) => void set.add(bucket),
          }),
      );
      const unit = { lo: 0, hi: 4 };
      pacers[0]!.offer(0, { unit, vector: 'a', ahead }, [0, 1, 2, 3, 4], undefined);
      for (const bucket of [1, 2, 0, 4, 3]) {
        pacers[1]!.offer(0, { unit, vector: 'b', ahead }, [bucket], undefined);
      }
      for (let turn = 0; turn < 4; turn++) for (const pacer of pacers) pacer.pump();
      expect(here.map(({ size }) => size)).toEqual([5, 5]);
    }
  });
});
