/** What a coordinator's driver is told, and whom it tells. */
import type { Bucket } from '../buckets.ts';
import type { CoordinatorConfig, Report } from '../coordinatorTypes.ts';
import type { ReducerOptions } from '../reducer.ts';
import type { StepTime } from '../stepTime.ts';
import type { Clock } from './clock.ts';

/** Something that nodes fetch, named by its SHA-256 (hex). */
export interface Content {
  readonly hash: string;
  /** In bytes. */
  readonly length: number;
  /** Bytes `from` to `to` (excluded); nothing changes them. */
  read(from: number, to: number): Uint8Array;
}

/** The data plane of a run: what the coordinator does with units, and what it publishes. Vectors are cut into buckets. */
export interface CoordinatorHost {
  /** Whether all numbers of a piece are finite. */
  isFinite(value: Float32Array): boolean;
  /** Whether that can be right: the batch does give such numbers. Then the run has failed, and the host ends it. */
  hasDiverged(step: number, model: readonly Float32Array[]): boolean;
  /** How pieces of units are kept and added. */
  readonly reducing: Omit<ReducerOptions<Float32Array>, 'buckets'>;
  /** The model that the run begins or goes on with, by bucket. Nothing of it may change. */
  model(): readonly Float32Array[];
  /** Whether a bucket of this step will be published as soon as it is reduced, whatever else happens. */
  streams(step: number): boolean;
  /** The sum of a bucket over all shards is here; the others may still be missing. Good until the step's end. */
  reduced(step: number, bucket: number, total: Float32Array): void;
  /**
   * All of them are. Settles when every bucket of the new model was given to `publish`, with the milliseconds that the
   * host did something else meanwhile.
   */
  apply(step: number): Promise<number>;
  /** The model after this step stands; where the time of the step went. */
  committed(step: number, time: StepTime): void;
  /** Nobody holds on to these buckets any more, which were published. */
  release(buckets: readonly Float32Array[]): void;
  report(report: Report): void;
  /** A unit of this session went into the run. */
  contributed(session: number): void;
  /** What a node found in the steps that it measured; its clock is so many milliseconds ahead of `wallClock` here. */
  profiled?(node: NodeInfo, bytes: Uint8Array, ahead: number): void;
}

export interface CoordinatorDriverOptions {
  readonly config: CoordinatorConfig;
  /** SHA-256 (hex) of what the run is. */
  readonly definition: string;
  readonly shards: number;
  readonly parameters: number;
  readonly contents: { readonly program: Content; readonly data: Content };
  readonly unitBuckets: readonly Bucket[];
  readonly modelBuckets: readonly Bucket[];
  /** What a node's known-answer test must give. */
  readonly arithmetic: { readonly name: 'strict' | 'fused'; readonly proof: string };
  /** Steps that nodes are to measure. */
  readonly profile?: { readonly from: number; readonly to: number } | undefined;
  readonly host: CoordinatorHost;
  /** Default: the time of this process. */
  readonly clock?: Clock | undefined;
}

/** A node as people are told of it. */
export interface NodeInfo {
  readonly session: number;
  /** Of its process. */
  readonly id: string;
  readonly name: string;
  readonly peer: string;
  readonly workers: number;
  readonly kernels: string;
}

/** Bytes of weights that left, to all nodes together, and of gradients that came. */
export interface Traffic {
  sent: number;
  received: number;
}
