/**
 * Philox4x32-10, the counter-based random numbers of the whole project (J. Salmon et al., "Parallel Random Numbers: As
 * Easy as 1, 2, 3", SC 2011). The same numbers as the kernel `random` (`native/random.c`); here for whatever is drawn
 * outside of a program: samplers, data, initialisers.
 */

const ROUNDS = 10;

/** The high half of the 64-bit product of two u32, from products of 16-bit halves, which doubles hold exactly. */
const multiplyHigh = (a: number, b: number): number => {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  return a1 * b1 + (middle >>> 16) + ((a0 * b1 + (middle & 0xffff)) >>> 16);
};

/** Four u32 for a counter of four u32 and a key of two: a bijection of the counter for every key. */
export const philox4x32 = (
  counter: ArrayLike<number>,
  key: ArrayLike<number>,
  out: Uint32Array = new Uint32Array(4),
): Uint32Array => {
  let c0 = counter[0]! >>> 0;
  let c1 = counter[1]! >>> 0;
  let c2 = counter[2]! >>> 0;
  let c3 = counter[3]! >>> 0;
  let k0 = key[0]! >>> 0;
  let k1 = key[1]! >>> 0;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
  return out;
};

/** Which random numbers: every field is a u32, and no two places share a number (but by chance). */
export interface RandomPlace {
  /** Low and high word of the run's seed. */
  readonly seed: readonly [low: number, high: number];
  /** What they are for: one number per use (a dropout layer, an initialiser, the sampler …). */
  readonly stream: number;
  /** Default 0. */
  readonly step?: number;
  /** Default 0. */
  readonly shard?: number;
}

/** u32 from a seed that is any whole number from 0 to 2⁵³ − 1. Throws a RangeError for others. */
export const seedWords = (seed: number): [low: number, high: number] => {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`seed is ${seed}, expected a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  return [seed >>> 0, Math.floor(seed / 2 ** 32)];
};

/** n u32: element i is word i mod 4 of the block with the counter (i ÷ 4, stream, step, shard). At most 2³⁴ differ. */
export const randomWords = ({ seed, stream, step = 0, shard = 0 }: RandomPlace, n: number): Uint32Array => {
  const words = new Uint32Array(n);
  const block = new Uint32Array(4);
  const counter = [0, stream, step, shard];
  for (let i = 0; i < n; i += 4) {
    counter[0] = i / 4;
    philox4x32(counter, seed, block);
    words.set(n - i < 4 ? block.subarray(0, n - i) : block, i);
  }
  return words;
};

/** n f32, uniform in [0, 1) on the grid of 2⁻²⁴; the bits of the kernel `random`. */
export const uniform = (place: RandomPlace, n: number): Float32Array =>
  Float32Array.from(randomWords(place, n), (word) => (word >>> 8) * 2 ** -24);
