/** What is done when somebody is late: others compute it as well, and it has no share until it has returned it. */
import { assign, publish } from './assignments.ts';
import type { Coordinator } from './coordinatorState.ts';
import type { Effect } from './coordinatorTypes.ts';
import { dueOf, outsiders, probeAt } from './lateness.ts';
import type { Holder } from './openStep.ts';
import { assignRedundant, miss } from './trials.ts';

/**
 * Gives units that all their holders are late with to members that have nothing left to compute, the fastest first; where there
 * are none, to those who have no share.
 */
export const helpLate = (state: Coordinator, now: number): Effect[] => {
  const { open, phase, members, redundant } = state;
  if (phase !== 'open') return [];
  const isComputing = (session: number): boolean => (members.get(session)?.busy?.uncomputed ?? 0) > 0;
  const isLate = (holder: Holder): boolean => dueOf(state, holder) <= now;
  const isAsked = new Set([...redundant].map(({ session }) => session));
  const idle = [...members.values()]
    .filter(({ ready, leaving, model }) => ready && !leaving && model === open.step)
    .filter(({ session }) => !isComputing(session) && !isAsked.has(session));
  const canHelp = idle.some(({ session }) => open.findLate(session, isLate, isComputing));
  const helpers = canHelp ? idle : outsiders(state);
  const effects: Effect[] = [];
  for (const member of helpers.toSorted((a, b) => (a.shard.value() ?? 0) - (b.shard.value() ?? 0))) {
    const { session, name: helper } = member;
    const unit = open.findLate(session, isLate, isComputing);
    if (unit === undefined) continue;
    const { lo, hi } = unit;
    const late = unit.holders.map((holder) => members.get(holder.session)!.name);
    effects.push({ do: 'report', report: { type: 'straggler', step: open.step, lo, hi, late, helper } });
    effects.push(...publish(state, member), ...assign(state, open.help(unit, session, now), now, false));
  }
  return effects;
};

/** Nobody is done with anything, for long: who has no share computes something, too. */
export const probe = (state: Coordinator, now: number): Effect[] =>
  now < probeAt(state) ? [] : outsiders(state).flatMap((member) => assignRedundant(state, member, now));

/** All units are here. Some were due from a member that has not returned them: others did. */
export const noteMisses = (state: Coordinator, now: number): Effect[] => {
  const isLate = (holder: Holder, session: number): boolean =>
    holder.session === session && !(holder.hasReturned || holder.isHelper) && dueOf(state, holder) <= now;
  return [...state.members.values()].flatMap((member) => {
    if (member.busy === undefined || member.leaving) return [];
    const holders = state.open.units.flatMap((unit) => unit.holders);
    return holders.some((holder) => isLate(holder, member.session)) ? miss(state, member, now) : [];
  });
};
