/**
 * sin and cos, in f64. Included by math.h.
 *
 * x = k π/2 + r: below 2²⁸ with π/2 as the sum of a 25-bit number (its product with k is exact) and an f64 rest; the
 * lanes beyond, which training never sees, one by one with as many bits of 2/π as they need (Payne and Hanek).
 */
#ifndef LS_TRIGONOMETRY_H
#define LS_TRIGONOMETRY_H

#include "math.h"

/** From here on (and for infinities) a lane needs `ls_reduce_huge`. */
#define LS_HUGE 0x1p28f
LS_INLINE vi ls_is_huge(vf x) { return ls_abs(x) >= LS_HUGE; }

/** sin (odd = 0) or cos (odd = 1) of r + k π/2, |r| ≤ π/4, k in the low bits. FreeBSD k_sinf.c, k_cosf.c: 2⁻³⁴. */
LS_INLINE vd ls_quadrant(vd r, vl k, int cosine) {
  const vd z = r * r, w = z * z, s = z * r;
  const vd sine = (r + s * (-0x15555554cbac77.0p-55 + z * 0x111110896efbb2.0p-59)) +
                  s * w * (-0x1a00f9e2cae774.0p-65 + z * 0x16cd878c3b46a7.0p-71);
  const vd cosi = ((1 + z * -0x1ffffffd0c5e81.0p-54) + w * 0x155553e1053a42.0p-57) +
                  (w * z) * (-0x16c087e80f1e27.0p-62 + z * 0x199342e0ee5069.0p-68);
  const vl q = (vl)((vul)k + (uint64_t)cosine);
  const vd value = ls_select_d(-(q & 1), cosi, sine);
  return (vd)((vul)value ^ (vul)(q & 2) << 62);
}

/** One half of a vector below LS_HUGE. */
LS_INLINE vd ls_sin_d(vd x, int cosine) {
  const vd shifted = x * 0.636619772367581382 + 0x1.8p52;
  const vd n = shifted - 0x1.8p52;
  const vd r = (x - n * 1.57079631090164184570e+00) - n * 1.58932547735281966916e-08;
  return ls_quadrant(r, (vl)shifted, cosine);
}

/** The first 224 bits of 2/π. */
#define LS_TWO_OVER_PI 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu

/** |x| = k π/2 + r for a finite float from 2²⁸ on: the mantissa times the bits of 2/π that matter, in fixed point. */
static inline double ls_reduce_huge(float x, int64_t *k) {
  static const uint32_t digits[] = {LS_TWO_OVER_PI};
  const union { float f; uint32_t u; } bits = {x};
  const uint64_t mantissa = (bits.u & 0x7fffff) | 0x800000;
  const uint32_t exponent = (bits.u >> 23 & 255) - 150; /* |x| = mantissa · 2^exponent, 5 ≤ exponent ≤ 104 */
  /* The bits of 2/π before `exponent` only add multiples of 4 quadrants (less two that are kept: k mod 4). */
  const uint32_t skip = exponent - 2, word = skip / 32, shift = skip % 32;
  uint32_t d[3];
  for (int i = 0; i < 3; i++) {
    d[i] = digits[word + i] << shift | (uint32_t)((uint64_t)digits[word + i + 1] >> (32 - shift));
  }
  /* mantissa · 2/π modulo 4, as 2 + 62 bits, from 96 bits of 2/π. */
  const uint64_t fixed = ((mantissa * d[0]) << 32) + mantissa * d[1] + (mantissa * d[2] >> 32);
  const int64_t quadrant = (int64_t)((fixed + ((uint64_t)1 << 61)) >> 62); /* nearest */
  const int64_t rest = (int64_t)(fixed - ((uint64_t)quadrant << 62));
  const double r = (double)rest * (1.57079632679489661923 * 0x1p-62);
  *k = x < 0 ? -quadrant : quadrant;
  return x < 0 ? -r : r;
}

/** sin x (cosine = 0) or cos x (1). Without `huge` no lane may be huge; with it, such lanes are done over one by one. */
LS_INLINE vf ls_sin_cos(vf x, int cosine, int huge) {
  vf y = ls_join(ls_sin_d(ls_low(x), cosine), ls_sin_d(ls_high(x), cosine));
  if (!cosine) y = ls_select((vi)(x == 0), x, y);
  if (!huge) return y;
  const vi mask = ls_is_huge(x);
  for (int i = 0; i < LS_W; i++) {
    if (!mask[i]) continue;
    int64_t k;
    const double r = x[i] - x[i] == 0 ? ls_reduce_huge(x[i], &k) : (k = 0, x[i] - x[i]);
    y[i] = (float)ls_quadrant((vd){0} + r, (vl){0} + k, cosine)[0];
  }
  return y;
}

#endif
