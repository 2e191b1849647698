import { metrics } from '@lockstep/nn';
import { describe, expect, it } from 'vitest';
import { classifier } from '../../test/points.ts';
import { evaluate } from '../evaluate.ts';
import { type TrainOptions, train } from '../train.ts';

const measured = () =>
  classifier({
    epochs: 2,
    metrics: {
      accuracy: (model, { x, label }) => metrics.accuracy(model(x), label),
      f1: { of: (model, { x, label }) => [model(x), label], by: metrics.f1({ classes: 3 }) },
      confusion: { of: (model, { x, label }) => [model(x), label], by: metrics.confusion({ classes: 3 }) },
      perplexity: { of: (model, { x, label }) => [model(x), label], by: metrics.perplexity() },
    },
  });

const ways: readonly TrainOptions[] = [
  { workers: 1 },
  { workers: 3, execution: 'separate' },
  { execution: 'eager' },
];

describe('metrics made of sums', () => {
  it('are of all rows together, the same on every way', async () => {
    const results = await Promise.all(ways.map(async (way) => train(measured(), way)));
    const [{ validation, metrics: training, weights, model }] = results as [(typeof results)[0]];
    for (const result of results) expect(result).toMatchObject({ validation, metrics: training });
    expect(Object.keys(training)).toEqual(['accuracy', 'f1', 'confusion', 'perplexity']);
    const table = validation!.tables!.confusion!;
    expect(table.flat().reduce((a, b) => a + b)).toBe(12);
    expect(validation!.metrics.confusion).toBeCloseTo(validation!.metrics.accuracy!, 6);
    expect(validation!.metrics.perplexity).toBeCloseTo(Math.exp(validation!.loss), 5);
    expect(await evaluate(measured(), { weights })).toMatchObject({ ...validation });
    expect(model).toBeTypeOf('function');
  });

  it('say what they are, and have the size they say', async () => {
    const by = { ...metrics.f1(), size: 5 };
    const run = (over: object) => async () => await train(classifier({ metrics: over as never }));
    await expect(run({ f1: { of: () => [], by: 3 } })).rejects.toThrow('metrics.f1');
    const of = (model: never, { x, label }: never) => [
      (model as (x: unknown) => { slice?: unknown })(x),
      label,
    ];
    await expect(run({ f1: { of, by } })).rejects.toThrow('metrics.f1: got f32[');
  });
});
