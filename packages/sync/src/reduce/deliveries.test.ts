import { expect, test } from 'vitest';
import { Deliveries } from './deliveries.ts';

const UNIT = { lo: 0, hi: 2 };

test.each<[string, [session: number, bucket: number, agrees: boolean][], unknown[]]>([
  [
    'each session has delivered a unit with the last bucket that it sends of it, whoever else sent some',
    [
      [1, 0, true],
      [2, 1, true],
      [2, 0, true],
      [1, 1, true],
    ],
    [undefined, undefined, { agrees: true }, { agrees: true }],
  ],
  [
    'a bucket that comes twice is one, and does not deliver twice',
    [
      [1, 0, true],
      [1, 0, true],
      [1, 1, true],
      [1, 1, true],
    ],
    [undefined, undefined, { agrees: true }, undefined],
  ],
  [
    'one bucket of other bits is enough, even if it is the same bucket again',
    [
      [1, 0, true],
      [1, 0, false],
      [1, 1, true],
      [2, 0, true],
      [2, 1, true],
    ],
    [undefined, undefined, { agrees: false }, undefined, { agrees: true }],
  ],
])('%s', (_, pieces, expected) => {
  const deliveries = new Deliveries(2);
  deliveries.open(0, []);
  expect(pieces.map(([session, bucket, agrees]) => deliveries.add(0, UNIT, bucket, session, agrees))).toEqual(
    expected,
  );
});

test('a step is over two steps later, unless it is awaited', () => {
  const deliveries = new Deliveries(2);
  for (const step of [0, 1]) {
    deliveries.open(step, []);
    deliveries.add(step, UNIT, 0, 1, true);
  }
  for (const step of [2, 3, 4, 5]) deliveries.open(step, [1]);
  expect(deliveries.add(0, UNIT, 1, 1, true)).toBeUndefined();
  expect(deliveries.add(1, UNIT, 1, 1, true)).toEqual({ agrees: true });
  deliveries.open(6, []);
  expect(deliveries.add(1, UNIT, 1, 2, true)).toBeUndefined();
});
