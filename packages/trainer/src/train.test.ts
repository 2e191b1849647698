import { setTimeout as sleep } from 'node:timers/promises';
import { log, tensor } from '@lockstep/autograd';
import { column } from '@lockstep/data';
import { loss, metrics, nn, optim } from '@lockstep/nn';
import { describe, expect, it } from 'vitest';
import { classifier, points } from '../test/points.ts';
import { TrainingError } from './define/errors.ts';
import type { TrainingEvent } from './run/events.ts';
import { type TrainOptions, train } from './train.ts';

const ways = [{ workers: 2 }, { execution: 'eager' }] as const satisfies readonly TrainOptions[];

describe('events', () => {
  const collect = async (over: Parameters<typeof classifier>[0], options: TrainOptions = {}) => {
    const events: TrainingEvent[] = [];
    const result = await train(classifier(over), {
      ...options,
      on: { event: (event) => events.push(event) },
    });
    return { events, result };
  };

  it.each(ways)('come in order, each step once: %o', async (way) => {
    const { events, result } = await collect({ epochs: 2 }, way);
    const steps = (epoch: number): string[] =>
      Array.from({ length: 5 }, (_, i) => `step ${5 * epoch + i + 1}`);
    const expected = ['start', ...steps(0), 'epoch 1', ...steps(1), 'epoch 2', 'done'];
    const names = events.map((event) => {
      if (event.type === 'step') return `step ${event.step}`;
      return event.type === 'epoch' ? `epoch ${event.epoch}` : event.type;
    });
    expect(names).toEqual(expected);
    expect(events[0]).toMatchObject({ trainRows: 44, validationRows: 12, stepsPerEpoch: 5, totalSteps: 10 });
    expect(events.at(-1)).toMatchObject({
      step: 10,
      epoch: 2,
      interrupted: false,
      lostWorkers: 0,
      exact: true,
    });
    expect(events.at(-1)).toMatchObject({ weightsDigest: result.weightsDigest });
  });

  it("an epoch's loss and metrics are means over its rows, not over its batches", async () => {
    const { events } = await collect({});
    const rows = [10, 10, 10, 10, 4];
    const steps = events.filter((event) => event.type === 'step');
    const mean = steps.reduce((sum, step, i) => sum + step.loss * rows[i]!, 0) / 44;
    const accuracy = steps.reduce((sum, step, i) => sum + step.metrics.accuracy! * rows[i]!, 0) / 44;
    const epoch = events.find((event) => event.type === 'epoch')!;
    expect(epoch.loss).toBeCloseTo(mean, 10);
    expect(epoch.metrics.accuracy).toBeCloseTo(accuracy, 10);
  });

  it("validation is the model's own loss and metric on the rows held back", async () => {
    const { result } = await collect({ epochs: 2 });
    const { columns } = points(12);
    const x = tensor(columns.x.data as Float32Array, { shape: [12, 3] });
    const label = tensor(columns.label.data);
    const logits = result.model(x);
    expect(result.validation!.loss).toBeCloseTo(loss.crossEntropy(logits, label).item(), 6);
    expect(result.validation!.metrics.accuracy).toBeCloseTo(metrics.accuracy(logits, label).item(), 6);
  });

  it('tell the learning rate that the schedule gave, over the whole run', async () => {
    const lr = optim.cosine(0.2);
    const { events } = await collect({ epochs: 2, optimizer: optim.sgd({ lr }) });
    const rates = events.flatMap((event) => (event.type === 'step' ? [event.learningRate] : []));
    expect(rates).toEqual(Array.from({ length: 10 }, (_, step) => lr(step, 10)));
    expect(new Set(rates).size).toBe(10);
  });
});

const fail = (step: number): void => {
  if (step === 4) throw new Error(`callback of step ${step}`);
};

