/** What the coordinator of a run is told about its cluster. */
import type { BatchPlace } from '@lockstep/data';
import type { NodeInfo, Report } from '@lockstep/sync';
import type { TrainingEvent } from '@lockstep/trainer';
import type { ClusterProfile } from '../wire/profile.ts';

export interface ClusterOptions {
  /** SHA-256 (hex) of what the run is: nodes of another run are not heard. */
  readonly definition: string;
  /** Grows by one with every start of this run's coordinator. */
  readonly incarnation: number;
  /** The batch that the run begins or goes on with. */
  readonly from: number;
  /** Threads of the node of this process; 0: there is none. */
  readonly ownWorkers: number;
  /** So many nodes must be there before the first batch. */
  readonly minNodes: number;
  /** Milliseconds between two pings; who is silent for two of them is lost. */
  readonly heartbeat: number;
  readonly straggler: { readonly factor: number; readonly least: number; readonly unknown: number };
  /** Why a batch on these weights gives a number that is not finite; undefined: it does not. */
  readonly diagnose: (
    weights: Float32Array,
    batch: { step: number; index: number } & BatchPlace,
  ) => Error | undefined;
  /** Takes what nodes measure. */
  readonly profile?: ClusterProfile | undefined;
  /** Nobody is there to compute, and a batch that has changed weights must be finished. */
  readonly rescue: () => void;
  /** When it is aborted, batches that have not been computed are given up. */
  readonly signal?: AbortSignal | undefined;
  /** How much of what nodes send is computed a second time: a part of the units, 0 to 1. `secret`: default random. */
  readonly audit?: { readonly rate: number; readonly secret?: Uint8Array } | undefined;
  /** The number of another start of this run's coordinator: asked for when the run goes back. */
  readonly renew?: (() => Promise<number>) | undefined;
  /** Takes what concerns the run and no report of the cluster's core tells. */
  readonly emit?: ((event: TrainingEvent) => void) | undefined;
  /** `step`: the optimizer step under way. */
  readonly report: (report: Report, step: number, nodes: readonly NodeInfo[]) => void;
}
