/**
 * Sums along a row. It has 16 virtual lanes for every LS_W: lane l adds the elements l, l + 16, … in order, starting from
 * the identity, and the lanes are combined by the tree of neighbours ((0 1) (2 3)) ….
 */
#ifndef LS_LANES_H
#define LS_LANES_H

#include "math.h"

#define LANES 16
#define VECTORS (LANES / LS_W)

enum { SUM, MAX, MIN, PROD, ARGMAX, ARGMIN };

/** The 16 virtual lanes. */
typedef struct {
  vf v[VECTORS];
} Lanes;

LS_INLINE vf combine(int kind, vf a, vf b) {
  switch (kind) {
    case SUM: return a + b;
    case PROD: return a * b;
    case MAX: return ls_max_v(a, b);
    default: return ls_min_v(a, b);
  }
}

LS_INLINE float identity(int kind) {
  return kind == SUM ? 0 : kind == PROD ? 1 : kind == MAX ? -__builtin_inff() : __builtin_inff();
}

LS_INLINE Lanes splat_lanes(float x) {
  Lanes lanes;
  for (int j = 0; j < VECTORS; j++) lanes.v[j] = ls_splat(x);
  return lanes;
}

LS_INLINE vf neighbours(int kind, vf a, vf b) {
  return combine(kind, __builtin_shufflevector(a, b, LS_EVEN), __builtin_shufflevector(a, b, LS_ODD));
}

LS_INLINE float lane_tree(int kind, Lanes lanes) {
  for (int count = VECTORS; count > 1; count /= 2) {
    for (int j = 0; j < count / 2; j++) lanes.v[j] = neighbours(kind, lanes.v[2 * j], lanes.v[2 * j + 1]);
  }
  for (int count = LS_W; count > 1; count /= 2) lanes.v[0] = neighbours(kind, lanes.v[0], lanes.v[0]);
  return lanes.v[0][0];
}

/** −1 in lanes below n. */
LS_INLINE vi below(size_t n) { return (vi){LS_ALL} < (int32_t)ls_min(n, LS_W); }

/** The first n lanes (or more) from p; the others are arbitrary. Reads whole vectors as long as they end before `end`. */
LS_INLINE vf load_some(const float *p, size_t n, const float *end) {
  return end - p >= LS_W ? ls_load(p) : ls_load_part(p, ls_min(n, LS_W));
}

LS_INLINE void store_some(float *p, vf v, size_t n) {
  if (n >= LS_W) ls_store(p, v);
  else ls_store_part(p, v, n);
}

LS_INLINE vf term(int square, vf x) {
  if (square) return x * x;
  return x;
}

/** Reduction of one row; with `square`, of the squares. */
LS_INLINE float reduce_row(int kind, int square, const float *p, size_t n, const float *end) {
  Lanes lanes = splat_lanes(identity(kind));
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int j = 0; j < VECTORS; j++) {
      lanes.v[j] = combine(kind, lanes.v[j], term(square, ls_load(p + i + j * LS_W)));
    }
  }
  for (int j = 0; j < VECTORS && i < n; j++, i += LS_W) {
    const vf x = term(square, load_some(p + i, n - i, end));
    lanes.v[j] = ls_select(below(n - i), combine(kind, lanes.v[j], x), lanes.v[j]);
  }
  return lane_tree(kind, lanes);
}

#endif
