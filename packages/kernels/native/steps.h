/**
 * What one step of an elementwise chain does to the lanes of a tile: `src/instructions/microops.ts`, whose codes are the cases here. Included
 * by elementwise.c.
 */
#ifndef LS_STEPS_H
#define LS_STEPS_H

#if defined(__GNUC__) && !defined(__clang__)
/* Two vectors at a time (`TWO`) pay when their instructions are interleaved, which GCC does not do on its own. */
#pragma GCC optimize("schedule-insns", "sched-pressure")
#endif
#include "activations.h"

typedef struct {
  uint32_t op, dst, a, b, c, imm;
} Step;

/** x / y truncated; x / 0 = 0 and INT_MIN / −1 wraps. */
static vi divide_i(vi x, vi y) {
  for (int i = 0; i < LS_W; i++) {
    x[i] = y[i] == 0 ? 0 : y[i] == -1 ? (int32_t)(0u - (uint32_t)x[i]) : x[i] / y[i];
  }
  return x;
}

static int any_huge(const float *a, size_t n) {
  vi huge = {0};
  for (size_t i = 0; i < n; i += LS_W) huge |= ls_is_huge(ls_load(a + i));
  return ls_any(huge);
}

/* One step over n lanes (a multiple of LS_W). x, y, z are the operands, X, Y, Z the same as i32, U, V as u32. */
#if defined(__wasm__)
#define UNROLL _Pragma("clang loop unroll_count(4)") /* engines check for interrupts in every round of a loop */
#else
#define UNROLL
#endif
#define EACH(body) \
  { \
    UNROLL for (size_t i = 0; i < n; i += LS_W) { body; } \
    return; \
  }
#define LOAD(x, p) const vf x = ls_load(p + i)
/* Long functions wait for their own results: two vectors at a time, read before either is written (d may be a or b). */
#define TWO(loads, value) \
  { \
    size_t at = 0; \
    for (; at + LS_W < n; at += 2 * LS_W) { \
      vf first, second; \
      { const size_t i = at; loads; first = value; } \
      { const size_t i = at + LS_W; loads; second = value; } \
      ls_store(d + at, first); \
      ls_store(d + at + LS_W, second); \
    } \
    if (at < n) { const size_t i = at; loads; ls_store(d + i, value); } \
    return; \
  }
/* A function and its slope: from x to y and slope. */
#define SLOPED(f) \
  { \
    size_t at = 0; \
    for (; at + LS_W < n; at += 2 * LS_W) { \
      const LsSloped first = f(ls_load(x + at)), second = f(ls_load(x + at + LS_W)); \
      ls_store(y + at, first.y); \
      ls_store(slope + at, first.slope); \
      ls_store(y + at + LS_W, second.y); \
      ls_store(slope + at + LS_W, second.slope); \
    } \
    if (at < n) { \
      const LsSloped last = f(ls_load(x + at)); \
      ls_store(y + at, last.y); \
      ls_store(slope + at, last.slope); \
    } \
    return; \
  }
#define F1(code, value) \
  case code: EACH(LOAD(x, a); ls_store(d + i, value))
#define F2(code, value) \
  case code: EACH(LOAD(x, a); LOAD(y, b); ls_store(d + i, value))
#define F3(code, value) \
  case code: EACH(LOAD(x, a); LOAD(y, b); LOAD(z, c); ls_store(d + i, value))
#define M1(code, value) \
  case code: TWO(LOAD(x, a), value)
#define M2(code, value) \
  case code: TWO(LOAD(x, a); LOAD(y, b), value)
#define I1(code, value) \
  case code: EACH(const vi X = (vi)ls_load(a + i); ls_store(d + i, (vf)(value)))
#define I2(code, value) \
  case code: EACH(const vi X = (vi)ls_load(a + i); const vi Y = (vi)ls_load(b + i); ls_store(d + i, (vf)(value)))
#define U2(code, value) \
  case code: EACH(const vu U = (vu)ls_load(a + i); const vu V = (vu)ls_load(b + i); ls_store(d + i, (vf)(value)))

