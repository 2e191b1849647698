/** Figures, charts and comparisons, from numbers that are known. */
import { stripVTControlCharacters } from 'node:util';
import { activities } from '@lockstep/trainer';
import { describe, expect, test } from 'vitest';
import { compareReports } from './compare.ts';
import { reportHtml } from './html.ts';
import type { ScalingReport } from './report.ts';
import type { Scaling } from './rounds.ts';
import { measured, quickest, ratio, timesNoise } from './statistics.ts';
import { ticks } from './svg.ts';
import { reportLines } from './tables.ts';
import { roundsIn, takeTurns } from './turns.ts';

const byActivity = <T>(make: (i: number) => T) =>
  Object.fromEntries(activities.map((activity, i) => [activity, make(i)])) as Scaling['split'] &
    Record<string, T>;

/** A report of rounds with these throughputs, by the number of workers. */
function report(throughputs: Readonly<Record<number, readonly number[]>>): ScalingReport {
  const counts = Object.keys(throughputs).map(Number);
  const results = counts.map((workers): Scaling => {
    const samplesPerSecond = measured(throughputs[workers]!);
    const speedup = ratio(samplesPerSecond, measured(throughputs[counts[0]!]!));
    const split = byActivity((i) => measured([i, i + 1, i + 2]));
    return {
      ...{ workers, batch: 128, shards: 8, samplesPerSecond, speedup },
      stepMilliseconds: measured(samplesPerSecond.rounds.map((figure) => 128e3 / figure)),
      efficiency: measured(speedup.rounds.map((times) => times / workers)),
      ...{ gflops: measured([10]), peakGflops: measured([100]), shareOfPeak: measured([0.1]) },
      ...{
        cores: measured([workers]),
        quick: { stepMilliseconds: measured([1]), efficiency: measured([1]) },
      },
      split,
      splitOfWorkers: Array.from({ length: workers }, () => byActivity((i) => i + 1) as never),
      bytes: byActivity((i) => i * 1e6) as never,
      timeline: [{ worker: workers - 1, activity: 'forward', from: 0, to: 2 }],
    };
  });
  return {
    ...{ type: 'scaling', format: 2, date: '2026-11-23T10:00:00.000Z', lockstep: '1.2.3' },
    machine: { cpu: 'A <fast> CPU', system: 'linux', node: '20', cores: 4, usable: 4, copyGBps: 30 },
    training: { name: 'x & y', config: null, parameters: 1234, batch: 128, shards: 8, kernels: 'wasm' },
    ...{
      mode: 'strong',
      rounds: 3,
      secondsPerRound: 1,
      results,
      nodes: [],
    },
  };
}

