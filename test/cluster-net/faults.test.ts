/**
 * Real processes and real faults: nodes and coordinators are killed and stopped, coordinators interrupted, connections are
 * cut in the middle of a frame, fall silent one way, and bring frames late, twice or in another order. Every step's loss and
 * metrics, every validation, and the digest at the end are those of an undisturbed run on one machine. Each fault
 * that happened is counted by kind.
 *
 * `LOCKSTEP_FAULTS=n`: the longer form, at least n faults in 40 runs: ten seeds of each definition, with heartbeats of 100 ms
 * to 2 s, half of the seeds while other processes keep all cores busy. Each run is printed as it ends, the counts at the end.
 * `LOCKSTEP_FAULT_SEED=n`: begins with this seed.
 */
import { rmSync } from 'node:fs';
import { BUCKET_FLOATS } from '@lockstep/sync';
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
const kinds = Object.keys(FAULTS) as Fault[];

const long = process.env.LOCKSTEP_FAULTS;
const form =
  long === undefined
    ? { faults: 304, seeds: 1, heartbeats: [100, 250, 100, 500], machines: ['quiet'] as const }
    : {
        ...{ faults: Number(long), seeds: 10, machines: ['quiet', 'busy'] as const },
        heartbeats: [100, 2000, 250, 100, 500, 1000, 100],
      };
const firstSeed = Number(process.env.LOCKSTEP_FAULT_SEED ?? 1);
const runs = Array.from({ length: form.seeds * names.length }, (_, i) => ({
  index: i % names.length,
  name: names[i % names.length]!,
  seed: firstSeed + Math.floor(i / names.length),
  heartbeat: form.heartbeats[i % form.heartbeats.length]!,
  machine: form.machines[Math.floor(i / names.length) % form.machines.length]!,
}));
const share = Math.ceil(form.faults / runs.length);

const folder = folderWith(
  Object.fromEntries(names.map((name, i) => [`${i}.mjs`, faultyRuns[name]!.config] as const)),
);
afterAll(() => rmSync(folder, { recursive: true }));

const sum = (all: Iterable<number>): number => [...all].reduce((a, b) => a + b, 0);
const counts = { quiet: new Map<Fault, number>(), busy: new Map<Fault, number>() };
const countOf = (kind: Fault): number => sum(Object.values(counts).map((each) => each.get(kind) ?? 0));

/** What a definition gives on one machine; throws where it lacks what it is here for. */
async function train(index: number): Promise<Reference> {
  const { frozen = [], gives } = faultyRuns[names[index]!]!;
  const { stdout } = await lockstep(['train', `${index}.mjs`, '--json'], { cwd: folder });
  const told = events(stdout);
  const layers = told[0]!.model as { name: string; parameters: number }[];
  const trained = layers.filter(({ name }) => !frozen.includes(name)).map(({ parameters }) => parameters);
  expect(Math.ceil(sum(trained) / BUCKET_FLOATS)).toBeGreaterThanOrEqual(6);
  const reference = new Reference(told);
  if (gives !== undefined) expect(gives(reference)).toBe(true);
  return reference;
}

const references: Promise<Reference>[] = [];
const referenceOf = (index: number): Promise<Reference> => {
  references[index] ??= train(index);
  return references[index];
};

describe('a run under faults reports what one machine reports', () => {
  test.each(runs)(
    '$name: seed $seed, heartbeat $heartbeat ms, $machine',
    // A run that hangs says so itself.
    { timeout: 600_000 + share * 20_000 },
    async ({ index, seed, heartbeat, machine }) => {
      const reference = await referenceOf(index);
      // A run may be over before all of its faults came: then there is another.
      for (let [met, attempt] = [0, 0]; met < share; attempt++) {
        const cluster = new FaultyCluster({
          ...{ seed: seed + 1000 * attempt, name: `${index}.mjs`, folder, reference },
          ...{ faults: FAULTS, faultCount: share - met, every: 3, heartbeat, isBusy: machine === 'busy' },
        });
        await cluster.end().catch((error: unknown) => {
          // Vitest prints errors at the end alone: an hour later.
          if (long !== undefined) console.log(String(error));
          throw error;
        });
        for (const [fault, count] of cluster.counts) {
          counts[machine].set(fault, (counts[machine].get(fault) ?? 0) + count);
          met += count;
        }
        if (long !== undefined) console.log(cluster.summary);
      }
    },
  );

  test(`${form.faults} faults, of every kind`, async ({ annotate }) => {
    await annotate(kinds.map((kind) => `${countOf(kind)} × ${kind}`).join('; '));
    if (long !== undefined)
      console.table(
        Object.fromEntries(
          kinds.map((kind) => [kind, { quiet: counts.quiet.get(kind), busy: counts.busy.get(kind) }]),
        ),
      );
    expect(sum(kinds.map(countOf))).toBeGreaterThanOrEqual(form.faults);
    for (const kind of kinds) expect(countOf(kind), kind).toBeGreaterThan(0);
  });
});
