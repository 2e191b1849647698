/**
 * Who takes part in a step, and with what share. A member is on trial (it owes redundant units, see trials.ts), in reserve (it
 * returned them, but has no share), or active. Who is in reserve becomes active when steps are faster with it, and whoever is
 * active is in reserve again when they are not: see Note [With and without]. What is found out so is tried again later, after
 * ever more steps.
 *
 * Note [Credit]: trials and experiments take time from the run when they do no good. All of them together may take a part
 * of it: each step gives some credit, and each step that takes longer than usual while something is tried takes some. Without
 * credit nothing is begun, so nodes that join again and again cost no more than that.
 */

import type { ShardRange } from '../reduce/tree.ts';
import type { Coordinator, Member } from './coordinatorState.ts';
import type { Report } from './coordinatorTypes.ts';
import { Experiment, type Turn } from './experiment.ts';
import { type Cost, makespan, shareOut, timeOf } from './shares.ts';

/** In steps. A step gives so much of one, up to the most. */
const CREDIT_OF_STEP = 0.02;
export const MOST_CREDIT = 5;
export const FIRST_CREDIT = 2.5;
/** What it takes to find out that a node is useful: so many steps without it, divided among the others. */
const CHECK_COST = 4;
/** Steps until a member is tried with and without, and the most: they double each time that it changes nothing. */
export const FIRST_INTERVAL = 100;
const LONGEST_INTERVAL = 12_800;
/** An active member whose share is empty in so many steps is in reserve. */
const IDLE = 3;

/** A new assignment must promise at least this part less time: another one means new programs on the nodes. */
const WORTH = 0.9;
/** A step may take this part longer, where that means fewer gradients on the wire. */
const SLACK = 0.15;
/**
 * Shares stay while the slowest member takes at most so many times as long as the fastest: compared are times with the
 * shares as they are, since what a member needs per shard also depends on how many it has.
 */
const BALANCED = 1.25;
/** Steps with and without a node are only compared when they would take this part of the time with it, by what is known. */
const PROMISE = 0.97;
/** Line-ups whose shares are kept: those of an experiment, for whole batches and for short ones. */
const MOST_KEPT = 8;
/** Members are taken for equals until each was measured so often: in the first steps much is done for the first time. */
const KNOWN = 3;
/**
 * Gradients of two members that take times on the wire within this factor of each other are taken for equally far: on a link
 * that they share, chance decides whose is there first.
 */
const FAR = 2;

/** Who may be given work, and what it costs there. */
export interface Taker {
  readonly member: Member;
  readonly session: number;
  readonly cost: Cost;
}

const isThere = ({ ready, leaving }: Member): boolean => ready && !leaving;
const isReserve = (member: Member): boolean => isThere(member) && !member.isActive && member.trials === 0;

/** Members that have a share of every step, experiments apart. */
export const actives = ({ members }: Coordinator): Member[] =>
  [...members.values()].filter((member) => isThere(member) && member.isActive && member.trials === 0);

/** From now on it has a share; after so many steps it is found out whether they are faster with it. */
export const activate = (state: Coordinator, member: Member, steps = 2 * FIRST_INTERVAL): void => {
  member.isActive = true;
  member.trials = 0;
  member.isBegun = false;
  member.isAlone = false;
  member.isHarmless = false;
  member.interval = steps;
  member.dueAt = state.step + steps;
};

/** As `actives`; where there is nobody, whoever is there is active after all: those first who owe nothing. */
export const anyActives = (state: Coordinator): Member[] => {
  const found = actives(state);
  if (found.length > 0) return found;
  const owing = new Set([...state.redundant].map(({ session }) => session));
  const all = [...state.members.values()].filter(isThere);
  const free = all.filter(({ session }) => !owing.has(session));
  const reserve = free.filter(isReserve);
  const chosen = reserve.length > 0 ? reserve : free.length > 0 ? free : all;
  for (const member of chosen) activate(state, member);
  return actives(state);
};

/** It has no share for now, and is tried again after twice as many steps as the last time; first it returns a unit again. */
export const defer = (state: Coordinator, member: Member): void => {
  member.isActive = false;
  member.isBegun = false;
  member.isHarmless = false;
  member.trials = Math.max(1, member.trials);
  postpone(state, member);
};

