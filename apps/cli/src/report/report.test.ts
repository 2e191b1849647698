import { stripVTControlCharacters } from 'node:util';
import type { EpochEvent, StartEvent, StepEvent } from 'lockstep';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { clusterProgress, HumanReporter, progress } from './human.ts';
import { receivingLine } from './node.ts';
import { duration, number, plural, table, thousands } from './text.ts';

describe('numbers', () => {
  test.each([
    [thousands(0), '0'],
    [thousands(999), '999'],
    [thousands(1234567.4), '1,234,567'],
    [number(0), '0.000'],
    [number(0.98765), '0.9877'],
    [number(1e-5), '1.00e-5'],
    [number(16138.4), '16,138'],
    [number(-9999.6), '-10,000'],
    [number(3e18), '3.000e+18'],
    [number(Number.NaN), 'NaN'],
    [plural(1, 'worker'), '1 worker'],
    [plural(2, 'worker'), '2 workers'],
    [duration(59.4), '59 s'],
    [duration(65), '1:05'],
    [duration(7620), '2:07:00'],
    [duration(Number.NaN), '?'],
  ])('%s', (got, expected) => expect(got).toBe(expected));
});

test('a table keeps to its width by cutting the widest column', () => {
  const lines = table(
    [
      ['a', 'x'.repeat(50), '1'],
      ['bb', 'y', '22'],
    ],
    [2],
    30,
  );
  expect(lines).toEqual([`a   ${'x'.repeat(21)}…   1`, `bb  y${' '.repeat(21)}  22`]);
});

const start: StartEvent = {
  ...{ type: 'start', name: 'n', model: [], parameters: 0, data: 'd', trainRows: 51_200, validationRows: 0 },
  ...{ batch: 512, shards: 8, seed: 0, epochs: 1000, stepsPerEpoch: 100, totalSteps: 100_000 },
  ...{ workers: 2, kernels: 'wasm' },
};
const step: StepEvent = {
  ...{
    type: 'step',
    step: 54_321,
    epoch: 543,
    loss: 0.123456,
    learningRate: 1e-3,
    samplesPerSecond: 123_456,
  },
  metrics: { accuracy: 0.98, 'mean absolute error': 0.5, topK: 0.1 },
};

test.each<[number, number, string]>([
  [0, 28_472, 'program  ────────────────────────    0 %  0.0 of 28.5 kB'],
  [62_800_000, 125_600_000, 'program  ████████████────────────   50 %  62.8 of 125.6 MB'],
])('%i of %i bytes received', (bytes, of, line) =>
  expect(receivingLine({ type: 'receiving', what: 'program', bytes, of })).toBe(line),
);

describe('the line of progress', () => {
  test.each([20, 40, 60, 79, 120, 200])('fits %i columns', (width) => {
    const line = stripVTControlCharacters(progress(step, start, width));
    expect(line.length).toBeLessThanOrEqual(width);
  });

  test('shows metrics in order as far as they fit, and a bar in what is left', () => {
    expect(progress(step, start, 79)).toContain('loss 0.1235  123,456/s  ETA 3:09');
    expect(progress(step, start, 120)).toMatch(
      /loss 0\.1235 {2}accuracy 0\.9800 {2}mean absolute error 0\.5000/,
    );
    expect(progress(step, start, 200)).toContain('━');
  });
});

describe('where the time of a cluster goes', () => {
  const shares = { compute: 0.614, wait: 0.04, network: 0.296, update: 0.05 };

  test.each<[number, number, string]>([
    [1, 1, '1 node, 1 worker  compute 61 %  wait 4 %  network 30 %  update 5 %'],
    [128, 2048, '128 nodes, 2,048 workers  compute 61 %  wait 4 %  network 30 %  update 5 %'],
  ])('%i nodes', (nodes, workers, expected) => {
    const line = clusterProgress({ ...step, nodes, workers }, shares, 79);
    expect(line).toBe(expected);
    expect(clusterProgress({ ...step, nodes, workers }, shares, 40).length).toBe(40);
  });
});

