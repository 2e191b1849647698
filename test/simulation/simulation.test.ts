import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { FAULTS } from './faults.ts';
import { MUTATIONS } from './mutations.ts';
import type { Sweep } from './sweep.ts';
import { simulate } from './world.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Runs `scripts/simulate.mjs` on every core, on what is built: what it prints as JSON. */
const simulateMany = (...options: string[]): unknown =>
  JSON.parse(
    execFileSync(process.execPath, [join(ROOT, 'scripts/simulate.mjs'), '--json', ...options], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).replace(/^[^[{]*/, ''),
  );

/**
 * States that are rare and that a change could make unreachable without anybody noticing: each must be reached by the
 * sweep. The names are those that the simulation counts.
 */
const RARE = [
  ...FAULTS.map(([name]) => `fault ${name}`),
  // what the network did
  'frame doubled',
  'frame of an earlier connection',
  'gradient doubled with a flipped bit',
  'link broken in the middle of a unit',
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
  // what nodes did
  'unit begun early, used',
  'unit begun early, dropped',
  'node ended: finished, with the digest',
  'node ended: left',
  // the loop, the disk, and other lives
  'event checkpoint',
  'event checkpointDamaged',
  'event checkpointFailed',
  'event earlyStop',
  'interrupted',
  'interrupted while a batch is applied',
  'rescue',
  'resumed',
  'another run in its place',
];

describe('the simulation', () => {
  test('10,000 seeds: every sum and every checkpoint has the bits of the serial worker, every run ends, every rare state is seen', () => {
    const { seeds, reached, failures } = simulateMany('--seeds', '10000') as Sweep;
    expect(failures).toEqual([]);
    expect(seeds).toBe(10_000);
    expect(RARE.filter((what) => !(what in reached))).toEqual([]);
    // About a minute on two quiet cores.
  }, 900_000);

  test('the same seed has the same trace, another one another', async () => {
    const traces: number[] = [];
    for (let seed = 0; seed < 40; seed++) traces.push((await simulate(seed)).trace);
    for (let seed = 0; seed < 40; seed++) expect((await simulate(seed)).trace).toBe(traces[seed]);
    expect(new Set(traces).size).toBeGreaterThan(35);
  });

  test('every planted bug is found', () => {
    const found = simulateMany('--mutants') as { name: string; seed: number | null; message: string }[];
    const often = MUTATIONS.filter(({ isRare }) => !isRare).map(({ name }) => name);
    expect(found.map(({ name }) => name).sort()).toEqual(often.sort());
    expect(found.filter(({ seed }) => seed === null)).toEqual([]);
  }, 900_000);
});

/** The seeds by which bugs were found that the program once had, and what was wrong: also tests of their own hold it to them. */
test.each([
  [12, 'a bucket was reduced again with each piece of a unit that was cut anew'],
  [48, 'a batch was given up after it had changed weights'],
  [140, 'an optimizer step was given up after its first batch had merged running statistics'],
])('seed %i: %s', async (seed) => {
  await simulate(seed);
});