const postpone = (state: Coordinator, member: Member): void => {
  member.interval = Math.min(2 * member.interval, LONGEST_INTERVAL);
  member.dueAt = state.step + member.interval;
};

/** Somebody who had a share is not there any more: who was of no use with it may be now. */
export const reconsider = (state: Coordinator): void => {
  for (const member of state.members.values()) {
    if (!member.isActive) member.dueAt = Math.min(member.dueAt, state.step);
  }
};

/** Who takes part in the step that is opened now. */
export const nextLineup = (state: Coordinator): Member[] => {
  const main = anyActives(state);
  if (state.experiment === undefined || !goesOn(state, state.experiment, main)) {
    state.experiment = begin(state, main);
  }
  const { experiment, members } = state;
  if (experiment === undefined) return main;
  const { sessions, turn } = experiment;
  return [...members.values()].filter((member) =>
    sessions.has(member.session) ? turn === 'with' : main.includes(member),
  );
};

/** Whether all whom an experiment needs are still there, and nobody else. */
const goesOn = ({ members }: Coordinator, { sessions, others }: Experiment, main: Member[]): boolean =>
  others === keyOf(main) &&
  [...sessions].every((session) => {
    const member = members.get(session);
    return member !== undefined && isThere(member) && member.trials === 0;
  });

/** The next experiment, if one is due. */
const begin = (state: Coordinator, main: readonly Member[]): Experiment | undefined => {
  const { members, step, credit } = state;
  const reserve = [...members.values()].filter(isReserve);
  const due = reserve.filter(({ dueAt }) => dueAt <= step);
  const together = reserve.filter(
    ({ isAlone, isHarmless, dueAt }) => !isAlone && (isHarmless || dueAt <= step),
  );
  const group = together.length > 0 ? together : due.slice(0, 1);
  // What was begun is brought to its end.
  if (due.length > 0 && (credit >= 0 || due.every(({ isBegun }) => isBegun))) {
    if (isPromising(state, main, group)) {
      return new Experiment(
        group.map(({ session }) => session),
        'without',
        keyOf(main),
      );
    }
    for (const member of group) if (member.dueAt <= step) rest(state, member);
  }
  const [oldest] = main.filter(({ dueAt }) => dueAt <= step).sort((a, b) => a.dueAt - b.dueAt);
  if (oldest === undefined || main.length < 2 || credit < CHECK_COST / (main.length - 1)) return undefined;
  return new Experiment([oldest.session], 'with', keyOf(main));
};

/** Whether steps would be faster with more members, if each were as fast as it is alone. */
const isPromising = (
  { mostShards }: Coordinator,
  main: readonly Member[],
  more: readonly Member[],
): boolean => {
  const costs = takersOf([...main, ...more]).map(({ cost }) => cost);
  const time = (some: readonly Cost[]): number =>
    makespan(shareOut({ lo: 0, hi: mostShards }, mostShards, some), mostShards, some);
  return time(costs) < PROMISE * time(costs.slice(0, main.length));
};

/** It has no share, for it would change nothing; it may together with others. */
const rest = (state: Coordinator, member: Member): void => {
  member.isHarmless = true;
  member.isBegun = false;
  postpone(state, member);
};

/** A step is done: what it says of those who took part, and what it cost. */
export const judgeStep = (state: Coordinator, milliseconds: number): Report[] => {
  const { open, experiment, pace } = state;
  state.credit = Math.min(MOST_CREDIT, state.credit + CREDIT_OF_STEP);
  // A short batch says nothing.
  if (open.shards < state.mostShards) return [];
  const usual = pace.value();
  if (open.hasTrials && experiment === undefined && usual !== undefined) {
    state.credit -= Math.max(0, milliseconds / usual - 1);
  }
  const isUsual = !open.isDisturbed && (experiment === undefined || experiment.turn === experiment.given);
  // What is faster although a trial is under way is what is usual.
  if (isUsual && (!open.hasTrials || (usual !== undefined && milliseconds < usual))) pace.add(milliseconds);
  if (experiment === undefined) return [];
  state.credit -= experiment.step(milliseconds, open.isDisturbed);
  return experiment.verdict === undefined ? [] : settle(state, experiment, experiment.verdict);
};

