/** What a run tells while it trains. The same objects are the lines of `--json` and of `metrics.jsonl`. */
import type { SummaryRow } from '@lockstep/nn';
import type { StepTime } from '@lockstep/sync';
import type { Metrics, Tables } from '../step/metrics.ts';

export type { Metrics, Tables };

/** On the validation part. */
export interface Validated<K extends string = string> {
  readonly loss: number;
  readonly metrics: Metrics<K>;
  readonly tables?: Tables;
}

export interface StartEvent {
  readonly type: 'start';
  readonly name: string;
  readonly model: readonly SummaryRow[];
  readonly parameters: number;
  /** Name of the data set. */
  readonly data: string;
  readonly trainRows: number;
  readonly validationRows: number;
  readonly batch: number;
  readonly shards: number;
  readonly seed: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly workers: number;
  readonly kernels: string;
  /**
   * With `resume`: the checkpoint that the run goes on from, and newer ones that can't be used; null where there was none.
   */
  readonly resumed?: {
    readonly step: number;
    readonly file: string;
    readonly skipped?: readonly SkippedCheckpoint[];
  } | null;
}

/** How a step went on a cluster. */
export interface ClusterStep {
  /** Nodes that are there, and their threads. */
  readonly nodes: number;
  readonly workers: number;
  /**
   * Milliseconds of this step: `compute` and `wait` (for slower nodes, or for the coordinator's validation and checkpoints)
   * of a node on average, `update` (adding up, optimizer) and `network` as far as no computing hides them. Together they
   * are all of the step.
   */
  readonly time: StepTime;
  /** Of weights that left the coordinator, to all nodes together, and of gradients that came, since the step before. */
  readonly bytes: { readonly sent: number; readonly received: number };
}

/** After each optimizer step. Loss and metrics are means over the rows that went into it. */
export interface StepEvent extends Partial<ClusterStep> {
  readonly type: 'step';
  /** Optimizer steps so far, from 1. */
  readonly step: number;
  /** From 1. */
  readonly epoch: number;
  readonly loss: number;
  readonly metrics: Metrics;
  readonly learningRate: number;
  /** Since the run began; validation, and time in which nobody was there to compute, left out. */
  readonly samplesPerSecond: number;
}

export interface EpochEvent {
  readonly type: 'epoch';
  readonly epoch: number;
  readonly step: number;
  readonly loss: number;
  readonly metrics: Metrics;
  readonly validation?: Validated;
  /** Validation, and time in which nobody was there to compute, left out. */
  readonly seconds: number;
  /** Better than all before, by the early stopping's measure. */
  readonly best?: boolean;
  /** Digest of the weights that would be kept now: of runs with `out`, after epochs 1, 2, 4, 8 and so on. */
  readonly weightsDigest?: string;
}

export interface WorkerEvent {
  readonly type: 'workerLost' | 'workerReplaced';
  readonly worker: number;
  readonly step: number;
  /** Of the step, from 0: forward and backward come first, then sums and updates. */
  readonly phase: number;
  /** How the thread ended. */
  readonly reason: string;
}

export interface EarlyStopEvent {
  readonly type: 'earlyStop';
  readonly epoch: number;
  /** The epoch whose weights are kept. */
  readonly bestEpoch: number;
  readonly metric: string;
  readonly value: number;
}

/** A checkpoint lies on the disk: a run with `resume` can go on from its step. */
export interface CheckpointEvent {
  readonly type: 'checkpoint';
  readonly step: number;
  /** Its manifest, below the run's folder. */
  readonly file: string;
  /** Of all its files. */
  readonly bytes: number;
  /** SHA-256 of its tensors: equal states of a run have equal ones. */
  readonly sha256: string;
  /** That writing it took, while training went on. */
  readonly seconds: number;
}

/** A checkpoint could not be written (a full disk, say); those before it still stand, and training goes on. */
export interface CheckpointFailedEvent {
  readonly type: 'checkpointFailed';
  readonly step: number;
  readonly reason: string;
}

export interface SkippedCheckpoint {
  /** Its manifest, below the run's folder. */
  readonly file: string;
  /** What is wrong with it. */
  readonly reason: string;
}

/** A checkpoint that is not whole was passed over, and left as it is. */
export interface CheckpointDamagedEvent extends SkippedCheckpoint {
  readonly type: 'checkpointDamaged';
}

