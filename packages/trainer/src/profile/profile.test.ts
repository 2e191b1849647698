/** A profile changes no bit, and what it says adds up. */
import { digits } from '@lockstep/data';
import { loss, metrics, nn, optim } from '@lockstep/nn';
import { expect, test } from 'vitest';
import { defineTraining } from '../define/definition.ts';
import { train } from '../train.ts';
import { activities, type ProfiledBatch, type ProfileOptions } from './spans.ts';
import { SplitTotals } from './split.ts';
import { ProfileTrace } from './trace.ts';

const [ROWS, EPOCHS] = [1000, 8];
const BATCHES = EPOCHS * 16;

const definition = defineTraining({
  seed: 1,
  batch: 64,
  epochs: EPOCHS,
  data: () => digits({ train: ROWS, validation: 0 }),
  model: () => nn.sequential(nn.linear(784, 32), nn.relu(), nn.linear(32, 10)),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
  // Clipping has a phase of its own.
  optimizer: optim.adam({ lr: 1e-3, clipNorm: 1 }),
});

/** The clock of the moments, on this thread. */
const clock = (): number => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
};

async function profiled(workers: number, depth: ProfileOptions['depth']) {
  const batches: ProfiledBatch[] = [];
  const began = clock();
  const { weightsDigest } = await train(definition, {
    workers,
    profile: { depth, onBatch: (batch) => void batches.push(batch) },
  });
  return { weightsDigest, batches, began, ended: clock() };
}

test.each([
  [1, 'parts'],
  [2, 'parts'],
  [2, 'instructions'],
] as const)('%i workers, %s', async (workers, depth) => {
  const { weightsDigest, batches, began, ended } = await profiled(workers, depth);
  expect(weightsDigest).toBe((await train(definition, { workers })).weightsDigest);
  expect(batches).toHaveLength(BATCHES);
  const totals = new SplitTotals();
  for (const batch of batches) {
    totals.add(batch);
    for (const [worker, moments] of batch.moments.entries()) {
      expect(moments).toHaveLength(batch.spans[worker]!.length + 1);
      expect([...moments]).toEqual([...moments].sort((a, b) => a - b));
      expect(moments[0]).toBeGreaterThan(began);
      expect(moments.at(-1)).toBeLessThan(ended);
    }
  }
  // All of a worker's time is accounted for: the sum of the parts is the time of a step.
  const step = (totals.seconds * 1000) / BATCHES;
  for (const split of totals.split) {
    const sum = activities.reduce((total, activity) => total + split[activity], 0);
    expect(Math.abs(sum / step - 1)).toBeLessThan(1e-6);
    for (const activity of ['data', 'forward', 'backward', 'update'] as const)
      expect(split[activity]).toBeGreaterThan(0);
  }
  // Forward: X W₁ᵀ and H W₂ᵀ; backward: both weights and H. Whatever the number of workers.
  const perRow = 2 * (784 * 32 * 2 + 32 * 10 * 3);
  expect(totals.flops).toBe(EPOCHS * ROWS * perRow);
});

test('a trace has every kernel of every worker, inside of its activity and its batch', async () => {
  const { batches } = await profiled(2, 'instructions');
  const profile = new ProfileTrace();
  for (const batch of batches) profile.add(batch);
  const { traceEvents } = profile.trace('digits');
  const slices = traceEvents.flatMap(({ ph, name, tid, ts = 0, dur = 0, cat = '' }) =>
    ph === 'X' ? [{ name, tid, ts, end: ts + dur, cat }] : [],
  );
  const inside = (outer: string) => slices.filter(({ cat }) => cat === outer);
  for (const worker of [0, 1]) {
    const own = slices.filter(({ tid }) => tid === worker);
    expect(own.filter(({ cat }) => cat === 'batch')).toHaveLength(5);
    for (const slice of own) {
      expect(slice.ts).toBeGreaterThanOrEqual(0);
      const holders = inside('batch').filter(({ tid }) => tid === worker);
      const held = holders.some(({ ts, end }) => ts <= slice.ts + 1e-3 && slice.end <= end + 1e-3);
      expect(held, slice.name).toBe(true);
    }
  }
  expect(slices.filter(({ cat }) => cat === 'matmul').map(({ name }) => name)).toContain('0/matmul');
  const costs = profile.costs();
  const matmul = costs.find(({ label, kernel }) => kernel === 'matmul' && label === '0/matmul');
  expect(matmul).toMatchObject({ activity: 'forward', flops: EPOCHS * ROWS * 2 * 784 * 32 });
  const spent = costs.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  expect(spent).toBeLessThan(profile.milliseconds);
});

test('batches that are not to be measured are not told of', async () => {
  const ticks: number[] = [];
  let asked = 0;
  const isOn = (): boolean => asked++ % 4 === 0;
  const profile = {
    depth: 'parts',
    isOn,
    onBatch: ({ tick }: ProfiledBatch) => void ticks.push(tick),
  } as const;
  await train(definition, { workers: 2, profile });
  expect(ticks).toEqual(Array.from({ length: BATCHES / 4 }, (_, i) => 1 + 4 * i));
});

test('there is nothing to measure in eager mode', async () => {
  const options = { execution: 'eager', profile: { depth: 'parts', onBatch: () => {} } } as const;
  await expect(train(definition, options)).rejects.toThrow('no threads to measure');
});
