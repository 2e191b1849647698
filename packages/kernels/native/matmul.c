/**
 * C[b] = Σ over segments, by the shard tree, of op(A[b, s]) op(B[b, s]):  C [M, N], op(A) [M, K], op(B) [K, N].
 *
 * The order of additions of one element of C is fixed: within a segment over k in order, from +0; then the tree
 * over segments. Everything else here only decides where a partial sum waits.
 *
 *   panel   NR = V · W columns of B, packed k-major, so that the inner loop reads whole vectors
 *   tile    R × NR elements of C, held in registers while k runs
 *   piece   up to MM_KC consecutive k of one segment
 *   stack   partial sums of finished subtrees, like the digits of a binary counter: after segment s as many of them
 *           are merged as s has trailing one bits, after the last segment all. Level 0 is the leftmost subtree.
 *
 * When all pieces of a panel are packed together (S · K ≤ MM_KC: a training step's weight gradient), a tile's stack is
 * R × NR floats per level and stays in L1. Else C is done in blocks whose stack fits the scratch (and L2).
 */
#include "kernels.h"
#include "transpose.h"

/* Rows of a tile; the columns are 2 vectors (1 in the last panel when that is enough). What fits the registers. */
#if LS_W == 16 || defined(__aarch64__)
#define MM_ROWS 8
#elif LS_W == 8
#define MM_ROWS 6
#else
#define MM_ROWS 4
#endif
#define MM_COLUMNS (2 * LS_W)

/* Depth of a piece. The scratch (`MATMUL_SCRATCH_BYTES` in instructions.ts) holds a packed block of A, a packed panel of B
   for the widest vectors, and the stack of partial sums; these sizes are the same in all builds. */
#define MM_KC 1024
#define MM_PACKED_A (128 * 1024)
#define MM_PACKED_B (MM_KC * 32)
#define MM_STACK (128 * 1024)
/* Rows of A that are read in place for one pass over B: 4 MiB of them. */
#define MM_IN_PLACE_A (1024 * 1024)
/* A panel of B is used once per MM_ROWS rows: with fewer rows than this, packing it does not pay. */
#define MM_PACK_ROWS 32

typedef struct {
  float *c, *packedA, *packedB, *stack;
  const float *a, *b;
  size_t m, n, k, lda, ldb, ldc, transA, transB, segments, segmentA, segmentB;
} Product;

/** One call of the inner loop: to = merge(from + a·b), a tile with rows × columns of the given strides. */
typedef struct {
  size_t k;
  const float *a; /* in place: element (r, k) at a[r · aStride + k]; packed: at a[k · R + r] */
  size_t aStride;
  const float *b; /* row k at b + k · bStride */
  size_t bStride;
  const float *from; /* partial sum to go on with, or NULL for +0 */
  const float *merge; /* the highest of `merges` finished subtrees; the next lower one is `level` floats before */
  size_t merges, level, stride;
  float *to;
  size_t toStride;
} Tile;

LS_INLINE void tile(const Tile *t, const int R, const int V, const int packed) {
  vf sum[MM_ROWS][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) sum[r][v] = t->from ? ls_load(t->from + r * t->stride + v * LS_W) : (vf){0};

  const float *row[MM_ROWS];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) row[r] = packed ? t->a + r : t->a + r * t->aStride;
  const float *b = t->b;
  const size_t depth = t->k, bStride = t->bStride;
  for (size_t k = 0; k < depth; k++, b += bStride) {
    const vf b0 = ls_load(b), b1 = V == 2 ? ls_load(b + LS_W) : b0;
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const vf x = ls_splat(packed ? row[0][k * R + r] : row[r][k]);
      sum[r][0] = LS_MADD(sum[r][0], x, b0);
      if (V == 2) sum[r][1] = LS_MADD(sum[r][1], x, b1);
    }
  }

  const float *left = t->merge;
  for (size_t i = 0; i < t->merges; i++, left -= t->level)
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
      for (int v = 0; v < V; v++) sum[r][v] = ls_load(left + r * t->stride + v * LS_W) + sum[r][v];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) ls_store(t->to + r * t->toStride + v * LS_W, sum[r][v]);
}

#define MM_TILE(R)                                                                                                     \
  static void tile##R(const Tile *t, int wide, int packed) {                                                           \
    if (wide) packed ? tile(t, R, 2, 1) : tile(t, R, 2, 0);                                                            \
    else packed ? tile(t, R, 1, 1) : tile(t, R, 1, 0);                                                                 \
  }
MM_TILE(1) MM_TILE(2) MM_TILE(3) MM_TILE(4)
#if MM_ROWS >= 6
MM_TILE(5) MM_TILE(6)
#endif
#if MM_ROWS == 8
MM_TILE(7) MM_TILE(8)
#endif

static void runTile(const Tile *t, size_t rows, int wide, int packed) {
  switch (rows) {
    case 1: tile1(t, wide, packed); break;
    case 2: tile2(t, wide, packed); break;
    case 3: tile3(t, wide, packed); break;
    case 4: tile4(t, wide, packed); break;
#if MM_ROWS >= 6
    case 5: tile5(t, wide, packed); break;
    case 6: tile6(t, wide, packed); break;
#endif
#if MM_ROWS == 8
    case 7: tile7(t, wide, packed); break;
    case 8: tile8(t, wide, packed); break;
#endif
  }
}

