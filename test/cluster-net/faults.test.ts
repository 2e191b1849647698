/**
 * Real processes and real faults: nodes and coordinators are killed and stopped, coordinators interrupted, connections are
 * cut in the middle of a frame, fall silent one way, and bring frames late, twice or in another order. Every step's loss and
 * metrics, every validation, and the digest at the end are those of an undisturbed run on one machine. Each fault
 * that happened is counted by kind.
 *
 * `LOCKSTEP_FAULTS=n`: the longer form, at least n faults over at least ten seeds of each definition, with heartbeats
 * of 100 ms to 2 s, half of the seeds while other processes keep all cores busy. Each seed is reported as it ends.
 * `LOCKSTEP_FAULT_SEED=n`: begins with this seed.
 */
import { rmSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { events, folderWith, lockstep } from '../command.ts';
import { type Fault, FaultyCluster } from './faults.ts';
import { faultyRuns } from './faultyRuns.ts';
import { Reference } from './reference.ts';

/** How often each fault happens before all of them begin again. */
const FAULTS: Readonly<Record<Fault, number>> = {
  'kill node': 4,
  'leave and join': 4,
  'kill coordinator': 2,
  'interrupt coordinator': 2,
  'stop node': 23,
  'stop coordinator': 4,
  cut: 12,
  'half-open': 4,
  delay: 7,
  duplicate: 7,
  reorder: 7,
};
const names = Object.keys(faultyRuns);
const kinds = Object.keys(FAULTS);

const long = process.env.LOCKSTEP_FAULTS;
const form =
  long === undefined
    ? { faults: 304, perRun: 76, seeds: 1, heartbeats: [100, 250, 100, 500], busy: [false] }
    : {
        ...{ faults: Number(long), perRun: 126, seeds: 10 },
        ...{ heartbeats: [100, 2000, 250, 100, 500, 1000, 100], busy: [false, true] },
      };
const firstSeed = Number(process.env.LOCKSTEP_FAULT_SEED ?? 1);

const folder = folderWith(
  Object.fromEntries(names.map((name, i) => [`${i}.mjs`, faultyRuns[name]!.config] as const)),
);
afterAll(() => rmSync(folder, { recursive: true }));

const counts = new Map<string, number>();
const sum = (all: Iterable<number>): number => [...all].reduce((a, b) => a + b, 0);

/** What a definition gives on one machine; throws where it lacks what it is here for. */
async function referenceOf(index: number): Promise<Reference> {
  const { frozen = [], gives } = faultyRuns[names[index]!]!;
  const { stdout } = await lockstep(['train', `${index}.mjs`, '--json'], { cwd: folder });
  const told = events(stdout);
  const layers = told[0]!.model as { name: string; parameters: number }[];
  const trained = layers.filter(({ name }) => !frozen.includes(name)).map(({ parameters }) => parameters);
  expect(Math.ceil(sum(trained) / 65_536)).toBeGreaterThanOrEqual(6);
  const reference = new Reference(told);
  if (gives !== undefined) expect(gives(reference)).toBe(true);
  return reference;
}

describe('a run under faults reports what one machine reports', () => {
  test.each(names.map((name, index) => [name, index] as const))(
    '%s',
    // A run that hangs says so itself.
    { timeout: 600_000 + form.faults * 5_000 },
    async (_, index) => {
      const reference = await referenceOf(index);
      const share = Math.ceil(form.faults / names.length);
      // A run on a busy machine may be over before all of its faults came: then there is another.
      for (let [seed, met] = [firstSeed, 0]; seed < firstSeed + form.seeds || met < share; seed++) {
        const place = index + seed;
        const cluster = new FaultyCluster({
          ...{ seed, name: `${index}.mjs`, folder, reference, faults: FAULTS, every: 4 },
          faultCount: long === undefined ? Math.min(form.perRun, share - met) : form.perRun,
          heartbeat: form.heartbeats[place % form.heartbeats.length]!,
          isBusy: form.busy[seed % form.busy.length]!,
        });
        await cluster.end();
        for (const [fault, count] of cluster.counts) counts.set(fault, (counts.get(fault) ?? 0) + count);
        met += sum(cluster.counts.values());
        if (long !== undefined) console.log(cluster.summary);
      }
    },
  );

  test(`${form.faults} faults, of every kind`, async ({ annotate }) => {
    await annotate(kinds.map((kind) => `${counts.get(kind) ?? 0} × ${kind}`).join('; '));
    expect(sum(counts.values())).toBeGreaterThanOrEqual(form.faults);
    for (const kind of kinds) expect(counts.get(kind) ?? 0, kind).toBeGreaterThan(0);
  });
});
