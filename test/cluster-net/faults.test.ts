/**
 * Real processes and real faults: nodes and coordinators are killed and stopped, coordinators interrupted, connections are cut in the middle of a
 * frame, fall silent one way, and bring frames late, twice or in another order. Each fault that happened is counted by
 * kind; the digest at the end is that of an undisturbed run on one machine.
 *
 * `LOCKSTEP_FAULT_RUNS=n`: n runs instead of three.
 */
import { rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { configText, events, folderWith, lockstep } from '../command.ts';
import { type Fault, Ordeal } from './faults.ts';

const RUNS = Number(process.env.LOCKSTEP_FAULT_RUNS ?? 3);
/** Of one run. */
const FAULTS: Readonly<Record<Fault, number>> = {
  'kill node': 6,
  'kill coordinator': 2,
  'interrupt coordinator': 3,
  'stop node': 10,
  'stop coordinator': 5,
  cut: 20,
  'half-open': 7,
  delay: 20,
  duplicate: 20,
  reorder: 20,
};
const TOTAL = Object.values(FAULTS).reduce((a, b) => a + b);

/** 9 batches an epoch, the last one short: enough of them for all faults. */
const folder = folderWith({
  'all.mjs': configText({ epochs: '1200' }),
  // Of the weights most stay as they are from batch to batch, and nodes keep them.
  'some.mjs': configText({
    ...{ epochs: '2000', accumulate: '2' },
    model: `() => {
      const first = nn.linear(784, 24);
      nn.freeze(first);
      return nn.sequential(first, nn.batchNorm1d(24), nn.relu(), nn.linear(24, 10));
    }`,
  }),
});
const CONFIGS = ['all.mjs', 'some.mjs'];
afterAll(() => rmSync(folder, { recursive: true }));

test(`runs of ${TOTAL} faults each end with the digest of one machine`, {
  timeout: RUNS * 300_000,
}, async ({ annotate }) => {
  const digests = await Promise.all(
    CONFIGS.map(async (config) => {
      const { stdout } = await lockstep(['train', config, '--json', '--quiet'], { cwd: folder });
      return events(stdout).at(-1)?.weightsDigest;
    }),
  );
  const counts = new Map<string, number>();
  const total = (): number => [...counts.values()].reduce((a, b) => a + b, 0);
  // A run on a busy machine may be over before all of its faults came: then there is another.
  for (let seed = 1; seed <= RUNS || (total() < 100 * RUNS && seed <= 2 * RUNS); seed++) {
    const which = (seed - 1) % CONFIGS.length;
    const ordeal = new Ordeal({ seed, faults: FAULTS, every: 8, config: CONFIGS[which]!, folder });
    const end = await ordeal.end();
    expect(end, `seed ${seed}`).toMatchObject({ type: 'done', weightsDigest: digests[which] });
    for (const [fault, count] of ordeal.counts) counts.set(fault, (counts.get(fault) ?? 0) + count);
  }
  await annotate([...counts].map(([fault, count]) => `${count} × ${fault}`).join('; '));
  expect(total()).toBeGreaterThanOrEqual(100 * RUNS);
  for (const fault of Object.keys(FAULTS)) expect(counts.get(fault) ?? 0, fault).toBeGreaterThanOrEqual(RUNS);
});
