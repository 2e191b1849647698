/**
 * What all kernels share: the vector width, names, loads and stores, addresses.
 *
 * One source, several builds. The build sets LS_W (floats per vector: 4, 8 or 16) and LS_VARIANT (wasm, sse, avx2,
 * avx512, neon); every function with external linkage is named by LS_NAME, so that several variants link into
 * one addon. Bits never depend on LS_W: only IEEE + - * / sqrt and integer operations, in an order that is a function
 * of the logical shape (no libm, no contraction, no mutable statics). Kernels neither read nor write outside of
 * the extents that `src/instructions/instructions.ts` states.
 */
#ifndef LS_KERNELS_H
#define LS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "opcodes.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if !defined(LS_W) || !defined(LS_VARIANT)
#error "compile with -DLS_W=<floats per vector> -DLS_VARIANT=<name>"
#endif

#define LS_PASTE_(a, b, c) a##b##_##c
#define LS_PASTE(a, b, c) LS_PASTE_(a, b, c)
/** ls_<variant>_<x>: the external name of x in this build. */
#define LS_NAME(x) LS_PASTE(ls_, LS_VARIANT, x)

#define LS_INLINE static inline __attribute__((always_inline))

/** The inner loops' multiply-add. Strict class: a product, rounded, then a sum, rounded (-ffp-contract=off). */
#define LS_MADD(acc, a, b) ((acc) + (a) * (b))

/** LS_W lanes of f32, i32, u32; they may alias any memory. `u` types may lie at any multiple of 4 bytes. */
typedef float vf __attribute__((vector_size(4 * LS_W), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * LS_W), may_alias));
typedef uint32_t vu __attribute__((vector_size(4 * LS_W), may_alias));
typedef float vf_u __attribute__((vector_size(4 * LS_W), aligned(4), may_alias));
typedef int32_t vi_u __attribute__((vector_size(4 * LS_W), aligned(4), may_alias));

LS_INLINE vf ls_load(const float *p) { return *(const vf_u *)p; }
LS_INLINE void ls_store(float *p, vf v) { *(vf_u *)p = v; }
LS_INLINE vi ls_load_i(const int32_t *p) { return *(const vi_u *)p; }
LS_INLINE void ls_store_i(int32_t *p, vi v) { *(vi_u *)p = v; }
LS_INLINE vf ls_splat(float x) { return x - (vf){0}; } /* keeps -0, which x + 0 would not */
LS_INLINE vi ls_splat_i(int32_t x) { return (vi){0} + x; }

/** The first n <= LS_W lanes from p, the others +0; and back. Touch nothing beyond p + n. */
#if defined(__SANITIZE_ADDRESS__)
/* Lane by lane: AddressSanitizer does not look at masked loads and stores. */
LS_INLINE vf ls_load_part(const float *p, size_t n) {
  vf v = {0};
  for (size_t i = 0; i < n; i++) v[i] = p[i];
  return v;
}
LS_INLINE void ls_store_part(float *p, vf v, size_t n) {
  for (size_t i = 0; i < n; i++) p[i] = v[i];
}
#elif defined(__AVX512F__)
LS_INLINE vf ls_load_part(const float *p, size_t n) {
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
LS_INLINE void ls_store_part(float *p, vf v, size_t n) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#elif defined(__AVX2__)
LS_INLINE __m256i ls_mask_(size_t n) { return (__m256i)((vi){0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n); }
LS_INLINE vf ls_load_part(const float *p, size_t n) { return (vf)_mm256_maskload_ps(p, ls_mask_(n)); }
LS_INLINE void ls_store_part(float *p, vf v, size_t n) { _mm256_maskstore_ps(p, ls_mask_(n), (__m256)v); }
#else
LS_INLINE vf ls_load_part(const float *p, size_t n) {
  return (vf){n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0};
}
LS_INLINE void ls_store_part(float *p, vf v, size_t n) {
  if (n > 0) p[0] = v[0];
  if (n > 1) p[1] = v[1];
  if (n > 2) p[2] = v[2];
  if (n > 3) p[3] = v[3];
}
#endif

/**
 * A value that selects memory, read once: another thread may change what a region holds between a check and a use, and
 * compilers may read twice.
 */
LS_INLINE uint32_t ls_index(const uint32_t *p) { return *(const volatile uint32_t *)p; }

LS_INLINE size_t ls_min(size_t a, size_t b) { return a < b ? a : b; }

/** The memory that a program works on, and the byte address of each of its regions. */
typedef struct {
  uint8_t *mem;
  const uint32_t *bases;
} Ctx;

/** Region of an absent optional address. */
#define LS_NOWHERE 0xffffffffu

/** The pointer of an `addr` operand. */
LS_INLINE void *ls_at(const Ctx *ctx, Address address) {
  /* In WASM `mem` is 0: integers, because compilers conclude that a pointer made from a null pointer is null. */
  return (void *)((uintptr_t)ctx->mem + ctx->bases[address.region] + address.offset);
}
LS_INLINE int ls_absent(Address address) { return address.region == LS_NOWHERE; }

/** Lanes of a tile of an elementwise chain (TILE in program.ts). */
#define LS_TILE 512

/**
 * One function per instruction, under its name in `src/instructions/`; `op` has its operands under theirs. `opcodes.h` is made of
 * that table: the structs, and LS_KERNELS, the list of all functions.
 */
#define LS_KERNEL(name) void LS_NAME(name)(const Ctx *ctx, const Op_##name *op)
#define LS_DECLARE(name, code) LS_KERNEL(name);
LS_KERNELS(LS_DECLARE)

/** Runs the instructions in words [from, to) of the code; 0, or −1 − (the position of an unknown opcode). */
int32_t LS_NAME(run)(uint8_t *mem, uint32_t code, uint32_t from, uint32_t to, uint32_t bases);

#endif
