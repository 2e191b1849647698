/**
 * Convolution of images [rows, channels, height, width], its gradients by the input and by the weight.
 *
 * All three are sums over taps of an image that has been copied with its margin of zeros into scratch, so that no tap needs
 * a test: a tap outside of the image is a term 0 · w. With a stride, the copy also sorts the columns and rows by their
 * remainder, so that neighbouring outputs read neighbouring elements whatever the stride:
 *
 *   strip    the output rows that are computed from one copy, as many as keep it in the cache
 *   plane    [PH, PW]: the elements of one channel and one pair of remainders
 *   tap      where in the copy a term of output 0 lies; output (y, x) of the strip finds it y · PW + x further
 *
 * Orders of additions, each from +0: an output over (channel, ky, kx); an input's gradient over (output channel, ky, kx),
 * of which only those that the stride hits exist; a weight's gradient over (row, y, x) within a segment, then the shard
 * tree over segments. Tiles, strips and vectors only decide what is computed together.
 */
#include "kernels.h"
#include "transpose.h"

/* Rows of a tile; its columns are 1 or 2 vectors. What fits the registers. */
#if LS_W == 16 || defined(__aarch64__)
#define ROWS 8
#elif LS_W == 8
#define ROWS 6
#else
#define ROWS 4
#endif
#define COLUMNS (2 * LS_W)

/* Floats of a strip's copy, unless a single row needs more; tiles may read SLACK beyond (CONV_IMAGE and CONV_SLACK in
   convolution.ts, which says how the scratch is divided; the widest vectors have 16 lanes). */
#define IMAGE (64 * 1024)
#define SLACK 64
#define LANES 16

typedef int32_t Int;

typedef struct {
  Int in, out, k, stride, pad, dilation;
} Axis;

typedef struct {
  size_t rows, groups, c, o; /* channels per group */
  Axis y, x;
  size_t segments, tree;
} Shape;

/* The operands that all three instructions have, by their names: a macro, as each has a struct of its own. */
#define SHAPE(op)                                                                                                      \
  {.rows = op->rows, .groups = op->groups, .c = op->c / op->groups, .o = op->o / op->groups,                           \
   .y = {.in = op->h, .out = op->oh, .k = op->kh, .stride = op->strideH, .pad = op->padH, .dilation = op->dilationH},  \
   .x = {.in = op->w, .out = op->ow, .k = op->kw, .stride = op->strideW, .pad = op->padW, .dilation = op->dilationW},  \
   .segments = 1}

