/**
 * A node as a pure state machine, the coordinator's counterpart: connects, introduces itself, computes what it is
 * assigned on the weights that it was assigned for, and connects again when the connection or the coordinator is
 * gone. It keeps nothing that a run depends on.
 */
import { type Fence, isSameFence } from '@lockstep/protocol';
import type { ShardRange } from '../reduce/tree.ts';

export interface NodeConfig {
  /** Of this process, for ever: spreads the reconnects of many nodes. */
  readonly id: string;
  /**
   * Milliseconds from a lost connection to the first reconnect; doubles from one failed attempt to the next up to the longest,
   * less a jitter.
   */
  readonly backoff: { readonly first: number; readonly longest: number };
  /** Milliseconds that a connection may take until the welcome. */
  readonly patience: number;
}

export interface Assignment {
  readonly units: readonly ShardRange[];
  /** Bytes of a unit that may be sent before any of the new weights are back; undefined: all of them. */
  readonly ahead?: number | undefined;
}

export type NodeEvent =
  /** A connection stands, or it could not be made. */
  | { readonly type: 'dialed' | 'closed'; readonly attempt: number }
  /** The coordinator's welcome, with the fence of its frame. */
  | { readonly type: 'welcome'; readonly fence: Fence; readonly attempt: number; readonly heartbeat: number }
  /** What `prepare` asked for is here. */
  | { readonly type: 'prepared'; readonly attempt: number }
  /** Any other sign of life on this connection. */
  | { readonly type: 'heard' }
  | { readonly type: 'ping' }
  | ({ readonly type: 'assign'; readonly step: number } & Assignment)
  /** All weights before this step are here. */
  | { readonly type: 'weights'; readonly step: number }
  /** What `compute` asked for is done, and sent. */
  | { readonly type: 'computed'; readonly step: number }
  /** The run is over. */
  | { readonly type: 'finished' }
  /** The node is to end: it says so, and goes when the coordinator closes. */
  | { readonly type: 'leave' }
  | { readonly type: 'tick' };

export type NodeEffect =
  /** Connect; earlier connections are closed and forgotten. */
  | { readonly do: 'dial'; readonly attempt: number }
  | { readonly do: 'hangUp' }
  | { readonly do: 'send'; readonly message: 'hello' | 'ready' | 'pong' | 'leave' }
  /** Fetch the program and the data, unless they are here, then tell `prepared`. */
  | { readonly do: 'prepare'; readonly attempt: number }
  /** Run these units on the weights before `step`, send their gradients, then tell `computed`. */
  | ({ readonly do: 'compute'; readonly step: number } & Assignment)
  /** What is computed is not wanted any more; nothing of it may be sent. `computed` need not come. */
  | { readonly do: 'abandon' }
  /** Nothing is left to do. */
  | { readonly do: 'end' };

export interface NodeState {
  readonly config: NodeConfig;
  phase: 'waiting' | 'dialing' | 'greeting' | 'member' | 'ended';
  /** The session, while it is a member. */
  fence: Fence | undefined;
  attempt: number;
  /** When the last attempt began. */
  dialed: number;
  failures: number;
  heartbeat: number;
  /** When something is overdue: a reconnect, a welcome, a ping. */
  wake: number;
  /** The weights that are here: those before this step; -1: none. */
  weights: number;
  /** The newest step that was assigned. */
  step: number;
  computing: boolean;
  readonly queue: Assignment[];
  leaving: boolean;
}

/** A node that connects with its first `tick`. */
export const createNode = (config: NodeConfig, now: number): NodeState => ({
  config,
  phase: 'waiting',
  fence: undefined,
  attempt: 0,
  dialed: now,
  failures: 0,
  heartbeat: 0,
  wake: now,
  weights: -1,
  step: -1,
  computing: false,
  queue: [],
  leaving: false,
});

/** Whether a frame (a welcome apart) is of the session that lives now; all others are dropped. */
export const nodeAdmits = ({ fence }: NodeState, frame: Fence): boolean =>
  fence !== undefined && isSameFence(fence, frame);

/** When a `tick` is wanted next. */
export const nodeWake = ({ phase, wake }: NodeState): number =>
  phase === 'ended' ? Number.POSITIVE_INFINITY : wake;

