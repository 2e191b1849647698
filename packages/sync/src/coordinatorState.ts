/** What the coordinator knows, and what can be asked of it without changing anything. */
import { type Fence, isSameFence } from '@lockstep/protocol';
import type { CoordinatorConfig } from './coordinatorTypes.ts';
import { OpenStep } from './openStep.ts';
import type { ShardRange } from './tree.ts';

/** The median of the last measurements: on a machine that does other things, too, single ones say little. */
export class Typical {
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
  /** When anything last came from it. */
  heard: number;
  /** When it was last pinged. */
  pinged: number;
  /** Shards per millisecond, from an assignment to the last piece of a gradient: when it is late follows from that. */
  readonly speed: Typical;
  /** Milliseconds that it computes for a shard, */
  readonly shard: Typical;
  /** and from then until the gradient is here, for each unit: how shares are cut follows from both. */
  readonly unit: Typical;
  /** Steps in a row in which it had no share: then what was measured is forgotten, and it is tried anew. */
  idle: number;
  /** It has the program and the data, and gets the weights. */
  ready: boolean;
  leaving: boolean;
  /** Undefined while it has nothing to do. */
  busy: Busy | undefined;
}

export interface Coordinator {
  readonly config: CoordinatorConfig;
  phase: 'gathering' | 'open' | 'applying' | 'saving' | 'done';
  /** The weights are those before this step. */
  step: number;
  /** By session, in order of joining. */
  readonly members: Map<number, Member>;
  /** All sessions ever granted; names of late duplicates' senders. */
  readonly names: Map<number, string>;
  open: OpenStep;
  /** The shares of the last step that was handed out, kept while they are good enough. */
  shares: { readonly shards: number; readonly ranges: ReadonlyMap<number, ShardRange> };
  stalled: boolean;
  stopping: boolean;
  readonly save: { writing: number | undefined; step: number; at: number; wanted: boolean };
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
    names: new Map(),
    open: new OpenStep(-1, 1),
    shares: { shards: 0, ranges: new Map() },
    stalled: false,
    stopping: false,
    save: { writing: undefined, step: config.start, at: now, wanted: false },
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
    state.open.find(lo, hi)?.holders.some((holder) => holder.session === session) === true);

/** When a `tick` is wanted next. Infinity: nothing is waited for but events. */
export const nextWake = ({ config, phase, members, open }: Coordinator, now: number): number => {
  let next = phase === 'open' ? open.nextDue(now) : Number.POSITIVE_INFINITY;
  for (const { heard, pinged } of members.values()) {
    next = Math.min(next, pinged + config.heartbeat, heard + 2 * config.heartbeat);
  }
  return next;
};