LS_INLINE Int floor_div(Int a, Int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
LS_INLINE Int ceil_div(Int a, Int b) { return floor_div(a + b - 1, b); }

/* ---- copies with a margin ---- */

/** A copy of images: how output rows and columns of a strip find their taps. */
typedef struct {
  size_t pitch, plane;
  Int strip; /* output rows */
} Copy;

/** As many of `out` rows as fit, when `extra` more rows of the image are needed, of `pitch` floats in each of `planes`. */
static Copy copy_of(size_t planes, Int out, Int extra, size_t pitch) {
  const Int fits = (Int)(IMAGE / (planes * pitch)) - extra;
  const Int strip = fits < 1 ? 1 : fits > out ? out : fits;
  return (Copy){.pitch = pitch, .plane = (size_t)(strip + extra) * pitch, .strip = strip};
}

/** to[i] = from[first + i · step] for i < n, 0 where that is outside of [0, size). */
static void copy_row(float *to, const float *from, Int n, Int first, Int step, Int size) {
  Int i = 0;
  const Int begin = first >= 0 ? 0 : ceil_div(-first, step), end = first >= size ? 0 : ceil_div(size - first, step);
  for (; i < begin && i < n; i++) to[i] = 0;
  const Int stop = end < n ? end : n;
  if (step == 1) {
    for (; i + LS_W <= stop; i += LS_W) ls_store(to + i, ls_load(from + first + i));
    if (i < stop) ls_store_part(to + i, ls_load_part(from + first + i, stop - i), stop - i), i = stop;
  } else {
    for (; i < stop; i++) to[i] = from[first + i * step];
  }
  for (; i < n; i++) to[i] = 0;
}

/** The image rows that `rows` output rows from y0 on need, sorted by remainders: planes [c][y mod stride][x mod stride]. */
static void copy_strided(float *to, const float *x, const Shape *s, const Copy *copy, Int y0, Int rows) {
  const Int h = s->y.in, w = s->x.in, need = rows + (s->y.k - 1) * s->y.dilation / s->y.stride;
  for (size_t c = 0; c < s->c; c++, x += (size_t)h * w)
    for (Int a = 0; a < s->y.stride; a++)
      for (Int b = 0; b < s->x.stride; b++, to += copy->plane)
        for (Int y = 0; y < need; y++) {
          const Int from = (y0 + y) * s->y.stride + a - s->y.pad, first = b - s->x.pad;
          float *row = to + y * copy->pitch;
          if (from >= 0 && from < h) copy_row(row, x + (size_t)from * w, copy->pitch, first, s->x.stride, w);
          else copy_row(row, x, copy->pitch, 0, 1, 0);
        }
}

/** Rows [y0, y0 + rows) and all columns of the planes g[o][out, out], from (top, left) on, which may be outside. */
static void copy_shifted(float *to, const float *g, const Shape *s, const Copy *copy, Int top, Int left, Int rows) {
  const Int h = s->y.out, w = s->x.out;
  for (size_t o = 0; o < s->o; o++, g += (size_t)h * w, to += copy->plane)
    for (Int y = 0; y < rows; y++) {
      const Int from = top + y;
      float *row = to + y * copy->pitch;
      if (from >= 0 && from < h) copy_row(row, g + (size_t)from * w, copy->pitch, left, 1, w);
      else copy_row(row, g, copy->pitch, 0, 1, 0);
    }
}

/** Taps of outputs, in order (c, ky, kx), in a copy by `copy_strided`. */
static void taps_of_outputs(uint32_t *taps, const Shape *s, const Copy *copy) {
  for (size_t c = 0; c < s->c; c++)
    for (Int i = 0; i < s->y.k; i++)
      for (Int j = 0; j < s->x.k; j++) {
        const Int y = i * s->y.dilation, x = j * s->x.dilation;
        const size_t plane = (c * s->y.stride + y % s->y.stride) * s->x.stride + x % s->x.stride;
        *taps++ = plane * copy->plane + y / s->y.stride * copy->pitch + x / s->x.stride;
      }
}

/* ---- sums over taps: lanes are outputs ---- */

/** out[m][y, x] = Σ k a[m][k] · image[taps[k] + y · pitch + x], for the rows × columns of a strip. */
typedef struct {
  float *out;
  size_t outChannel, outRow, outColumn;
  const float *a;
  size_t lda;
  const float *image;
  const uint32_t *taps;
  size_t m, k, rows, columns, pitch;
  int byRows; /* every vector lies in one row; else they follow each other through the copy, junk and all */
} Correlation;

/** A tile of it: rows from i on, and the output (y, x) at which each vector begins, in the copy and in the strip. */
typedef struct {
  const Correlation *of;
  size_t i, at[2], y[2], x[2];
} Place;

/** Stores what the vector holds of real outputs; lanes from `columns` to `pitch` of a row are none. */
LS_INLINE void store_lanes(const Correlation *c, float *out, vf sum, size_t y, size_t x) {
  size_t lane = 0;
  if (c->outColumn == 1) {
    if (x + LS_W <= c->columns) ls_store(out + y * c->outRow + x, sum);
    else if (x < c->columns) ls_store_part(out + y * c->outRow + x, sum, c->columns - x);
    if (c->byRows || x + LS_W <= c->pitch) return;
    lane = c->pitch - x, x = 0, y++;
  }
  float lanes[2 * LS_W];
  ls_store(lanes, sum);
  for (; lane < LS_W && y < c->rows; lane += c->pitch - x, x = 0, y++) {
    if (x >= c->columns) continue;
    const size_t n = ls_min(LS_W - lane, c->columns - x);
    float *to = out + y * c->outRow + x * c->outColumn;
    if (c->outColumn == 1) ls_store_part(to, ls_load(lanes + lane), n);
    else
      for (size_t l = 0; l < n; l++) to[l * c->outColumn] = lanes[lane + l];
    if (c->byRows) return;
  }
}

LS_INLINE void outputs(const Place *p, const int R, const int V) {
  const Correlation *c = p->of;
  vf sum[ROWS][2];
  const float *row[ROWS];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    for (int v = 0; v < V; v++) sum[r][v] = (vf){0};
    row[r] = c->a + (p->i + r) * c->lda;
  }
  const float *image = c->image + p->at[0];
  const uint32_t *taps = c->taps;
  const size_t depth = c->k, second = p->at[1] - p->at[0];
  for (size_t k = 0; k < depth; k++) {
    const float *b = image + taps[k];
    const vf b0 = ls_load(b), b1 = V == 2 ? ls_load(b + second) : b0;
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const vf a = ls_splat(row[r][k]);
      sum[r][0] = LS_MADD(sum[r][0], a, b0);
      if (V == 2) sum[r][1] = LS_MADD(sum[r][1], a, b1);
    }
  }
  for (int v = 0; v < V; v++) {
    float *out = c->out + p->i * c->outChannel;
#pragma GCC unroll 8
    for (int r = 0; r < R; r++, out += c->outChannel) store_lanes(c, out, sum[r][v], p->y[v], p->x[v]);
  }
}

