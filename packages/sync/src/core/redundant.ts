/**
 * Note [Redundant units]: a node may be assigned a unit that another one computes as well. What it returns is compared with
 * what the others sent of that unit, bit for bit, like any duplicate; if it is first, it counts. No step waits for it, and
 * it may come after its step is over: until then the checksums of that step are kept. That is how a node shows that it
 * returns what it is asked for, and how fast it is, before anybody depends on it.
 */

import type { ShardRange } from '../reduce/tree.ts';
import type { OpenStep, UnitState } from './openStep.ts';

export interface Redundant extends ShardRange {
  readonly session: number;
  readonly step: number;
  /**
   * `trial`: the node gets no share before it has returned it. `late`: it was a part of its share, until others computed that
   * for it; since then it is a trial, too.
   */
  readonly purpose: 'trial' | 'late';
  /** When it was assigned, or given up on. */
  readonly since: number;
  /** Milliseconds that it computed, as it says, and for how many shards. */
  computed: number | undefined;
  readonly shards: number;
}

/** The unit of the open step to assign a second time: a small one that few compute. Undefined: all are here. */
export const chooseRedundant = (open: OpenStep, redundant: Iterable<Redundant>): UnitState | undefined => {
  const counts = new Map<string, number>();
  for (const { step, lo, hi } of redundant) {
    if (step === open.step) counts.set(`${lo}-${hi}`, (counts.get(`${lo}-${hi}`) ?? 0) + 1);
  }
  const load = ({ lo, hi }: ShardRange): number => (hi - lo) * (1 + (counts.get(`${lo}-${hi}`) ?? 0));
  let best: UnitState | undefined;
  for (const unit of open.units) {
    if (unit.done || unit.holders.length === 0) continue;
    if (best === undefined || load(unit) < load(best)) best = unit;
  }
  return best;
};