const settle = (state: Coordinator, experiment: Experiment, verdict: Turn): Report[] => {
  const { sessions, given, isSlower } = experiment;
  state.experiment = undefined;
  return [...sessions].flatMap((session): Report[] => {
    const member = state.members.get(session);
    if (member === undefined) return [];
    const { step } = state;
    const { name, isAside } = member;
    if (verdict === 'with' && given === 'with') {
      postpone(state, member);
      return [];
    }
    if (verdict === 'with') {
      for (const other of actives(state)) other.dueAt = Math.max(other.dueAt, step + FIRST_INTERVAL);
      activate(state, member);
      member.isAside = false;
      return isAside ? [{ type: 'back', step, name }] : [];
    }
    if (!isSlower) {
      member.isActive = false;
      rest(state, member);
    } else if (sessions.size > 1) {
      // One of them may be of use, all the same.
      member.isAlone = true;
      member.isHarmless = false;
      return [];
    } else {
      defer(state, member);
    }
    return setAside(member, step);
  });
};

const setAside = (member: Member, step: number): Report[] => {
  if (member.isAside) return [];
  member.isAside = true;
  return [{ type: 'aside', step, name: member.name, reason: 'slower' }];
};

/** Active members whose shares stay empty, by what work costs them, are in reserve. */
export const dismissIdle = (state: Coordinator, ranges: ReadonlyMap<number, ShardRange>): Report[] => {
  const { members, open, mostShards, step, experiment } = state;
  if (open.shards < mostShards || experiment !== undefined) return [];
  return [...ranges].flatMap(([session, { lo, hi }]) => {
    const member = members.get(session)!;
    member.idle = lo === hi ? member.idle + 1 : 0;
    if (member.idle < IDLE) return [];
    member.idle = 0;
    defer(state, member);
    return setAside(member, step);
  });
};

/** What work costs these members. Who is not known yet is taken for the mean of the others. */
export const takersOf = (members: readonly Member[]): Taker[] => {
  const shards = members.map((member) => member.shard.value(member.isTried ? 1 : KNOWN));
  const shard = meanOf(shards) ?? 1;
  const wires = members.map((member) => member.unit.value(KNOWN));
  const far = FAR * Math.min(...wires.filter((time) => time !== undefined));
  const unit = meanOf(wires.filter((time) => time !== undefined && time <= far)) ?? 0;
  return members.map((member, i) => ({
    member,
    session: member.session,
    cost: { shard: shards[i] ?? shard, unit: (wires[i] ?? 0) > far ? wires[i]! : unit },
  }));
};

/** Shares of the open step, by what was measured. Those that the same members had last stay while they are nearly as good. */
export const cutShares = (
  state: Coordinator,
  takers: readonly Taker[],
): { readonly ranges: ReadonlyMap<number, ShardRange>; readonly isNew: boolean } => {
  const { shares, open } = state;
  const key = `${open.shards}: ${keyOf(takers.map(({ member }) => member))}`;
  const costs = takers.map(({ cost }) => cost);
  const before = shares.get(key);
  const kept = before && takers.map(({ session }) => before.get(session)!);
  if (before && kept && isBalanced(kept, open.shards, costs)) return { ranges: before, isNew: false };
  const best = shareOut({ lo: 0, hi: open.shards }, open.shards, costs, SLACK);
  const time = (ranges: readonly ShardRange[]): number => makespan(ranges, open.shards, costs);
  if (before && kept && time(best) >= WORTH * time(kept)) return { ranges: before, isNew: false };
  const ranges = new Map(takers.map(({ session }, i) => [session, best[i]!]));
  shares.delete(key);
  shares.set(key, ranges);
  for (const oldest of shares.keys()) {
    if (shares.size <= MOST_KEPT) break;
    shares.delete(oldest);
  }
  return { ranges, isNew: before !== undefined };
};

const keyOf = (members: readonly Member[]): string => members.map(({ session }) => session).join(' ');

const meanOf = (values: readonly (number | undefined)[]): number | undefined => {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : known.reduce((a, b) => a + b) / known.length;
};

const isBalanced = (ranges: readonly ShardRange[], shards: number, costs: readonly Cost[]): boolean => {
  const times = ranges.map((range, i) => timeOf(range, shards, costs[i]!));
  return Math.max(...times) <= BALANCED * Math.min(...times);
};
