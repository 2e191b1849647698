import { describe, expect, it } from 'vitest';
import { bits, call, run } from '../../test/rig.ts';
import { availableVariants } from '../run/load.ts';
import { philox4x32, randomWords, seedWords, uniform } from './philox.ts';

const hex = (words: Uint32Array): string =>
  [...words].map((word) => word.toString(16).padStart(8, '0')).join(' ');

describe('philox4x32', () => {
  // Random123, kat_vectors: philox4x32 10.
  it.each([
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      '408f276d 41c83b0e a20bc7c6 6d5451fd',
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      'd16cfe09 94fdcceb 5001e420 24126ea1',
    ],
  ])('knows the answer for counter %j', (counter, key, expected) => {
    expect(hex(philox4x32(counter, key))).toBe(expected);
  });

  it('splits a seed into words', () => {
    expect(seedWords(2 ** 53 - 1)).toEqual([0xffffffff, 0x1fffff]);
    for (const seed of [-1, 0.5, 2 ** 53, Number.NaN])
      expect(() => seedWords(seed)).toThrow('expected a whole number');
  });

  it('gives a shorter draw as the beginning of a longer one', () => {
    const place = { seed: [1, 2], stream: 3, step: 4, shard: 5 } as const;
    expect(randomWords(place, 7)).toEqual(randomWords(place, 100).subarray(0, 7));
  });

  it('is uniform: mean and variance of a million', () => {
    const draw = uniform({ seed: [7, 0], stream: 0 }, 1 << 20);
    const mean = draw.reduce((sum, x) => sum + x, 0) / draw.length;
    const variance = draw.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draw.length;
    expect(Math.abs(mean - 1 / 2)).toBeLessThan(0.001);
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.001);
    expect(draw.every((x) => x >= 0 && x < 1)).toBe(true);
  });
});

describe.each(availableVariants())('random on %s', (variant) => {
  it.each([
    [1, 1],
    [1, 64],
    [3, 7],
    [4, 1000],
    [8, 66],
  ])('draws what uniform() draws: %i segments of %i', (segments, n) => {
    const record = Uint32Array.of(0xdeadbeef, 0x12345678, 0xfffffff0, 0);
    const out = new Float32Array(segments * n);
    const [got] = run(
      variant,
      call('random', { out, record, unit: Uint32Array.of(5, 0), stream: 9, segments, n }),
    );
    const seed = [0xdeadbeef, 0x12345678] as const;
    const expected = Float32Array.from(
      Array.from({ length: segments }, (_, s) => [
        ...uniform({ seed, stream: 9, step: 0xfffffff0, shard: 5 + s }, n),
      ]).flat(),
    );
    expect(bits(got!)).toEqual(bits(expected));
  });
});
