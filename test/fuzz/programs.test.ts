/**
 * What a stranger could send as a program, run for real: mutated valid programs whose operands share regions and overlap. Each is
 * refused, or the C kernels run it under AddressSanitizer and UBSan and touch nothing but what its instructions state.
 *
 * `LOCKSTEP_FUZZ_PROGRAMS` and `LOCKSTEP_FUZZ_SEED` run more, or others.
 */
import { expect, test } from 'vitest';
import { fuzz, instructionNames } from './fuzz.ts';
import { buildHarness } from './harness.ts';

const goal = Number(process.env.LOCKSTEP_FUZZ_PROGRAMS ?? 50_000);
const seed = Number(process.env.LOCKSTEP_FUZZ_SEED ?? 1);
const LIMIT_MS = 120_000 + goal * 20;

const built = await buildHarness();
if ('reason' in built) console.log(`Programs are not run under AddressSanitizer: ${built.reason}`);

test.skipIf('reason' in built)(
  `${goal} mutated programs run on all variants without a report`,
  async () => {
    const [counts, report] = await fuzz({ path: (built as { path: string }).path, goal, seed });
    console.log(
      `${report.programs} programs executed (${report.instructions} instructions on ${report.variants.join(', ')}), ` +
        `${counts.refused} refused, ${counts.large} valid ones too large`,
    );
    expect(report.programs).toBe(goal);
    expect(counts.refused).toBeGreaterThan(goal / 20);
    for (const name of [...instructionNames, 'elementwise'])
      expect(counts.executed.get(name) ?? 0, name).toBeGreaterThan(goal / 500);
  },
  LIMIT_MS,
);
