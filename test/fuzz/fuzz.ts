/** Programs that are changed until enough of them were valid, and run. */
import {
  type InstructionName,
  instructionExtents,
  instructions,
  type Program,
  validateProgram,
} from '@lockstep/kernels';
import { realPrograms } from './corpus.ts';
import { Harness, type HarnessReport } from './harness.ts';
import { generated, Instructions, isSmall, mutated } from './programs.ts';
import { Random } from './random.ts';

/** One of so many programs is of a single instruction with operands of any size. */
const GENERATED = 3;

export const instructionNames = Object.keys(instructions) as InstructionName[];

export interface Counts {
  refused: number;
  /** Valid, but its loops are too long, or its regions too large. */
  large: number;
  accepted: number;
  /** By instruction. */
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

export interface FuzzOptions {
  /** Of the harness. */
  readonly path: string;
  /** Programs to execute. */
  readonly goal: number;
  readonly seed: number;
  /** Hears of every 10,000th. */
  readonly onProgress?: (executed: number) => void;
}

/** Executes `goal` mutated programs. Throws an Error with the sanitizers' report where there is one. */
export async function fuzz({ path, goal, seed, onProgress }: FuzzOptions): Promise<[Counts, HarnessReport]> {
  const real = new Instructions(await realPrograms());
  const random = new Random(seed);
  const harness = new Harness(path);
  const counts: Counts = { refused: 0, large: 0, accepted: 0, executed: new Map() };
  const make = (): Program | undefined => {
    if (random.below(GENERATED) > 0) return real.mutated(random);
    const single = generated(random.pick(instructionNames), random);
    return single && mutated(single, random);
  };
  while (counts.accepted < goal && !harness.hasEnded) {
    const program = accepted(make, counts);
    if (program === undefined) continue;
    counts.accepted++;
    for (const start of program.starts) {
      const { name } = instructionExtents(program.code, start);
      counts.executed.set(name, (counts.executed.get(name) ?? 0) + 1);
    }
    await harness.run(program, counts.accepted);
    if (counts.accepted % 10_000 === 0) onProgress?.(counts.accepted);
  }
  return [counts, await harness.finish()];
}
