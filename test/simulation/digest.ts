/**
 * What is computed instead of gradients: numbers whose "sum" is neither commutative nor associative, so that any
 * term that is missing, doubled, of other weights or out of order shows in all weights from then on.
 */
import { batchShards, type ShardRange, split } from '@lockstep/sync';

/** "left + right" of u32. */
export const mix = (left: number, right: number): number => {
  let x = Math.imul(left ^ 0x9e3779b9, 0x85ebca6b) + Math.imul(right, 0xc2b2ae35);
  x ^= x >>> 15;
  return Math.imul(x, 0x2c1b3c6d) >>> 0;
};

/** What the run is about: two runs differ in all of their numbers. */
export interface Definition {
  readonly run: bigint;
  readonly salt: number;
  readonly steps: number;
  /** S */
  readonly shards: number;
  /** Rows of each step's batch; the last of an epoch are short. */
  readonly rows: readonly number[];
  readonly buckets: number;
}

/** Shards that have rows in a step. */
export const usedShards = ({ rows, shards }: Definition, step: number): number =>
  batchShards(rows[step % rows.length]!, shards).used;

export const initialWeights = ({ salt, buckets }: Definition): number[] =>
  Array.from({ length: buckets }, (_, bucket) => mix(salt, bucket));

/** One bucket of the gradient of the shards [lo, hi). */
export const gradient = (
  definition: Definition,
  weights: readonly number[],
  step: number,
  bucket: number,
  { lo, hi }: ShardRange,
): number => {
  const base = mix(weights.reduce(mix, definition.salt), mix(step, bucket));
  const visit = (a: number, b: number): number => {
    if (b - a === 1) return mix(base, a);
    const m = split(a, b);
    return mix(visit(a, m), visit(m, b));
  };
  return visit(lo, hi);
};

export const update = (weights: readonly number[], sums: readonly number[]): number[] =>
  weights.map((weight, bucket) => mix(weight, sums[bucket]!));

/** The oracle: the weights before every step, by one serial worker. */
export const serial = (definition: Definition): number[][] => {
  const all = [initialWeights(definition)];
  for (let step = 0; step < definition.steps; step++) {
    const weights = all[step]!;
    const range = { lo: 0, hi: usedShards(definition, step) };
    all.push(
      update(
        weights,
        weights.map((_, bucket) => gradient(definition, weights, step, bucket, range)),
      ),
    );
  }
  return all;
};
