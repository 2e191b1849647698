/**
 * Elementary functions on vectors of LS_W floats. Every lane is at most 2 ulp from the correctly rounded result over
 * all floats (subnormals, infinities and NaN included), and has the same bits on every target and for every LS_W:
 * only + − × ÷ in f32 and f64 (both IEEE everywhere) and integer operations, in a fixed order.
 *
 * Measured over every 11th float (distance to the exact result): exp, log, log1p 1 ulp; erf 1.2; tanh 1.4; expm1 1.6;
 * sigmoid 2.4 (rounded: 2); sin, cos, pow 0.51.
 *
 * Special values follow C and PyTorch. Branches are blends: both sides are computed, so a side that is not taken may
 * hold infinities or NaN, but never a conversion from float to integer that is out of range. Sums of bits are unsigned: they may
 * wrap in such a lane, which signed ones must not.
 *
 * Formulas: S. Moshier, Cephes single precision (exp, log, tanh); N. Juffa, "erff" (erf); FreeBSD msun k_sinf, k_cosf,
 * e_rem_pio2f (sin, cos); J.-M. Muller, Elementary Functions, chapters 2 (atanh series) and 11 (range reduction).
 */
#ifndef LS_MATH_H
#define LS_MATH_H

#include "kernels.h"

/** Half as many lanes in f64, so that a vector of either kind fills one register. */
#define LS_HALF (LS_W / 2)
typedef float vh __attribute__((vector_size(2 * LS_W)));
typedef double vd __attribute__((vector_size(4 * LS_W)));
typedef int64_t vl __attribute__((vector_size(4 * LS_W)));
typedef uint64_t vul __attribute__((vector_size(4 * LS_W)));

/* Lane numbers for __builtin_shufflevector. */
#if LS_W == 4
#define LS_LOW 0, 1
#define LS_HIGH 2, 3
#define LS_ALL 0, 1, 2, 3
#define LS_EVEN 0, 2, 4, 6
#define LS_ODD 1, 3, 5, 7
#define LS_ZIP_LOW 0, 4, 1, 5
#define LS_ZIP_HIGH 2, 6, 3, 7
#elif LS_W == 8
#define LS_LOW 0, 1, 2, 3
#define LS_HIGH 4, 5, 6, 7
#define LS_ALL 0, 1, 2, 3, 4, 5, 6, 7
#define LS_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define LS_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define LS_ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define LS_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LS_LOW 0, 1, 2, 3, 4, 5, 6, 7
#define LS_HIGH 8, 9, 10, 11, 12, 13, 14, 15
#define LS_ALL 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#define LS_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define LS_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define LS_ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LS_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

/* GCC splits the conversions of 512 bits into those of 128. */
#if defined(__AVX512F__)
LS_INLINE vd ls_widen(vh x) { return (vd)_mm512_cvtps_pd((__m256)x); }
LS_INLINE vh ls_narrow(vd x) { return (vh)_mm512_cvtpd_ps((__m512d)x); }
#elif defined(__AVX2__)
LS_INLINE vd ls_widen(vh x) { return (vd)_mm256_cvtps_pd((__m128)x); }
LS_INLINE vh ls_narrow(vd x) { return (vh)_mm256_cvtpd_ps((__m256d)x); }
#else
LS_INLINE vd ls_widen(vh x) { return __builtin_convertvector(x, vd); }
LS_INLINE vh ls_narrow(vd x) { return __builtin_convertvector(x, vh); }
#endif
LS_INLINE vd ls_low(vf x) { return ls_widen(__builtin_shufflevector(x, x, LS_LOW)); }
LS_INLINE vd ls_high(vf x) { return ls_widen(__builtin_shufflevector(x, x, LS_HIGH)); }
/** Rounds both halves to f32 (nearest even; overflow and subnormals as IEEE). */
LS_INLINE vf ls_join(vd low, vd high) {
  return __builtin_shufflevector(ls_narrow(low), ls_narrow(high), LS_ALL);
}

