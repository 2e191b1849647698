/**
 * Scaled dot-product attention that never holds a Tq × Tk matrix.
 *   S = scale · Q Kᵀ + mask;  P = softmax of the rows of S;  O = P V
 * B batch, H heads, Tq queries, Tk keys, D numbers per head. Queries go in blocks of QUERIES, keys in blocks of KEYS,
 * which are fixed: the order of additions is a function of Tq and Tk alone. Within a block of keys sums run over the
 * keys in order, the blocks follow one after another, rescaled to the largest score so far (Milakov and Gimelshein,
 * 2018; Dao et al., 2022). Backward finds P again, block by block. `causal`: query i sees the keys 0 … i.
 */
#include "lanes.h"
#include "matmul.h"

#define QUERIES 32
#define KEYS 128

/** A strided operand: B, H and T; the D numbers lie together. */
typedef struct {
  float *at;
  size_t batch, head, row;
} Operand;

typedef struct {
  Operand q, k, v, out, mask;
  size_t heads, queries, keys, d;
  float scale;
  int causal, masked;
  float *s, *dp, *block, *sum; /* [QUERIES, KEYS] twice, [KEYS, D], [QUERIES, D] */
  float *max, *total, *factor, *delta; /* a number per query */
  float *scratch; /* of `multiply` */
} Attention;

LS_INLINE Operand operand(const Ctx *ctx, const uint32_t *address, const uint32_t *strides) {
  return (Operand){ls_at(ctx, address), strides[0], strides[1], strides[2]};
}
LS_INLINE float *head_of(const Operand *x, size_t b, size_t h) { return x->at + b * x->batch + h * x->head; }

/** Scratch after that of `multiply` (attentionScratchBytes in fused.ts). */
static void place(Attention *t, float *scratch) {
  t->scratch = scratch, scratch += MM_SCRATCH;
  t->s = scratch, scratch += QUERIES * KEYS;
  t->dp = scratch, scratch += QUERIES * KEYS;
  t->max = scratch, scratch += QUERIES;
  t->total = scratch, scratch += QUERIES;
  t->factor = scratch, scratch += QUERIES;
  t->delta = scratch, scratch += QUERIES;
  t->block = scratch, scratch += KEYS * t->d;
  t->sum = scratch;
}

static void multiply(const Attention *t, float *c, size_t ldc, const float *a, size_t lda, int transA, const float *b,
                     size_t ldb, int transB, size_t m, size_t n, size_t k) {
  Product p = {.c = c, .a = a, .b = b, .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc,
               .transA = (size_t)transA, .transB = (size_t)transB, .segments = 1};
  LS_NAME(multiply)(&p, t->scratch);
}

/** Block of scores: queries [i, i + m) against keys [j, j + n), of one head. */
typedef struct {
  const float *q, *k, *mask;
  size_t i, m, j, n;
} Scores;

/** s[r, c] = scale · (q · k) + mask; −∞ where the query does not see the key, up to a whole number of lanes. */
static void scores(const Attention *t, const Scores *b) {
  multiply(t, t->s, KEYS, b->q, t->q.row, 0, b->k + b->j * t->k.row, t->k.row, 1, b->m, b->n, t->d);
  for (size_t r = 0; r < b->m; r++) {
    float *s = t->s + r * KEYS;
    const float *mask = b->mask + (b->i + r) * t->mask.row + b->j;
    size_t seen = b->n;
    if (t->causal) seen = b->i + r + 1 > b->j ? ls_min(b->n, b->i + r + 1 - b->j) : 0;
    for (size_t c = 0; c < b->n; c += LS_W) {
      vf x = ls_load(s + c) * t->scale;
      if (t->masked && c + LS_W <= b->n) x = x + ls_load(mask + c);
      else if (t->masked) x = x + ls_load_part(mask + c, b->n - c);
      const vi sees = below(seen > c ? seen - c : 0);
      ls_store(s + c, ls_select(sees, x, ls_splat(-__builtin_inff())));
    }
  }
}

/** Takes a block of scores into the rows' maxima and sums; s becomes e^(s − max), `factor` what sums so far shrink by. */
static void take_in(const Attention *t, const Scores *b) {
  for (size_t r = 0; r < b->m; r++) {
    float *s = t->s + r * KEYS;
    Lanes lanes = splat_lanes(t->max[r]);
    for (size_t c = 0; c < b->n; c += LS_W) {
      vf *lane = &lanes.v[c / LS_W % VECTORS];
      *lane = ls_max_v(ls_load(s + c), *lane);
    }
    const float max = lane_tree(MAX, lanes);
    /* A query that sees nothing yet: all its terms are 0. */
    const float shift = max == -__builtin_inff() ? 0 : max;
    lanes = splat_lanes(0);
    for (size_t c = 0; c < b->n; c += LS_W) {
      const vf x = ls_load(s + c);
      const vf e = ls_select((vi)(x == -__builtin_inff()), (vf){0}, ls_exp(x - shift));
      ls_store(s + c, e);
      lanes.v[c / LS_W % VECTORS] += e;
    }
    t->factor[r] = t->max[r] == -__builtin_inff() ? 0 : ls_exp(ls_splat(t->max[r] - shift))[0];
    t->total[r] = t->total[r] * t->factor[r] + lane_tree(SUM, lanes);
    t->max[r] = max;
  }
}

