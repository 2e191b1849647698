/** Cuts a batch into what single programs of single workers compute. */
import { assign, batchShards, evenRanges, type ShardRange, units } from '@lockstep/sync';

/** Shards that one program runs: a node of the shard tree, all of the same number of rows. */
export interface Unit extends ShardRange {
  readonly worker: number;
  readonly rows: number;
}

export interface UnitOptions {
  readonly definition: { readonly shards: number };
  readonly workers: number;
  /** Whether a program may run more than one shard. */
  readonly coalesce: boolean;
}

/** The units of a batch of so many rows, in order of shards. */
export function batchUnits(rows: number, { definition, workers, coalesce }: UnitOptions): Unit[] {
  const shards = batchShards(rows, definition.shards);
  const { used } = shards;
  const singles = (lo: number, hi: number): ShardRange[] =>
    Array.from({ length: hi - lo }, (_, i) => ({ lo: lo + i, hi: lo + i + 1 }));
  return assign(used, workers).flatMap((range, worker) =>
    evenRanges(shards, range).flatMap(({ lo, hi, rows: each }) =>
      (coalesce ? units(lo, hi, used) : singles(lo, hi)).map((unit) => ({ ...unit, worker, rows: each })),
    ),
  );
}