/* ---- sums over positions: lanes are output channels ---- */

/** sums[k][j] += Σ over (y, x), in order, of image[taps[k] + y · pitch + x] · g[y · columns + x][j], for j < width. */
typedef struct {
  float *sums;
  const float *image;
  const uint32_t *taps;
  const float *g;
  size_t k, rows, columns, pitch, width;
} Weights;

LS_INLINE void weights(const Weights *w, size_t k, const int R, const int V) {
  vf sum[ROWS][2];
  const float *row[ROWS];
  float *sums = w->sums + k * V * LS_W;
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    for (int v = 0; v < V; v++) sum[r][v] = ls_load(sums + (r * V + v) * LS_W);
    row[r] = w->image + w->taps[k + r];
  }
  const float *g = w->g;
  const size_t rows = w->rows, columns = w->columns;
  for (size_t y = 0, at = 0; y < rows; y++, at += w->pitch)
    for (size_t i = at; i < at + columns; i++, g += V * LS_W) {
      const vf g0 = ls_load(g), g1 = V == 2 ? ls_load(g + LS_W) : g0;
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const vf a = ls_splat(row[r][i]);
        sum[r][0] = LS_MADD(sum[r][0], a, g0);
        if (V == 2) sum[r][1] = LS_MADD(sum[r][1], a, g1);
      }
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) ls_store(sums + (r * V + v) * LS_W, sum[r][v]);
}

/* A function for each form: apart, so that the registers of the inner loops do not spill. */
#define FORM(R, V)                                                                                                     \
  static __attribute__((noinline)) void outputs##R##x##V(const Place *p) { outputs(p, R, V); }                         \
  static __attribute__((noinline)) void weights##R##x##V(const Weights *w, size_t k) { weights(w, k, R, V); }
#define FORMS(R) FORM(R, 1) FORM(R, 2)
#define CASE(R, name, ...)                                                                                             \
  case R:                                                                                                              \
    if (wide) name##R##x2(__VA_ARGS__);                                                                                \
    else name##R##x1(__VA_ARGS__);                                                                                     \
    break;
#if ROWS == 8
#define ALL(name, ...)                                                                                                 \
  CASE(1, name, __VA_ARGS__) CASE(2, name, __VA_ARGS__) CASE(3, name, __VA_ARGS__) CASE(4, name, __VA_ARGS__)          \
  CASE(5, name, __VA_ARGS__) CASE(6, name, __VA_ARGS__) CASE(7, name, __VA_ARGS__) CASE(8, name, __VA_ARGS__)
FORMS(1) FORMS(2) FORMS(3) FORMS(4) FORMS(5) FORMS(6) FORMS(7) FORMS(8)
#elif ROWS == 6
#define ALL(name, ...)                                                                                                 \
  CASE(1, name, __VA_ARGS__) CASE(2, name, __VA_ARGS__) CASE(3, name, __VA_ARGS__) CASE(4, name, __VA_ARGS__)          \
  CASE(5, name, __VA_ARGS__) CASE(6, name, __VA_ARGS__)
FORMS(1) FORMS(2) FORMS(3) FORMS(4) FORMS(5) FORMS(6)
#else
#define ALL(name, ...)                                                                                                 \
  CASE(1, name, __VA_ARGS__) CASE(2, name, __VA_ARGS__) CASE(3, name, __VA_ARGS__) CASE(4, name, __VA_ARGS__)
FORMS(1) FORMS(2) FORMS(3) FORMS(4)
#endif

