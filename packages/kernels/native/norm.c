/**
 * Normalisation of rows: layer norm (centred) and RMS norm.
 *   x̂ = (x − μ) ρ with μ the row's mean (0 if not centred) and ρ = 1 / √(mean((x − μ)²) + ε);  y = x̂ γ + β
 * The backward kernels find μ and ρ again: that costs less than keeping them. Sums over a row go by virtual lanes.
 */
#include "lanes.h"

enum { GAMMA, BETA };

/** Elements [i, i + LS_W) of a row of n, +0 beyond its end. `full`: the row does not end before. */
LS_INLINE vf part(const float *p, size_t i, size_t n, int full) {
  return full ? ls_load(p + i) : ls_load_part(p + i, n - i);
}

/** Runs body(i, full) for each vector of a row of n. */
#define EACH_VECTOR(n, body)                             \
  {                                                      \
    size_t i = 0;                                        \
    for (; i + LS_W <= (n); i += LS_W) { body(i, 1) }    \
    if (i < (n)) { body(i, 0) }                          \
  }

/** lanes.v[…] += term, for the vector at i; lanes beyond the row add nothing. */
LS_INLINE void add_term(Lanes *lanes, size_t i, size_t n, int full, vf term) {
  vf *lane = &lanes->v[i / LS_W % VECTORS];
  if (full) *lane = *lane + term;
  else *lane = ls_select(below(n - i), *lane + term, *lane);
}

typedef struct {
  float mean, scale;
} Moments;

LS_INLINE Moments moments(const float *x, size_t n, int center, float eps) {
  Moments m = {0, 0};
  if (center) {
    Lanes sum = splat_lanes(0);
#define BODY(i, full) add_term(&sum, i, n, full, part(x, i, n, full));
    EACH_VECTOR(n, BODY)
#undef BODY
    m.mean = lane_tree(SUM, sum) / (float)n;
  }
  Lanes squares = splat_lanes(0);
#define BODY(i, full)                               \
  const vf d = part(x, i, n, full) - m.mean;        \
  add_term(&squares, i, n, full, d * d);
  EACH_VECTOR(n, BODY)
#undef BODY
  m.scale = 1 / ls_sqrt(ls_splat(lane_tree(SUM, squares) / (float)n + eps))[0];
  return m;
}

/** y[r, :] = x̂ [γ] [+ β] */
LS_KERNEL(normalize) {
  float *y = ls_at(ctx, op->out);
  const float *x = ls_at(ctx, op->x), *gamma = ls_at(ctx, op->weight), *beta = ls_at(ctx, op->bias);
  const size_t rows = op->rows, n = op->n;
  if (n == 0) return;
  const int weighted = op->weighted != 0, biased = op->biased != 0, center = op->center != 0;
  for (size_t r = 0; r < rows; r++, x += n, y += n) {
    const Moments m = moments(x, n, center, op->eps);
#define BODY(i, full)                                              \
  vf v = (part(x, i, n, full) - m.mean) * m.scale;                 \
  if (weighted) v = v * part(gamma, i, n, full);                   \
  if (biased) v = v + part(beta, i, n, full);                      \
  if (full) ls_store(y + i, v);                                    \
  else ls_store_part(y + i, v, n - i);
    EACH_VECTOR(n, BODY)
#undef BODY
  }
}

/** x̂; and ĝ = g [γ]. */
#define HAT(i, full) ((part(x, i, n, full) - m.mean) * m.scale)
#define SLOPE(i, full) slope(g, weighted ? gamma : 0, i, n, full)
LS_INLINE vf slope(const float *g, const float *gamma, size_t i, size_t n, int full) {
  if (gamma) return part(g, i, n, full) * part(gamma, i, n, full);
  return part(g, i, n, full);
}

/** dx[r, :] = ρ (ĝ − mean(ĝ) − x̂ mean(ĝ x̂)) with ĝ = g [γ]; without mean(ĝ) if not centred. */
LS_KERNEL(normalizeGrad) {
  float *dx = ls_at(ctx, op->out);
  const float *x = ls_at(ctx, op->x), *gamma = ls_at(ctx, op->weight), *g = ls_at(ctx, op->grad);
  const size_t rows = op->rows, n = op->n;
  if (n == 0) return;
  const int weighted = op->weighted != 0, center = op->center != 0;
  for (size_t r = 0; r < rows; r++, x += n, g += n, dx += n) {
    const Moments m = moments(x, n, center, op->eps);
    Lanes sum = splat_lanes(0), dot = splat_lanes(0);
#define BODY(i, full)                                  \
  const vf s = SLOPE(i, full);                         \
  add_term(&sum, i, n, full, s);                       \
  add_term(&dot, i, n, full, s * HAT(i, full));
    EACH_VECTOR(n, BODY)
#undef BODY
    const float mean = center ? lane_tree(SUM, sum) / (float)n : 0;
    const float mean_dot = lane_tree(SUM, dot) / (float)n;
#define BODY(i, full)                                                              \
  const vf v = ((SLOPE(i, full) - mean) - HAT(i, full) * mean_dot) * m.scale;      \
  if (full) ls_store(dx + i, v);                                                   \
  else ls_store_part(dx + i, v, n - i);
    EACH_VECTOR(n, BODY)
#undef BODY
  }
}

/** sums += g x̂ (γ) or g (β) of a row. */
LS_INLINE void add_row(float *sums, const float *x, const float *g, size_t n, int kind, int center, float eps) {
  const Moments m = kind == GAMMA ? moments(x, n, center, eps) : (Moments){0, 0};
#define BODY(i, full)                                                             \
  const vf s = part(g, i, n, full);                                               \
  vf v = part(sums, i, n, full);                                                  \
  if (kind == GAMMA) v = v + s * HAT(i, full);                                    \
  else v = v + s;                                                                 \
  if (full) ls_store(sums + i, v);                                                \
  else ls_store_part(sums + i, v, n - i);
  EACH_VECTOR(n, BODY)
#undef BODY
}

/**
 * out[s, :] = Σ over rows of g x̂ (dγ) or g (dβ), in order of the rows; with `tree` summed over the segments, too. The
 * sums of finished subtrees wait in scratch like the digits of a binary counter.
 */
LS_KERNEL(normalizeWeightGrad) {
  float *out = ls_at(ctx, op->out);
  const float *x = ls_at(ctx, op->x), *g = ls_at(ctx, op->grad);
  float *stack = ls_at(ctx, op->scratch);
  const size_t segments = op->segments, rows = op->rows, n = op->n;
  if (n == 0) return;
  const int tree = op->tree != 0, center = op->center != 0;
  const float eps = op->eps;
  size_t top = 0;
  for (size_t s = 0; s < segments; s++) {
    float *sums = tree ? stack + top * n : out + s * n;
    __builtin_memset(sums, 0, n * 4);
    for (size_t r = 0; r < rows; r++, x += n, g += n) {
      if (op->kind == GAMMA) add_row(sums, x, g, n, GAMMA, center, eps);
      else add_row(sums, x, g, n, BETA, center, eps);
    }
    if (!tree) continue;
    const size_t merges = s + 1 == segments ? top : (size_t)__builtin_ctzll(~(unsigned long long)s);
    for (size_t merge = 0; merge < merges; merge++, top--) {
      const float *right = stack + top * n;
      float *left = stack + (top - 1) * n;
      for (size_t i = 0; i < n; i++) left[i] = left[i] + right[i];
    }
    top++;
  }
  if (tree) __builtin_memcpy(out, stack, n * 4);
}
