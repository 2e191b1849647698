/** When a unit's program is done with which buckets of its vector: the last layers' gradients come first. */
import { instructionExtents, type Program } from '@lockstep/kernels';
import type { UnitVector } from './vectors.ts';

/** Buckets that are done before an instruction. */
export interface Stage {
  /** Index of the instruction; the number of instructions in the last stage. */
  readonly end: number;
  readonly buckets: readonly number[];
}

/** A pool tells at most so many marks of a phase apart. */
const MOST_STAGES = 200;

/** In order of the program; every bucket is in one of them. */
export function stagesOf({ code, starts, regions }: Program, vector: UnitVector): Stage[] {
  const origins: Readonly<Record<string, number>> = {
    sums: 0,
    statistics: vector.statistics,
    gradient: vector.gradient,
  };
  /** By bucket: how many instructions must have run. */
  const needs = vector.buckets.map(() => 0);
  for (const [i, start] of starts.entries()) {
    for (const { address, bytes, access } of instructionExtents(code, start).extents) {
      const origin = origins[regions[address.region]?.name ?? ''];
      if (access !== 'write' || origin === undefined) continue;
      const from = origin + address.offset / 4;
      const to = from + bytes / 4;
      for (const [bucket, each] of vector.buckets.entries()) {
        if (from < each.to && each.from < to) needs[bucket] = i + 1;
      }
    }
  }
  const ends = [...new Set(needs)].sort((a, b) => a - b).slice(-MOST_STAGES);
  const last = ends.at(-1) ?? 0;
  return ends.map((end, i) => ({
    end: end === last ? starts.length : end,
    buckets: needs.flatMap((need, bucket) => (need <= end && need > (ends[i - 1] ?? -1) ? [bucket] : [])),
  }));
}
