/** What a coordinator's driver is told, and whom it tells. */

import type { CoordinatorConfig, Report } from '../core/coordinatorTypes.ts';
import type { Bucket } from '../reduce/buckets.ts';
import type { Arrival, Piece } from '../reduce/reducer.ts';
import type { Clock } from './clock.ts';
import type { DataPlane, NotFinite } from './dataPlane.ts';
import type { StepTime } from './stepTime.ts';

/** Something that nodes fetch, named by its SHA-256 (hex). */
export interface Content {
  readonly hash: string;
  /** In bytes. */
  readonly length: number;
  /**
   * Bytes from `from` on, before `to`, which nothing changes: as many as lie together, at least one, and a multiple of 4 unless
   * they are the last. Views of what is kept anyway, or copies of a few bytes: nothing is held for those who are sent it.
   */
  read(from: number, to: number): Uint8Array;
}

/** Who hears of a run. */
export interface CoordinatorHost {
  /** The model after this step stands; where the time of the step went. */
  committed(step: number, time: StepTime): void;
  report(report: Report): void;
  /** A piece of a unit came, and this became of it. Its value is good only now. */
  arrived?(piece: Piece<Float32Array>, arrival: Arrival<Float32Array> | NotFinite): void;
  /** Why a node is not taken: what it did before in this run. Undefined: it is. */
  refusal?(id: string): string | undefined;
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
  /** What a node's known-answer test must give. */
  readonly arithmetic: { readonly name: 'strict' | 'fused'; readonly proof: string };
  /** Steps that nodes are to measure. */
  readonly profile?: { readonly from: number; readonly to: number } | undefined;
  readonly plane: DataPlane;
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
