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
#include "transpose.h"

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
  float *s, *dp, *block, *sum, *kt, *vt; /* [QUERIES, KEYS] twice, [KEYS, D], [QUERIES, D], [D, KEYS] twice */
  float *max, *total, *factor, *delta; /* a number per query */
  float *scratch; /* of `multiply` */
} Attention;

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
  t->sum = scratch, scratch += QUERIES * t->d;
  t->kt = scratch, scratch += KEYS * t->d;
  t->vt = scratch;
}

static void multiply(const Attention *t, float *c, size_t ldc, const float *a, size_t lda, int transA, const float *b,
                     size_t ldb, size_t m, size_t n, size_t k) {
  Product p = {.c = c, .a = a, .b = b, .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc,
               .transA = (size_t)transA, .segments = 1, .near = 1};
  LS_NAME(multiply)(&p, t->scratch);
}

/** Block of scores: queries [i, i + m) against keys [j, j + n), of one head. */
typedef struct {
  const float *q, *kt, *mask; /* kt: the keys [D, KEYS] */
  size_t i, m, j, n;
} Scores;

/** Keys of the block that its query r sees. */
LS_INLINE size_t keys_of(const Attention *t, const Scores *b, size_t r) {
  if (!t->causal) return b->n;
  return b->i + r + 1 > b->j ? ls_min(b->n, b->i + r + 1 - b->j) : 0;
}

/** Row r of the block's mask; none where there is no mask, which has no memory. */
LS_INLINE const float *mask_of(const Attention *t, const Scores *b, size_t r) {
  return t->masked ? b->mask + (b->i + r) * t->mask.row + b->j : 0;
}

/** s[r, c] = q · k for the block's queries and keys. */
static void products(const Attention *t, const Scores *b) {
  multiply(t, t->s, KEYS, b->q, t->q.row, 0, b->kt, KEYS, b->m, b->n, t->d);
}

/** Score of a vector of keys: scale · (q · k) + mask; −∞ from key `seen` on. */
LS_INLINE vf score(const Attention *t, const float *s, const float *mask, size_t c, size_t n, size_t seen) {
  vf x = ls_load(s + c) * t->scale;
  if (t->masked && c + LS_W <= n) x = x + ls_load(mask + c);
  else if (t->masked) x = x + ls_load_part(mask + c, n - c);
  if (c + LS_W > seen) x = ls_select(below(seen - c), x, ls_splat(-__builtin_inff()));
  return x;
}

/**
 * The lane trees of LS_W rows together: lane r of the result is that of rows[r]. A NaN among scores does not count as the largest:
 * it shows in their exponentials.
 */
LS_INLINE vf lane_trees(int kind, const Lanes rows[LS_W]) {
  vf totals[VECTORS];
  for (int j = 0; j < VECTORS; j++) {
    vf x[LS_W];
    for (int r = 0; r < LS_W; r++) x[r] = rows[r].v[j];
    ls_transpose(x);
    for (int count = LS_W; count > 1; count /= 2)
      for (int r = 0; r < count / 2; r++) {
        if (kind == SUM) x[r] = x[2 * r] + x[2 * r + 1];
        else x[r] = ls_greater(x[2 * r], x[2 * r + 1]);
      }
    totals[j] = x[0];
  }
  for (int count = VECTORS; count > 1; count /= 2)
    for (int j = 0; j < count / 2; j++) {
      if (kind == SUM) totals[j] = totals[2 * j] + totals[2 * j + 1];
      else totals[j] = ls_greater(totals[2 * j], totals[2 * j + 1]);
    }
  return totals[0];
}

/**
 * Takes a block's products into the maxima and sums of LS_W rows from r on; s becomes e^(score − max), `factor` what sums
 * so far shrink by. Rows from `count` on do not exist. All rows are as many vectors wide as the last one, which sees most.
 */