static __attribute__((noinline)) void run_step(uint32_t op, float *d, const float *a, const float *b, const float *c,
                                               size_t n) {
  switch (op) {
    F1(1, x)
    F1(2, -x)
    F1(3, ls_abs(x))
    F1(4, ls_sign(x))
    F1(5, ls_floor(x))
    F1(6, ls_ceil(x))
    F1(7, ls_round(x))
    F1(8, ls_sqrt(x))
    M1(9, ls_exp(x))
    M1(10, ls_expm1(x))
    M1(11, ls_log(x))
    M1(12, ls_log1p(x))
    case 13:
      if (any_huge(a, n)) EACH(LOAD(x, a); ls_store(d + i, ls_sin_cos(x, 0, 1)))
      TWO(LOAD(x, a), ls_sin_cos(x, 0, 0))
    case 14:
      if (any_huge(a, n)) EACH(LOAD(x, a); ls_store(d + i, ls_sin_cos(x, 1, 1)))
      TWO(LOAD(x, a), ls_sin_cos(x, 1, 0))
    M1(15, ls_tanh(x))
    M1(16, ls_erf(x))
    M1(17, ls_sigmoid(x))
    M1(18, ls_gelu(x).y)
    M1(19, ls_gelu_tanh(x).y)
    M1(20, ls_silu(x).y)
    M1(21, ls_mish(x).y)
    M1(22, ls_gelu(x).slope)
    M1(23, ls_gelu_tanh(x).slope)
    M1(24, ls_silu(x).slope)
    M1(25, ls_mish(x).slope)
    F2(32, x + y)
    F2(33, x - y)
    F2(34, x * y)
    F2(35, x / y)
    F2(36, ls_min_v(x, y))
    F2(37, ls_max_v(x, y))
    M2(38, ls_pow(x, y))
    M2(39, ls_softplus(x, y))
    F2(48, (vf)((x < y) & 1))
    F2(49, (vf)((x <= y) & 1))
    F2(50, (vf)((x == y) & 1))
    F2(51, (vf)((x != y) & 1))
    U2(64, U + V)
    U2(65, U - V)
    U2(66, U * V)
    I2(67, (X < Y) & 1)
    I2(68, (X <= Y) & 1)
    I2(69, (X == Y) & 1)
    I2(70, (X != Y) & 1)
    I2(71, X & Y)
    I2(72, X | Y)
    I1(73, (X == 0) & 1)
    I1(74, -(vu)X)
    I1(75, ((vu)X ^ (vu)(X >> 31)) - (vu)(X >> 31))
    I2(76, ls_select_i(X < Y, X, Y))
    I2(77, ls_select_i(X > Y, X, Y))
    I2(78, divide_i(X, Y))
    I1(80, ls_to_float(X))
    F1(81, (vf)ls_to_int(x))
    case 82: EACH(const vi C = (vi)ls_load(a + i); LOAD(x, b); LOAD(y, c); ls_store(d + i, ls_select(C != 0, x, y)))
    F1(83, (vf)(ls_is_finite(x) & 1))
    /* pairs: both results are rounded (no contraction) */
    F3(96, x * y + z)
    F3(97, x * y - z)
    F3(98, x * y / z)
    F3(99, x * y * z)
    F3(100, (x + y) * z)
    F3(101, (x - y) * z)
    F2(102, ls_sqrt(x) + y)
  }
}

/** A step of one of the codes 18 to 21 and the one after it, its slope (4 more) of the same tile: at the price of one. */
static __attribute__((noinline)) void run_sloped(uint32_t op, float *y, float *slope, const float *x, size_t n) {
  switch (op) {
    case 18: SLOPED(ls_gelu)
    case 19: SLOPED(ls_gelu_tanh)
    case 20: SLOPED(ls_silu)
    case 21: SLOPED(ls_mish)
  }
}
LS_INLINE int is_sloped(const Step *step, const Step *next) {
  return step->op >= 18 && step->op <= 21 && next->op == step->op + 4 && next->a == step->a && step->dst != step->a;
}

#endif
