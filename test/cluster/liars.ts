/** The types of liar.mjs, which is also a process and so is no TypeScript. */
import type { Dial, NodeDriver, NodeReport, ShardRange } from '@lockstep/sync';

/** `huge`: what comes of it is not finite any more. */
export type LieKind = 'scaled' | 'one bit' | 'stale' | 'zeros' | 'another unit' | 'huge';

export interface LieOptions {
  readonly kind: LieKind;
  /** In which batches; default: all. */
  readonly lies?: (batch: number) => boolean;
  /** Hears of each lie. */
  readonly told?: (batch: number, unit: ShardRange) => void;
  /** Each shard takes this many milliseconds longer, so that every node has a share. */
  readonly shardMs?: number;
}

interface Liars {
  readonly LIES: readonly LieKind[];
  readonly startLiar: (
    options: LieOptions & {
      readonly dial: Dial;
      readonly id?: string;
      readonly name: string;
      readonly workers: number;
      readonly kernels: string;
      readonly report?: (report: NodeReport) => void;
    },
  ) => NodeDriver;
}

/** Of the script, which also runs as a process. */
export const LIAR = new URL('./liar.mjs', import.meta.url);

export const { LIES, startLiar } = (await import(LIAR.href)) as Liars;
