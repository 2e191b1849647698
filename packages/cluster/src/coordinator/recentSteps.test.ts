import { everyPart } from '@lockstep/sync';
import { expect, test } from 'vitest';
import { RecentSteps } from './recentSteps.ts';

const step = { compute: 60, wait: 10, network: 25, update: 5 };

test('nothing is said before the first step', () => {
  expect(new RecentSteps()).toMatchObject({ mean: undefined, shares: undefined });
});

test('equal steps: their parts, and shares that are all of it', () => {
  const recent = new RecentSteps();
  for (let i = 0; i < 100; i++) recent.add(step);
  for (const [part, value] of Object.entries(step)) {
    expect(recent.mean).toHaveProperty(part, expect.closeTo(value, 9));
    expect(recent.shares).toHaveProperty(part, expect.closeTo(value / 100, 12));
  }
});

test('what was long ago is forgotten', () => {
  const recent = new RecentSteps();
  recent.add({ ...step, network: 60_000 });
  for (let i = 0; i < 200; i++) recent.add(step);
  for (const [part, value] of Object.entries(step)) {
    expect(recent.mean).toHaveProperty(part, expect.closeTo(value, 0));
  }
});

test('steps that take no time', () => {
  const recent = new RecentSteps();
  recent.add(everyPart(() => 0));
  expect(recent.mean).toEqual(everyPart(() => 0));
  expect(recent.shares).toBeUndefined();
});
