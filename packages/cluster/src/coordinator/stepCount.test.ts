/** Counting batches, beside a loop that goes through the whole run. */
import { expect, test } from 'vitest';
import { optimizerStep, type StepCounts, totalBatches } from './stepCount.ts';

/** The optimizer step of each batch of the run, in order. */
function walk(
  { epochs, steps = Number.POSITIVE_INFINITY, accumulate }: StepCounts,
  perEpoch: number,
): number[] {
  const stepOf: number[] = [];
  let step = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (let i = 0; i < perEpoch; i++) {
      if (i % accumulate === 0) step++;
      if (step > steps) return stepOf;
      stepOf.push(step);
    }
  }
  return stepOf;
}

test.each<[perEpoch: number, course: StepCounts]>(
  [1, 2, 3, 7, 8].flatMap((perEpoch) =>
    [1, 2, 3, 8, 10].flatMap((accumulate) =>
      [undefined, 1, 2, 3, 5, 11, 100].map((steps): [number, StepCounts] => [
        perEpoch,
        { epochs: 4, accumulate, ...(steps !== undefined && { steps }) },
      ]),
    ),
  ),
)('%i batches in an epoch of %o', (perEpoch, course) => {
  const stepOf = walk(course, perEpoch);
  expect(totalBatches(course, perEpoch)).toBe(stepOf.length);
  expect(stepOf.map((_, batch) => optimizerStep(course, perEpoch, batch))).toEqual(stepOf);
});

test('a run without an end has as many batches as a frame can count', () => {
  expect(totalBatches({ epochs: 2 ** 40, accumulate: 1 }, 1000)).toBe(2 ** 32 - 1);
});
