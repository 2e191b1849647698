/** When which bucket of a batch goes into the weights, and what never does. */
import { BucketLedger } from '@lockstep/sync';
import type { BatchJob } from '@lockstep/trainer';
import { describe, expect, test } from 'vitest';
import { BatchUpdate } from './batchUpdate.ts';

/** Loss (and padding) and statistics in bucket 0, the gradient in buckets 1 and 2. */
const VECTOR = {
  statistics: 2,
  gradient: 3,
  size: 5,
  buckets: [
    { from: 0, to: 3 },
    { from: 3, to: 4 },
    { from: 4, to: 5 },
  ],
};
const TOTALS = [[7, 0, 9], [10], [20]].map((values) => Float32Array.from(values));
const JOB: BatchJob = {
  ...{ step: 1, index: 0, epoch: 0, start: 0, rows: 8, accumulate: 'first' },
  update: { rows: 8, scalars: [] },
};

/** `told`: what the weights saw, in order. */
const scene = (hasBuckets: boolean) => {
  const told: string[] = [];
  const given = {
    sums: new Float32Array(1),
    statistics: new Float32Array(1),
    gradient: new Float32Array(2),
  };
  const applied = new BucketLedger('applied', VECTOR.buckets.length);
  const batch = (step: number) =>
    new BatchUpdate({
      ...{ step, applied, vector: VECTOR },
      updater: {
        given,
        hasBuckets,
        begin: () => {
          told.push(`begin ${given.sums} ${given.statistics}`);
          return given.sums;
        },
        update: (_, bucket) => void told.push(`update ${bucket}: ${given.gradient[bucket]}`),
        submit: () => void told.push(`submit ${given.sums} ${given.statistics} ${given.gradient}`),
        drain: () => Promise.resolve([given.sums]),
      },
      updated: (bucket) => void told.push(`updated ${bucket ?? 'others'}`),
      kept: () => void told.push('kept'),
    });
  return { told, batch };
};

describe.each([true, false])('in buckets: %s', (hasBuckets) => {
  test('every bucket once, and nothing before sums and job are there', async () => {
    const { told, batch } = scene(hasBuckets);
    const update = batch(0);
    update.take(2, TOTALS[2]!);
    update.start(JOB);
    expect(told).toEqual([]);
    update.take(0, TOTALS[0]!);
    update.take(1, TOTALS[1]!);
    await update.finish();
    expect(told).toEqual(
      hasBuckets
        ? ['begin 7 9', 'updated others', 'update 1: 20', 'updated 1', 'update 0: 10', 'updated 0']
        : ['submit 7 9 10,20', 'updated others', 'updated 1', 'updated 0'],
    );
  });

  test('a sum that is handed over again throws, before it is anywhere', () => {
    const { told, batch } = scene(hasBuckets);
    const update = batch(0);
    update.start(JOB);
    for (const bucket of [0, 1]) update.take(bucket, TOTALS[bucket]!);
    const before = [...told];
    for (const bucket of [0, 1]) {
      expect(() => update.take(bucket, TOTALS[bucket]!)).toThrow(
        `step 0: the sum of bucket ${bucket} is handed over a second time`,
      );
    }
    expect(told).toEqual(before);
  });

  test('a batch that lacks a bucket is never finished', async () => {
    const { told, batch } = scene(hasBuckets);
    const update = batch(4);
    update.start(JOB);
    for (const bucket of [0, 2]) update.take(bucket, TOTALS[bucket]!);
    const before = [...told];
    await expect(update.finish()).rejects.toThrow('step 4: bucket 1 of 3 was never applied');
    expect(told).toEqual(before);
  });

  test('a batch that was applied is not applied again', async () => {
    const { told, batch } = scene(hasBuckets);
    const run = async (step: number): Promise<void> => {
      const update = batch(step);
      update.start(JOB);
      for (const [bucket, total] of TOTALS.entries()) update.take(bucket, total);
      await update.finish();
    };
    await run(3);
    const before = [...told];
    await expect(run(3)).rejects.toThrow('step 3: bucket 0 is applied a second time, expected once');
    await expect(run(2)).rejects.toThrow('step 2: bucket 0 is applied after it was with step 3');
    expect(told).toEqual(before);
    await run(4);
    expect(told).toHaveLength(2 * before.length);
  });
});
