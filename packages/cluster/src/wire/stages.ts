/**
 * When a unit's program is done with which buckets of its vector (the last layers' gradients come first), and which buckets of
 * the model it needs before it can go on.
 */
import { instructionExtents, type Program } from '@lockstep/kernels';
import type { Gate } from '@lockstep/workers';
import type { Bundle } from './bundle.ts';
import { modelLayout, type Sizes, type UnitVector, unitVector } from './vectors.ts';

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
  const order = fromItsEnd(vector);
  return ends.map((end, i) => ({
    end: end === last ? starts.length : end,
    buckets: order.filter((bucket) => needs[bucket]! <= end && needs[bucket]! > (ends[i - 1] ?? -1)),
  }));
}

/** Sums first, as updates need them; then the gradient from its end, as backward goes. */
const fromItsEnd = ({ buckets, gradient }: UnitVector): number[] => {
  const all = buckets.map((_, i) => i);
  const head = all.filter((i) => buckets[i]!.from < gradient);
  return [...head, ...all.slice(head.length).reverse()];
};

/** The order in which every node sends the buckets of every unit: as backward of the first program is done with them. */
export const sendingOrder = ({ programs, sizes }: Bundle): number[] => {
  const vector = unitVector(sizes);
  const { gradient } = vector;
  const order = stagesOf(programs[0]!.program, vector).flatMap(({ buckets }) => buckets);
  const isHead = (bucket: number): boolean => vector.buckets[bucket]!.from < gradient;
  return [...order.filter(isHead), ...order.filter((bucket) => !isHead(bucket))];
};

/** The order in which buckets of a model come to a node: what is not trained, then as the gradient's were sent. */
export const arrivalOrder = (bundle: Bundle): number[] => {
  const { buckets, gradient } = unitVector(bundle.sizes);
  const head = buckets.filter(({ from }) => from < gradient).length;
  const trained = sendingOrder(bundle).slice(head);
  const rest = modelLayout(bundle.sizes).buckets.map((_, i) => i);
  return [...rest.slice(trained.length), ...trained.map((bucket) => bucket - head)];
};

/** Where a program waits for the model: for how many buckets, in the order of their arrival. */
export function gatesOf(
  { code, starts, regions }: Program,
  sizes: Sizes,
  arrival: readonly number[],
): Gate[] {
  const origins: Readonly<Record<string, number>> = { weights: 0, buffers: sizes.weights };
  const { buckets } = modelLayout(sizes);
  const gates: Gate[] = [];
  let needs = 0;
  for (const [before, start] of starts.entries()) {
    const own = instructionExtents(code, start).extents.map(({ address, bytes }) => {
      const origin = origins[regions[address.region]?.name ?? ''];
      if (origin === undefined) return 0;
      const from = origin + address.offset / 4;
      const last = arrival.findLastIndex(
        (bucket) => buckets[bucket]!.from < from + bytes / 4 && from < buckets[bucket]!.to,
      );
      return last + 1;
    });
    const most = Math.max(0, ...own);
    if (most > needs) gates.push({ before, needs: most });
    needs = Math.max(needs, most);
  }
  return gates;
}
