/**
 * Who may have a share. A node that joins a run, and one that was late, first returns redundant units: no step waits for it
 * meanwhile, however long it takes, and while others compute, nothing depends on it. See Note [Redundant units].
 */
import type { Coordinator, Member } from './coordinatorState.ts';
import type { Effect } from './coordinatorTypes.ts';
import { chooseRedundant, type Redundant } from './redundant.ts';

/** Units that a newcomer returns before it has a share: it does all for the first time with the first; the last is measured. */
const TRIALS = 2;
/** Who was late for so many steps is tried like a newcomer. Each is forgiven after so many for which it was not late. */
const MISSES = 3;
const FORGIVEN = 50;
/** Misses that do not count, since at first everything takes long. */
export const NEWCOMER = { trials: TRIALS, misses: -MISSES };
/** Milliseconds that a unit is waited for until another one is assigned in its place; twice as long each time. */
export const PATIENCE = { first: 1000, longest: 600_000 };
/** The wait is at least so many steps: a trial is not cut off by the next one because steps take long. */
const PATIENT_STEPS = 8;

/** Assigns redundant units of the open step to all who are on trial. */
export const assignTrials = (state: Coordinator, now: number): Effect[] => {
  const { members, redundant, pace, step } = state;
  const effects: Effect[] = [];
  for (const member of members.values()) {
    if (!member.ready || member.leaving || member.standing !== 'trial' || now < member.trialAt) continue;
    const awaited = [...redundant].find(({ session }) => session === member.session);
    if (awaited !== undefined) {
      if (now < awaited.since + Math.max(member.patience, PATIENT_STEPS * (pace.value() ?? 0))) continue;
      member.patience = Math.min(2 * member.patience, PATIENCE.longest);
      if (!member.isAside)
        effects.push({ do: 'report', report: { type: 'aside', step, name: member.name, reason: 'late' } });
      member.isAside = true;
    }
    effects.push(...assignRedundant(state, member, now));
  }
  return effects;
};

/** Assigns a unit of the open step to somebody who has no share of it, in the place of older ones that it was asked for. */
export const assignRedundant = (state: Coordinator, member: Member, now: number): Effect[] => {
  const { open, redundant, step } = state;
  const unit = chooseRedundant(open, redundant);
  if (unit === undefined) return [];
  const { session } = member;
  // A node gives up what it computes of a step when it is asked for something of a newer one.
  for (const each of redundant) if (each.session === session) redundant.delete(each);
  const { lo, hi } = unit;
  redundant.add({
    ...{ session, step, lo, hi, purpose: 'trial' },
    ...{ since: now, shards: hi - lo, computed: undefined },
  });
  const effects: Effect[] = member.model === step ? [] : [{ do: 'publish', session, step }];
  member.model = step;
  const assigned = { session, step, units: [{ lo, hi }] };
  return [...effects, { do: 'assign', ...assigned, together: false, isRedundant: true }];
};

/** A redundant unit is here, from the one who was asked for it. */
export const returnTrial = (
  state: Coordinator,
  member: Member,
  unit: Redundant,
  agrees: boolean,
  now: number,
): Effect[] => {
  state.redundant.delete(unit);
  const { purpose, since, shards, computed } = unit;
  const time = now - since;
  if (unit.step === state.open.step) {
    for (const what of ['computed', 'returned'] as const) {
      state.open.note(what, {
        session: member.session,
        shards,
        milliseconds: what === 'computed' ? (computed ?? time) : time,
      });
    }
  }
  if (member.standing !== 'trial') return [];
  if (!agrees) {
    wait(member, now);
    return [];
  }
  // Of what came before, everything took long because it was the first time, or because it was late.
  if (purpose === 'trial') member.shard.forget();
  if (purpose === 'trial' || computed !== undefined)
    member.shard.add(Math.max(computed ?? time, 1e-3) / shards);
  member.isTried ||= purpose === 'trial';
  if (--member.trials > 0) return [];
  member.standing = 'active';
  if (!member.isAside) return [];
  member.isAside = false;
  return [{ do: 'report', report: { type: 'back', step: state.step, name: member.name } }];
};

/** Others did for it what it was asked for. It has no share until it has returned the last of that, at least. */
export const miss = (state: Coordinator, member: Member, now: number): Effect[] => {
  const { open, redundant } = state;
  const { session, busy } = member;
  const { lo, hi } = open.pending(session).at(-1)!;
  redundant.add({
    ...{ session, step: open.step, lo, hi, purpose: 'late' },
    ...{ since: now, shards: busy!.shards, computed: busy!.computed },
  });
  member.standing = 'trial';
  member.trials = 1;
  member.misses++;
  if (member.misses < MISSES) return [];
  member.misses = 0;
  member.trials = 1 + TRIALS;
  wait(member, now);
  if (member.isAside) return [];
  member.isAside = true;
  return [{ do: 'report', report: { type: 'aside', step: open.step, name: member.name, reason: 'late' } }];
};

/** It was not late. */
export const forgive = (member: Member): void => {
  if (member.misses > 0) member.misses = Math.max(0, member.misses - 1 / FORGIVEN);
};

const wait = (member: Member, now: number): void => {
  member.trialAt = now + member.patience;
  member.patience = Math.min(2 * member.patience, PATIENCE.longest);
};
