/**
 * Who may have a share. A node that joins a run, and one that was late, first returns redundant units: no step waits for it
 * meanwhile, however long it takes, and while others compute, nothing depends on it. See Note [Redundant units].
 */
import type { Coordinator, Member } from './coordinatorState.ts';
import type { Effect } from './coordinatorTypes.ts';
import { defer, MOST_CREDIT } from './lineup.ts';
import { chooseRedundant, type Redundant } from './redundant.ts';

/** Units that a newcomer returns first: it does all for the first time with one of them; the last is measured. */
const TRIALS = 2;
/** Who was late for so many steps is tried like a newcomer. Each is forgiven after so many for which it was not late. */
const MISSES = 3;
const FORGIVEN = 50;
/**
 * A unit is waited for so long until another one is assigned in its place: milliseconds, and steps at least; twice as long each
 * time. What is late may have been given up by a node that was stopped; a newcomer may just need its time.
 */
const PATIENCE = { late: { first: 1000, steps: 8 }, trial: { first: 10_000, steps: 64 }, longest: 600_000 };
/** Steps after its assignment in which a trial is held to be the reason when they take longer than usual. */
const BLAMED = 64;
/** Milliseconds: a shorter stay was none, and for so long it is known; of so many names at most. */
const SHORT_STAY = 10_000;
const FLAPS_KEPT = 600_000;
const MOST_FLAPS = 10_000;
/** How a member begins. So many misses do not count, since at first everything takes long. */
export const NEWCOMER = { trials: TRIALS, misses: -MISSES, patience: PATIENCE.trial.first };

/** Assigns redundant units of the open step to those on trial whose time has come. */
export const assignTrials = (state: Coordinator, now: number): Effect[] => {
  const { members, open, redundant, pace, step, credit, experiment } = state;
  const effects: Effect[] = [];
  for (const member of members.values()) {
    if (!member.ready || member.leaving || member.trials === 0) continue;
    const awaited = [...redundant].find(({ session }) => session === member.session);
    if (awaited !== undefined) {
      const { steps } = PATIENCE[awaited.purpose];
      if (now < awaited.since + Math.max(member.patience, steps * (pace.value() ?? 0))) continue;
      effects.push(...setAside(member, step));
    }
    // What was begun is brought to its end; all else is for when there is credit, and it is known what steps usually take.
    const goesOn = member.isBegun && awaited === undefined;
    const isDue = member.isActive || step >= member.dueAt;
    const least = leastCredit(state, member.name);
    if (!goesOn && (!isDue || credit < least || pace.value() === undefined || experiment !== undefined))
      continue;
    const assigned = assignRedundant(state, member, now);
    if (assigned.length === 0) break;
    effects.push(...assigned);
    if (awaited !== undefined) member.patience = Math.min(2 * member.patience, PATIENCE.longest);
  }
  open.hasTrials ||= [...redundant].some((each) => each.purpose === 'trial' && step - each.step < BLAMED);
  return effects;
};

/** People are told once. */
const setAside = (member: Member, step: number): Effect[] => {
  const { name, isAside } = member;
  member.isAside = true;
  return isAside ? [] : [{ do: 'report', report: { type: 'aside', step, name, reason: 'late' } }];
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
  if (member.trials === 0) return [];
  if (!agrees) {
    defer(state, member);
    return [];
  }
  // Of what came before, everything took long because it was the first time, or because it was late.
  if (purpose === 'trial') member.shard.forget();
  if (purpose === 'trial' || computed !== undefined)
    member.shard.add(Math.max(computed ?? time, 1e-3) / shards);
  member.isTried ||= purpose === 'trial';
  member.patience = PATIENCE.trial.first;
  member.isBegun = !member.isActive;
  if (--member.trials > 0 || !member.isActive || !member.isAside) return [];
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
  member.trials = 1;
  member.patience = PATIENCE.late.first;
  member.misses++;
  if (member.isActive && member.misses < MISSES) return [];
  if (member.isActive) {
    member.misses = 0;
    member.trials = 1 + TRIALS;
  }
  defer(state, member);
  return setAside(member, open.step);
};

/**
 * A node that comes and goes is tried when there is more credit than others need: the more the oftener it stayed only for a
 * short while. Nodes are told apart by their names, since a process that starts again has no other mark.
 */
export const noteEnd = ({ flaps }: Coordinator, { name, joined }: Member, now: number): void => {
  const count = (flaps.get(name)?.count ?? 0) + 1;
  flaps.delete(name);
  if (now - joined < SHORT_STAY) flaps.set(name, { count, at: now });
  for (const [old, { at }] of flaps) {
    if (now - at < FLAPS_KEPT && flaps.size <= MOST_FLAPS) break;
    flaps.delete(old);
  }
};

/** The credit without which no trial of a node of this name begins. */
const leastCredit = ({ flaps }: Coordinator, name: string): number =>
  Math.min(flaps.get(name)?.count ?? 0, MOST_CREDIT - 1);

/** It was not late. */
export const forgive = (member: Member): void => {
  if (member.misses > 0) member.misses = Math.max(0, member.misses - 1 / FORGIVEN);
};
