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
#include "matmul.h"
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
/* Panels of A that are packed together: 16 floats. */
#define MM_TOGETHER (16 / MM_ROWS)

/* Rows of A that are read in place for one pass over B: 4 MiB of them. */
#define MM_IN_PLACE_A (1024 * 1024)
/* A panel of B is used once per MM_ROWS rows: with fewer rows than this, packing it does not pay. */
#define MM_PACK_ROWS 32

/** A tile of C and the pieces of its sum that are added now: `depth` k of each of the segments [segment, segment + count). */
typedef struct {
  const float *a; /* in place: element (r, k) at a[r · aStride + k]; packed: at a[k · R + r] */
  size_t aStride, aSegment;
  const float *b; /* row k at b + k · bStride */
  size_t bStride, bSegment;
  size_t segment, count, depth, segments;
  int resumed, last; /* whether the pieces go on with a partial sum, and whether they end their segments */
  float *stack;      /* R × NR floats each `level` floats */
  size_t top, level;
  float *c; /* of the finished tile, `columns` are stored */
  size_t ldc, columns;
} Tile;

/** How many finished subtrees the sum of this segment is added to. */
LS_INLINE size_t mergesAfter(size_t segment, size_t segments, size_t top) {
  return segment + 1 == segments ? top : (size_t)__builtin_ctzll(~(unsigned long long)segment);
}

LS_INLINE void storeTile(const Tile *t, vf (*sum)[2], const int R, const int V) {
  float *c = t->c;
#pragma GCC unroll 8
  for (int r = 0; r < R; r++, c += t->ldc)
    for (int v = 0; v < V; v++) {
      if (t->columns >= (size_t)(v + 1) * LS_W) ls_store(c + v * LS_W, sum[r][v]);
      else if (t->columns > (size_t)v * LS_W) ls_store_part(c + v * LS_W, sum[r][v], t->columns - v * LS_W);
    }
}

LS_INLINE void tile(const Tile *t, const int R, const int V, const int packed) {
  float *partial = t->stack + t->top * t->level;
  size_t top = t->top;
  for (size_t s = 0; s < t->count; s++) {
    vf sum[MM_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
      for (int v = 0; v < V; v++) sum[r][v] = (vf){0};
    if (t->resumed) {
#pragma GCC unroll 8
      for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sum[r][v] = ls_load(partial + (r * V + v) * LS_W);
    }

    const float *a = t->a + s * t->aSegment, *b = t->b + s * t->bSegment;
    const float *row[MM_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) row[r] = a + r * t->aStride;
    const size_t depth = t->depth, bStride = t->bStride;
    for (size_t k = 0; k < depth; k++, b += bStride) {
      const vf b0 = ls_load(b), b1 = V == 2 ? ls_load(b + LS_W) : b0;
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const vf x = ls_splat(packed ? a[k * R + r] : row[r][k]);
        sum[r][0] = LS_MADD(sum[r][0], x, b0);
        if (V == 2) sum[r][1] = LS_MADD(sum[r][1], x, b1);
      }
    }

    for (size_t merges = t->last ? mergesAfter(t->segment + s, t->segments, top) : 0; merges > 0; merges--) {
      partial -= t->level, top--;
#pragma GCC unroll 8
      for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sum[r][v] = ls_load(partial + (r * V + v) * LS_W) + sum[r][v];
    }
    if (t->last && t->segment + s + 1 == t->segments) {
      storeTile(t, sum, R, V);
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) ls_store(partial + (r * V + v) * LS_W, sum[r][v]);
      if (t->last) partial += t->level, top++;
    }
  }
}

/* A function for each form: R rows, V vectors, A packed or in place. Apart, because in one body with many values alive the
   registers of the inner loops would spill (WASM loses 10 %). */
#define MM_TILE(R, V, packed)                                                                                          \
  static __attribute__((noinline)) void tile##R##x##V##_##packed(const Tile *t) { tile(t, R, V, packed); }
#define MM_TILES(R) MM_TILE(R, 1, 0) MM_TILE(R, 1, 1) MM_TILE(R, 2, 0) MM_TILE(R, 2, 1)
#define MM_CASE(R)                                                                                                     \
  case R:                                                                                                              \
    if (wide) packed ? tile##R##x2_1(t) : tile##R##x2_0(t);                                                            \
    else packed ? tile##R##x1_1(t) : tile##R##x1_0(t);                                                                 \
    break;

MM_TILES(1) MM_TILES(2) MM_TILES(3) MM_TILES(4)
#if MM_ROWS >= 6
MM_TILES(5) MM_TILES(6)
#endif
#if MM_ROWS == 8
MM_TILES(7) MM_TILES(8)
#endif