static void start_rows(const Attention *t) {
  for (size_t r = 0; r < QUERIES; r++) t->max[r] = -__builtin_inff(), t->total[r] = 0;
}

/** Keys that the queries [i, i + m) may see. */
LS_INLINE size_t keys_seen(const Attention *t, size_t i, size_t m) {
  return t->causal ? ls_min(t->keys, i + m) : t->keys;
}

/** to[r, :] = to[r, :] · factor[r] + from[r, :] */
LS_INLINE void add_block(float *to, size_t to_row, const float *from, const float *factor, size_t m, size_t d) {
  for (size_t r = 0; r < m; r++, to += to_row, from += d) {
    const float f = factor ? factor[r] : 1;
    for (size_t c = 0; c < d; c++) to[c] = to[c] * f + from[c];
  }
}

static void forward_head(const Attention *t, size_t b, size_t h) {
  const float *v = head_of(&t->v, b, h);
  Scores block = {.k = head_of(&t->k, b, h), .mask = head_of(&t->mask, b, h)};
  for (size_t i = 0; i < t->queries; i += QUERIES) {
    block.q = head_of(&t->q, b, h) + i * t->q.row, block.i = i, block.m = ls_min(QUERIES, t->queries - i);
    const size_t limit = keys_seen(t, i, block.m);
    start_rows(t);
    __builtin_memset(t->sum, 0, block.m * t->d * 4);
    for (size_t j = 0; j < limit; j += KEYS) {
      block.j = j, block.n = ls_min(KEYS, limit - j);
      scores(t, &block);
      take_in(t, &block);
      multiply(t, t->block, t->d, t->s, KEYS, 0, v + j * t->v.row, t->v.row, 0, block.m, t->d, block.n);
      add_block(t->sum, t->d, t->block, t->factor, block.m, t->d);
    }
    float *out = head_of(&t->out, b, h) + i * t->out.row;
    for (size_t r = 0; r < block.m; r++, out += t->out.row) {
      const float total = t->total[r] == 0 ? 1 : t->total[r]; /* a query that sees nothing gives 0 */
      for (size_t c = 0; c < t->d; c++) out[c] = t->sum[r * t->d + c] / total;
    }
  }
}

/** s = P = e^(s − max) / total from scores; with `again`, s holds e^(s − max) already. */
static void probabilities(const Attention *t, const Scores *b, int again) {
  for (size_t r = 0; r < b->m; r++) {
    float *s = t->s + r * KEYS;
    const float total = t->total[r] == 0 ? 1 : t->total[r];
    const float shift = t->max[r] == -__builtin_inff() ? 0 : t->max[r];
    for (size_t c = 0; c < b->n; c += LS_W) {
      vf x = ls_load(s + c);
      if (!again) x = ls_select((vi)(x == -__builtin_inff()), (vf){0}, ls_exp(x - shift));
      ls_store(s + c, x / total);
    }
  }
}

/** dp = dS = P (dP − delta) · scale */
static void score_slopes(const Attention *t, const Scores *b) {
  for (size_t r = 0; r < b->m; r++) {
    const float *s = t->s + r * KEYS;
    float *dp = t->dp + r * KEYS;
    const float delta = t->delta[r];
    for (size_t c = 0; c < b->n; c += LS_W) {
      ls_store(dp + c, ls_load(s + c) * (ls_load(dp + c) - delta) * t->scale);
    }
  }
}

/** delta[r] = g · o, which is Σ P dP over the row. */
static void deltas(const Attention *t, const float *g, size_t g_row, const float *o, size_t m) {
  for (size_t r = 0; r < m; r++, g += g_row, o += t->out.row) {
    Lanes lanes = splat_lanes(0);
    for (size_t c = 0; c < t->d; c += LS_W) {
      const size_t n = ls_min(LS_W, t->d - c);
      lanes.v[c / LS_W % VECTORS] += ls_load_part(g + c, n) * ls_load_part(o + c, n);
    }
    t->delta[r] = lane_tree(SUM, lanes);
  }
}

