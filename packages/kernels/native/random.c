/**
 * Uniform floats by Philox4x32-10 (J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), a bijection
 * of the counter (element ÷ 4, stream, step, shard) for every key (the seed). The same in TypeScript: `src/reference/philox.ts`.
 */
#include "math.h"

#define ROUNDS 10

/* Products of the even 32-bit lanes, in 64 bits. Compilers do not find this instruction for x86 by themselves. */
#if defined(__AVX512F__)
#define MULTIPLY_EVEN(a, b) ((vul)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#elif defined(__AVX2__)
#define MULTIPLY_EVEN(a, b) ((vul)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#elif defined(__SSE2__)
#include <emmintrin.h>
#define MULTIPLY_EVEN(a, b) ((vul)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#endif

/** The high halves of the 64-bit products of two u32. */
LS_INLINE vu multiply_high(vu a, uint32_t factor) {
#if defined(MULTIPLY_EVEN)
  const vu b = (vu){0} + factor;
  const vul even = MULTIPLY_EVEN(a, b), odd = MULTIPLY_EVEN((vul)a >> 32, b);
  return (vu)(even >> 32 | (odd & 0xffffffff00000000u));
#else
  const vul low = __builtin_convertvector(__builtin_shufflevector(a, a, LS_LOW), vul);
  const vul high = __builtin_convertvector(__builtin_shufflevector(a, a, LS_HIGH), vul);
  return __builtin_shufflevector((vu)(low * factor), (vu)(high * factor), LS_ODD);
#endif
}

/** The four words of LS_W counters. */
typedef struct {
  vu word[4];
} Blocks;

/** The blocks of the counters (first + lane, stream, step, shard). */
LS_INLINE Blocks philox(uint32_t first, uint32_t stream, uint32_t step, uint32_t shard, const uint32_t *seed) {
  const vu zero = {0};
  vu c0 = (vu){LS_ALL} + first, c1 = zero + stream, c2 = zero + step, c3 = zero + shard;
  uint32_t key0 = seed[0], key1 = seed[1];
  for (int round = 0; round < ROUNDS; round++) {
    const vu high0 = multiply_high(c0, 0xd2511f53u), low0 = c0 * 0xd2511f53u;
    const vu high1 = multiply_high(c2, 0xcd9e8d57u), low1 = c2 * 0xcd9e8d57u;
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return (Blocks){{c0, c1, c2, c3}};
}

/** The 24 high bits as a fraction: every float on the grid of 2⁻²⁴ in [0, 1) is as likely. */
LS_INLINE vf uniform(vu bits) { return ls_to_float((vi)(bits >> 8)) * 0x1p-24f; }

LS_INLINE vf zip_low(vf a, vf b) { return __builtin_shufflevector(a, b, LS_ZIP_LOW); }
LS_INLINE vf zip_high(vf a, vf b) { return __builtin_shufflevector(a, b, LS_ZIP_HIGH); }

/** 4 LS_W floats, the words of a block side by side. */
LS_INLINE void store_blocks(float *out, const Blocks *b) {
  const vf f0 = uniform(b->word[0]), f1 = uniform(b->word[1]), f2 = uniform(b->word[2]), f3 = uniform(b->word[3]);
  ls_store(out, zip_low(zip_low(f0, f2), zip_low(f1, f3)));
  ls_store(out + LS_W, zip_high(zip_low(f0, f2), zip_low(f1, f3)));
  ls_store(out + 2 * LS_W, zip_low(zip_high(f0, f2), zip_high(f1, f3)));
  ls_store(out + 3 * LS_W, zip_high(zip_high(f0, f2), zip_high(f1, f3)));
}

LS_KERNEL(random) {
  float *out = ls_at(ctx, op->out);
  const uint32_t *record = ls_at(ctx, op->record), *unit = ls_at(ctx, op->unit);
  const uint32_t stream = op->stream, segments = op->segments, n = op->n;
  for (uint32_t s = 0; s < segments; s++, out += n) {
    for (size_t i = 0; i < n; i += 4 * LS_W) {
      const Blocks b = philox((uint32_t)(i / 4), stream, record[2], unit[0] + s, record);
      if (n - i >= 4 * LS_W) {
        store_blocks(out + i, &b);
        continue;
      }
      float tail[4 * LS_W];
      store_blocks(tail, &b);
      __builtin_memcpy(out + i, tail, (n - i) * sizeof(float));
    }
  }
}
