/** What the coordinator knows, and what can be asked of it without changing anything. */
import { type Fence, isSameFence } from '@lockstep/protocol';
import type { ShardRange } from '../reduce/tree.ts';
import type { CoordinatorConfig } from './coordinatorTypes.ts';
import type { Experiment } from './experiment.ts';
import { nextDue } from './lateness.ts';
import { FIRST_CREDIT } from './lineup.ts';
import { OpenStep } from './openStep.ts';
import type { Redundant } from './redundant.ts';

/** The median of the last measurements: on a machine that does other things, too, single ones say little. */
export class RollingMedian {
  readonly #last: number[] = [];
  /** Of the last ones: it is asked for more often than anything is measured. */
  #median: number | undefined;

  /** Undefined until it was measured so often. */
  value(least = 1): number | undefined {
    return this.#last.length < least ? undefined : this.#median;
  }

  add(measured: number): void {
    if (this.#last.push(measured) > MEASUREMENTS) this.#last.shift();
    this.#median = this.#last.toSorted((a, b) => a - b)[Math.floor((this.#last.length - 1) / 2)];
  }

  forget(): void {
    this.#last.length = 0;
  }
}

const MEASUREMENTS = 5;

/** What a member does in the open step. */
export interface Busy {
  readonly since: number;
  shards: number;
  units: number;
  /** Assignments that it has yet to compute; what it computed may still be on its way. */
  uncomputed: number;
  /** Milliseconds that it computed, as it says; undefined: it has not said so. */
  computed: number | undefined;
}

export interface Member {
  readonly session: number;
  readonly id: string;
  readonly name: string;
  /** When its session began. */
  readonly joined: number;
  /** When anything last came from it. */
  heard: number;
  /** When it was last pinged. */
  pinged: number;
  /** Milliseconds from its assignment until all of it was here, in the steps that it took part in. */
  readonly round: RollingMedian;
  /** Milliseconds that it computes for a shard, */
  readonly shard: RollingMedian;
  /** and from then until the gradient is here, for each unit: how shares are cut follows from both. */
  readonly unit: RollingMedian;
  /** It has the program and the data. */
  ready: boolean;
  leaving: boolean;
  /** It has a share of every step, unless it is on trial. Who is neither is in reserve. */
  isActive: boolean;
  /** Redundant units that it has yet to return: it is on trial. */
  trials: number;
  /** Milliseconds that one is waited for until another one is assigned in its place. */
  patience: number;
  /** It has returned a first unit of its trial, and is tried to the end. */
  isBegun: boolean;
  /** When steps with and without it are next compared, and so many steps after the last time. */
  dueAt: number;
  interval: number;
  /** It is not tried together with others, */
  isAlone: boolean;
  /** or it made no difference so far, and is tried whenever others are. */
  isHarmless: boolean;
  /** Steps in a row in which it had a share of no shards. */
  idle: number;
  /** Steps for which it was late, each forgotten little by little with the ones for which it was not. */
  misses: number;
  /** Its trials told how fast it is. */
  isTried: boolean;
  /** Whether people were told that it is set aside. */
  isAside: boolean;
  /** The newest model that it was sent whole is the one before this step; -1: none. */
  model: number;
  /** It takes part in the open step: it is sent the next model, too, bucket by bucket. */
  receives: boolean;
  /** Undefined while it has nothing to do. */
  busy: Busy | undefined;
}

export interface Coordinator {
  readonly config: CoordinatorConfig;
  phase: 'gathering' | 'open' | 'applying' | 'over' | 'done';
  /** The weights are those before this step. */
  step: number;
  /** By session, in order of joining. */
  readonly members: Map<number, Member>;
  /** Sessions granted so far: the last one's number. */
  sessions: number;
  /** By session, of the last few thousand: also a late duplicate's sender, which may be gone, has a name. */
  readonly names: Map<number, string>;
  open: OpenStep;
  /** Milliseconds of a step, from one to the next, with those who are active. */
  readonly pace: RollingMedian;
  /** Units that were assigned although others compute them, and are not here yet; also of steps that are over. */
  readonly redundant: Set<Redundant>;
  /** The most shards that a step has had: shorter ones are not compared with others. */
  mostShards: number;
  /** By line-up: the shares that it had last, kept while they are good enough. */
  readonly shares: Map<string, ReadonlyMap<number, ShardRange>>;
  experiment: Experiment | undefined;
  /** By name: nodes that were lost soon after they had joined, the oldest first; how often in a row, and when. */
  readonly flaps: Map<string, { readonly count: number; readonly at: number }>;
  /** Steps that trials and experiments may cost: see Note [Credit]. */
  credit: number;
  stalled: boolean;
}

/** A coordinator at its start; the run begins with the first event. Throws when the configuration makes no sense. */
export const createCoordinator = (config: CoordinatorConfig, now: number): Coordinator => {
  if (!(config.start >= 0 && config.start <= config.steps && config.minNodes >= 1)) {
    throw new RangeError(
      `coordinator: start ${config.start}, steps ${config.steps}, minNodes ${config.minNodes}: ` +
        'expected 0 <= start <= steps and minNodes >= 1',
    );
  }
  return {
    config,
    phase: 'gathering',
    step: config.start,
    members: new Map(),
    sessions: 0,
    names: new Map(),
    open: new OpenStep(-1, 1, now),
    pace: new RollingMedian(),
    redundant: new Set(),
    mostShards: 1,
    shares: new Map(),
    experiment: undefined,
    flaps: new Map(),
    credit: FIRST_CREDIT,
    stalled: false,
  };
};

/** Whether a frame is of a session that lives now. All others are dropped, whatever they say. */
export const admits = ({ config, members }: Coordinator, fence: Fence): boolean =>
  members.has(fence.session) &&
  isSameFence(fence, { run: config.run, incarnation: config.incarnation, session: fence.session });

/**
 * Whether a piece of this unit is to be looked at: the step is open and the session was asked for the unit, or the
 * step is over and the piece can be a late duplicate.
 */
export const expects = (state: Coordinator, session: number, step: number, { lo, hi }: ShardRange): boolean =>
  step < state.open.step ||
  (step === state.open.step &&
    state.open.find(lo, hi)?.holders.some((holder) => holder.session === session) === true) ||
  redundantOf(state, session, step, lo, hi) !== undefined;

/** The redundant unit that a session was asked for, and has not returned. */
export const redundantOf = (
  { redundant }: Coordinator,
  session: number,
  step: number,
  lo: number,
  hi: number,
): Redundant | undefined => {
  for (const each of redundant) {
    if (each.session === session && each.step === step && each.lo === lo && each.hi === hi) return each;
  }
  return undefined;
};

/** Who is sent every model, bucket by bucket: those who take part in the open step. */
export const receivers = ({ members }: Coordinator): number[] =>
  [...members.values()].flatMap(({ session, receives }) => (receives ? [session] : []));

/** When a `tick` is wanted next. Infinity: nothing is waited for but events. */
export const nextWake = (state: Coordinator, now: number): number => {
  const { config, members } = state;
  let next = nextDue(state, now);
  for (const { heard, pinged } of members.values()) {
    next = Math.min(next, pinged + config.heartbeat, heard + 2 * config.heartbeat);
  }
  return next;
};