static void take_in_rows(const Attention *t, const Scores *b, size_t first, size_t count) {
  const float *mask = mask_of(t, b, first);
  float *const s = t->s + first * KEYS;
  const size_t width = keys_of(t, b, first + count - 1);
  Lanes rows[LS_W];
  for (size_t r = 0; r < LS_W; r++) {
    Lanes largest = splat_lanes(-__builtin_inff());
    const size_t seen = r < count ? keys_of(t, b, first + r) : 0;
    for (size_t c = 0; c < width && r < count; c += LS_W) {
      const vf x = score(t, s + r * KEYS, mask + r * t->mask.row, c, b->n, seen);
      ls_store(s + r * KEYS + c, x);
      vf *lane = &largest.v[c / LS_W % VECTORS];
      *lane = ls_greater(x, *lane);
    }
    rows[r] = largest;
  }
  const vf before = ls_load(t->max + first), max = ls_greater(lane_trees(MAX, rows), before);
  /* A query that sees nothing yet: all its terms are 0. */
  const vf shift = ls_select((vi)(max == -__builtin_inff()), (vf){0}, max);
  float shifts[LS_W];
  ls_store(shifts, shift);
  for (size_t r = 0; r < LS_W; r++) rows[r] = splat_lanes(0);
  for (size_t c = 0; c < width; c += LS_W)
    for (size_t r = 0; r < count; r++) {
      const vf e = ls_exp(ls_load(s + r * KEYS + c) - shifts[r]); /* of −∞: 0 */
      ls_store(s + r * KEYS + c, e);
      rows[r].v[c / LS_W % VECTORS] += e;
    }
  for (size_t c = (width + LS_W - 1) / LS_W * LS_W; c < b->n; c += LS_W)
    for (size_t r = 0; r < count; r++) ls_store(s + r * KEYS + c, (vf){0});
  const vf factor = ls_select((vi)(before == -__builtin_inff()), (vf){0}, ls_exp(before - shift));
  ls_store(t->factor + first, factor);
  ls_store(t->total + first, ls_load(t->total + first) * factor + lane_trees(SUM, rows));
  ls_store(t->max + first, max);
}

static void take_in(const Attention *t, const Scores *b) {
  for (size_t r = 0; r < b->m; r += LS_W) take_in_rows(t, b, r, ls_min(LS_W, b->m - r));
}

