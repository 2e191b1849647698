import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cosPi, exp, log, pow, powInteger } from './exactMath.ts';

test('powInteger stays within n roundings of Math.pow, and is exact where the result is', () => {
  expect(powInteger(0.9, 0)).toBe(1);
  expect(powInteger(0, 0)).toBe(1);
  expect(powInteger(2, 1000)).toBe(2 ** 1000);
  expect(powInteger(-3, 5)).toBe(-243);
  for (const x of [0.5, 0.9, 0.99, 0.999, 0.9999, 1, 1.01]) {
    for (const n of [1, 2, 3, 7, 10, 63, 64, 1000, 4097]) {
      const expected = x ** n;
      if (expected < 1e-290) continue;
      expect(Math.abs(powInteger(x, n) / expected - 1)).toBeLessThanOrEqual((n + 2) * Number.EPSILON);
    }
  }
  expect(powInteger(0.999, 1_000_000)).toBeLessThan(1e-300);
});

test.each([-1, 0.5, Number.NaN, Infinity])('powInteger refuses the exponent %s', (n) => {
  expect(() => powInteger(2, n)).toThrow(RangeError);
});

test('cosPi: multiples of 1/2 are exact, all else within 2 units of 2^-53 of Math.cos', () => {
  const exact: [number, number][] = [
    [0, 1],
    [0.5, 0],
    [1, -1],
    [1.5, 0],
    [2, 1],
    [-1, -1],
    [1e15 + 1, -1],
  ];
  for (const [x, y] of exact) expect(cosPi(x) + 0).toBe(y);
  expect(cosPi(1 / 3)).toBeCloseTo(0.5, 15);
  fc.assert(
    fc.property(fc.double({ min: -2, max: 2, noNaN: true }), (x) => {
      // π·x itself is off by up to 2⁻⁵² near 2π: so is Math.cos of it.
      return Math.abs(cosPi(x) - Math.cos(Math.PI * x)) <= 8e-16;
    }),
    { numRuns: 20_000 },
  );
});

test('exp, log and pow are those of Math but for a few roundings', () => {
  const close = (found: number, expected: number, units: number): boolean =>
    Math.abs(found - expected) <= units * 2 ** -53 * Math.max(Math.abs(expected), 1e-300);
  fc.assert(
    fc.property(fc.double({ min: -300, max: 300, noNaN: true }), (x) =>
      close(exp(x), Math.exp(x), 64 * (1 + Math.abs(x))),
    ),
    { numRuns: 5000 },
  );
  fc.assert(
    fc.property(
      fc.double({ min: 1e-300, max: 1e300, noNaN: true }),
      (x) => Math.abs(log(x) - Math.log(x)) <= 2 ** -51 * (1 + Math.abs(Math.log(x))),
    ),
    { numRuns: 5000 },
  );
  expect([exp(0), exp(-Infinity), log(1), pow(0, 0.5), pow(7, 0), pow(3, 4)]).toEqual([1, 0, 0, 0, 1, 81]);
  expect(pow(2, 0.5)).toBeCloseTo(Math.SQRT2, 14);
  expect(() => log(0)).toThrow('log: got 0');
});
