/**
 * What reduces along an axis or treats a row as a whole: sums over a row go by virtual lanes (lanes.h). Sums across rows
 * add in the order of the rows, every column on its own.
 */
#include "lanes.h"

enum { SOFTMAX, LOG_SOFTMAX, LOG_SUM_EXP };

/* ---- reduce ---- */

/** The first `vectors` vectors of columns of in[n, inner], of which `count` columns exist. */
LS_INLINE void reduce_columns(int kind, int vectors, float *out, const float *in, size_t n, size_t inner, size_t count,
                              const float *end) {
  vf sums[8];
  for (int j = 0; j < vectors; j++) sums[j] = ls_splat(identity(kind));
  for (size_t i = 0; i < n; i++, in += inner) {
    for (int j = 0; j < vectors; j++) {
      const vf x = vectors == 1 ? load_some(in, count, end) : ls_load(in + j * LS_W);
      sums[j] = combine(kind, sums[j], x);
    }
  }
  for (int j = 0; j < vectors; j++) store_some(out + j * LS_W, sums[j], vectors == 1 ? count : LS_W);
}

LS_INLINE void reduce_by(int kind, float *out, const float *in, size_t outer, size_t n, size_t inner) {
  const float *end = in + outer * n * inner;
  for (size_t o = 0; o < outer; o++, in += n * inner, out += inner) {
    if (n == 0) {
      for (size_t i = 0; i < inner; i++) out[i] = kind == PROD ? 1 : 0;
    } else if (inner == 1) {
      *out = reduce_row(kind, 0, in, n, end);
    } else {
      size_t i = 0;
      for (; i + 8 * LS_W <= inner; i += 8 * LS_W) reduce_columns(kind, 8, out + i, in + i, n, inner, 8 * LS_W, end);
      for (; i < inner; i += LS_W) reduce_columns(kind, 1, out + i, in + i, n, inner, ls_min(LS_W, inner - i), end);
    }
  }
}

/** Index of the first extreme of a vector of columns; the first NaN is the extreme where there is one. */
LS_INLINE vi first_extreme(int kind, const float *in, size_t n, size_t inner, size_t count, const float *end) {
  vf best = load_some(in, count, end);
  vi at = {0};
  for (size_t i = 1; i < n; i++) {
    const vf x = load_some(in + i * inner, count, end);
    const vi better = ((kind == ARGMAX ? x > best : x < best) | ls_is_nan(x)) & ~ls_is_nan(best);
    best = ls_select(better, x, best);
    at = ls_select_i(better, ls_splat_i((int32_t)i), at);
  }
  return at;
}

LS_INLINE void arg_reduce(int kind, int32_t *out, const float *in, size_t outer, size_t n, size_t inner) {
  const float *end = in + outer * n * inner;
  for (size_t o = 0; o < outer; o++, in += n * inner, out += inner) {
    if (inner == 1 && n > 0) {
      const float best = reduce_row(kind == ARGMAX ? MAX : MIN, 0, in, n, end);
      size_t i = 0;
      /* The bound ends the search even where another thread changed the row since its extreme was found. */
      while (i + 1 < n && !(in[i] == best || (best != best && in[i] != in[i]))) i++;
      *out = (int32_t)i;
      continue;
    }
    for (size_t i = 0; i < inner; i += LS_W) {
      const size_t count = ls_min(LS_W, inner - i);
      const vi at = n > 0 ? first_extreme(kind, in + i, n, inner, count, end) : (vi){0};
      store_some((float *)out + i, (vf)at, count);
    }
  }
}

/** out[o, i] = reduction over n of in[o, n, i]. */
LS_KERNEL(reduce) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const size_t outer = op->outer, n = op->n, inner = op->inner;
  switch (op->kind) {
    case SUM: reduce_by(SUM, out, in, outer, n, inner); break;
    case MAX: reduce_by(MAX, out, in, outer, n, inner); break;
    case MIN: reduce_by(MIN, out, in, outer, n, inner); break;
    case PROD: reduce_by(PROD, out, in, outer, n, inner); break;
    case ARGMAX: arg_reduce(ARGMAX, (int32_t *)out, in, outer, n, inner); break;
    case ARGMIN: arg_reduce(ARGMIN, (int32_t *)out, in, outer, n, inner); break;
  }
}

/** out[b] = sum of squares of the elements of block b of in[n]. */
LS_KERNEL(sumOfSquares) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const size_t n = op->n, block = op->block;
  for (size_t i = 0; i < n; i += block) *out++ = reduce_row(SUM, 1, in + i, ls_min(block, n - i), in + n);
}

/* ---- the shard tree ---- */

LS_INLINE vf pair(const float *p, size_t stride) { return ls_load(p) + ls_load(p + stride); }
LS_INLINE vf four(const float *p, size_t stride) { return pair(p, stride) + pair(p + 2 * stride, stride); }
LS_INLINE vf eight(const float *p, size_t stride) { return four(p, stride) + four(p + 4 * stride, stride); }

/** A vector of columns summed by the tree: a binary counter of complete subtrees, then the rest from the right. */
LS_INLINE vf tree(const float *p, size_t stride, size_t segments) {
  vf subtree[32];
  int top = 0;
  for (size_t s = 0; s < segments / 8; s++, p += 8 * stride) {
    vf sum = eight(p, stride);
    for (size_t carry = s; carry & 1; carry >>= 1) sum = subtree[--top] + sum;
    subtree[top++] = sum;
  }
  if (segments & 4) subtree[top++] = four(p, stride), p += 4 * stride;
  if (segments & 2) subtree[top++] = pair(p, stride), p += 2 * stride;
  if (segments & 1) subtree[top++] = ls_load(p);
  vf sum = subtree[--top];
  while (top > 0) sum = subtree[--top] + sum;
  return sum;
}

