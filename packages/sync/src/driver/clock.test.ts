/** Clocks of two machines. */
import { expect, test } from 'vitest';
import { ClockOffset } from './clock.ts';

/** Asked at, answered at (this clock), and what the other said. */
test.each<[string, [asked: number, answered: number, told: number][], number]>([
  ['none was asked', [], 0],
  ['as far there as back', [[100, 104, 1102]], 1000],
  ['behind', [[100, 104, 2]], -100],
  [
    'the quickest answer counts',
    [
      [100, 140, 1130],
      [200, 202, 1201],
      [300, 350, 1345],
    ],
    1000,
  ],
])('%s', (_, answers, ahead) => {
  const clock = new ClockOffset();
  for (const [asked, answered, told] of answers) {
    clock.ask(asked);
    clock.answer(told, answered);
  }
  clock.answer(5, 6);
  expect(clock.ahead).toBe(ahead);
});
