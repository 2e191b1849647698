/** Transposes LS_W vectors of LS_W lanes in registers. */
#ifndef LS_TRANSPOSE_H
#define LS_TRANSPOSE_H

#include "kernels.h"

#ifdef __clang__
#define LS_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define LS_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

/* LO, HI interleave the halves of every 128-bit lane; PAIR_LO, PAIR_HI do so in pairs: together a 4×4 transpose.
   EVEN_BLOCKS, ODD_BLOCKS take the even and the odd 128-bit lanes of two vectors: they move whole 4×4 blocks. */
#if LS_W == 4
#define LS_LO(a, b) LS_SHUFFLE(a, b, 0, 4, 1, 5)
#define LS_HI(a, b) LS_SHUFFLE(a, b, 2, 6, 3, 7)
#define LS_PAIR_LO(a, b) LS_SHUFFLE(a, b, 0, 1, 4, 5)
#define LS_PAIR_HI(a, b) LS_SHUFFLE(a, b, 2, 3, 6, 7)
#elif LS_W == 8
#define LS_LO(a, b) LS_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define LS_HI(a, b) LS_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LS_PAIR_LO(a, b) LS_SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define LS_PAIR_HI(a, b) LS_SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define LS_EVEN_BLOCKS(a, b) LS_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define LS_ODD_BLOCKS(a, b) LS_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#else
#define LS_LO(a, b) LS_SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define LS_HI(a, b) LS_SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LS_PAIR_LO(a, b) LS_SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define LS_PAIR_HI(a, b) LS_SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define LS_EVEN_BLOCKS(a, b) LS_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define LS_ODD_BLOCKS(a, b) LS_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#endif

/** x[i][j] ↔ x[j][i]. */
LS_INLINE void ls_transpose(vf x[LS_W]) {
  /* 4×4 blocks in place: block column c of rows 4i … 4i+3 becomes transposed. */
#pragma GCC unroll 4
  for (int i = 0; i < LS_W; i += 4) {
    const vf a = LS_LO(x[i], x[i + 1]), b = LS_HI(x[i], x[i + 1]);
    const vf c = LS_LO(x[i + 2], x[i + 3]), d = LS_HI(x[i + 2], x[i + 3]);
    x[i] = LS_PAIR_LO(a, c), x[i + 1] = LS_PAIR_HI(a, c);
    x[i + 2] = LS_PAIR_LO(b, d), x[i + 3] = LS_PAIR_HI(b, d);
  }
  /* Then the blocks change places: x[i + 4r] = [block r of row i, of row i + 4, …]. */
#if LS_W == 8
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const vf a = LS_EVEN_BLOCKS(x[i], x[i + 4]), b = LS_ODD_BLOCKS(x[i], x[i + 4]);
    x[i] = a, x[i + 4] = b;
  }
#elif LS_W == 16
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const vf even0 = LS_EVEN_BLOCKS(x[i], x[i + 4]), odd0 = LS_ODD_BLOCKS(x[i], x[i + 4]);
    const vf even1 = LS_EVEN_BLOCKS(x[i + 8], x[i + 12]), odd1 = LS_ODD_BLOCKS(x[i + 8], x[i + 12]);
    x[i] = LS_EVEN_BLOCKS(even0, even1), x[i + 8] = LS_ODD_BLOCKS(even0, even1);
    x[i + 4] = LS_EVEN_BLOCKS(odd0, odd1), x[i + 12] = LS_ODD_BLOCKS(odd0, odd1);
  }
#endif
}

/** to[k][j] = b[j][k] for j < n, 0 for n ≤ j < width: rows of b, ldb apart, become columns. */
static inline void ls_pack_transposed(float *to, size_t width, const float *b, size_t ldb, size_t k, size_t n) {
  for (size_t i = 0; i < k; i += LS_W) {
    const size_t depth = ls_min(LS_W, k - i);
    for (size_t j = 0; j < width; j += LS_W) {
      vf x[LS_W];
      if (depth == LS_W && j + LS_W <= n) {
#pragma GCC unroll 16
        for (size_t r = 0; r < LS_W; r++) x[r] = ls_load(b + (j + r) * ldb + i);
        ls_transpose(x);
#pragma GCC unroll 16
        for (size_t r = 0; r < LS_W; r++) ls_store(to + (i + r) * width + j, x[r]);
      } else {
        for (size_t r = 0; r < LS_W; r++) x[r] = j + r < n ? ls_load_part(b + (j + r) * ldb + i, depth) : (vf){0};
        ls_transpose(x);
        for (size_t r = 0; r < depth; r++) ls_store(to + (i + r) * width + j, x[r]);
      }
    }
  }
}

#endif
