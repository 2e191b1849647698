/** What members are sent, and what comes back of it: models and units go out; times and gradients come. */
import type { ShardRange } from '../reduce/tree.ts';
import { type Coordinator, type Member, redundantOf } from './coordinatorState.ts';
import type { Effect } from './coordinatorTypes.ts';
import type { Orders } from './openStep.ts';
import { forgive, returnTrial } from './trials.ts';

/** The model before the open step goes to a member, unless it was sent it. */
export const publish = ({ step }: Coordinator, member: Member): Effect[] => {
  if (member.model === step) return [];
  member.model = step;
  return [{ do: 'publish', session: member.session, step }];
};

/** Units of the open step go to members. `together`: all who take part are given theirs now. */
export const assign = (
  { members, redundant, open }: Coordinator,
  orders: Orders,
  now: number,
  together: boolean,
): Effect[] => {
  for (const each of redundant) {
    // What a node computes of an older step it gives up now.
    if (each.step < open.step && orders.has(each.session)) redundant.delete(each);
  }
  return [...orders].map(([session, units]): Effect => {
    const member = members.get(session)!;
    member.busy ??= { since: now, shards: 0, units: 0, uncomputed: 0, computed: undefined };
    member.busy.uncomputed++;
    member.busy.units += units.length;
    for (const { lo, hi } of units) member.busy.shards += hi - lo;
    return { do: 'assign', session, step: open.step, units, together, isRedundant: false };
  });
};

/** A member has computed what it was asked for first, of what it has not said this yet. */
export const noteComputed = (
  { open, redundant }: Coordinator,
  { session, busy }: Member,
  { step, milliseconds }: { readonly step: number; readonly milliseconds: number },
  now: number,
): void => {
  const unit = [...redundant].find((each) => each.session === session && each.step === step);
  const isLate = unit?.purpose === 'late';
  if (unit !== undefined && (isLate || unit.computed === undefined)) {
    unit.computed = (unit.computed ?? 0) + milliseconds;
    if (isLate || step !== open.step) return;
    open.note('computed', { session, milliseconds: now - unit.since, shards: unit.shards });
  } else if (busy !== undefined && step === open.step) {
    busy.computed = (busy.computed ?? 0) + milliseconds;
    if (--busy.uncomputed > 0) return;
    open.note('computed', { session, milliseconds: now - busy.since, shards: busy.shards });
  }
};

/** A member has sent all of a unit. */
export const noteReturned = (
  state: Coordinator,
  member: Member,
  { step, lo, hi, agrees }: { readonly step: number; readonly agrees: boolean } & ShardRange,
  now: number,
): Effect[] => {
  const { session } = member;
  const { open, phase } = state;
  const unit = redundantOf(state, session, step, lo, hi);
  const effects = unit === undefined ? [] : returnTrial(state, member, unit, agrees, now);
  if (phase !== 'open' || step !== open.step) return effects;
  const holder = open.find(lo, hi)?.holders.find((each) => each.session === session);
  if (holder === undefined) return effects;
  holder.hasReturned = true;
  if (member.busy !== undefined && open.pending(session).length === 0) measure(state, member, now);
  return effects;
};

/** It has returned all that it was asked for. */
const measure = ({ open }: Coordinator, member: Member, now: number): void => {
  const { session } = member;
  const { shards, units, since, computed, uncomputed } = member.busy!;
  const milliseconds = Math.max(now - since, 1e-3);
  if (uncomputed > 0) open.note('computed', { session, milliseconds, shards });
  open.note('returned', { session, milliseconds, shards });
  member.round.add(milliseconds);
  if (computed !== undefined) {
    member.shard.add(Math.max(computed, 1e-3) / shards);
    member.unit.add(Math.max(0, milliseconds - computed) / units);
  }
  member.busy = undefined;
  forgive(member);
};
