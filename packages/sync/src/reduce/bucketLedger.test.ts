import { expect, test } from 'vitest';
import { BucketLedger, InvariantError } from './bucketLedger.ts';

/** Buckets go through with their steps, in order; the message of the first that may not. */
test.each<[string, [step: number, bucket: number][], string | undefined]>([
  [
    'once in every step',
    [
      [0, 0],
      [0, 1],
      [1, 1],
      [1, 0],
      [7, 0],
    ],
    undefined,
  ],
  [
    'twice in a step',
    [
      [0, 0],
      [0, 1],
      [0, 0],
    ],
    'step 0: bucket 0 is applied a second time, expected once',
  ],
  [
    'with a step that is over',
    [
      [3, 0],
      [3, 1],
      [2, 1],
    ],
    'step 2: bucket 1 is applied after it was with step 3',
  ],
  ['a bucket that there is not', [[0, 2]], 'step 0: bucket 2 is applied after it was with step Infinity'],
])('%s', (_, passes, message) => {
  const ledger = new BucketLedger('applied', 2);
  const run = (): void => {
    for (const [step, bucket] of passes) ledger.pass(step, bucket);
  };
  if (message === undefined) expect(run).not.toThrow();
  else expect(run).toThrow(message);
});

test('all of a step, or which is missing', () => {
  const ledger = new BucketLedger('completed', 2);
  ledger.pass(4, 1);
  expect(() => ledger.checkAll(4)).toThrow(InvariantError);
  expect(() => ledger.checkAll(4)).toThrow(
    'step 4: bucket 0 of 2 was never completed, expected all of them by now',
  );
  ledger.pass(4, 0);
  expect(() => ledger.checkAll(4)).not.toThrow();
});
