/**
 * What is trained: a model of a few floats, whose "gradient" is drawn from a hash of all weights, buffers, the batch and the
 * shard. Sums are real sums of f32, so any term that is missing, doubled, of other weights or added in another order shows
 * in the weights from then on. Everything here is a pure function: what any node computes, and the serial worker.
 */
import { unitVector } from '@lockstep/cluster';
import { Sampler } from '@lockstep/data';
import { batchShards, type ShardRange } from '@lockstep/sync';
import type { LoopInput } from '@lockstep/trainer';
import type { Random } from './random.ts';

/** What the known-answer test of simulated kernels gives. */
export const PROOF = '0'.repeat(64);

/** Floats of a bucket: some models have one bucket of gradient, some seven. */
const BUCKET_FLOATS = 8;

export interface Definition {
  /** SHA-256 in form: its first half is the run in every frame. */
  readonly hash: string;
  readonly salt: number;
  readonly sizes: {
    readonly weights: number;
    readonly trained: number;
    readonly buffers: number;
    readonly values: number;
  };
  readonly bucketFloats: number;
  /** S */
  readonly shards: number;
  /** The optimizer needs the whole gradient at once. */
  readonly isWhole: boolean;
  readonly input: LoopInput;
  readonly sampler: Sampler;
}

/** "left + right" of u32: neither commutative nor associative. */
export const mix = (left: number, right: number): number => {
  let x = Math.imul(left ^ 0x9e3779b9, 0x85ebca6b) + Math.imul(right, 0xc2b2ae35);
  x ^= x >>> 15;
  return Math.imul(x, 0x2c1b3c6d) >>> 0;
};

export const define = (random: Random): Definition => {
  const batch = random.integer(1, 24);
  const shards = random.integer(1, Math.min(9, batch));
  const length = random.integer(batch, 3 * batch);
  const trained = random.integer(1, 56);
  const buffers = random.chance(0.5) ? random.integer(1, 12) : 0;
  const accumulate = random.chance(0.25) ? random.integer(2, 3) : 1;
  const dropLast = random.chance(0.2);
  const seed = random.word();
  const salt = random.word();
  const hasValidation = random.chance(0.6);
  const isWhole = accumulate > 1 || random.chance(0.2);
  return {
    hash: [1, 2, 3, 4, 5, 6, 7, 8].map((i) => mix(salt, i).toString(16).padStart(8, '0')).join(''),
    salt,
    sizes: {
      weights: trained + (random.chance(0.4) ? random.integer(1, 12) : 0),
      trained,
      buffers,
      values: 1 + random.integer(0, 2),
    },
    bucketFloats: random.chance(0.3) ? 4 * BUCKET_FLOATS : BUCKET_FLOATS,
    shards,
    isWhole,
    sampler: new Sampler({ length, batch, seed, dropLast }),
    input: {
      definition: {
        ...{ batch, seed, shuffle: true, dropLast, accumulate },
        epochs: random.integer(1, 4),
        ...(random.chance(0.3) && { steps: random.integer(1, 8) }),
        metrics: {},
        ...(hasValidation && random.chance(0.5) && { earlyStopping: { patience: random.integer(1, 2) } }),
        optimizer: {
          // What a schedule that watches validations gives.
          scalarsAt: (step, _, validations = []) => [rate(step, validations.length)],
          learningRate: (step, _, validations = []) => rate(step, validations.length),
        },
      },
      data: { length, ...(hasValidation && { validation: { length: random.integer(1, 9) } }) },
    },
  };
};

const rate = (step: number, validations: number): number => Math.fround(0.5 / (1 + step / 8 + validations));

export const initialWeights = ({ salt, sizes }: Definition): Float32Array =>
  Float32Array.from({ length: sizes.weights }, (_, i) => toFloat(mix(salt, i)));

/** [−1, 1) */
const toFloat = (word: number): number => Math.fround(word / 2 ** 31 - 1);

/** Shards of a batch that have rows. */
export const usedShards = ({ sampler, shards }: Definition, batch: number): number =>
  batchShards(sampler.place(batch).rows, shards).used;

/** A hash of some floats, taken up from the hash of those before. */
export const hashOf = (floats: Float32Array, hash: number): number => {
  const words = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  let result = hash;
  for (const word of words) result = mix(result, word);
  return result;
};

/** A unit's vector: sums, statistics and gradient of the shards [lo, hi), from the hash of the model's buckets, in order. */
export const unitResults = (
  definition: Definition,
  model: readonly number[],
  batch: number,
  { lo, hi }: ShardRange,
): Float32Array => {
  const { salt, sizes } = definition;
  const vector = unitVector(sizes, definition.bucketFloats);
  const base = mix(model.reduce(mix, salt), batch);
  const visit = (a: number, b: number): Float32Array => {
    if (b - a > 1) {
      const m = split(a, b);
      return addFloats(visit(a, m), visit(m, b));
    }
    const result = new Float32Array(vector.size);
    const shard = mix(base, a);
    for (let i = 0; i < sizes.values; i++) result[i] = toFloat(mix(shard, i));
    for (let i = vector.statistics; i < vector.size; i++) result[i] = toFloat(mix(shard, i));
    return result;
  };
  return visit(lo, hi);
};

/** lo + the largest power of two below hi − lo: the contract, apart from the program's own. */
const split = (lo: number, hi: number): number => {
  let size = 1;
  while (2 * size < hi - lo) size *= 2;
  return lo + size;
};

const addFloats = (left: Float32Array, right: Float32Array): Float32Array =>
  left.map((value, i) => value + right[i]!);

/** Of the validation part, on these weights and buffers. */
export const validationSums = (
  { salt, sizes }: Definition,
  weights: Float32Array,
  buffers: Float32Array,
): Float32Array => {
  const hash = hashOf(buffers, hashOf(weights, salt));
  return Float32Array.from({ length: sizes.values }, (_, i) => toFloat(mix(hash, i)));
};
