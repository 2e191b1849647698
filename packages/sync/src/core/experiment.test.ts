import { describe, expect, test } from 'vitest';
import { Experiment, type Turn } from './experiment.ts';

/** Milliseconds of steps with and without, until the verdict: what it is, after how many steps, and what they cost. */
const run = (given: Turn, times: Readonly<Record<Turn, (step: number) => number>>, most = 500) => {
  const experiment = new Experiment([1], given);
  const turns: Turn[] = [];
  let lost = 0;
  while (experiment.verdict === undefined && turns.length < most) {
    const { turn } = experiment;
    lost += experiment.step(times[turn](turns.length));
    turns.push(turn);
  }
  return { verdict: experiment.verdict, turns, lost, isSlower: experiment.isSlower };
};

const always = (milliseconds: number) => (): number => milliseconds;
/** A noise of so many per cent, the same each time. */
const noisy = (milliseconds: number, percent: number) => (step: number) =>
  milliseconds * (1 + (percent / 100) * Math.sin(step * 12.9898));

describe('steps with and without', () => {
  test.each<[string, Turn, number, number, Turn, isSlower: boolean]>([
    ['it helps, and is taken', 'without', 50, 100, 'with', false],
    ['it helps, and stays', 'with', 50, 100, 'with', false],
    ['it is in the way, and stays out', 'without', 270, 100, 'without', true],
    ['it is in the way, and goes', 'with', 270, 100, 'without', true],
    ['it is a little in the way, and stays out', 'without', 110, 100, 'without', true],
    ['it is a little in the way, and goes', 'with', 110, 100, 'without', true],
    ['it helps a little, and is taken', 'without', 92, 100, 'with', false],
    ['it makes no difference: all stays as it is, out', 'without', 100, 101, 'without', false],
    ['it makes no difference: all stays as it is, in', 'with', 101, 100, 'with', false],
  ])('%s', (_, given, withIt, without, verdict, isSlower) => {
    for (const percent of [0, 10]) {
      const times = { with: noisy(withIt, percent), without: noisy(without, percent) };
      expect(run(given, times)).toMatchObject({ verdict, isSlower });
    }
  });

  test('what is clear ends after one turn of each, the rest after three', () => {
    const counts = (withIt: number): number =>
      run('without', { with: always(withIt), without: always(100) }).turns.length;
    // Three steps as it is, then one that does not count and three others.
    expect([50, 84, 95, 99].map(counts)).toEqual([7, 7, 3 * 8 - 1, 3 * 8 - 1]);
  });

  test('a turn that costs much ends at once', () => {
    const costly = run('without', { with: always(1000), without: always(100) });
    expect(costly).toMatchObject({ verdict: 'without', lost: 18 });
    expect(costly.turns.length).toBe(5);
    expect(run('without', { with: always(270), without: always(100) }).lost).toBeCloseTo(3 * 1.7);
    expect(run('without', { with: always(50), without: always(100) }).lost).toBe(-2);
  });

  test('short steps are measured for some time', () => {
    const { turns } = run('without', { with: always(0.5), without: always(1) });
    expect(turns.length).toBe(16 + 1 + 16);
  });

  test('a machine that becomes slower meanwhile hurts both alike', () => {
    const drifting = (milliseconds: number) => (step: number) => milliseconds * (1 + step / 20);
    const found = run('without', { with: drifting(100), without: drifting(101) });
    expect(found.verdict).toBe('without');
    expect(run('without', { with: drifting(70), without: drifting(100) }).verdict).toBe('with');
  });

  test('steps that something disturbed are not measured, but cost', () => {
    const experiment = new Experiment([1], 'without');
    for (let i = 0; i < 3; i++) experiment.step(100);
    expect(experiment.turn).toBe('with');
    experiment.step(100);
    expect(experiment.step(5000, true)).toBe(49);
    for (let i = 0; i < 3; i++) experiment.step(50);
    expect(experiment.verdict).toBe('with');
  });
});