static void clear_rows(const Operand *x, size_t b, size_t h, size_t rows, size_t d) {
  float *p = head_of(x, b, h);
  for (size_t r = 0; r < rows; r++, p += x->row) __builtin_memset(p, 0, d * 4);
}

static void backward_head(const Attention *t, const Operand *grad, const Operand slopes[3], size_t b, size_t h) {
  const float *v = head_of(&t->v, b, h);
  float *dk = head_of(&slopes[1], b, h), *dv = head_of(&slopes[2], b, h);
  Scores block = {.k = head_of(&t->k, b, h), .mask = head_of(&t->mask, b, h)};
  clear_rows(&slopes[0], b, h, t->queries, t->d);
  clear_rows(&slopes[1], b, h, t->keys, t->d);
  clear_rows(&slopes[2], b, h, t->keys, t->d);
  for (size_t i = 0; i < t->queries; i += QUERIES) {
    const size_t m = ls_min(QUERIES, t->queries - i), limit = keys_seen(t, i, m);
    const float *g = head_of(grad, b, h) + i * grad->row;
    float *dq = head_of(&slopes[0], b, h) + i * slopes[0].row;
    block.q = head_of(&t->q, b, h) + i * t->q.row, block.i = i, block.m = m;
    start_rows(t);
    for (size_t j = 0; j < limit; j += KEYS) {
      block.j = j, block.n = ls_min(KEYS, limit - j);
      scores(t, &block);
      take_in(t, &block);
    }
    deltas(t, g, grad->row, head_of(&t->out, b, h) + i * t->out.row, m);
    for (size_t j = 0; j < limit; j += KEYS) {
      const size_t n = ls_min(KEYS, limit - j);
      block.j = j, block.n = n;
      if (limit > KEYS) scores(t, &block);
      probabilities(t, &block, limit <= KEYS);
      multiply(t, t->block, t->d, t->s, KEYS, 1, g, grad->row, 0, n, t->d, m);
      add_block(dv + j * slopes[2].row, slopes[2].row, t->block, 0, n, t->d);
      multiply(t, t->dp, KEYS, g, grad->row, 0, v + j * t->v.row, t->v.row, 1, m, n, t->d);
      score_slopes(t, &block);
      multiply(t, t->block, t->d, t->dp, KEYS, 1, block.q, t->q.row, 0, n, t->d, m);
      add_block(dk + j * slopes[1].row, slopes[1].row, t->block, 0, n, t->d);
      multiply(t, t->block, t->d, t->dp, KEYS, 0, block.k + j * t->k.row, t->k.row, 0, m, t->d, n);
      add_block(dq, slopes[0].row, t->block, 0, m, t->d);
    }
  }
}

/** The operands that forward and backward share: sizes v[0 …], then strides of q, k, v, out, mask. */
static Attention decode(const Ctx *ctx, const uint32_t *q, const uint32_t *k, const uint32_t *v, const uint32_t *out,
                        const uint32_t *mask, const uint32_t *sizes) {
  const uint32_t *strides = sizes + 8;
  return (Attention){
      .q = operand(ctx, q, strides), .k = operand(ctx, k, strides + 3), .v = operand(ctx, v, strides + 6),
      .out = operand(ctx, out, strides + 9), .mask = operand(ctx, mask, strides + 12),
      .heads = sizes[1], .queries = sizes[2], .keys = sizes[3], .d = sizes[4],
      .causal = sizes[5] != 0, .masked = sizes[6] != 0, .scale = ls_f32(sizes + 7)};
}

LS_KERNEL(attention) {
  /* out, q, k, v, mask, scratch */
  Attention t = decode(ctx, w + 4, w + 6, w + 8, w + 2, w + 10, w + 14);
  if (t.d == 0) return;
  place(&t, ls_at(ctx, w + 12));
  for (size_t b = 0; b < w[14]; b++)
    for (size_t h = 0; h < t.heads; h++) forward_head(&t, b, h);
}

LS_KERNEL(attentionGrad) {
  /* dq, dk, dv, q, k, v, out, g, mask, scratch */
  Attention t = decode(ctx, w + 8, w + 10, w + 12, w + 14, w + 18, w + 22);
  if (t.d == 0) return;
  place(&t, ls_at(ctx, w + 20));
  const uint32_t *strides = w + 22 + 8 + 15;
  const Operand grad = operand(ctx, w + 16, strides);
  const Operand slopes[3] = {operand(ctx, w + 2, strides + 3), operand(ctx, w + 4, strides + 6),
                             operand(ctx, w + 6, strides + 9)};
  for (size_t b = 0; b < w[22]; b++)
    for (size_t h = 0; h < t.heads; h++) backward_head(&t, &grad, slopes, b, h);
}