/** mask ? a : b; every lane of mask is 0 or −1. */
LS_INLINE vf ls_select(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
LS_INLINE vi ls_select_i(vi mask, vi a, vi b) { return (mask & a) | (~mask & b); }
LS_INLINE vd ls_select_d(vl mask, vd a, vd b) { return (vd)((mask & (vl)a) | (~mask & (vl)b)); }

#define LS_SIGN ((int32_t)0x80000000)
LS_INLINE vf ls_abs(vf x) { return (vf)((vi)x & 0x7fffffff); }
LS_INLINE vi ls_sign_bit(vf x) { return (vi)x & LS_SIGN; }
/** |x| with the sign of y; for x ≥ +0 `ls_or_sign` saves an operation. */
LS_INLINE vf ls_or_sign(vf x, vf y) { return (vf)((vi)x | ls_sign_bit(y)); }
LS_INLINE vf ls_copy_sign(vf x, vf y) { return ls_or_sign(ls_abs(x), y); }
LS_INLINE vi ls_is_nan(vf x) { return x != x; }
LS_INLINE vi ls_is_finite(vf x) { return ((vi)x & 0x7f800000) != 0x7f800000; }

/** Whether any lane of a mask is set. */
LS_INLINE int ls_any(vi mask) {
  int32_t any = 0;
  for (int i = 0; i < LS_W; i++) any |= mask[i];
  return any != 0;
}

/** a < b ? a : b and a > b ? a : b (so b where either is NaN): on x86 that is one instruction, without a mask. */
#if defined(__AVX512F__)
LS_INLINE vf ls_lesser(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
LS_INLINE vf ls_greater(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
LS_INLINE vf ls_lesser(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
LS_INLINE vf ls_greater(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__)
LS_INLINE vf ls_lesser(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
LS_INLINE vf ls_greater(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
#else
LS_INLINE vf ls_lesser(vf a, vf b) { return ls_select(a < b, a, b); }
LS_INLINE vf ls_greater(vf a, vf b) { return ls_select(a > b, a, b); }
#endif
/** x cut to at most, or at least, a bound; NaN stays. */
LS_INLINE vf ls_at_most(vf x, float bound) { return ls_lesser(ls_splat(bound), x); }
LS_INLINE vf ls_at_least(vf x, float bound) { return ls_greater(ls_splat(bound), x); }

/** NaN where either is NaN; of equals, b. */
LS_INLINE vf ls_max_v(vf a, vf b) { return ls_select((a > b) | ls_is_nan(a), a, b); }
LS_INLINE vf ls_min_v(vf a, vf b) { return ls_select((a < b) | ls_is_nan(a), a, b); }

/** Square root, IEEE: compilers turn each lane's builtin into one vector instruction. */
LS_INLINE vf ls_sqrt(vf x) {
#if defined(__clang__)
  return __builtin_elementwise_sqrt(x);
#else
  vf r;
  for (int i = 0; i < LS_W; i++) r[i] = __builtin_sqrtf(x[i]);
  return r;
#endif
}

/* Rounding: adding 2²³ leaves no place for a fraction; from there on every float is whole (and NaN stays). */

/** Half to even, keeping the sign of zero. */
LS_INLINE vf ls_round(vf x) {
  const vf a = ls_abs(x);
  return ls_select(a < 0x1p23f, ls_or_sign((a + 0x1p23f) - 0x1p23f, x), x);
}
LS_INLINE vf ls_floor(vf x) {
  const vf r = ls_round(x);
  return ls_copy_sign(r - (vf)((vi)(r > x) & (vi)ls_splat(1)), x);
}
LS_INLINE vf ls_ceil(vf x) {
  const vf r = ls_round(x);
  return ls_copy_sign(r + (vf)((vi)(r < x) & (vi)ls_splat(1)), x);
}

/** −1, 0, 1; NaN for NaN. */
LS_INLINE vf ls_sign(vf x) {
  return ls_select((vi)(x == 0), (vf){0}, ls_select(ls_is_nan(x), x, ls_or_sign(ls_splat(1), x)));
}

/** Truncated; saturated beyond i32; NaN gives 0. */
LS_INLINE vi ls_to_int(vf x) {
  const vi fits = (x >= -0x1p31f) & (x < 0x1p31f);
  const vi whole = __builtin_convertvector((vf)((vi)x & fits), vi);
  return ls_select_i(fits, whole, ls_select_i(x >= 0x1p31f, ls_splat_i(INT32_MAX), (vi)(x < 0) & INT32_MIN));
}
LS_INLINE vf ls_to_float(vi x) { return __builtin_convertvector(x, vf); }

/** 2ⁿ for −126 ≤ n ≤ 127. */
LS_INLINE vf ls_pow2(vi n) { return (vf)(((vu)n + 127) << 23); }

/* ln 2 in two parts; the first has 10 bits, so that its product with an exponent is exact. */
#define LS_LN2_HI 0.693359375f
#define LS_LN2_LO -2.12194440e-4f
#define LS_LOG2_E 1.44269504088896341f
/* 1.5 · 2²³: the sum with a small float has its nearest integer in the low bits. */
#define LS_ROUNDER 0x1.8p23f

/** x = n ln 2 + r, |r| ≤ ½ ln 2 for |x| ≤ 120. Returns n, and e^r = 1 + (r + tail): *r and *tail. */
LS_INLINE vi ls_exp_parts(vf x, vf *r, vf *tail) {
  const vf shifted = x * LS_LOG2_E + LS_ROUNDER;
  const vf n = shifted - LS_ROUNDER;
  const vf s = (x - n * LS_LN2_HI) - n * LS_LN2_LO;
  vf p = 1.9875691500e-4f * s + 1.3981999507e-3f;
  p = p * s + 8.3334519073e-3f;
  p = p * s + 4.1665795894e-2f;
  p = p * s + 1.6666665459e-1f;
  p = p * s + 5.0000001201e-1f;
  *r = s;
  *tail = p * (s * s);
  return (vi)((vu)shifted - (vu)ls_splat(LS_ROUNDER));
}

/**
 * e^x. The result is scaled by 2ⁿ in two steps, so that a subnormal is rounded once. Where it is 0, as for masked scores,
 * e^0 is computed instead: a product that underflows takes CPUs long.
 */
LS_INLINE vf ls_exp(vf x) {
  vf r, tail;
  const vi some = ~(x < -104.0f);
  const vi n = ls_exp_parts(ls_at_most((vf)((vi)x & some), 89), &r, &tail);
  const vi half = n >> 1;
  return (vf)((vi)((1 + (r + tail)) * ls_pow2(half) * ls_pow2((vi)((vu)n - (vu)half))) & some);
}

/** e^x − 1 = 2ⁿ (e^r − 1) + (2ⁿ − 1), computed at half scale for the sake of n = 128. */
LS_INLINE vf ls_expm1(vf x) {
  vf r, tail;
  const vf bounded = ls_at_most(ls_at_least(x, -18), 89);
  const vi n = ls_exp_parts(bounded, &r, &tail);
  const vf q = r + tail;
  const vf scale = ls_pow2((vi)((vu)n - 1));
  const vf wide = 2 * (q * scale + (scale - 0.5f));
  return ls_copy_sign(ls_select(n == 0, q, wide), x);
}

/** ln(1 + f) + e ln 2 + c for √½ − 1 ≤ f ≤ √2 − 1 and a small correction c. */
LS_INLINE vf ls_log_parts(vf f, vf e, vf c) {
  const vf z = f * f;
  vf p = 7.0376836292e-2f * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const vf tail = (p * (f * z) + (e * LS_LN2_LO + c)) - 0.5f * z;
  return (f + tail) + e * LS_LN2_HI;
}

/** x = 2ᵉ m with √½ ≤ m < √2, for normal x > 0. */
LS_INLINE vf ls_mantissa(vf x, vi *e) {
  *e = (vi)((vu)x - 0x3f3504f3) >> 23;
  return (vf)((vu)x - ((vu)*e << 23));
}

/** ln x; −∞ for ±0, NaN below. */
LS_INLINE vf ls_log(vf x) {
  const vi tiny = x < 0x1p-126f;
  vi e;
  const vf m = ls_mantissa(ls_select(tiny, x * 0x1p23f, x), &e);
  const vf y = ls_log_parts(m - 1, ls_to_float(e - (tiny & 23)), (vf){0});
  const vf edge = ls_select((vi)(x == 0), ls_splat(-__builtin_inff()), ls_select(x < 0, ls_splat(__builtin_nanf("")), x));
  return ls_select((x > 0) & (x < __builtin_inff()), y, edge);
}

/** ln(1 + x): of u = fl(1 + x), corrected by the rounding error of that sum divided by u. */
LS_INLINE vf ls_log1p(vf x) {
  const vf u = 1 + x;
  const vi near = (x > -0.29f) & (x < 0.41f);
  vi e;
  const vf m = ls_mantissa(u, &e);
  const vf lost = ls_select(x > 1, 1 - (u - x), x - (u - 1));
  const vf f = ls_select(near, x, m - 1);
  const vf y = ls_log_parts(f, ls_to_float(e & ~near), (vf)((vi)(lost / u) & ~near));
  const vf edge = ls_select((vi)(x == -1), ls_splat(-__builtin_inff()), ls_select(x < -1, ls_splat(__builtin_nanf("")), x));
  return ls_select((x > -1) & (x < __builtin_inff()) & (x != 0), y, edge);
}

/** tanh x: an odd polynomial near 0, elsewhere 1 − 2 / (e^2|x| + 1). */
LS_INLINE vf ls_tanh(vf x) {
  const vf a = ls_abs(x);
  const vf s = x * x;
  vf p = -5.70498872745e-3f * s + 2.06390887954e-2f;
  p = p * s - 5.37397155531e-2f;
  p = p * s + 1.33314422036e-1f;
  p = p * s - 3.33332819422e-1f;
  const vf near = p * s * x + x;
  const vf far = 1 - 2 / (ls_exp(a + a) + 1);
  return ls_copy_sign(ls_select(a < 0.625f, near, far), x);
}

/** 1 / (1 + e^−x), by e^−|x| so that neither side overflows. */
LS_INLINE vf ls_sigmoid(vf x) {
  const vf z = ls_exp(-ls_abs(x));
  return ls_select(x < 0, z, ls_splat(1)) / (1 + z);
}

/** erf x: an odd polynomial near 0, elsewhere 1 − e^(polynomial in |x|). */
LS_INLINE vf ls_erf(vf x) {
  const vf a = ls_abs(x);
  const vf s = x * x;
  vf p = -5.96761703e-4f * s + 4.99119423e-3f;
  p = p * s - 2.67681349e-2f;
  p = p * s + 1.12819925e-1f;
  p = p * s - 3.76125336e-1f;
  p = p * s + 1.28379166e-1f;
  const vf near = p * x + x;
  const vf t = ls_at_most(a, 4); /* erf 4 rounds to 1; NaN stays */
  const vf t2 = t * t;
  vf q = (-1.72853470e-5f * t + 3.83197126e-4f) * t2 + (-3.88396438e-3f * t + 2.42546219e-2f);
  q = q * t - 1.06777877e-1f;
  q = q * t - 6.34846687e-1f;
  q = q * t - 1.28717512e-1f;
  const vf far = 1 - ls_exp(q * t - t);
  return ls_copy_sign(ls_select(a < 0.927734375f, near, far), x);
}

#include "trigonometry.h"

/* Powers, in f64: log2 is good to 2⁻³⁸, so that 2^(y log2 x) is almost always the correctly rounded result. */

/** log2 of finite x > 0 (converted from f32, hence normal). With s = (m − 1) / (m + 1): ln m = 2 atanh s, by its series. */
LS_INLINE vd ls_log2_d(vd x) {
  const vl bits = (vl)x;
  /* Relative to √½. An arithmetic shift of 64-bit lanes is slow before AVX-512: shift a positive number instead. */
  const vul shifted = (vul)(bits - 0x3fe6a09e667f3bcdLL + (1024LL << 52));
  const vl e = (vl)(shifted >> 52) - 1024;
  const vd m = (vd)(bits - (e << 52));
  const vd s = (m - 1) / (m + 1), z = s * s;
  vd p = z * (1.0 / 15) + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  p = p * z + 1;
  /* The integer e as f64: the low bits of 1.5 · 2⁵². */
  const vd whole = (vd)(e + (vl)((vd){0} + 0x1.8p52)) - 0x1.8p52;
  return whole + (p * s) * 2.88539008177792681472;
}

/** 2^t, t clamped to where f32 is 0 or ∞. NaN stays. */
LS_INLINE vd ls_exp2_d(vd t) {
  t = ls_select_d(t > 200, (vd){0} + 200, ls_select_d(t < -200, (vd){0} - 200, t));
  const vd shifted = t + 0x1.8p52;
  const vd r = (t - (shifted - 0x1.8p52)) * 0.693147180559945309417;
  const vul n = (vul)shifted - (vul)((vd){0} + 0x1.8p52);
  vd p = r * (1.0 / 10) + 1;
  for (int i = 9; i > 0; i--) p = (p * r) * (1.0 / i) + 1;
  return p * (vd)((n + 1023) << 52);
}

/** x^y with the special values of C's pow. */
LS_INLINE vf ls_pow(vf x, vf y) {
  const vf a = ls_abs(x);
  /* 0, ∞ and NaN have no logarithm in f64 lanes: give them one that leads to the right end. */
  const vf bounded = ls_select((a > 0) & (a < __builtin_inff()), a, ls_splat(1));
  const vf power = ls_join(ls_exp2_d(ls_low(y) * ls_log2_d(ls_low(bounded))),
                           ls_exp2_d(ls_high(y) * ls_log2_d(ls_high(bounded))));
  const vi infinite_y = ls_abs(y) == __builtin_inff();
  const vf zero_or_inf = ls_select((a < 1) ^ (y < 0), (vf){0}, ls_splat(__builtin_inff()));
  vf r = ls_select(infinite_y | (vi)(a == 0) | (vi)(a == __builtin_inff()), zero_or_inf, power);
  const vi whole = (ls_abs(y) >= 0x1p23f) | (ls_round(y) == y);
  const vf half = y * 0.5f;
  const vi odd = whole & (ls_abs(y) < 0x1p24f) & (ls_round(half) != half);
  r = (vf)((vi)r | (ls_sign_bit(x) & odd));
  const vi invalid = (x < 0) & (a < __builtin_inff()) & ~whole;
  r = ls_select(invalid, ls_splat(__builtin_nanf("")), r);
  r = ls_select(ls_is_nan(x), x, ls_select(ls_is_nan(y), y, r));
  return ls_select((vi)(y == 0) | (vi)(x == 1) | ((vi)(x == -1) & infinite_y), ls_splat(1), r);
}

#endif
