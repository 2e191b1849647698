import type { Bug } from './bugs.ts';
import { simulate } from './world.ts';

/** What a sweep over seeds saw. */
export interface Sweep {
  readonly seeds: number;
  readonly events: number;
  /** Per happening: in how many seeds. */
  readonly reached: ReadonlyMap<string, number>;
  readonly failures: readonly { readonly seed: number; readonly message: string }[];
}

/** Runs the seeds [from, from + count); stops after so many failures. */
export const sweep = (from: number, count: number, bug?: Bug, patience = 10): Sweep => {
  const reached = new Map<string, number>();
  const failures: { seed: number; message: string }[] = [];
  let events = 0;
  let seed = from;
  while (seed < from + count && failures.length < patience) {
    try {
      const outcome = simulate(seed, bug);
      events += outcome.events;
      for (const what of outcome.counts.keys()) reached.set(what, (reached.get(what) ?? 0) + 1);
    } catch (error) {
      failures.push({ seed, message: String(error) });
    }
    seed++;
  }
  return { seeds: seed - from, events, reached, failures };
};