/** Rows of the panel that begins at row `done` of m: all panels of nearly the same size, none above MM_ROWS. */
LS_INLINE size_t panelRows(size_t m, size_t done) {
  const size_t left = m - done, panels = (left + MM_ROWS - 1) / MM_ROWS;
  return (left + panels - 1) / panels;
}

/** to[k][j] = b[k][j] for j < n, 0 for n ≤ j < width: rows of B as they lie. */
static void packRows(float *to, size_t width, const float *b, size_t ldb, size_t k, size_t n) {
  for (size_t i = 0; i < k; i++, b += ldb)
    for (size_t j = 0; j < width; j += LS_W, to += LS_W)
      ls_store(to, j + LS_W <= n ? ls_load(b + j) : j < n ? ls_load_part(b + j, n - j) : (vf){0});
}

/** to[k][j] = b[j][k] for j < n, 0 for n ≤ j < width: B stored [N, K]. */
static void packTransposed(float *to, size_t width, const float *b, size_t ldb, size_t k, size_t n) {
  for (size_t i = 0; i < k; i += LS_W) {
    const size_t depth = ls_min(LS_W, k - i);
    for (size_t j = 0; j < width; j += LS_W) {
      vf x[LS_W];
      if (depth == LS_W && j + LS_W <= n) {
#pragma GCC unroll 16
        for (size_t r = 0; r < LS_W; r++) x[r] = ls_load(b + (j + r) * ldb + i);
        ls_transpose(x);
#pragma GCC unroll 16
        for (size_t r = 0; r < LS_W; r++) ls_store(to + (i + r) * width + j, x[r]);
      } else {
        for (size_t r = 0; r < LS_W; r++) x[r] = j + r < n ? ls_load_part(b + (j + r) * ldb + i, depth) : (vf){0};
        ls_transpose(x);
        for (size_t r = 0; r < depth; r++) ls_store(to + (i + r) * width + j, x[r]);
      }
    }
  }
}

/** Panels of A stored [K, M]: for each panel of R rows to[k][r] = a[k][r]. */
static void packA(float *to, const float *a, size_t lda, size_t k, size_t m) {
  for (size_t i = 0, rows; i < m; i += rows) {
    rows = panelRows(m, i);
    const float *from = a + i;
    if (rows == MM_ROWS)
      for (size_t p = 0; p < k; p++, from += lda, to += MM_ROWS)
#pragma GCC unroll 8
        for (size_t r = 0; r < MM_ROWS; r++) to[r] = from[r];
    else
      for (size_t p = 0; p < k; p++, from += lda, to += rows)
        for (size_t r = 0; r < rows; r++) to[r] = from[r];
  }
}

/** A rectangle of C and the pieces [first, first + count) of the sum: `part` k of segment `segment` on. */
typedef struct {
  size_t i, j, m, n;
  size_t segment, count, begin, depth;
  int last;          /* these pieces end their segments */
  size_t top;        /* subtrees on the stack before these pieces */
  size_t level;      /* floats between levels of a block's stack; 0: every tile has its own */
  size_t stackWidth; /* row stride of a block's stack */
} Work;

static size_t mergesAfter(const Product *p, size_t segment, size_t top) {
  if (segment + 1 == p->segments) return top;
  return (size_t)__builtin_ctzll(~(unsigned long long)segment);
}

/** All pieces of one tile at row i, column j of the work's rectangle; `b` is the panel, its row k at b + k · bStride. */
static void pieces(const Product *p, const Work *w, size_t i, size_t j, size_t rows, size_t columns,
                   const float *a, size_t aSegment, const float *b, size_t bStride, size_t bSegment) {
  const int wide = columns > LS_W;
  const size_t stride = w->level ? w->stackWidth : MM_COLUMNS;
  const size_t level = w->level ? w->level : MM_ROWS * MM_COLUMNS;
  float *stack = p->stack + (w->level ? i * stride + j : 0);
  float *c = p->c + (w->i + i) * p->ldc + w->j + j;
  size_t top = w->top;
  Tile t = {.k = w->depth, .aStride = p->lda, .bStride = bStride, .level = level, .stride = stride};
  for (size_t s = 0; s < w->count; s++) {
    float *current = stack + top * level;
    t.a = a + s * aSegment, t.b = b + s * bSegment;
    t.from = w->begin > 0 ? current : NULL;
    t.merges = w->last ? mergesAfter(p, w->segment + s, top) : 0;
    t.merge = current - level;
    top -= t.merges;
    const int done = w->last && w->segment + s + 1 == p->segments;
    const int whole = columns == MM_COLUMNS || columns == LS_W;
    t.to = done && whole ? c : stack + top * level;
    t.toStride = done && whole ? p->ldc : stride;
    runTile(&t, rows, wide, p->transA != 0);
    top += w->last;
    if (done && !whole)
      for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < columns; v++) c[r * p->ldc + v] = t.to[r * stride + v];
  }
}