/** Rows of the tile that begins at row `done` of m: all of nearly the same size, none above ROWS. */
LS_INLINE size_t tile_rows(size_t m, size_t done) {
  const size_t left = m - done, tiles = (left + ROWS - 1) / ROWS;
  return (left + tiles - 1) / tiles;
}

static void correlate(Correlation *c) {
  const size_t perRow = (c->columns + LS_W - 1) / LS_W, through = ((c->rows - 1) * c->pitch + c->columns + LS_W - 1) / LS_W;
  /* Vectors of one row each are stored at once; they are worth a ninth more of them. */
  c->byRows = 8 * c->rows * perRow <= 9 * through;
  const size_t vectors = c->byRows ? c->rows * perRow : through;
  Place p = {.of = c};
  size_t y = 0, x = 0;
  for (size_t done = 0; done < vectors; done += 2) {
    const int wide = done + 1 < vectors;
    for (int v = 0; v <= wide; v++) {
      p.at[v] = y * c->pitch + x, p.y[v] = y, p.x[v] = x;
      x += LS_W;
      if (!c->byRows) for (; x >= c->pitch; x -= c->pitch) y++;
      else if (x >= c->columns) x = 0, y++;
    }
    for (size_t i = 0, rows; i < c->m; i += rows) {
      rows = tile_rows(c->m, i);
      p.i = i;
      switch (rows) { ALL(outputs, &p) }
    }
  }
}

static void add_weights(const Weights *w) {
  const int wide = w->width == COLUMNS;
  for (size_t k = 0, rows; k < w->k; k += rows) {
    rows = tile_rows(w->k, k);
    switch (rows) { ALL(weights, w, k) }
  }
}

/* ---- the three instructions ---- */

/** out[n, o, y, x] = Σ (c, i, j) in[n, c, y · stride + i · dilation − pad, …] · weight[o, c, i, j], within groups. */
LS_KERNEL(conv2d) {
  float *const out = ls_at(ctx, op->out), *const scratch = ls_at(ctx, op->scratch);
  const float *const in = ls_at(ctx, op->a), *const weight = ls_at(ctx, op->b);
  const Shape s = SHAPE(op);
  const size_t taps = s.c * s.y.k * s.x.k, inPlane = (size_t)s.y.in * s.x.in, outPlane = (size_t)s.y.out * s.x.out;
  const Int extra = (s.y.k - 1) * s.y.dilation / s.y.stride;
  const size_t pitch = s.x.out + (s.x.k - 1) * s.x.dilation / s.x.stride;
  const Copy copy = copy_of(s.c * s.y.stride * s.x.stride, s.y.out, extra, pitch);
  uint32_t *offsets = (uint32_t *)scratch;
  float *image = scratch + taps;
  taps_of_outputs(offsets, &s, &copy);
  for (size_t n = 0; n < s.rows; n++)
    for (size_t g = 0; g < s.groups; g++)
      for (Int y = 0; y < s.y.out; y += copy.strip) {
        const Int rows = (Int)ls_min(copy.strip, s.y.out - y);
        copy_strided(image, in + (n * s.groups + g) * s.c * inPlane, &s, &copy, y, rows);
        Correlation c = {.out = out + (n * s.groups + g) * s.o * outPlane + (size_t)y * s.x.out,
                               .outChannel = outPlane, .outRow = s.x.out, .outColumn = 1,
                               .a = weight + g * s.o * taps, .lda = taps, .image = image, .taps = offsets,
                               .m = s.o, .k = taps, .rows = rows, .columns = s.x.out, .pitch = pitch};
        correlate(&c);
      }
}

/** How far from output row y the outputs lie that an input of row y · stride reaches: from `first`, `extra` more. */
typedef struct {
  Int first, extra;
} Reach;

static Reach reach_of(const Axis *a) {
  const Int first = floor_div(a->pad - (a->k - 1) * a->dilation, a->stride);
  return (Reach){first, floor_div(a->stride - 1 + a->pad, a->stride) - first};
}

/** Whether tap i adds to the inputs with remainder `rest`; then which output, counted from the first of its reach. */
LS_INLINE int tap_hits(const Axis *a, const Reach *reach, Int rest, Int i, Int *at) {
  const Int distance = rest + a->pad - i * a->dilation;
  *at = floor_div(distance, a->stride) - reach->first;
  return distance - floor_div(distance, a->stride) * a->stride == 0;
}

