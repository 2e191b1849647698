import { simulate } from './world.ts';

/** What a sweep over seeds saw. */
export interface Sweep {
  readonly seeds: number;
  readonly events: number;
  /** Per happening: in how many seeds. */
  readonly reached: Readonly<Record<string, number>>;
  readonly failures: readonly { readonly seed: number; readonly message: string }[];
}

/** Runs the seeds [from, from + count); stops after so many failures. */
export const sweep = async (from: number, count: number, patience = 10): Promise<Sweep> => {
  const reached: Record<string, number> = {};
  const failures: { seed: number; message: string }[] = [];
  let events = 0;
  let seed = from;
  for (; seed < from + count && failures.length < patience; seed++) {
    try {
      const outcome = await simulate(seed);
      events += outcome.events;
      for (const what of outcome.counts.keys()) reached[what] = (reached[what] ?? 0) + 1;
    } catch (error) {
      failures.push({ seed, message: String(error).slice(0, 2000) });
    }
  }
  return { seeds: seed - from, events, reached, failures };
};