/** One event at time `now`: changes the state, returns what is to be done, in order. */
export const operate = (state: NodeState, event: NodeEvent, now: number): NodeEffect[] => {
  const { phase } = state;
  if (phase === 'ended') return [];
  if (phase === 'member' && event.type !== 'tick') state.wake = now + 2 * state.heartbeat;
  switch (event.type) {
    case 'dialed':
      if (phase !== 'dialing' || event.attempt !== state.attempt) return [];
      state.phase = 'greeting';
      return [{ do: 'send', message: 'hello' }];
    case 'closed':
      return event.attempt === state.attempt && phase !== 'waiting' ? disconnect(state, now) : [];
    case 'welcome':
      return phase === 'greeting' && event.attempt === state.attempt ? begin(state, event, now) : [];
    case 'prepared':
      return phase === 'member' && event.attempt === state.attempt ? [{ do: 'send', message: 'ready' }] : [];
    case 'ping':
      return phase === 'member' ? [{ do: 'send', message: 'pong' }] : [];
    case 'assign':
      return phase === 'member' ? assigned(state, event) : [];
    case 'weights':
      if (phase !== 'member' || event.step <= state.weights) return [];
      state.weights = event.step;
      return next(state);
    case 'computed':
      if (event.step !== state.step) return [];
      state.computing = false;
      return next(state);
    case 'finished':
      state.phase = 'ended';
      return [...stopComputing(state), { do: 'hangUp' }, { do: 'end' }];
    case 'leave':
      state.leaving = true;
      return phase === 'member' ? [{ do: 'send', message: 'leave' }] : disconnect(state, now);
    case 'tick':
      return now >= state.wake ? overdue(state, now) : [];
    case 'heard':
      return [];
  }
};

const overdue = (state: NodeState, now: number): NodeEffect[] => {
  if (state.phase !== 'waiting') return disconnect(state, now);
  state.phase = 'dialing';
  state.attempt++;
  state.dialed = now;
  state.wake = now + state.config.patience;
  return [{ do: 'dial', attempt: state.attempt }];
};

const begin = (
  state: NodeState,
  { fence, heartbeat }: { fence: Fence; heartbeat: number },
  now: number,
): NodeEffect[] => {
  state.phase = 'member';
  state.fence = fence;
  state.failures = 0;
  state.heartbeat = heartbeat;
  state.wake = now + 2 * heartbeat;
  return [{ do: 'prepare', attempt: state.attempt }];
};

/** A newer step ends all older work; more units of the same step wait for their turn. */
const assigned = (state: NodeState, { step, units, ahead }: { step: number } & Assignment) => {
  if (step < state.step) return [];
  const effects: NodeEffect[] = [];
  if (step > state.step) {
    effects.push(...stopComputing(state));
    state.step = step;
  }
  state.queue.push({ units, ahead });
  return [...effects, ...next(state)];
};

/** Starts what is first in the queue, once the weights are those of the step. */
const next = (state: NodeState): NodeEffect[] => {
  if (state.computing || state.weights !== state.step) return [];
  const assignment = state.queue.shift();
  if (assignment === undefined) return [];
  state.computing = true;
  return [{ do: 'compute', step: state.step, ...assignment }];
};

const stopComputing = (state: NodeState): NodeEffect[] => {
  state.queue.length = 0;
  if (!state.computing) return [];
  state.computing = false;
  return [{ do: 'abandon' }];
};

/** Forgets the session, weights and all, and tries again later; or ends, when it was to leave anyway. */
const disconnect = (state: NodeState, now: number): NodeEffect[] => {
  const effects: NodeEffect[] = [...stopComputing(state), { do: 'hangUp' }];
  state.fence = undefined;
  state.weights = -1;
  state.step = -1;
  if (state.leaving) {
    state.phase = 'ended';
    return [...effects, { do: 'end' }];
  }
  const { first, longest } = state.config.backoff;
  const pause = Math.min(longest, first * 2 ** Math.min(state.failures, 30));
  // An attempt that nobody answered has taken its pause: whoever comes out of a black hole is back soon, however long it was.
  const from = state.phase === 'member' ? now : state.dialed;
  state.phase = 'waiting';
  state.wake = Math.max(now, from + pause * (1 - jitter(state.config.id, state.attempt) / 2));
  state.failures++;
  return effects;
};

/** From 0 to 1, the same for the same node and attempt: FNV-1a of both. */
const jitter = (id: string, attempt: number): number => {
  let hash = 0x811c9dc5;
  for (const char of `${id}:${attempt}`) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  hash ^= hash >>> 15;
  return (Math.imul(hash, 0x2c1b3c6d) >>> 0) / 2 ** 32;
};
