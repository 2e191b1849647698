/**
 * Activations that gate their input, x · s(x), and their slopes. In f64: an error in the exponent of e^x grows with x, and where
 * 1 − e^x or 1 + erf x cancels, f32 has no digits left. Every lane is at most 1 ulp from the correctly rounded result; a slope
 * is so too, or at most 2⁻²⁹ from it (near the point where it is 0).
 *
 * All gates but mish's obey s(x) + s(−x) = 1, so with a = |x|, the tail T(a) = a s(−a) and D(a) = y′(−a):
 *   y(x) = max(x, 0) − T(a),   y′(x) = x < 0 ? D(a) : 1 − D(a).
 * Both are below half the smallest subnormal from a bound on, where a is cut. As in PyTorch, y(−∞) is NaN.
 *
 * A function and its slope have most of the work in common: both are computed, and what nobody reads the compiler drops.
 */
#ifndef LS_ACTIVATIONS_H
#define LS_ACTIVATIONS_H

#include "math.h"

#define LS_LOG2_E_D 1.4426950408889634074

/* Polynomials are added in pairs: they wait for results, not for the arithmetic units. Coefficients from the constant on. */
LS_INLINE vd ls_poly3(vd x, vd x2, double c0, double c1, double c2, double c3) {
  return (c0 + c1 * x) + (c2 + c3 * x) * x2;
}
LS_INLINE vd ls_poly4(vd x, vd x2, double c0, double c1, double c2, double c3, double c4) {
  return ls_poly3(x, x2, c0, c1, c2, c3) + c4 * (x2 * x2);
}
LS_INLINE vd ls_poly5(vd x, vd x2, double c0, double c1, double c2, double c3, double c4, double c5) {
  return ls_poly3(x, x2, c0, c1, c2, c3) + (c4 + c5 * x) * (x2 * x2);
}

/** 2^t for |t| < 1000 with a relative error of 2⁻²⁹. NaN stays. */
LS_INLINE vd ls_exp2_short(vd t) {
  const vd shifted = t + 0x1.8p52;
  const vd f = t - (shifted - 0x1.8p52), f2 = f * f;
  const vd high = (0.0096180566785246381 + 0.0013400428177615838 * f) + 0.00015461444698569129 * f2;
  const vd p = ls_poly3(f, f2, 1, 0.6931472067028326, 0.24022650922288758, 0.055503272266703021) + high * (f2 * f2);
  return (vd)((vul)p + ((vul)shifted << 52)); /* the integer lies in the low bits */
}

/** The tail T and D of half a vector. */
typedef struct {
  vd tail, slope;
} LsGate;
/** The function and its slope. */
typedef struct {
  vf y, slope;
} LsSloped;

/** max(x, 0) − T and its slope. The product is NaN for −∞, else −0. */
LS_INLINE LsSloped ls_gated(vf x, LsGate low, LsGate high) {
  const vf side = ls_join(low.slope, high.slope);
  return (LsSloped){ls_select(x > 0, x, x * 0) - ls_join(low.tail, high.tail), ls_select(x < 0, side, 1 - side)};
}

/* gelu: s(x) = Φ(x) with Φ(−a) = e^(−a²/2) R(a); R is rational, 1/2 … 1/(√(2π) a), here to 2⁻²⁷ (least squares, reweighted
   towards the largest error). D(a) = Φ(−a) − a e^(−a²/2) / √(2π). */
LS_INLINE LsGate ls_gelu_gate(vd a) {
  const vd a2 = a * a, gauss = ls_exp2_short(a2 * (-0.5 * LS_LOG2_E_D));
  const vd p = ls_poly4(a, a2, 48.370966292728953, 42.421023247465568, 17.741004467896741, 3.9358248883862573,
                        0.39894683685162194);
  const vd q = ls_poly5(a, a2, 96.741932006175244, 162.0309816017159, 116.39259288842634, 45.455735309358552,
                        9.8662670252229319, 1);
  const vd normal = gauss * p / q;
  return (LsGate){a * normal, normal - a * 0.39894228040143267794 * gauss};
}
/** x Φ(x). */
LS_INLINE LsSloped ls_gelu(vf x) {
  const vf a = ls_at_most(ls_abs(x), 14.6f);
  return ls_gated(x, ls_gelu_gate(ls_low(a)), ls_gelu_gate(ls_high(a)));
}