/** Tap lists of a group, one per pair of remainders, one after the other, each with its weights as [c][taps]. */
static void taps_of_inputs(uint32_t *counts, uint32_t *taps, float *packed, const float *weight, const Shape *s,
                           const Copy *copy, const Reach *ry, const Reach *rx) {
  const size_t kernel = (size_t)s->y.k * s->x.k;
  for (Int a = 0; a < s->y.stride; a++)
    for (Int b = 0; b < s->x.stride; b++) {
      size_t count = 0;
      for (size_t c = 0; c < s->c; c++)
        for (size_t o = 0; o < s->o; o++)
          for (Int i = 0, y, x; i < s->y.k; i++)
            for (Int j = 0; j < s->x.k; j++)
              if (tap_hits(&s->y, ry, a, i, &y) && tap_hits(&s->x, rx, b, j, &x)) {
                if (c == 0) taps[count++] = o * copy->plane + y * copy->pitch + x;
                *packed++ = weight[(o * s->c + c) * kernel + i * s->x.k + j];
              }
      taps += count, *counts++ = (uint32_t)count;
    }
}

/** Inputs of one axis with this remainder. */
LS_INLINE Int inputs_of(const Axis *a, Int rest) { return rest < a->in ? ceil_div(a->in - rest, a->stride) : 0; }

/** out[n, c, v, u] = Σ (o, i, j) grad[n, o, y, x] · weight[o, c, i, j] with v = y · stride + i · dilation − pad, …. */
LS_KERNEL(conv2dInputGrad) {
  float *const out = ls_at(ctx, op->out), *const scratch = ls_at(ctx, op->scratch);
  const float *const grad = ls_at(ctx, op->a), *const weight = ls_at(ctx, op->b);
  const Shape s = SHAPE(op);
  const size_t all = s.o * s.y.k * s.x.k, inPlane = (size_t)s.y.in * s.x.in, outPlane = (size_t)s.y.out * s.x.out;
  const Reach ry = reach_of(&s.y), rx = reach_of(&s.x);
  const Int height = inputs_of(&s.y, 0);
  const size_t pitch = inputs_of(&s.x, 0) + rx.extra;
  const Copy copy = copy_of(s.o, height, ry.extra, pitch);
  uint32_t *const counts = (uint32_t *)scratch, *const offsets = counts + s.y.stride * s.x.stride;
  float *const packed = (float *)(offsets + all), *const image = packed + s.c * all;
  for (size_t g = 0; g < s.groups; g++) {
    taps_of_inputs(counts, offsets, packed, weight + g * s.c * all, &s, &copy, &ry, &rx);
    for (size_t n = 0; n < s.rows; n++) {
      const float *from = grad + (n * s.groups + g) * s.o * outPlane;
      float *to = out + (n * s.groups + g) * s.c * inPlane;
      for (Int y = 0; y < height; y += copy.strip) {
        const Int rows = (Int)ls_min(copy.strip, height - y);
        copy_shifted(image, from, &s, &copy, y + ry.first, rx.first, rows + ry.extra);
        const uint32_t *taps = offsets, *count = counts;
        const float *weights = packed;
        for (Int a = 0; a < s.y.stride; a++)
          for (Int b = 0; b < s.x.stride; b++, weights += s.c * *count, taps += *count++) {
            const Int left = inputs_of(&s.y, a) - y, columns = inputs_of(&s.x, b);
            if (left <= 0 || columns == 0) continue;
            Correlation c = {.out = to + ((size_t)y * s.y.stride + a) * s.x.in + b, .outChannel = inPlane,
                                   .outRow = (size_t)s.y.stride * s.x.in, .outColumn = s.x.stride,
                                   .a = weights, .lda = *count, .image = image, .taps = taps, .m = s.c, .k = *count,
                                   .rows = left < rows ? left : rows, .columns = columns, .pitch = pitch};
            correlate(&c);
          }
      }
    }
  }
}

