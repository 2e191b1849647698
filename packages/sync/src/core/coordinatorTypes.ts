import type { ShardRange } from '../reduce/tree.ts';

/** All times are milliseconds of one clock that never goes back. */
export interface CoordinatorConfig {
  readonly run: bigint;
  /** Grows by one with every start of a coordinator of this run, and is on the disk before it speaks. */
  readonly incarnation: number;
  /** Weights that the run begins with, or goes on with: those before this step. */
  readonly start: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Shards of a step that have rows, at least 1. */
  readonly shards: (step: number) => number;
  /** So many nodes must be ready before the first step. Later on, one is enough. */
  readonly minNodes: number;
  /** Between two pings. A peer that was silent for two of these is dead. */
  readonly heartbeat: number;
  /** See Note [Who is late]. */
  readonly straggler: {
    /** A holder is late after this many times what another one took, */
    readonly factor: number;
    /** but not before this time; */
    readonly least: number;
    /** after this time, where it has computed and nobody knows how long gradients travel. */
    readonly unknown: number;
  };
}

/** What happens to the coordinator. Sessions are the ones that it granted; events of others are ignored. */
export type CoordinatorEvent =
  /** An authenticated peer introduced itself; `peer` is the driver's name of the connection. */
  | { readonly type: 'join'; readonly peer: number; readonly id: string; readonly name: string }
  /** The node has the program and the data: from now on it may compute. */
  | { readonly type: 'ready'; readonly session: number }
  /** Any sign of life. */
  | { readonly type: 'heard'; readonly session: number }
  /** The node ends: it finishes what it holds. */
  | { readonly type: 'leave'; readonly session: number }
  /** The connection is gone, or what came on it was refused. */
  | { readonly type: 'lost'; readonly session: number }
  /** The gradient of a unit is here, whole; its last bucket came from this session. */
  | ({ readonly type: 'unit'; readonly session: number; readonly step: number } & ShardRange)
  /** The sums of the step are there, over all shards: from units of an earlier cut, too. Told after `unit`. */
  | { readonly type: 'whole'; readonly step: number }
  /** A session has sent all of a unit, whether it was the first or not. Told before `unit`. */
  | ({
      readonly type: 'returned';
      readonly session: number;
      readonly step: number;
      /** False: some of it had other bits than what somebody else sent. */
      readonly agrees: boolean;
    } & ShardRange)
  /** What it was given took it so long, the network's time apart; said before the last piece. */
  | {
      readonly type: 'computed';
      readonly session: number;
      readonly step: number;
      readonly milliseconds: number;
    }
  /** A duplicate had other bits than the first. */
  | ({
      readonly type: 'conflict';
      readonly step: number;
      readonly sessions: readonly [first: number, second: number];
    } & ShardRange)
  /** The weights after this step are complete. `idle`: milliseconds of it in which the coordinator did something else. */
  | { readonly type: 'applied'; readonly step: number; readonly idle?: number }
  /** The run is over, finished or not: nodes are told, and nothing more is done. */
  | { readonly type: 'stop' }
  /** The time that `nextWake` gave has come. */
  | { readonly type: 'tick' };

/** What the coordinator wants done. */
export type Effect =
  | { readonly do: 'welcome'; readonly peer: number; readonly session: number }
  | { readonly do: 'ping'; readonly session: number }
  /** Send the weights before `step`. */
  | { readonly do: 'publish'; readonly session: number; readonly step: number }
  | {
      readonly do: 'assign';
      readonly session: number;
      readonly step: number;
      readonly units: readonly ShardRange[];
      /** All who compute this step are given theirs now, and get every bucket of weights that comes of it. */
      readonly together: boolean;
      /** Another node computes the unit, too: see Note [Redundant units]. */
      readonly isRedundant: boolean;
    }
  /** Pieces of this step are collected from now on. Checksums of older steps are kept while something of them is awaited. */
  | { readonly do: 'open'; readonly step: number; readonly awaited: readonly number[] }
  /** Reduce these units, in order, update the weights, then tell `applied`. Nothing else touches the weights. */
  | { readonly do: 'apply'; readonly step: number; readonly units: readonly ShardRange[] }
  | { readonly do: 'close'; readonly session: number; readonly reason: CloseReason }
  | { readonly do: 'report'; readonly report: Report };

/** After `interrupted` nodes may come back: the run can be resumed. After `finished` there is nothing to come back to. */
export type CloseReason = 'replaced' | 'silent' | 'left' | 'finished' | 'interrupted';

/** What people and logs are told. */
export type Report =
  | { readonly type: 'join' | 'leave'; readonly name: string; readonly step: number }
  | {
      readonly type: 'lost';
      readonly name: string;
      readonly step: number;
      readonly reason: CloseReason | 'closed';
    }
  /** Shards of a lost node, or of nobody, were handed out. */
  | { readonly type: 'reassign'; readonly step: number; readonly names: readonly string[] }
  /** A unit is computed a second time: its holder is late. */
  | ({
      readonly type: 'straggler';
      readonly step: number;
      readonly late: readonly string[];
      readonly helper: string;
    } & ShardRange)
  /** A node has no share any more: it does not return what it is asked for in time, or steps are slower with it. */
  | {
      readonly type: 'aside';
      readonly step: number;
      readonly name: string;
      readonly reason: 'late' | 'slower';
    }
  /** It has one again. */
  | { readonly type: 'back'; readonly step: number; readonly name: string }
  /** The shares of the nodes were cut anew, by what was measured. */
  | { readonly type: 'rebalance'; readonly step: number }
  /** Nobody is there to compute. */
  | { readonly type: 'stall' | 'resume'; readonly step: number }
  /** Two nodes gave different bits for one unit: one of them computes wrongly. */
  | ({
      readonly type: 'alarm';
      readonly step: number;
      readonly names: readonly [string, string];
    } & ShardRange);
