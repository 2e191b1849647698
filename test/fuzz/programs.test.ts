/**
 * What a stranger could send as a program, run for real: mutated valid programs whose operands share regions and overlap. Each is
 * refused, or the C kernels run it under AddressSanitizer and UBSan and touch nothing but what its instructions state.
 *
 * `LOCKSTEP_FUZZ_PROGRAMS` and `LOCKSTEP_FUZZ_SEED` run more, or others.
 */
import {
  type InstructionName,
  instructionExtents,
  instructions,
  type Program,
  validateProgram,
} from '@lockstep/kernels';
import { expect, test } from 'vitest';
import { realPrograms } from './corpus.ts';
import { buildHarness, Harness, type HarnessReport } from './harness.ts';
import { generated, Instructions, isSmall, mutated } from './programs.ts';
import { Random } from './random.ts';

const GOAL = Number(process.env.LOCKSTEP_FUZZ_PROGRAMS ?? 50_000);
const SEED = Number(process.env.LOCKSTEP_FUZZ_SEED ?? 1);
/** One of so many programs is of a single instruction with operands of any size. */
const GENERATED = 3;
const LIMIT_MS = 60_000 + GOAL * 20;

const names = Object.keys(instructions) as InstructionName[];
const built = buildHarness();
if ('reason' in built) console.log(`Programs are not run under AddressSanitizer: ${built.reason}`);

interface Counts {
  refused: number;
  /** Valid, but its loops are too long, or its regions too large. */
  large: number;
  accepted: number;
  readonly executed: Map<string, number>;
}

/** Undefined where the program is refused, as it should be. */
function accepted(make: () => Program | undefined, counts: Counts): Program | undefined {
  const program = make();
  if (program === undefined) return undefined;
  try {
    validateProgram(program);
  } catch (error) {
    // A TypeError or a RangeError would be an accident, not a refusal.
    if ((error as Error).constructor !== Error) throw error;
    counts.refused++;
    return undefined;
  }
  if (isSmall(program)) return program;
  counts.large++;
  return undefined;
}

async function fuzz(path: string, real: Instructions): Promise<[Counts, HarnessReport]> {
  const random = new Random(SEED);
  const harness = new Harness(path);
  const counts: Counts = { refused: 0, large: 0, accepted: 0, executed: new Map() };
  const make = (): Program | undefined => {
    if (random.below(GENERATED) > 0) return real.mutated(random);
    const single = generated(random.pick(names), random);
    return single && mutated(single, random);
  };
  while (counts.accepted < GOAL && !harness.hasEnded) {
    const program = accepted(make, counts);
    if (program === undefined) continue;
    counts.accepted++;
    for (const start of program.starts) {
      const { name } = instructionExtents(program.code, start);
      counts.executed.set(name, (counts.executed.get(name) ?? 0) + 1);
    }
    await harness.run(program, counts.accepted);
  }
  return [counts, await harness.finish()];
}

test.skipIf('reason' in built)(
  `${GOAL} mutated programs run on all variants without a report`,
  async () => {
    const [counts, report] = await fuzz(
      (built as { path: string }).path,
      new Instructions(await realPrograms()),
    );
    console.log(
      `${report.programs} programs executed (${report.instructions} instructions on ${report.variants.join(', ')}), ` +
        `${counts.refused} refused, ${counts.large} valid ones too large`,
    );
    expect(report.programs).toBe(GOAL);
    expect(counts.refused).toBeGreaterThan(GOAL / 20);
    for (const name of [...names, 'elementwise'])
      expect(counts.executed.get(name) ?? 0, name).toBeGreaterThan(GOAL / 500);
  },
  LIMIT_MS,
);
