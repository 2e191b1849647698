/** One node of five lies, many times: it is found as soon as chance says, and the digest is always that of an honest run. */
import { beforeAll, describe, expect, it } from 'vitest';
import { LIES } from '../cluster/liars.ts';
import { BATCHES, honestDigest, tinyRun } from './tinyCluster.ts';

const RATE = 0.05;
/** Of each kind; `LOCKSTEP_AUDIT_SEEDS=200` for what bench/RESULTS.md says. */
const SEEDS = Number(process.env.LOCKSTEP_AUDIT_SEEDS ?? 8);
/** Lies within which 99 % of liars are found: (1 − P)ⁿ ≤ 0.01. */
const BOUND = Math.ceil(Math.log(0.01) / Math.log(1 - RATE));

let honest: string;
beforeAll(async () => {
  honest = await honestDigest();
});

/** A secret per seed, so that what is drawn is the same each time. */
const secretOf = (seed: number): Uint8Array =>
  Uint8Array.from({ length: 32 }, (_, i) => (seed * 31 + i * 7) % 256);

describe.each(LIES)('%s', (kind) => {
  it(`is found within ${BOUND} lies in 99 % of the runs`, async ({ annotate }) => {
    const counts: number[] = [];
    for (let seed = 0; seed < SEEDS; seed++) {
      const nodes = Array.from({ length: 5 }, (_, i) =>
        i === seed % 5 ? { kind, from: seed % 7 } : undefined,
      );
      const audit = { rate: RATE, secret: secretOf(seed) };
      const found = await tinyRun({ audit, nodes, hasBuckets: seed % 2 === 0 });
      const liars = found.events.filter(({ type }) => type === 'liar');
      expect(found.lies.length).toBeGreaterThan(0);
      counts.push(liars.length === 1 ? found.lies.length : Number.POSITIVE_INFINITY);
      if (liars.length === 0) continue;
      expect(liars).toMatchObject([{ name: `node ${seed % 5}`, reason: 'audit' }]);
      expect({ seed, digest: found.weightsDigest }).toEqual({ seed, digest: honest });
    }
    const late = counts.filter((count) => count > BOUND).length;
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    await annotate(
      `${SEEDS} runs of ${BATCHES} batches: ${late} not found within ${BOUND} lies; ${mean.toFixed(1)} on average`,
    );
    expect(late).toBeLessThanOrEqual(Math.ceil(0.01 * SEEDS));
    // The mean of a geometric distribution, 1 / P, within four standard errors.
    expect(Math.abs(mean - 1 / RATE)).toBeLessThan(4 / RATE / Math.sqrt(SEEDS));
  });
});
