/** Cuts a batch into what single programs of single workers compute. */
import { assign, batchShards, type ShardRange, units } from '@lockstep/sync';

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
  const { rowsPerShard, used, lastRows } = batchShards(rows, definition.shards);
  // A short last shard has a program of its own.
  const even = lastRows === rowsPerShard ? used : used - 1;
  return assign(used, workers).flatMap(({ lo, hi }, worker) => {
    const full = coalesce
      ? units(Math.min(lo, even), Math.min(hi, even), used)
      : Array.from({ length: Math.max(0, Math.min(hi, even) - lo) }, (_, i) => ({
          lo: lo + i,
          hi: lo + i + 1,
        }));
    const short = hi > even && lo < hi ? [{ lo: even, hi: even + 1, worker, rows: lastRows }] : [];
    return [...full.map((range) => ({ ...range, worker, rows: rowsPerShard })), ...short];
  });
}