describe('a run', () => {
  it('step by step is the run in one go', async () => {
    const definition = classifier({ epochs: 2, accumulate: 2 });
    const losses: number[] = [];
    const whole = await train(definition, { on: { step: (event) => losses.push(event.loss) } });
    const single: number[] = [];
    const run = train(definition);
    for await (const step of run.steps()) single.push(step.loss);
    expect((await run).weightsDigest).toBe(whole.weightsDigest);
    expect(single).toEqual(losses);
  });

  it('starts at once, and hands every step to everyone who iterates', async () => {
    const run = train(classifier({ epochs: 2 }));
    const seen: number[][] = [[], []];
    const read = async (own: number[]): Promise<void> => {
      for await (const { step } of run.steps()) own.push(step);
    };
    await Promise.all(seen.map(read));
    const { step } = await run;
    expect(seen).toEqual(Array.from({ length: 2 }, () => Array.from({ length: step }, (_, i) => i + 1)));
    await read(seen[0]!);
    expect(seen[0], 'nothing is trained again').toHaveLength(step);
  });

  it('waits for the loop over its steps', async () => {
    let newest = 0;
    const run = train(classifier({ epochs: 2 }), {
      on: {
        step: ({ step }) => {
          newest = step;
        },
      },
    });
    for await (const { step } of run.steps()) {
      await sleep(2);
      expect(newest).toBe(step);
    }
  });

  it('stops when the loop over its steps is left', async () => {
    const run = train(classifier({ epochs: 10_000 }));
    for await (const { step } of run.steps()) if (step === 3) break;
    expect(await run).toMatchObject({ step: 3, interrupted: true });
  });

  it('stops when told, also while it is paused', async () => {
    const run = train(classifier({ epochs: 10_000 }));
    await run.pause();
    run.stop();
    expect((await run).interrupted).toBe(true);
    await run.pause();
  });

  it('computes nothing while it is paused, and ends with the same weights', async () => {
    let steps = 0;
    const definition = classifier({ epochs: 5 });
    const run = train(definition, { on: { step: () => void steps++ } });
    await run.pause();
    await run.pause();
    const before = steps;
    await sleep(20);
    expect(steps).toBe(before);
    run.resume();
    expect((await run).weightsDigest).toBe((await train(definition)).weightsDigest);
  });

  it.each<[string, TrainOptions['on']]>([
    ['at once', { step: ({ step }) => fail(step) }],
    ['later', { step: async ({ step }) => fail(step) }],
    ['later, for any event', { event: async (event) => event.type === 'step' && fail(event.step) }],
    ['at the end', { done: () => fail(4) }],
    ['after the end', { done: () => sleep(5).then(() => fail(4)) }],
  ])('rejects with what a callback throws %s', async (_, on) => {
    const run = train(classifier({ epochs: 10 }), { on: on! });
    await expect(run).rejects.toThrow('callback of step 4');
    await expect(run.steps().next()).resolves.toMatchObject({ done: true });
  });

  it('rejects, and throws in the loop over its steps, when the definition is refused', async () => {
    const run = train(classifier({ batch: -1 }));
    await expect(run.steps().next()).rejects.toThrow('batch');
    await expect(run).rejects.toThrow('batch');
    await run.catch((error: Error) => expect(error.message).toContain('batch'));
  });

  it('runs once, however often it is awaited', async () => {
    let starts = 0;
    const run = train(classifier(), { on: { start: () => starts++ } });
    const [first, second] = [await run, await run];
    expect(first).toBe(second);
    expect(starts).toBe(1);
  });

  it.each(ways)('for a try makes two steps and validates one batch: %o', async (way) => {
    const result = await train(classifier({ epochs: 50 }), { ...way, fastDevRun: true });
    expect(result).toMatchObject({ step: 2, epoch: 1, validation: { loss: expect.any(Number) } });
    const { weightsDigest } = await train(classifier({ steps: 2 }));
    expect(result.weightsDigest).toBe(weightsDigest);
  });

  it('that a signal ends has the weights of the steps that it made', async () => {
    const definition = { epochs: 10_000, optimizer: optim.adam() };
    const stop = new AbortController();
    const { step, interrupted, weightsDigest } = await train(classifier(definition), {
      signal: stop.signal,
      on: { step: (event) => event.step === 100 && stop.abort() },
    });
    expect(interrupted).toBe(true);
    expect(step).toBeGreaterThanOrEqual(100);
    expect(step).toBeLessThan(50_000);
    expect(weightsDigest).toBe((await train(classifier({ ...definition, steps: step }))).weightsDigest);
  });

  it.each(ways)('begins with the weights that it is given: %o', async (way) => {
    const first = await train(classifier());
    const still = classifier({ seed: 99, optimizer: optim.sgd({ lr: 0 }) });
    const second = await train(still, { ...way, initialWeights: first.weights });
    expect(second.weightsDigest).toBe(first.weightsDigest);
    expect(second.weights).toEqual(first.weights);
  });

  it('with batches added up is one with larger batches, to the bit where the shards are the same', async () => {
    const over = { data: () => points(80), shuffle: false, epochs: 3 };
    const large = await train(classifier({ ...over, batch: 20, shards: 4 }));
    const small = await train(classifier({ ...over, batch: 10, shards: 2, accumulate: 2 }));
    expect(small.weightsDigest).toBe(large.weightsDigest);
    expect(small.step).toBe(large.step);
  });
});

describe('a number that is not finite', () => {
  /** Row 27 has x < 0: in the third batch of 10 (rows 20 to 29), the last of 5 shards of 2 rows but one. */
  const bad = points(44, {
    x: column(
      Float32Array.from({ length: 132 }, (_, i) => (Math.floor(i / 3) === 27 ? -1 : 1)),
      { shape: [3] },
    ),
  });
  const definition = classifier({
    shuffle: false,
    shards: 5,
    data: () => bad,
    loss: (model, { x, label }) => loss.crossEntropy(model(log(x)), label),
  });

  it.each([
    { workers: 3 },
    { workers: 1, kernels: 'wasm' },
    { execution: 'separate' },
    { execution: 'eager' },
  ] as const)('is refused by step, op and shard: %o', async (way) => {
    const steps: number[] = [];
    const run = (async () =>
      train(definition, { ...way, on: { step: (event) => steps.push(event.step) } }))();
    await expect(run).rejects.toThrow(TrainingError);
    await expect(run).rejects.toThrow(
      /^step 3 \(epoch 1\): log gave NaN at element \d of \[2, 3\], in shard 3 of 5, from finite numbers\. Lower the/,
    );
    expect(steps).toEqual([1, 2]);
  });

  it('is found, too, where only a gradient overflows', async () => {
    const run = (async () =>
      train(
        classifier({
          // √ has no slope at 0: the loss is 0, its gradient is not a number.
          loss: (model, { x }) => model(x).mul(0).sum().sqrt(),
        }),
      ))();
    await expect(run).rejects.toThrow(TrainingError);
    await expect(run).rejects.toThrow(/^step 1 \(epoch 1\): .* in shard 0 of 5/);
  });

  it('is found where steps are so long that weights overflow', async () => {
    const run = (async () =>
      train(
        classifier({
          epochs: 200,
          model: () => nn.linear(3, 1),
          loss: (model, { x, y }) => loss.mse(model(x), y),
          metrics: {},
          optimizer: optim.sgd({ lr: 1e4 }),
        }),
      ))();
    await expect(run).rejects.toThrow(TrainingError);
    await expect(run).rejects.toThrow(/^step \d+ \(epoch \d+\): .*Lower the learning rate/);
  });
});
