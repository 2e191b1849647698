/** A bucket's life: when it goes into the weights and out to the nodes, and what never does. */
import { addFloats, Copies, type ModelReceiver } from '@lockstep/sync';
import type { BatchJob } from '@lockstep/trainer';
import { describe, expect, test } from 'vitest';
import { modelLayout, unitVector } from '../wire/vectors.ts';
import { BucketPipeline } from './bucketPipeline.ts';

const SIZES = { weights: 48, trained: 32, buffers: 16, values: 1 };
/** Sums, statistics, then two buckets of a gradient. */
const UNIT = unitVector(SIZES, 16);

const job = (index: number, over: Partial<BatchJob> = {}): BatchJob => ({
  ...{ step: index + 1, index, epoch: 0, start: 0, rows: 8, accumulate: 'first' },
  update: { rows: 8, scalars: [] },
  ...over,
});

/** `told`: what the weights and the node saw, in order. Each float of a bucket of the unit vector is 1 + its number. */
const scene = (hasBuckets: boolean, diverged = false) => {
  const told: string[] = [];
  const given = {
    sums: new Float32Array(1),
    statistics: new Float32Array(16),
    gradient: new Float32Array(32),
  };
  const current = { weights: new Float32Array(48), buffers: new Float32Array(16) };
  const node: ModelReceiver = {
    copies: new Copies(),
    weights: (step, offset, [value]) => void told.push(`sent ${step}.${offset / 16}=${value}`),
    flushed: async () => {},
    kept: (step, from, to) => void told.push(`kept ${step}.${from}-${to}`),
  };
  const addUp = (from: number, to: number): void => {
    for (let i = from; i < to; i++) current.weights[i]! += given.gradient[i]!;
  };
  const begin = (): Float32Array => {
    told.push(`begin ${given.sums[0]} ${given.statistics[0]}`);
    current.buffers.set(given.statistics);
    return given.sums.slice();
  };
  let done: Float32Array[] = [];
  const pipeline = new BucketPipeline({
    unit: UNIT,
    model: modelLayout(SIZES, 16),
    arithmetic: {
      isFinite: (value) => value.every(Number.isFinite),
      reducing: { keep: (value) => value.slice(), add: addFloats },
    },
    updater: {
      given,
      current,
      hasBuckets,
      begin,
      update: (_, bucket) => {
        told.push(`update ${bucket}`);
        addUp(16 * bucket, 16 * bucket + 16);
      },
      submit: ({ update }) => {
        done = [begin()];
        told.push(update ? 'update all' : 'accumulate');
        if (update) addUp(0, 32);
      },
      drain: () => Promise.resolve(done),
    },
    receivers: () => [node],
    hasDiverged: () => diverged,
    applied: ([loss]) => void told.push(`applied ${loss}`),
  });
  const take = (step: number, bucket: number, lo = 0, hi = 2) =>
    pipeline.take({
      ...{ step, bucket, checksum: bucket, session: 1 },
      unit: { lo, hi },
      value: new Float32Array(16).fill(1 + bucket),
    });
  return { told, pipeline, take, node };
};