/** Adds the work's pieces into its rectangle. */
static void rectangle(const Product *p, const Work *w) {
  const size_t aBegin = p->transA ? w->begin * p->lda + w->i : w->i * p->lda + w->begin;
  const float *a = p->a + w->segment * p->segmentA + aBegin;
  const size_t bBegin = p->transB ? w->j * p->ldb + w->begin : w->begin * p->ldb + w->j;
  const float *b = p->b + w->segment * p->segmentB + bBegin;
  if (p->transA)
    for (size_t s = 0; s < w->count; s++)
      packA(p->packedA + s * w->m * w->depth, a + s * p->segmentA, p->lda, w->depth, w->m);

  for (size_t j = 0; j < w->n; j += MM_COLUMNS) {
    const size_t columns = ls_min(MM_COLUMNS, w->n - j), width = columns > LS_W ? MM_COLUMNS : LS_W;
    const int inPlace = !p->transB && columns == width && w->m < MM_PACK_ROWS;
    for (size_t s = 0; s < w->count && !inPlace; s++) {
      float *to = p->packedB + s * w->depth * width;
      if (p->transB) packTransposed(to, width, b + s * p->segmentB + j * p->ldb, p->ldb, w->depth, columns);
      else packRows(to, width, b + s * p->segmentB + j, p->ldb, w->depth, columns);
    }
    const float *panel = inPlace ? b + j : p->packedB;
    const size_t bStride = inPlace ? p->ldb : width, bSegment = inPlace ? p->segmentB : w->depth * width;
    for (size_t i = 0, rows; i < w->m; i += rows) {
      rows = panelRows(w->m, i);
      const float *from = p->transA ? p->packedA + i * w->depth : a + i * p->lda;
      pieces(p, w, i, j, rows, columns, from, p->transA ? w->m * w->depth : p->segmentA, panel, bStride, bSegment);
    }
  }
}

/** Everything of a panel packed at once; a stack per tile. */
static void product(const Product *p) {
  const size_t depth = p->segments * p->k, budget = p->transA ? MM_PACKED_A : MM_IN_PLACE_A;
  const size_t rows = ls_min(p->m, budget / (depth ? depth : 1) / MM_ROWS * MM_ROWS);
  for (size_t i = 0; i < p->m; i += rows) {
    const Work w = {.i = i, .m = ls_min(rows, p->m - i), .n = p->n, .count = p->segments, .depth = p->k, .last = 1};
    rectangle(p, &w);
  }
}

/** Blocks of C, for each the pieces one after the other; a stack per block. */
static void deepProduct(const Product *p) {
  size_t levels = 1;
  while ((p->segments - 1) >> (levels - 1)) levels++;
  const size_t width = ls_min((p->n + MM_COLUMNS - 1) / MM_COLUMNS * MM_COLUMNS, 256);
  const size_t packed = MM_PACKED_A / MM_KC, fits = MM_STACK / (levels * width) / MM_ROWS * MM_ROWS;
  const size_t rows = p->transA ? ls_min(packed, fits) : fits;
  for (size_t i = 0; i < p->m; i += rows)
    for (size_t j = 0; j < p->n; j += width) {
      Work w = {.i = i, .j = j, .m = ls_min(rows, p->m - i), .n = ls_min(width, p->n - j)};
      w.count = 1, w.level = rows * width, w.stackWidth = width;
      for (w.segment = 0; w.segment < p->segments; w.segment++) {
        w.begin = 0;
        do {
          w.depth = ls_min(MM_KC, p->k - w.begin);
          w.last = w.begin + w.depth == p->k;
          rectangle(p, &w);
          w.begin += w.depth;
        } while (w.begin < p->k);
        w.top += 1 - mergesAfter(p, w.segment, w.top);
      }
    }
}

LS_KERNEL(matmul) {
  const uint32_t *v = w + 10; /* after c, a, b, scratch */
  float *const c = ls_at(ctx, w + 2), *const scratch = ls_at(ctx, w + 8);
  const float *const a = ls_at(ctx, w + 4), *const b = ls_at(ctx, w + 6);
  Product p = {.m = v[0], .n = v[1], .k = v[2], .lda = v[3], .ldb = v[4], .ldc = v[5], .transA = v[6], .transB = v[7]};
  const uint32_t *batch = v + 8, *strideA = v + 10, *strideB = v + 12, *strideC = v + 14;
  p.segments = v[16], p.segmentA = v[17], p.segmentB = v[18];
  p.packedA = scratch, p.packedB = scratch + MM_PACKED_A, p.stack = p.packedB + MM_PACKED_B;
  if (p.m == 0 || p.n == 0) return;
  for (size_t i = 0; i < batch[0]; i++)
    for (size_t j = 0; j < batch[1]; j++) {
      p.a = a + i * strideA[0] + j * strideA[1];
      p.b = b + i * strideB[0] + j * strideB[1];
      p.c = c + i * strideC[0] + j * strideC[1];
      if (p.segments * p.k <= MM_KC) product(&p);
      else deepProduct(&p);
    }
}