/** Σ rows: sums[group][panel of output channels][tap][lane] += of one segment's images. */
static void add_segment(float *sums, const float *in, const float *grad, const Shape *s, const Copy *copy,
                        const uint32_t *taps, float *image, float *turned) {
  const size_t kernel = s->c * s->y.k * s->x.k, lanes = (s->o + LS_W - 1) / LS_W * LS_W;
  const size_t inPlane = (size_t)s->y.in * s->x.in, outPlane = (size_t)s->y.out * s->x.out;
  for (size_t n = 0; n < s->rows; n++)
    for (size_t g = 0; g < s->groups; g++, in += s->c * inPlane, grad += s->o * outPlane)
      for (Int y = 0; y < s->y.out; y += copy->strip) {
        const Int rows = (Int)ls_min(copy->strip, s->y.out - y);
        copy_strided(image, in, s, copy, y, rows);
        Weights w = {.image = image, .taps = taps, .g = turned, .k = kernel, .rows = rows, .columns = s->x.out,
                     .pitch = copy->pitch};
        for (size_t o = 0; o < s->o; o += COLUMNS) {
          const size_t channels = ls_min(COLUMNS, s->o - o);
          w.width = channels > LS_W ? COLUMNS : LS_W;
          ls_pack_transposed(turned, w.width, grad + o * outPlane + (size_t)y * s->x.out, outPlane,
                             (size_t)rows * s->x.out, channels);
          w.sums = sums + (g * lanes + o) * kernel;
          add_weights(&w);
        }
      }
}

/** out[o][k] from the lanes. */
static void store_weights(float *out, const float *sums, const Shape *s) {
  const size_t kernel = s->c * s->y.k * s->x.k, lanes = (s->o + LS_W - 1) / LS_W * LS_W;
  for (size_t g = 0; g < s->groups; g++, sums += lanes * kernel, out += s->o * kernel)
    for (size_t o = 0; o < s->o; o += COLUMNS) {
      const size_t channels = ls_min(COLUMNS, s->o - o), width = channels > LS_W ? COLUMNS : LS_W;
      const float *panel = sums + o * kernel;
      for (size_t j = 0; j < channels; j++)
        for (size_t k = 0; k < kernel; k++) out[(o + j) * kernel + k] = panel[k * width + j];
    }
}

/** How many finished subtrees the sum of this segment is added to. */
LS_INLINE size_t merges_after(size_t segment, size_t segments, size_t top) {
  return segment + 1 == segments ? top : (size_t)__builtin_ctzll(~(unsigned long long)segment);
}

/** out[o, c, i, j] = Σ (n, y, x) in[n, c, y · stride + i · dilation − pad, …] · grad[n, o, y, x], per segment or by the tree. */
LS_KERNEL(conv2dWeightGrad) {
  float *out = ls_at(ctx, op->out), *const scratch = ls_at(ctx, op->scratch);
  const float *const in = ls_at(ctx, op->a), *const grad = ls_at(ctx, op->b);
  Shape s = SHAPE(op);
  s.segments = op->segments, s.tree = op->tree;
  const size_t kernel = s.c * s.y.k * s.x.k, lanes = (s.o + LS_W - 1) / LS_W * LS_W, size = s.groups * kernel * lanes;
  const size_t inRows = s.rows * s.groups * s.c * s.y.in * s.x.in;
  const size_t outRows = s.rows * s.groups * s.o * s.y.out * s.x.out;
  const Int extra = (s.y.k - 1) * s.y.dilation / s.y.stride;
  const size_t pitch = s.x.out + (s.x.k - 1) * s.x.dilation / s.x.stride, planes = s.c * s.y.stride * s.x.stride;
  /* The gradient of a strip is turned in scratch, too. */
  const Int most = ls_min(IMAGE / ((size_t)s.x.out * 2 * LANES), s.y.out);
  const Copy copy = copy_of(planes, most < 1 ? 1 : most, extra, pitch);
  uint32_t *taps = (uint32_t *)scratch;
  float *image = scratch + kernel, *turned = image + planes * copy.plane + SLACK;
  float *stack = turned + (size_t)copy.strip * s.x.out * 2 * LANES;
  taps_of_outputs(taps, &s, &copy);
  for (size_t segment = 0, top = 0; segment < s.segments; segment++) {
    float *sums = stack + top * size;
    for (size_t i = 0; i < size; i += LS_W) ls_store(sums + i, (vf){0});
    add_segment(sums, in + segment * inRows, grad + segment * outRows, &s, &copy, taps, image, turned);
    if (!s.tree) {
      store_weights(out + segment * s.groups * s.o * kernel, sums, &s);
      continue;
    }
    for (size_t merges = merges_after(segment, s.segments, top); merges > 0; merges--, top--, sums -= size)
      for (size_t i = 0; i < size; i += LS_W) ls_store(sums - size + i, ls_load(sums - size + i) + ls_load(sums + i));
    top++;
  }
  if (s.tree) store_weights(out, stack, &s);
}
