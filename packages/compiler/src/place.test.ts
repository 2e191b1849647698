import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Life, place } from './place.ts';

const lives: fc.Arbitrary<Life[]> = fc.array(
  fc
    .record({ bytes: fc.nat({ max: 5000 }), first: fc.nat({ max: 30 }), length: fc.nat({ max: 10 }) })
    .map(({ bytes, first, length }) => ({ bytes, first, last: first + length })),
  { maxLength: 40 },
);

const overlap = (a: Life, b: Life): boolean => a.first <= b.last && b.first <= a.last;
const LINE = 64;
const rounded = (bytes: number): number => Math.ceil(bytes / LINE) * LINE;

it('gives buffers that live at the same time memory of their own, on cache lines, within the arena', () => {
  fc.assert(
    fc.property(lives, (buffers) => {
      const { offsets, bytes } = place(buffers);
      buffers.forEach((a, i) => {
        expect(offsets[i]! % LINE).toBe(0);
        expect(offsets[i]! + a.bytes).toBeLessThanOrEqual(bytes);
        buffers.slice(0, i).forEach((b, j) => {
          if (!overlap(a, b)) return;
          const apart = offsets[i]! + a.bytes <= offsets[j]! || offsets[j]! + b.bytes <= offsets[i]!;
          expect(apart, `buffers ${j} and ${i}`).toBe(true);
        });
      });
    }),
  );
});

it('takes no less than what lives at once, and no more than everything', () => {
  fc.assert(
    fc.property(lives, (buffers) => {
      const { bytes } = place(buffers);
      const at = (call: number): number =>
        buffers.reduce(
          (sum, { bytes, first, last }) => sum + (first <= call && call <= last ? rounded(bytes) : 0),
          0,
        );
      expect(bytes).toBeGreaterThanOrEqual(Math.max(0, ...buffers.flatMap(({ first }) => at(first))));
      expect(bytes).toBeLessThanOrEqual(buffers.reduce((sum, life) => sum + rounded(life.bytes), 0));
    }),
  );
});

it('uses memory again as soon as it is free, and the smallest gap that fits', () => {
  const [large, small, between] = [
    { bytes: 640, first: 0, last: 1 },
    { bytes: 64, first: 0, last: 5 },
    { bytes: 640, first: 2, last: 3 },
  ];
  expect(place([large, small, between])).toEqual({ offsets: [0, 640, 0], bytes: 704 });
  expect(place([]).bytes).toBe(0);
});
