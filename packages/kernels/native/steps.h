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
  uint32_t op, dst, a, b, c;
  float imm;
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
  case MICRO_##code: EACH(LOAD(x, a); ls_store(d + i, value))
#define F2(code, value) \
  case MICRO_##code: EACH(LOAD(x, a); LOAD(y, b); ls_store(d + i, value))
#define F3(code, value) \
  case MICRO_##code: EACH(LOAD(x, a); LOAD(y, b); LOAD(z, c); ls_store(d + i, value))
#define M1(code, value) \
  case MICRO_##code: TWO(LOAD(x, a), value)
#define M2(code, value) \
  case MICRO_##code: TWO(LOAD(x, a); LOAD(y, b), value)
#define I1(code, value) \
  case MICRO_##code: EACH(const vi X = (vi)ls_load(a + i); ls_store(d + i, (vf)(value)))
#define I2(code, value) \
  case MICRO_##code: EACH(const vi X = (vi)ls_load(a + i); const vi Y = (vi)ls_load(b + i); ls_store(d + i, (vf)(value)))
#define U2(code, value) \
  case MICRO_##code: EACH(const vu U = (vu)ls_load(a + i); const vu V = (vu)ls_load(b + i); ls_store(d + i, (vf)(value)))

static __attribute__((noinline)) void run_step(uint32_t op, float *d, const float *a, const float *b, const float *c,
                                               size_t n) {
  switch (op) {
    F1(move, x)
    F1(neg, -x)
    F1(abs, ls_abs(x))
    F1(sign, ls_sign(x))
    F1(floor, ls_floor(x))
    F1(ceil, ls_ceil(x))
    F1(round, ls_round(x))
    F1(sqrt, ls_sqrt(x))
    M1(exp, ls_exp(x))
    M1(expm1, ls_expm1(x))
    M1(log, ls_log(x))
    M1(log1p, ls_log1p(x))
    case MICRO_sin:
      if (any_huge(a, n)) EACH(LOAD(x, a); ls_store(d + i, ls_sin_cos(x, 0, 1)))
      TWO(LOAD(x, a), ls_sin_cos(x, 0, 0))
    case MICRO_cos:
      if (any_huge(a, n)) EACH(LOAD(x, a); ls_store(d + i, ls_sin_cos(x, 1, 1)))
      TWO(LOAD(x, a), ls_sin_cos(x, 1, 0))
    M1(tanh, ls_tanh(x))
    M1(erf, ls_erf(x))
    M1(sigmoid, ls_sigmoid(x))
    M1(gelu, ls_gelu(x).y)
    M1(geluTanh, ls_gelu_tanh(x).y)
    M1(silu, ls_silu(x).y)
    M1(mish, ls_mish(x).y)
    M1(geluSlope, ls_gelu(x).slope)
    M1(geluTanhSlope, ls_gelu_tanh(x).slope)
    M1(siluSlope, ls_silu(x).slope)
    M1(mishSlope, ls_mish(x).slope)
    F2(add, x + y)
    F2(sub, x - y)
    F2(mul, x * y)
    F2(div, x / y)
    F2(min, ls_min_v(x, y))
    F2(max, ls_max_v(x, y))
    M2(pow, ls_pow(x, y))
    M2(softplus, ls_softplus(x, y))
    F2(lt, (vf)((x < y) & 1))
    F2(le, (vf)((x <= y) & 1))
    F2(eq, (vf)((x == y) & 1))
    F2(ne, (vf)((x != y) & 1))
    U2(addI, U + V)
    U2(subI, U - V)
    U2(mulI, U * V)
    I2(ltI, (X < Y) & 1)
    I2(leI, (X <= Y) & 1)
    I2(eqI, (X == Y) & 1)
    I2(neI, (X != Y) & 1)
    I2(and, X & Y)
    I2(or, X | Y)
    I1(not, (X == 0) & 1)
    I1(negI, -(vu)X)
    I1(absI, ((vu)X ^ (vu)(X >> 31)) - (vu)(X >> 31))
    I2(minI, ls_select_i(X < Y, X, Y))
    I2(maxI, ls_select_i(X > Y, X, Y))
    I2(divI, divide_i(X, Y))
    I1(toFloat, ls_to_float(X))
    F1(toInt, (vf)ls_to_int(x))
    case MICRO_select: EACH(const vi C = (vi)ls_load(a + i); LOAD(x, b); LOAD(y, c); ls_store(d + i, ls_select(C != 0, x, y)))
    F1(isFinite, (vf)(ls_is_finite(x) & 1))
    /* pairs: both results are rounded (no contraction) */
    F3(mulAdd, x * y + z)
    F3(mulSub, x * y - z)
    F3(mulDiv, x * y / z)
    F3(mulMul, x * y * z)
    F3(addMul, (x + y) * z)
    F3(subMul, (x - y) * z)
    F2(sqrtAdd, ls_sqrt(x) + y)
  }
}

/** An activation and the step after it, its slope (`op` + 4) of the same tile: at the price of one. */
static __attribute__((noinline)) void run_sloped(uint32_t op, float *y, float *slope, const float *x, size_t n) {
  switch (op) {
    case MICRO_gelu: SLOPED(ls_gelu)
    case MICRO_geluTanh: SLOPED(ls_gelu_tanh)
    case MICRO_silu: SLOPED(ls_silu)
    case MICRO_mish: SLOPED(ls_mish)
  }
}
LS_INLINE int is_sloped(const Step *step, const Step *next) {
  return step->op >= MICRO_gelu && step->op <= MICRO_mish && next->op == step->op + 4 && next->a == step->a && step->dst != step->a;
}

#endif
