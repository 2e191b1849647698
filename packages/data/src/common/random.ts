import { philox4x32, seedWords } from '@lockstep/kernels';

/**
 * Streams of the data package, as four ASCII letters: far from the small stream numbers that a traced graph uses
 * for its random ops, so that no two uses of one seed share numbers.
 */
export const streams = {
  shuffle: 0x73687566, // 'shuf'
  split: 0x73706c74, // 'splt'
  digitsTrain: 0x64677472, // 'dgtr'
  digitsValidation: 0x64677661, // 'dgva'
  digitsNoise: 0x64676e6f, // 'dgno'
} as const;

/**
 * A sequence of numbers keyed by (seed, stream, item): Philox4x32-10 with counter (block, stream, item, 0),
 * laid out as in the kernel `random`. Any item's sequence can be had without the ones before it.
 */
export class KeyedRandom {
  readonly #key: readonly [number, number];
  readonly #counter: [number, number, number, number];
  readonly #lanes = new Uint32Array(4);
  #used = 4;

  constructor(seed: number, stream: number, item = 0) {
    this.#key = seedWords(seed);
    this.#counter = [0, stream, item, 0];
  }

  /** Starts the sequence of another item. */
  seek(item: number): void {
    this.#counter[0] = 0;
    this.#counter[2] = item;
    this.#used = 4;
  }

  /** A uniform integer from 0 to 2^32 − 1. */
  u32(): number {
    if (this.#used === 4) {
      philox4x32(this.#counter, this.#key, this.#lanes);
      this.#counter[0]++;
      this.#used = 0;
    }
    return this.#lanes[this.#used++]!;
  }

  /** A uniform integer from 0 to n − 1 (1 ≤ n ≤ 2^32), unbiased: draws past the last multiple of n are repeated. */
  below(n: number): number {
    const limit = 2 ** 32 - (2 ** 32 % n);
    let draw = this.u32();
    while (draw >= limit) draw = this.u32();
    return draw % n;
  }

  /** A uniform number in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * (this.u32() * 2 ** -32);
  }
}

/** Fisher–Yates: 0 … n − 1 in an order drawn from `random`, into `out` (length n). */
export function shuffled(random: KeyedRandom, out: Int32Array): Int32Array {
  for (let i = 0; i < out.length; i++) out[i] = i;
  for (let i = out.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const kept = out[i]!;
    out[i] = out[j]!;
    out[j] = kept;
  }
  return out;
}