/** to[c, j] = from[j, c] for n rows of d numbers: a block of keys or values as a product's right side. */
static void turn(float *to, const float *from, size_t row, size_t n, size_t d) {
  for (size_t j = 0; j < n; j += LS_W)
    for (size_t c = 0; c < d; c += LS_W) {
      const size_t rows = ls_min(LS_W, n - j), columns = ls_min(LS_W, d - c);
      vf x[LS_W];
      if (columns == LS_W)
        for (size_t r = 0; r < LS_W; r++) x[r] = ls_load(from + (j + ls_min(r, rows - 1)) * row + c);
      else
        for (size_t r = 0; r < LS_W; r++) x[r] = ls_load_part(from + (j + ls_min(r, rows - 1)) * row + c, columns);
      ls_transpose(x);
      for (size_t i = 0; i < columns; i++) ls_store(to + (c + i) * KEYS + j, x[i]);
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

/** Turns a block of keys [j, j + n) of a head, unless it is the one in scratch (`turned`: where that begins). */
LS_INLINE void turn_keys(const Attention *t, float *to, const Operand *x, const float *head, size_t j, size_t *turned) {
  if (*turned == j) return;
  turn(to, head + j * x->row, x->row, ls_min(KEYS, t->keys - j), t->d);
  *turned = j;
}
#define NOTHING ((size_t)-1)

static void forward_head(const Attention *t, size_t b, size_t h) {
  const float *k = head_of(&t->k, b, h), *v = head_of(&t->v, b, h);
  Scores block = {.kt = t->kt, .mask = head_of(&t->mask, b, h)};
  size_t turned = NOTHING;
  for (size_t i = 0; i < t->queries; i += QUERIES) {
    block.q = head_of(&t->q, b, h) + i * t->q.row, block.i = i, block.m = ls_min(QUERIES, t->queries - i);
    const size_t limit = keys_seen(t, i, block.m);
    start_rows(t);
    __builtin_memset(t->sum, 0, block.m * t->d * 4);
    for (size_t j = 0; j < limit; j += KEYS) {
      block.j = j, block.n = ls_min(KEYS, limit - j);
      turn_keys(t, t->kt, &t->k, k, j, &turned);
      products(t, &block);
      take_in(t, &block);
      multiply(t, t->block, t->d, t->s, KEYS, 0, v + j * t->v.row, t->v.row, block.m, t->d, block.n);
      add_block(t->sum, t->d, t->block, t->factor, block.m, t->d);
    }
    float *out = head_of(&t->out, b, h) + i * t->out.row;
    for (size_t r = 0; r < block.m; r++, out += t->out.row) {
      const float share = t->total[r] == 0 ? 0 : 1 / t->total[r]; /* a query that sees nothing gives 0 */
      for (size_t c = 0; c < t->d; c++) out[c] = t->sum[r * t->d + c] * share;
    }
  }
}

/** s = P = e^(score − max) / total from products; with `again`, s holds e^(score − max) already. */
static void probabilities(const Attention *t, const Scores *b, int again) {
  for (size_t r = 0; r < b->m; r++) {
    float *s = t->s + r * KEYS;
    const float *mask = mask_of(t, b, r);
    const float share = t->total[r] == 0 ? 0 : 1 / t->total[r];
    const float shift = t->max[r] == -__builtin_inff() ? 0 : t->max[r];
    const size_t seen = keys_of(t, b, r);
    size_t c = 0;
    for (; c < seen; c += LS_W) {
      vf x = again ? ls_load(s + c) : ls_exp(score(t, s, mask, c, b->n, seen) - shift);
      ls_store(s + c, x * share);
    }
    for (; c < b->n; c += LS_W) ls_store(s + c, (vf){0});
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
  for (size_t first = 0; first < m; first += LS_W) {
    Lanes rows[LS_W];
    for (size_t r = 0; r < LS_W; r++) {
      rows[r] = splat_lanes(0);
      if (first + r >= m) continue;
      const float *x = g + (first + r) * g_row, *y = o + (first + r) * t->out.row;
      for (size_t c = 0; c < t->d; c += LS_W) {
        const size_t n = ls_min(LS_W, t->d - c);
        vf *lane = &rows[r].v[c / LS_W % VECTORS];
        if (n == LS_W) *lane = *lane + ls_load(x + c) * ls_load(y + c);
        else *lane = *lane + ls_load_part(x + c, n) * ls_load_part(y + c, n);
      }
    }
    ls_store(t->delta + first, lane_trees(SUM, rows));
  }
}

static void clear_rows(const Operand *x, size_t b, size_t h, size_t rows, size_t d) {
  float *p = head_of(x, b, h);
  for (size_t r = 0; r < rows; r++, p += x->row) __builtin_memset(p, 0, d * 4);
}

static void backward_head(const Attention *t, const Operand *grad, const Operand slopes[3], size_t b, size_t h) {
  const float *k = head_of(&t->k, b, h), *v = head_of(&t->v, b, h);
  float *dk = head_of(&slopes[1], b, h), *dv = head_of(&slopes[2], b, h);
  Scores block = {.kt = t->kt, .mask = head_of(&t->mask, b, h)};
  size_t turned_k = NOTHING, turned_v = NOTHING;
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
      turn_keys(t, t->kt, &t->k, k, j, &turned_k);
      products(t, &block);
      take_in(t, &block);
    }
    deltas(t, g, grad->row, head_of(&t->out, b, h) + i * t->out.row, m);
    for (size_t j = 0; j < limit; j += KEYS) {
      const size_t n = ls_min(KEYS, limit - j);
      block.j = j, block.n = n;
      turn_keys(t, t->kt, &t->k, k, j, &turned_k);
      turn_keys(t, t->vt, &t->v, v, j, &turned_v);
      if (limit > KEYS) products(t, &block);
      probabilities(t, &block, limit <= KEYS);
      multiply(t, t->block, t->d, t->s, KEYS, 1, g, grad->row, n, t->d, m);
      add_block(dv + j * slopes[2].row, slopes[2].row, t->block, 0, n, t->d);
      multiply(t, t->dp, KEYS, g, grad->row, 0, t->vt, KEYS, m, n, t->d);
      score_slopes(t, &block);
      multiply(t, t->block, t->d, t->dp, KEYS, 1, block.q, t->q.row, n, t->d, m);
      add_block(dk + j * slopes[1].row, slopes[1].row, t->block, 0, n, t->d);
      multiply(t, t->block, t->d, t->dp, KEYS, 0, k + j * t->k.row, t->k.row, m, t->d, n);
      add_block(dq, slopes[0].row, t->block, 0, m, t->d);
    }
  }
}

/* The operand of this name, with its strides. Macros, as each instruction has a struct of its own. */
#define OPERAND(name) {ls_at(ctx, op->name), op->name##Batch, op->name##Head, op->name##Row}
/* What forward and backward share. Without a mask its address means nothing. */
#define ATTENTION                                                                                                      \
  {.q = OPERAND(q), .k = OPERAND(k), .v = OPERAND(v), .out = OPERAND(out),                                             \
   .heads = op->heads, .queries = op->queries, .keys = op->keys, .d = op->d,                                           \
   .causal = op->causal != 0, .masked = op->masked != 0, .scale = op->scale}

LS_KERNEL(attention) {
  Attention t = ATTENTION;
  if (t.d == 0) return;
  if (t.masked) t.mask = (Operand)OPERAND(mask);
  place(&t, ls_at(ctx, op->scratch));
  for (size_t b = 0; b < op->batch; b++)
    for (size_t h = 0; h < t.heads; h++) forward_head(&t, b, h);
}

LS_KERNEL(attentionGrad) {
  Attention t = ATTENTION;
  if (t.d == 0) return;
  if (t.masked) t.mask = (Operand)OPERAND(mask);
  place(&t, ls_at(ctx, op->scratch));
  const Operand grad = OPERAND(grad), slopes[3] = {OPERAND(dq), OPERAND(dk), OPERAND(dv)};
  for (size_t b = 0; b < op->batch; b++)
    for (size_t h = 0; h < t.heads; h++) backward_head(&t, &grad, slopes, b, h);
}
