import { describe, expect, test } from 'vitest';
import { ConfigError } from './errors.ts';
import { golden, relativeError } from './golden/read.ts';
import { constant, cosine, type Schedule, step, toSchedule, warmup } from './schedule.ts';

const reference = golden<{ total: number; [name: string]: number | number[] }>('schedules');

describe('the same rates as PyTorch', () => {
  test.each<[string, Schedule]>([
    ['step', step(0.1, { every: 7, gamma: 0.5 })],
    ['cosine', cosine(0.1)],
    ['cosine minimum', cosine(0.1, { minimum: 0.01 })],
    ['warmup cosine', warmup(cosine(0.1), { steps: 8 })],
    ['warmup step', warmup(step(0.1, { every: 7, gamma: 0.5 }), { steps: 8, start: 0.25 })],
  ])('%s', (name, schedule) => {
    const rates = Array.from({ length: reference.total }, (_, t) => schedule(t, reference.total));
    expect(relativeError(rates, reference[name] as number[], 1e-9)).toBeLessThan(1e-12);
  });
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
  [() => warmup(1, {} as never), 'optim.warmup: got steps = undefined, expected an integer >= 1'],
  [() => warmup(1, { steps: 3, start: 0 }), 'got start = 0, expected a finite number > 0 and <= 1'],
])('wrong options, case %#', (make, message) => {
  expect(make).toThrow(ConfigError);
  expect(make).toThrow(message);
});