describe('figures', () => {
  test.each([
    [[3], 3, 0],
    [[5, 1, 3], 3, 2],
    [[4, 1, 2, 3], 2.5, 1.5],
    // Six blocks of two: their medians lie from 2 to 5.
    [[1, 3, 2, 2, 5, 5, 1, 3, 2, 4, 3, 3], 3, 1.5],
  ])('%j: median %d, spread %d', (rounds, median, spread) =>
    expect(measured(rounds)).toMatchObject({ median, spread, rounds }),
  );

  test('the quickest tenth, of each sixth of the rounds', () => {
    const steps = Array.from({ length: 6 }, (_, round) =>
      Array.from({ length: 20 }, (_, i) => 100 * round + i),
    );
    expect(quickest(steps).rounds).toEqual([2, 102, 202, 302, 402, 502]);
  });

  test('ratios pair the rounds: a slow round of both changes nothing', () =>
    expect(ratio(measured([20, 10]), measured([10, 5]))).toMatchObject({ median: 2, spread: 0 }));

  test.each([
    ['no change', [1, 1], [1, 1], 0],
    ['no noise', [1, 1], [2, 2], Number.POSITIVE_INFINITY],
    ['both noises', [7, 13], [16, 24], 2],
  ])('noise: %s', (_, a, b, times) => expect(timesNoise(measured(a), measured(b))).toBe(times));

  test('noise: what the machine changed by counts', () =>
    expect(timesNoise(measured([10, 10]), measured([8, 8]), 0.4)).toBe(0.5));

  test.each([
    [7, [0, 2, 4, 6, 8]],
    [1, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [260_000, [0, 100_000, 200_000, 300_000]],
  ])('an axis up to %d', (most, expected) => {
    for (const [i, tick] of ticks(most).entries()) expect(tick).toBeCloseTo(expected[i]!, 9);
    expect(ticks(most)).toHaveLength(expected.length);
  });
});

describe('taking turns', () => {
  const play = async (rounds: number, budget: number): Promise<string> => {
    const played: string[] = [];
    const note = (name: string) => async () => void played.push(name);
    await takeTurns([note('a'), note('b')], { rounds, budget });
    return played.join('');
  };

  test('there and back', async () => expect(await play(3, 10)).toBe('abbaab'));
  test('five rounds when the time is over', async () => expect(await play(9, 0)).toBe('abbaabbaab'));
  test.each([
    [30, 2, 0.2, 75],
    [30, 4, 0.2, 37],
    [1, 2, 0.2, 5],
  ])('%d s for %d cases of %d s: %d rounds, an odd number', (budget, cases, seconds, rounds) =>
    expect(roundsIn(budget, cases, seconds)).toBe(rounds),
  );
});

describe('the report', () => {
  const both = report({ 1: [100, 110, 90], 2: [180, 198, 171] });

  test('as tables of 80 columns', () => {
    // Colours take no columns; they are on where CI is set.
    const lines = reportLines(both).map(stripVTControlCharacters);
    for (const line of lines.slice(4)) expect(line.length, line).toBeLessThanOrEqual(80);
    expect(lines.join('\n')).toMatch(/ 2 +180 +7\.5 +711 +1\.80 +0\.90/);
  });

  test('as a page that loads nothing and shows names as they are', () => {
    const page = reportHtml(both);
    expect(page).not.toMatch(/https?:|<script|@import|url\(/);
    expect(page).toContain('A &lt;fast&gt; CPU');
    expect(page).toContain('x &amp; y');
    expect(page.match(/<svg/g)).toHaveLength(5);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
  });

  test('with nodes: a table and a chart more', () => {
    const { workers: _, ...figures } = both.results[1]!;
    const split = { compute: 5, network: 3, update: 1, wait: 1 };
    const bytes = { sent: 2e6, received: 1e6 };
    const withNodes = { ...both, nodes: [{ nodes: 2, workers: 1, ...figures, split, bytes }] };
    const lines = reportLines(withNodes).map(stripVTControlCharacters);
    for (const line of lines.slice(4)) expect(line.length, line).toBeLessThanOrEqual(80);
    expect(lines.join('\n')).toMatch(/nodes +samples\/s.*\n +2 +180 +7\.5 +711 +1\.80 +0\.90/);
    expect(lines.join('\n')).toMatch(
      /nodes +compute +network .*\n +2 +5\.00 +3\.00 +1\.00 +1\.00 +10\.0 +2\.00 +1\.00/,
    );
    const page = reportHtml(withNodes);
    expect(page.match(/<svg/g)).toHaveLength(7);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
  });

  test('of one number of workers, too', () =>
    expect(reportHtml(report({ 2: [100, 101, 102] }))).not.toMatch(/NaN|undefined|Infinity/));

  test('compared: what changed, by how many times the noise', () => {
    const after = report({ 1: [101, 109, 91], 2: [360, 396, 342], 4: [1, 1, 1] });
    const changes = compareReports(both, after);
    const of = (workers: number) =>
      changes.find((change) => change.workers === workers && change.figure === 'samples/s');
    expect(of(1)?.noise).toBeLessThan(1);
    expect(of(2)).toMatchObject({ before: 180, after: 360, times: 2 });
    expect(of(2)?.noise).toBeGreaterThan(5);
    expect(of(4)).toBeUndefined();
  });
});
