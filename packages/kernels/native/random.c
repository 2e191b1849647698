/**
 * Uniform floats by Philox4x32-10 (J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), a bijection
 * of the counter (element ÷ 4, stream, step, shard) for every key (the seed). The same in TypeScript: `src/philox.ts`.
 */
#include "kernels.h"

#define ROUNDS 10
#define BLOCKS 16 /* counters at a time, for the compiler to put in vectors */

typedef struct {
  uint32_t word[4][BLOCKS];
} Blocks;

/** One round on all counters; the products' halves cross over. */
LS_INLINE void philox_round(Blocks *b, uint32_t key0, uint32_t key1) {
  for (int l = 0; l < BLOCKS; l++) {
    const uint64_t p0 = (uint64_t)b->word[0][l] * 0xd2511f53u;
    const uint64_t p1 = (uint64_t)b->word[2][l] * 0xcd9e8d57u;
    b->word[0][l] = (uint32_t)(p1 >> 32) ^ b->word[1][l] ^ key0;
    b->word[1][l] = (uint32_t)p1;
    b->word[2][l] = (uint32_t)(p0 >> 32) ^ b->word[3][l] ^ key1;
    b->word[3][l] = (uint32_t)p0;
  }
}

/** The blocks of counters (first + l, stream, step, shard). */
static void philox(Blocks *b, uint32_t first, uint32_t stream, uint32_t step, uint32_t shard, const uint32_t *seed) {
  for (int l = 0; l < BLOCKS; l++) {
    b->word[0][l] = first + (uint32_t)l;
    b->word[1][l] = stream;
    b->word[2][l] = step;
    b->word[3][l] = shard;
  }
  uint32_t key0 = seed[0], key1 = seed[1];
  for (int round = 0; round < ROUNDS; round++) {
    philox_round(b, key0, key1);
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
}

/** The 24 high bits as a fraction: every float on the grid of 2⁻²⁴ in [0, 1) is as likely. */
LS_INLINE float uniform(uint32_t bits) { return (float)(int32_t)(bits >> 8) * 0x1p-24f; }

LS_KERNEL(random) {
  float *out = ls_at(ctx, w + 2);
  const uint32_t *record = ls_at(ctx, w + 4), *unit = ls_at(ctx, w + 6);
  const uint32_t stream = w[8], segments = w[9], n = w[10];
  for (uint32_t s = 0; s < segments; s++, out += n) {
    for (uint32_t i = 0; i < n; i += 4 * BLOCKS) {
      Blocks b;
      float tile[4 * BLOCKS];
      philox(&b, i / 4, stream, record[2], unit[0] + s, record);
      for (int l = 0; l < BLOCKS; l++) {
        for (int k = 0; k < 4; k++) tile[4 * l + k] = uniform(b.word[k][l]);
      }
      __builtin_memcpy(out + i, tile, ls_min(4 * BLOCKS, n - i) * sizeof(float));
    }
  }
}
