import { describe, expect, test } from 'vitest';
import { ConfigError } from '../common/errors.ts';
import { golden, relativeError } from '../golden/read.ts';
import { constant, cosine, type Schedule, step, toSchedule, warmup } from './schedule.ts';
import * as more from './schedules.ts';

const reference = golden<{ total: number; [name: string]: number | number[] }>('schedules');

const likePyTorch: Record<string, Schedule> = {
  step: step(0.1, { every: 7, gamma: 0.5 }),
  multiStep: more.multiStep(0.1, { at: [5, 6, 20], gamma: 0.3 }),
  exponential: more.exponential(0.1, { gamma: 0.9 }),
  cosineRestarts: more.cosineRestarts(0.1, { steps: 5, factor: 2, minimum: 0.001 }),
  'cosineRestarts even': more.cosineRestarts(0.1, { steps: 7 }),
  polynomial: more.polynomial(0.1, { steps: 30, power: 1.7 }),
  oneCycle: more.oneCycle(0.1, { steps: 41 }),
  'oneCycle linear': more.oneCycle(0.1, { steps: 41, rise: 0.4, shape: 'linear', start: 10, end: 100 }),
  plateau: more.plateau(0.1, { factor: 0.5, patience: 1 }),
  'plateau cooldown': more.plateau(0.1, {
    factor: 0.5,
    patience: 0,
    threshold: 0.02,
    cooldown: 1,
    minimum: 0.03,
  }),
  'plateau max': more.plateau(0.1, { mode: 'max', factor: 0.5, patience: 2 }),
  sequence: more.sequence(
    { lr: step(0.1, { every: 3, gamma: 0.5 }), steps: 10 },
    { lr: more.exponential(0.1, { gamma: 0.9 }), steps: 15 },
    { lr: cosine(0.1) },
  ),
  cosine: cosine(0.1),
  'cosine minimum': cosine(0.1, { minimum: 0.01 }),
  'warmup cosine': warmup(cosine(0.1), { steps: 8 }),
  'warmup step': warmup(step(0.1, { every: 7, gamma: 0.5 }), { steps: 8, start: 0.25 }),
};

describe('the same rates as PyTorch', () => {
  const validations = (reference.losses as unknown as number[]).map((loss, i) => ({
    step: 4 * i + 4,
    loss,
    metrics: {},
  }));
  test.each(Object.entries(likePyTorch))('%s', (name, schedule) => {
    const rates = Array.from({ length: reference.total }, (_, t) =>
      schedule(
        t,
        reference.total,
        validations.filter((validation) => validation.step <= t),
      ),
    );
    expect(relativeError(rates, reference[name] as number[], 1e-9)).toBeLessThan(1e-12);
  });

  test('all of them', () => {
    const names = Object.keys(reference).filter((name) => name !== 'total' && name !== 'losses');
    expect(Object.keys(likePyTorch)).toEqual(names);
  });
});

test('a plateau watches a metric, also from within other schedules', () => {
  const inner = more.plateau(cosine(1), { metric: 'accuracy', mode: 'max', patience: 0, factor: 0.5 });
  const accuracies = [0.5, 0.6, 0.6].map((accuracy, i) => ({ step: i, loss: 0, metrics: { accuracy } }));
  for (const schedule of [
    inner,
    warmup(inner, { steps: 1 }),
    more.sequence({ lr: 1, steps: 1 }, { lr: inner }),
  ]) {
    expect(schedule.watches).toBe('accuracy');
    expect(schedule(1, 1e9, accuracies.slice(0, 2))).toBeCloseTo(1, 9);
    expect(schedule(1, 1e9, accuracies)).toBeCloseTo(0.5, 9);
  }
  expect(cosine(1).watches).toBeUndefined();
});

test('a sequence gives each part its own length', () => {
  const schedule = more.sequence({ lr: cosine(1), steps: 4 }, { lr: cosine(2) });
  expect([0, 2, 4, 6, 8].map((t) => schedule(t, 8))).toEqual([1, 0.5, 2, 1, 0]);
});

test('a cosine stays at its minimum after its end', () => {
  const schedule = cosine(1, { minimum: 0.25, steps: 10 });
  expect([0, 5, 10, 11, 1000].map((t) => schedule(t, 2000))).toEqual([1, 0.625, 0.25, 0.25, 0.25]);
});