describe.each([true, false])('in buckets: %s', (hasBuckets) => {
  test('each goes into the weights and out once, and nothing before sums and job are there', async () => {
    const { told, pipeline, take, node } = scene(hasBuckets);
    pipeline.open(0, 2, []);
    pipeline.complete(0, node);
    expect(told.splice(0)).toEqual(['sent 0.0=0', 'sent 0.1=0', 'sent 0.2=0', 'sent 0.3=0']);
    take(0, 3);
    take(0, 1);
    pipeline.submit(job(0));
    expect(told).toEqual([]);
    take(0, 0);
    take(0, 2, 0, 1);
    // Of a lost node's unit, which is cut anew: its buckets that are whole come again, in parts.
    for (const bucket of [0, 1, 3]) for (const lo of [0, 1]) take(0, bucket, lo, lo + 1);
    take(0, 2, 1, 2);
    await pipeline.apply(0);
    expect(told.pop()).toBe('applied 1');
    expect(told).toEqual(
      hasBuckets
        ? [
            ...['begin 1 2', 'kept 1.2-3', 'sent 1.3=2'],
            ...['update 1', 'sent 1.1=4', 'update 0', 'sent 1.0=6'],
          ]
        : ['begin 1 2', 'update all', 'kept 1.2-3', 'sent 1.3=2', 'sent 1.1=4', 'sent 1.0=6'],
    );
  });

  test('a batch that is held before it began waits; one that has begun is finished', async () => {
    const { told, pipeline, take } = scene(hasBuckets);
    pipeline.open(0, 2, []);
    for (const bucket of [0, 1, 2]) take(0, bucket);
    pipeline.submit(job(0));
    pipeline.hold();
    take(0, 3);
    let isApplied = false;
    const applied = pipeline.apply(0).then(() => {
      isApplied = true;
    });
    if (hasBuckets) await applied;
    else await new Promise((resolve) => setImmediate(resolve));
    expect([isApplied, told.some((line) => line.startsWith('begin'))]).toEqual([hasBuckets, hasBuckets]);
  });

  test('a batch that lacks a bucket is never applied', async () => {
    const { told, pipeline, take } = scene(hasBuckets);
    pipeline.open(4, 2, []);
    pipeline.submit(job(4));
    for (const bucket of [0, 1, 3]) take(4, bucket);
    const before = [...told];
    await expect(pipeline.apply(4)).rejects.toThrow('step 4: bucket 2 of 4 was never completed');
    expect(told).toEqual(before);
  });

  test('a batch that was applied is not applied again', async () => {
    const { told, pipeline, take } = scene(hasBuckets);
    const run = async (step: number): Promise<void> => {
      pipeline.open(step, 2, []);
      pipeline.submit(job(step));
      for (const bucket of [0, 1, 2, 3]) take(step, bucket);
      await pipeline.apply(step);
    };
    await run(3);
    const before = [...told];
    await expect(run(3)).rejects.toThrow('step 3: bucket 0 is completed a second time, expected once');
    await expect(run(2)).rejects.toThrow('step 2: bucket 0 is completed after it was with step 3');
    expect(told).toEqual(before);
    await run(4);
    expect(told.length).toBeGreaterThan(before.length);
  });
});

test('a batch that has changed weights is not given up before its sums are handed over', async () => {
  const { pipeline, take } = scene(true);
  pipeline.open(0, 2, []);
  pipeline.submit(job(0));
  expect(pipeline.hasBegun).toBe(false);
  for (const bucket of [0, 1, 2, 3]) take(0, bucket);
  const applied = pipeline.apply(0);
  expect(pipeline.hasBegun).toBe(true);
  await applied;
  expect(pipeline.hasBegun).toBe(true);
  pipeline.forget(0);
  expect(pipeline.hasBegun).toBe(false);
});

test('once a batch has changed running statistics, all of its optimizer step is finished, though the run is held', async () => {
  const { told, pipeline, take } = scene(false);
  const { update: _, ...first } = job(0);
  const jobs = [first, job(1, { accumulate: 'next' }), job(2)];
  for (const [step, each] of jobs.entries()) {
    pipeline.open(step, 2, []);
    pipeline.submit(each);
    for (const bucket of [0, 1, 2, 3]) take(step, bucket);
    const applied = pipeline.apply(step);
    if (step === 2) break;
    await applied;
    pipeline.hold();
    pipeline.forget(step);
    expect(pipeline.hasBegun).toBe(step === 0);
  }
  expect(told.filter((line) => /^(accumulate|update)/.test(line))).toEqual(['accumulate', 'update all']);
});

test('a job that may begin, and then is held, does not begin', async () => {
  const { told, pipeline, take } = scene(false);
  pipeline.open(0, 2, []);
  for (const bucket of [0, 1, 2, 3]) take(0, bucket);
  void pipeline.apply(0);
  pipeline.submit(job(0));
  pipeline.hold();
  await new Promise((resolve) => setImmediate(resolve));
  expect(told).toEqual([]);
});

test('while gradients are accumulated, weights are kept', async () => {
  const { told, pipeline, take, node } = scene(false);
  pipeline.open(0, 2, []);
  pipeline.complete(0, node);
  const { update: _, ...first } = job(0);
  pipeline.submit(first);
  for (const bucket of [0, 1, 2, 3]) take(0, bucket);
  await pipeline.apply(0);
  expect(told.slice(4)).toEqual([
    'begin 1 2',
    'accumulate',
    'kept 1.2-3',
    'sent 1.3=2',
    'kept 1.0-2',
    'applied 1',
  ]);
});

test.each([
  [false, 'notFinite'],
  [true, 'stale'],
])('a piece that is not finite goes nowhere; the run itself has diverged: %s', (diverged, kind) => {
  const { told, pipeline } = scene(true, diverged);
  pipeline.open(0, 1, []);
  pipeline.submit(job(0));
  const value = new Float32Array(16).fill(Number.NaN);
  const piece = { step: 0, unit: { lo: 0, hi: 1 }, bucket: 2, value, checksum: 1, session: 1 };
  expect(pipeline.take(piece).kind).toBe(kind);
  expect(told).toEqual([]);
});
