import { describe, expect, test } from 'vitest';
import { BUGS } from './bugs.ts';
import { FAULTS } from './faults.ts';
import { sweep } from './sweep.ts';
import { simulate } from './world.ts';

/**
 * States that are rare and that a change could make unreachable without anybody noticing: each must be reached by the
 * sweep. The names are those that the simulation counts.
 */
const RARE = [
  ...FAULTS.map(([name]) => `fault ${name}`),
  // what the network did
  'frame doubled',
  'frame out of order',
  'frame of an earlier connection',
  'gradient doubled with a flipped bit',
  // what came of it
  'frame fenced by the coordinator',
  'frame fenced by a node',
  'welcome of an earlier connection',
  'gradient same',
  'gradient same, late',
  'gradient conflict',
  'gradient conflict, late',
  'gradient stale, late',
  'work abandoned',
  'redundant unit returned',
  'redundant unit returned, late',
  // what the coordinator did
  'report alarm',
  'report leave',
  'report lost, closed',
  'report lost, replaced',
  'report lost, silent',
  'report reassign',
  'report rebalance',
  'report resume',
  'report stall',
  'report straggler',
  // the disk, and other lives
  'report checkpoint',
  'report checkpointFailed',
  'damaged checkpoint skipped',
  'resumed',
  'stopped before the end',
  'another run in its place',
];

describe('the simulation', () => {
  test('10,000 seeds: every commit has the bits of the serial worker, every run ends, every rare state is seen', () => {
    const { seeds, reached, failures } = sweep(0, 10_000);
    expect(failures).toEqual([]);
    expect(seeds).toBe(10_000);
    expect(RARE.filter((what) => !reached.has(what))).toEqual([]);
    // 12 s on a quiet core.
  }, 600_000);

  test('the same seed has the same trace, another one another', () => {
    const traces = Array.from({ length: 300 }, (_, seed) => simulate(seed).trace);
    expect(Array.from({ length: 300 }, (_, seed) => simulate(seed).trace)).toEqual(traces);
    expect(new Set(traces).size).toBeGreaterThan(290);
  });

  test.each(BUGS)('a planted bug is caught: %s', (bug) => {
    const { seeds, failures } = sweep(0, 10_000, bug, 1);
    expect(failures, `not caught by ${seeds} seeds`).toHaveLength(1);
  });
});