/** The same for one column. */
static float tree_scalar(const float *p, size_t stride, size_t segments) {
  float subtree[32];
  int top = 0;
  for (size_t s = 0; s < segments; s++) {
    float sum = p[s * stride];
    for (size_t carry = s; carry & 1; carry >>= 1) sum = subtree[--top] + sum;
    subtree[top++] = sum;
  }
  float sum = subtree[--top];
  while (top > 0) sum = subtree[--top] + sum;
  return sum;
}

/** out[i] = tree over s of in[s, i]. */
LS_KERNEL(treeSum) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const size_t segments = op->segments, n = op->n;
  size_t i = 0;
  for (; i + LS_W <= n; i += LS_W) ls_store(out + i, tree(in + i, n, segments));
  for (; i < n; i++) out[i] = tree_scalar(in + i, n, segments);
}

/* ---- softmax and its kin: x − max, so that no exponential overflows ---- */

/** Σ e^(x − shift) over a row; with `out`, the terms are stored there. */
LS_INLINE float sum_exp(float *out, const float *p, size_t n, float shift, const float *end) {
  Lanes lanes = splat_lanes(0);
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int j = 0; j < VECTORS; j++) {
      const vf e = ls_exp(ls_load(p + i + j * LS_W) - shift);
      if (out) ls_store(out + i + j * LS_W, e);
      lanes.v[j] += e;
    }
  }
  for (int j = 0; j < VECTORS && i < n; j++, i += LS_W) {
    const vf e = ls_exp(load_some(p + i, n - i, end) - shift);
    if (out) store_some(out + i, e, n - i);
    lanes.v[j] += (vf)((vi)e & below(n - i));
  }
  return lane_tree(SUM, lanes);
}

LS_INLINE float log_scalar(float x) { return ls_log(ls_splat(x))[0]; }

/** out = softmax(in) · scale (scale = 1 changes no bit) for a row; all its terms are in out already. */
LS_INLINE void divide_row(float *out, size_t n, float sum, float scale) {
  for (size_t i = 0; i < n; i += LS_W) {
    const vf e = n - i >= LS_W ? ls_load(out + i) : ls_load_part(out + i, n - i);
    store_some(out + i, e / ls_splat(sum) * ls_splat(scale), n - i);
  }
}

LS_INLINE void log_softmax_row(float *out, const float *p, size_t n, float max, float log_sum, const float *end) {
  for (size_t i = 0; i < n; i += LS_W) {
    store_some(out + i, (load_some(p + i, n - i, end) - max) - log_sum, n - i);
  }
}

/** Over rows of in[rows, n]; a row's log-sum-exp with an infinite maximum is that maximum, as in PyTorch. */
LS_KERNEL(softmax) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const size_t rows = op->rows, n = op->n;
  const float *end = in + rows * n;
  for (size_t r = 0; r < rows; r++, in += n) {
    const float max = reduce_row(MAX, 0, in, n, end);
    switch (op->kind) {
      case SOFTMAX:
        divide_row(out, n, sum_exp(out, in, n, max, end), 1);
        out += n;
        break;
      case LOG_SOFTMAX:
        log_softmax_row(out, in, n, max, log_scalar(sum_exp(0, in, n, max, end)), end);
        out += n;
        break;
      case LOG_SUM_EXP:
        *out++ = max - max == 0 ? max + log_scalar(sum_exp(0, in, n, max, end)) : max;
        break;
    }
  }
}

/**
 * out[r] = −ln softmax(logits[r, :])[label[r]], as ln Σ e^(x − max) − (x[label] − max): exact near 0 for any shift. The
 * logarithms of LS_W rows are taken together. A label out of range gives NaN.
 */
LS_KERNEL(crossEntropy) {
  float *out = ls_at(ctx, op->out);
  const float *logits = ls_at(ctx, op->logits);
  const uint32_t *labels = ls_at(ctx, op->labels);
  const size_t rows = op->rows, n = op->n;
  const float *end = logits + rows * n;
  for (size_t r = 0; r < rows; r += LS_W) {
    const size_t count = ls_min(LS_W, rows - r);
    vf sums = ls_splat(1), shifted = ls_splat(0);
    for (size_t i = 0; i < count; i++, logits += n) {
      const uint32_t label = ls_index(labels + r + i);
      const float max = reduce_row(MAX, 0, logits, n, end);
      sums[i] = sum_exp(0, logits, n, max, end);
      shifted[i] = label < n ? logits[label] - max : __builtin_nanf("");
    }
    store_some(out + r, ls_log(sums) - shifted, count);
  }
}

/** out[r, c] = (softmax(logits[r, :])[c] − [c = label[r]]) · grad[r]; a label out of range gives NaN, like its loss. */
LS_KERNEL(crossEntropyGrad) {
  float *out = ls_at(ctx, op->out);
  const float *logits = ls_at(ctx, op->logits);
  const uint32_t *labels = ls_at(ctx, op->labels);
  const float *grad = ls_at(ctx, op->grad);
  const size_t rows = op->rows, n = op->n;
  const float *end = logits + rows * n;
  for (size_t r = 0; r < rows; r++, logits += n, out += n) {
    const uint32_t label = ls_index(labels + r);
    const float g = label < n ? grad[r] : __builtin_nanf("");
    const float sum = sum_exp(out, logits, n, reduce_row(MAX, 0, logits, n, end), end);
    const float hit = label < n ? (out[label] / sum - 1) * g : 0;
    divide_row(out, n, sum, g);
    if (label < n) out[label] = hit;
  }
}