describe('a terminal', () => {
  let written: string[] = [];
  const stream = { isTTY: true, columns: 80, write: (text: string) => written.push(text) };
  let reporter: HumanReporter;

  beforeEach(() => {
    written = [];
    vi.useFakeTimers({ toFake: ['performance'] });
    reporter = new HumanReporter(stream as unknown as NodeJS.WriteStream, { source: 's', quiet: false });
    reporter.event(start);
    return () => vi.useRealTimers();
  });

  test('is drawn at most ten times a second', () => {
    written = [];
    for (let i = 0; i < 1000; i++) {
      reporter.event(step);
      vi.advanceTimersByTime(1);
    }
    expect(written).toHaveLength(10);
  });

  test('draws a second line of a cluster, and takes both away before others', () => {
    const time = { compute: 6, wait: 1, network: 2, update: 1 };
    reporter.event({ ...step, nodes: 2, workers: 4, time });
    vi.advanceTimersByTime(1000);
    written = [];
    reporter.event({ ...step, nodes: 2, workers: 4, time });
    reporter.end();
    const [drawn, cleared] = written.map(stripVTControlCharacters);
    const lines = drawn!.split('\r').at(-1)!.split('\n');
    // 512 rows in 10 ms, whatever the mean since the run began.
    expect(lines[0]).toMatch(/ {2}51,200\/s {2}ETA 7:37$/);
    expect(lines[1]).toBe('2 nodes, 4 workers  compute 60 %  wait 10 %  network 20 %  update 10 %');
    expect(written.map((text) => text.split('\u001b[2K').length - 1)).toEqual([2, 2]);
    expect(cleared).toBe('\r\r');
  });

  const said = (): string[] => written.map(stripVTControlCharacters).join('').trimEnd().split('\n');

  test('says who has yet to come before the first step of a cluster, and no more after it', () => {
    reporter = new HumanReporter(stream as unknown as NodeJS.WriteStream, { source: 's', quiet: false });
    reporter.event({
      type: 'listening',
      urls: ['ws://a:1'],
      command: 'lockstep join ws://a:1',
      needsToken: false,
      minNodes: 3,
    });
    reporter.event({ ...start, workers: 0 });
    expect(said().at(-1)).toBe('waiting for 3 nodes to join');
    reporter.event({ type: 'join', name: 'a', step: 1, nodes: 2 });
    expect(said().slice(-2)).toEqual(['step 1: a joined; 2 nodes now', 'waiting for 1 node to join']);
    reporter.event({ type: 'join', name: 'b', step: 1, nodes: 3 });
    reporter.event(step);
    reporter.event({ type: 'join', name: 'c', step: 9, nodes: 1 });
    expect(said().at(-1)).toMatch(/step 9: c joined; 1 node now/);
  });

  test('says who was refused, and why', () => {
    const event = { type: 'refused', code: 'TOKEN_WRONG', address: '192.0.2.7' } as const;
    reporter.event({ ...event, count: 1 });
    expect(said().at(-1)).toBe('192.0.2.7 was refused: TOKEN_WRONG');
    reporter.event({ ...event, count: 1234, message: 'why' });
    expect(said().at(-1)).toBe('192.0.2.7 was refused (1,234 times): TOKEN_WRONG: why');
  });

  test('shows an epoch per second of a long run, and the last one', () => {
    const shown = (): number[] =>
      written.flatMap((text) => [...text.matchAll(/(?:^| )(\d+)\/1000 /g)].map(([, epoch]) => Number(epoch)));
    for (let epoch = 1; epoch <= 1000; epoch++) {
      const event: EpochEvent = { type: 'epoch', epoch, step: epoch, loss: 1, metrics: {}, seconds: 0.01 };
      reporter.event(event);
      vi.advanceTimersByTime(10);
    }
    expect(shown()).toEqual([1, 101, 201, 301, 401, 501, 601, 701, 801, 901, 1000]);
  });
});
