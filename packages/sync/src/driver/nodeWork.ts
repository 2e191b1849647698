/** What a node's driver is told, and what it asks of its host: programs and threads are the host's. */
import type { CoordinatorMessage, NodeMessage } from '@lockstep/protocol';
import type { NodeConfig } from '../core/node.ts';
import type { Bucket } from '../reduce/buckets.ts';
import type { ShardRange } from '../reduce/tree.ts';
import type { Dial } from '../transport/transport.ts';
import type { Clock } from './clock.ts';

export type Welcome = CoordinatorMessage & { type: 'welcome' };
export type Hello = Omit<NodeMessage & { type: 'hello' }, 'type' | 'attempt'>;

/** What a node can do for one run. */
export interface NodeWork {
  readonly unitBuckets: readonly Bucket[];
  readonly modelBuckets: readonly Bucket[];
  /** Buckets of a unit, in the order in which they are sent: the same on every node. */
  readonly order: readonly number[];
  /** So many of the first of these are no gradients. */
  readonly head: number;
  /** What is computed with. */
  readonly model: Float32Array;
  /** Where the next model goes; nobody computes with it yet, apart from what has begun. */
  readonly nextModel: Float32Array;
  /**
   * The model before `step` comes in now, bucket by bucket (`arrived`). `compute` will probably be asked for these units of
   * it: they may begin as soon as the buckets allow.
   */
  expect(step: number, units: readonly ShardRange[]): void;
  /** A bucket of the next model is in its place. */
  arrived(bucket: number): void;
  /** The next model is whole: compute with it from now on. */
  swapModels(): void;
  /** Computes units on the current model, in order. Goes on with what has begun, if that is this. */
  compute(step: number, units: readonly ShardRange[], done: UnitListener): Promise<void>;
  /** Notes what the threads do in the steps [from, to). */
  profile?: {
    measure(from: number, to: number): void;
    /** Something of a step was on its way from one moment (`wallClock`) to another. */
    moved(what: 'weights' | 'gradients', step: number, from: number, to: number): void;
    /** What was found: at most 1 MiB. Gives it once. */
    take(): Uint8Array | undefined;
  };
}

/**
 * Hears of buckets of a unit's results that are done, in any order. With the last ones comes `release`, to be called when
 * the vector is not needed any more: until then it stays as it is.
 */
export type UnitListener = (
  result: { readonly unit: ShardRange; readonly vector: Float32Array },
  buckets: readonly number[],
  release: (() => void) | undefined,
) => void;

/** Gives what a welcome names, from here or, by `fetch`, from the coordinator. */
export type Fetch = (what: 'program' | 'data') => Promise<Uint8Array>;

export type NodeReport =
  | { readonly type: 'connecting' | 'connected'; readonly peer: string }
  | { readonly type: 'disconnected'; readonly code: string; readonly message: string }
  | {
      readonly type: 'receiving';
      readonly what: 'program' | 'data';
      readonly bytes: number;
      readonly of: number;
    }
  | { readonly type: 'ready' }
  | { readonly type: 'computing'; readonly step: number; readonly shards: number };

export interface NodeDriverOptions {
  readonly hello: Hello;
  readonly config: Omit<NodeConfig, 'id'>;
  readonly dial: Dial;
  /** Makes ready for a run: fetches what is not here. Rejects when the node cannot take part; that ends it. */
  prepare(welcome: Welcome, fetch: Fetch): Promise<NodeWork>;
  readonly report?: (report: NodeReport) => void;
  /** The most that content may be; default: the memory of this machine. */
  readonly memoryBytes?: number;
  /** Default: the time of this process. */
  readonly clock?: Clock | undefined;
  /** Gives back what `prepare` took. Settles before `ended` does. */
  close?(): Promise<void>;
}
