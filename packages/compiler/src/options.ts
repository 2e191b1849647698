import type { Emitter, GraphNode, InputNode } from '@lockstep/autograd';
import type { Address } from '@lockstep/kernels';

/** A place in a region that the host binds, by name. */
export interface Place {
  readonly region: string;
  /** In bytes. */
  readonly offset: number;
}

/** Where an input's numbers are. */
export type InputBinding =
  /** In memory; alike for all shards. */
  | ({ readonly kind: 'memory' } & Place)
  /** Per shard: calls of its own write [segments, ...shape] to `target`. */
  | {
      readonly kind: 'field';
      readonly emit: (
        emit: Emitter,
        region: (name: string) => Address,
        target: Address,
        segments: number,
      ) => void;
    };

export interface Output {
  readonly node: GraphNode;
  readonly place: Place;
  /** `tree`: summed over the shards by the tree; `none`: the value itself, alike for all shards. */
  readonly reduce: 'tree' | 'none';
}

export interface Journal {
  /** 3 words, zero before the first run. */
  readonly state: Place;
  /** A word that differs from step to step. */
  readonly tick: Place;
}

/** Words to look at before anything else runs: see the `guard` instruction. */
export interface Guard {
  readonly kind: 'finite' | 'zero';
  readonly halt: Place;
  readonly tick: Place;
  readonly values: Place;
  readonly count: number;
  /** In words. */
  readonly stride: number;
}

export interface CompileOptions {
  /** Adjacent shards that the program runs at once; at least 1. */
  readonly segments: number;
  readonly outputs: readonly Output[];
  readonly bind: (input: InputNode) => InputBinding;
  /** Merge chains of elementwise ops into one pass over memory. Default true. */
  readonly fuse?: boolean;
  /** Makes the program one chain that may be cut off and run again (see the elementwise instruction). */
  readonly journal?: Journal;
  readonly guard?: Guard;
}