/** s(x) = σ(v(x)) with an odd v: from a, e^−v(a) and a v′(a). σ(−v) = e^−v / (1 + e^−v), D = σ(−v) (1 − a v′ σ(v)). */
LS_INLINE LsGate ls_sigmoid_gate(vd a, vd e, vd slope) {
  const vd other = 1 / (1 + e), gate = e * other;
  return (LsGate){a * gate, gate * (1 - slope * other)};
}

LS_INLINE LsGate ls_silu_gate(vd a) { return ls_sigmoid_gate(a, ls_exp2_short(a * -LS_LOG2_E_D), a); }
/** x σ(x). */
LS_INLINE LsSloped ls_silu(vf x) {
  const vf a = ls_at_most(ls_abs(x), 110);
  return ls_gated(x, ls_silu_gate(ls_low(a)), ls_silu_gate(ls_high(a)));
}

#define LS_GELU_1 1.5957691216057307 /* √(8/π) */
#define LS_GELU_3 (LS_GELU_1 * 0.044715)
LS_INLINE LsGate ls_gelu_tanh_gate(vd a) {
  const vd a2 = a * a;
  const vd e = ls_exp2_short(a * (a2 * (-LS_GELU_3 * LS_LOG2_E_D) - LS_GELU_1 * LS_LOG2_E_D));
  return ls_sigmoid_gate(a, e, a * (a2 * (3 * LS_GELU_3) + LS_GELU_1));
}
/** x σ(√(8/π) (x + 0.044715 x³)). */
LS_INLINE LsSloped ls_gelu_tanh(vf x) {
  const vf a = ls_at_most(ls_abs(x), 11);
  return ls_gated(x, ls_gelu_tanh_gate(ls_low(a)), ls_gelu_tanh_gate(ls_high(a)));
}

/** s(x) = tanh(ln(1 + e)) = n / (n + 2) with e = e^x and n = e (e + 2); s′(x) = 4 e (e + 1) / (n + 2)². Not a tail: s and y′. */
LS_INLINE LsGate ls_mish_gate(vd x) {
  const vd e = ls_exp2_short(x * LS_LOG2_E_D), n = e * (e + 2), r = 1 / (n + 2), gate = n * r;
  return (LsGate){gate, gate + (4 * x * e) * (e + 1) * (r * r)};
}
/** x tanh(ln(1 + e^x)). From 20 on s is 1, and below −110 both are 0. */
LS_INLINE LsSloped ls_mish(vf x) {
  const vf cut = ls_at_most(x, 20), bounded = ls_at_least(cut, -110);
  const LsGate low = ls_mish_gate(ls_low(bounded)), high = ls_mish_gate(ls_high(bounded));
  const vf y = ls_join(ls_low(x) * low.tail, ls_high(x) * high.tail);
  return (LsSloped){ls_select(x > -110, y, x * 0), ls_join(low.slope, high.slope)};
}

/** ln(1 + e^−|βx|) / β with ln(1 + E) = 2 atanh(E / (2 + E)). */
LS_INLINE vd ls_softplus_tail(vd a, vd beta) {
  const vd exponent = (a * beta) * LS_LOG2_E_D; /* exact enough for every β only in f64 */
  const vd e = ls_exp2_short(-ls_select_d(exponent > 400, (vd){0} + 400, exponent));
  const vd n = 2 + e, s = e / n, z = s * s;
  const vd p = ls_poly5(z, z * z, 1.999999999809006, 0.6666667902643397, 0.39998711246862332, 0.28620207408437238,
                        0.21398560506678543, 0.24393908084023025);
  return e * p / (n * beta);
}
/** ln(1 + e^βx) / β = max(x, 0) + ln(1 + e^−|βx|) / β for β > 0. */
LS_INLINE vf ls_softplus(vf x, vf beta) {
  const vf a = ls_abs(x);
  const vf tail = ls_join(ls_softplus_tail(ls_low(a), ls_low(beta)), ls_softplus_tail(ls_high(a), ls_high(beta)));
  return ls_max_v(x, (vf){0}) + tail;
}

#endif