/** A coordinator waits for nodes: of `serve`, before `start`. */
export interface ListeningEvent {
  readonly type: 'listening';
  readonly urls: readonly string[];
  /** What to type on another machine. Holds the token when it was made for this run, as a variable of the environment. */
  readonly command: string;
  /** Nodes must know the token that `serve` was given; in `command`, FILE stands for a file that holds it. */
  readonly needsToken: boolean;
  /** So many nodes must be ready before the first step; this process' own is one. */
  readonly minNodes: number;
}

/**
 * Connections were refused, or ended for what came on them, with this code (a `TransportCode`, or one of the protocol). The
 * first of a code is told at once, those that follow together, at most every ten seconds; `/metrics` counts each.
 */
export interface RefusedEvent {
  readonly type: 'refused';
  readonly code: string;
  /** Of the last one. */
  readonly address: string;
  /** Since the last such event of this code. */
  readonly count: number;
  readonly message?: string;
}

interface InCluster {
  /** The optimizer step under way, from 1. */
  readonly step: number;
  /** Nodes that are there now. */
  readonly nodes: number;
}

/** A node came, went (it had said so), or was lost: `closed` with its connection, `silent`, or `replaced` by itself. */
export type NodeEvent = InCluster &
  (
    | { readonly type: 'join' | 'leave'; readonly name: string }
    | { readonly type: 'lost'; readonly name: string; readonly reason: string }
  );

/** Who computes what changed; never what is computed. */
export type ShareEvent = InCluster &
  (
    | { readonly type: 'reassign'; readonly names: readonly string[] }
    | {
        readonly type: 'straggler';
        readonly lo: number;
        readonly hi: number;
        readonly late: readonly string[];
        readonly helper: string;
      }
    /** A node has no share any more: it does not return what it is asked for in time, or steps are slower with it. */
    | { readonly type: 'aside'; readonly name: string; readonly reason: 'late' | 'slower' }
    /** It has one again. */
    | { readonly type: 'back'; readonly name: string }
    | { readonly type: 'rebalance' | 'stall' | 'resume' }
  );

/** Two nodes gave different bits for the shards [lo, hi) of a batch: one of them computes wrongly. The coordinator finds out which. */
export type AlarmEvent = InCluster & {
  readonly type: 'alarm';
  readonly lo: number;
  readonly hi: number;
  readonly names: readonly [string, string];
};

/**
 * A node gave wrong results for the shards [lo, hi) of a batch: found by an audit, by another node that gave others, or
 * because its numbers were not finite. It is refused for the rest of the run.
 */
export type LiarEvent = InCluster & {
  readonly type: 'liar';
  readonly name: string;
  /** Of its process. */
  readonly id: string;
  readonly reason: 'audit' | 'conflict' | 'notFinite';
  readonly lo: number;
  readonly hi: number;
};

/** What a node contributed is not trusted any more (or the loss left the range of f32 because of it): steps are computed again. */
export type RewindEvent = InCluster & {
  readonly type: 'rewind';
  /** The optimizer steps that stay. */
  readonly kept: number;
  readonly reason: LiarEvent['reason'] | 'diverged';
};

/** Units of work that other processes contributed, and how many of them the coordinator computed a second time. */
export interface AuditCounts {
  /** The part that was to be audited, 0 to 1. */
  readonly rate: number;
  readonly units: number;
  readonly audited: number;
}

export interface DoneEvent<K extends string = string> {
  readonly type: 'done';
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  readonly metrics: Metrics<K>;
  /** Of the weights that are kept: the best ones with early stopping. */
  readonly validation?: Validated<K>;
  readonly samplesPerSecond: number;
  readonly seconds: number;
  readonly weightsDigest: string;
  readonly workers: number;
  /** Processes that computed something of it. */
  readonly nodes: number;
  readonly shards: number;
  readonly kernels: string;
  readonly exact: boolean;
  /** Threads that died and were replaced. */
  readonly lostWorkers: number;
  /** Of a cluster. */
  readonly audit?: AuditCounts;
  /** Stopped by a signal before its end. */
  readonly interrupted: boolean;
}

export type TrainingEvent =
  | StartEvent
  | StepEvent
  | EpochEvent
  | WorkerEvent
  | EarlyStopEvent
  | CheckpointEvent
  | CheckpointFailedEvent
  | CheckpointDamagedEvent
  | ListeningEvent
  | RefusedEvent
  | NodeEvent
  | ShareEvent
  | AlarmEvent
  | LiarEvent
  | RewindEvent
  | DoneEvent;

/** Called as things happen; what they return is not awaited. */
export type Callbacks = {
  readonly [K in TrainingEvent['type']]?: (event: Extract<TrainingEvent, { type: K }>) => void;
} & {
  readonly event?: (event: TrainingEvent) => void;
};