test('a run without an end needs the length of a cosine', () => {
  expect(() => cosine(1)(0, Infinity)).toThrow('pass { steps }');
  expect(cosine(1, { steps: 4 })(2, Infinity)).toBe(0.5);
});

test('a number, a schedule and a function are learning rates', () => {
  expect(toSchedule('x', 0.5)(3, 4)).toBe(0.5);
  expect(toSchedule('x', (t, total) => t / total)(3, 4)).toBe(0.75);
  expect(warmup(0.5, { steps: 1 })(0, 10)).toBe(0.25);
  expect(warmup(0.5, { steps: 1 })(1, 10)).toBe(0.5);
  // Longer than the run: still rising at its end.
  expect(warmup(cosine(1), { steps: 9 })(4, 5)).toBe(0.5);
});

test('config tells two schedules apart', () => {
  const configs = [
    constant(1),
    constant(2),
    step(1, { every: 2 }),
    step(1, { every: 3 }),
    cosine(1),
    cosine(1, { steps: 5 }),
    warmup(1, { steps: 2 }),
    warmup(2, { steps: 2 }),
    toSchedule('x', (t) => t),
    toSchedule('x', (t) => t + 1),
  ].map(({ config }) => JSON.stringify(config));
  expect(new Set(configs).size).toBe(configs.length);
});

test.each<[() => unknown, string]>([
  [() => constant(-1), 'optim.constant: got lr = -1, expected a finite number >= 0'],
  [() => constant(Number.NaN), 'got lr = NaN'],
  [
    () => toSchedule('optim.adam', '1e-3' as never),
    'optim.adam: got lr = "1e-3", expected a number, a schedule',
  ],
  [() => step(1, { every: 0 }), 'optim.step: got every = 0, expected an integer >= 1'],
  [() => step(1, { every: 2.5 }), 'got every = 2.5, expected an integer >= 1'],
  [() => step(1, { every: 1, gamma: 0 }), 'got gamma = 0, expected a finite number > 0'],
  [() => step(1, 5 as never), 'optim.step: got 5, expected an object of options: every, gamma'],
  [() => step(1, { every: 1, gama: 0.5 } as never), 'got unknown option gama, expected every, gamma'],
  [() => cosine(1, { minimum: 2 }), 'got minimum = 2, expected a finite number >= 0 and <= 1'],
  [() => cosine(1, { steps: 0 }), 'got steps = 0'],
  [() => more.multiStep(1, { at: [3, 2] }), 'optim.multiStep: got at[1] = 2, expected an integer >= 3'],
  [() => more.multiStep(1, { at: 3 as never }), 'got no array at'],
  [() => more.exponential(1, { gamma: 0 }), 'optim.exponential: got gamma = 0'],
  [() => more.cosineRestarts(1, { steps: 3, factor: 1.5 }), 'got factor = 1.5, expected an integer >= 1'],
  [() => more.polynomial(1, { power: 0 }), 'optim.polynomial: got power = 0'],
  [() => more.polynomial(1)(0, Infinity), 'optim.polynomial: the run has no fixed number of steps'],
  [() => more.oneCycle(1, { rise: 1 }), 'optim.oneCycle: got rise = 1'],
  [
    () => more.oneCycle(1, { shape: 'square' as never }),
    `got shape = "square", expected 'cosine' or 'linear'`,
  ],
  [() => more.plateau(1, { factor: 1 }), 'optim.plateau: got factor = 1'],
  [() => more.plateau(1, { mode: 'up' as never }), `got mode = "up", expected 'min' or 'max'`],
  [() => more.sequence(), 'optim.sequence: got nothing'],
  [() => more.sequence({ lr: 1 }, { lr: 2 }), 'optim.sequence, part 1: got steps = undefined'],
  [() => warmup(1, {} as never), 'optim.warmup: got steps = undefined, expected an integer >= 1'],
  [() => warmup(1, { steps: 3, start: 0 }), 'got start = 0, expected a finite number > 0 and <= 1'],
])('wrong options, case %#', (make, message) => {
  expect(make).toThrow(ConfigError);
  expect(make).toThrow(message);
});