static void runTile(const Tile *t, size_t rows, int wide, int packed) {
  switch (rows) {
    MM_CASE(1) MM_CASE(2) MM_CASE(3) MM_CASE(4)
#if MM_ROWS >= 6
    MM_CASE(5) MM_CASE(6)
#endif
#if MM_ROWS == 8
    MM_CASE(7) MM_CASE(8)
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

/** `count` panels of A stored [K, M], of `rows` each: to[k][r] = a[k][r]. Rows of A are read once for all of them. */
LS_INLINE void packPanels(float *to, const float *a, size_t lda, size_t k, const size_t count, const size_t rows) {
  for (size_t p = 0; p < k; p++, a += lda)
    for (size_t panel = 0; panel < count; panel++) {
      float *at = to + (panel * k + p) * rows;
#pragma GCC unroll 8
      for (size_t r = 0; r < rows; r++) at[r] = a[panel * rows + r];
    }
}

/** All panels of A stored [K, M]; as many at a time as a cache line of a row has. */
static void packA(float *to, const float *a, size_t lda, size_t k, size_t m) {
  for (size_t i = 0, rows; i < m; to += rows * k, i += rows) {
    rows = panelRows(m, i);
    const size_t full = rows == MM_ROWS ? (m - i) / MM_ROWS : 0;
    if (full >= MM_TOGETHER && panelRows(m, i + (MM_TOGETHER - 1) * MM_ROWS) == MM_ROWS) {
      packPanels(to, a + i, lda, k, MM_TOGETHER, MM_ROWS);
      rows = MM_TOGETHER * MM_ROWS;
    } else if (rows == MM_ROWS) {
      packPanels(to, a + i, lda, k, 1, MM_ROWS);
    } else {
      packPanels(to, a + i, lda, k, 1, rows);
    }
  }
}

/** A rectangle of C and the pieces of its sum that are added now (as in Tile). */
typedef struct {
  size_t i, j, m, n;
  size_t segment, count, begin, depth;
  int last;
  size_t top, level; /* a block's stack; level 0: every tile has its own */
} Work;

/** Adds the work's pieces into its rectangle. */
static void rectangle(const Product *p, const Work *w) {
  const size_t aBegin = p->transA ? w->begin * p->lda + w->i : w->i * p->lda + w->begin;
  const float *a = p->a + w->segment * p->segmentA + aBegin;
  const size_t bBegin = p->transB ? w->j * p->ldb + w->begin : w->begin * p->ldb + w->j;
  const float *b = p->b + w->segment * p->segmentB + bBegin;
  if (p->transA)
    for (size_t s = 0; s < w->count; s++)
      packA(p->packedA + s * w->m * w->depth, a + s * p->segmentA, p->lda, w->depth, w->m);

  Tile t = {.aStride = p->lda, .aSegment = p->transA ? w->m * w->depth : p->segmentA, .ldc = p->ldc,
            .segment = w->segment, .count = w->count, .depth = w->depth, .segments = p->segments,
            .resumed = w->begin > 0, .last = w->last, .top = w->top,
            .level = w->level ? w->level : MM_ROWS * MM_COLUMNS};
  for (size_t j = 0; j < w->n; j += MM_COLUMNS) {
    t.columns = ls_min(MM_COLUMNS, w->n - j);
    const size_t width = t.columns > LS_W ? MM_COLUMNS : LS_W;
    const int inPlace = !p->transB && t.columns == width && (w->m < MM_PACK_ROWS || p->near);
    for (size_t s = 0; s < w->count && !inPlace; s++) {
      float *to = p->packedB + s * w->depth * width;
      if (p->transB) ls_pack_transposed(to, width, b + s * p->segmentB + j * p->ldb, p->ldb, w->depth, t.columns);
      else packRows(to, width, b + s * p->segmentB + j, p->ldb, w->depth, t.columns);
    }
    t.b = inPlace ? b + j : p->packedB;
    t.bStride = inPlace ? p->ldb : width, t.bSegment = inPlace ? p->segmentB : w->depth * width;
    for (size_t i = 0, rows; i < w->m; i += rows) {
      rows = panelRows(w->m, i);
      t.a = p->transA ? p->packedA + i * w->depth : a + i * p->lda;
      t.c = p->c + (w->i + i) * p->ldc + w->j + j;
      t.stack = p->stack + (w->level ? j * w->m + i * MM_COLUMNS : 0);
      runTile(&t, rows, width == MM_COLUMNS, p->transA != 0);
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
      w.count = 1, w.level = rows * width;
      for (w.segment = 0; w.segment < p->segments; w.segment++) {
        w.begin = 0;
        do {
          w.depth = ls_min(MM_KC, p->k - w.begin);
          w.last = w.begin + w.depth == p->k;
          rectangle(p, &w);
          w.begin += w.depth;
        } while (w.begin < p->k);
        w.top += 1 - mergesAfter(w.segment, p->segments, w.top);
      }
    }
}

void LS_NAME(multiply)(Product *p, float *scratch) {
  if (p->m == 0 || p->n == 0) return;
  p->packedA = scratch, p->packedB = scratch + MM_PACKED_A, p->stack = p->packedB + MM_PACKED_B;
  if (p->segments * p->k <= MM_KC) product(p);
  else deepProduct(p);
}

LS_KERNEL(matmul) {
  float *const c = ls_at(ctx, op->c), *const scratch = ls_at(ctx, op->scratch);
  const float *const a = ls_at(ctx, op->a), *const b = ls_at(ctx, op->b);
  Product p = {.m = op->m, .n = op->n, .k = op->k, .lda = op->lda, .ldb = op->ldb, .ldc = op->ldc,
               .transA = op->transA, .transB = op->transB,
               .segments = op->segments, .segmentA = op->segmentA, .segmentB = op->segmentB};
  for (size_t i = 0; i < op->batch[0]; i++)
    for (size_t j = 0; j < op->batch[1]; j++) {
      p.a = a + i * op->strideA[0] + j * op->strideA[1];
      p.b = b + i * op->strideB[0] + j * op->strideB[1];
      p.c = c + i * op->strideC[0] + j * op->strideC[1];
      LS_NAME(multiply)(&p, scratch);
    }
}
