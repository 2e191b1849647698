/**
 * What moves elements (`src/instructions/indexing.ts`): strided copies, picking by index, its adjoint, running sums. Tensors are seen
 * as [S, O, N, I] (segments, outer, the indexed axis, inner), what is picked as [S, O, J, I]. Lanes are words of any
 * type; only sums are of f32.
 */
#include "kernels.h"

#define NOT_A_NUMBER 0x7fc00000u
#define COPY_RANK 8

typedef struct {
  uint32_t *out;
  const uint32_t *in;
  const uint32_t *n, *out_stride;
  const int32_t *in_stride;
} Copy;

/** A run of n elements. */
LS_INLINE void copy_run(uint32_t *restrict out, size_t out_stride, const uint32_t *in, ptrdiff_t in_stride, size_t n) {
  if (out_stride == 1 && in_stride == 1) {
    __builtin_memcpy(out, in, n * 4);
  } else if (out_stride == 1 && in_stride == 0) {
    for (size_t i = 0; i < n; i++) out[i] = *in;
  } else if (out_stride == 1 && in_stride == -1) {
    for (size_t i = 0; i < n; i++) out[i] = in[-(ptrdiff_t)i];
  } else {
    for (size_t i = 0; i < n; i++) out[i * out_stride] = in[(ptrdiff_t)i * in_stride];
  }
}

/** The last two dimensions where one of them is contiguous in the source and the other in the target: by squares. */
static void copy_transposed(uint32_t *restrict out, size_t out_stride, const uint32_t *in, ptrdiff_t in_stride,
                            size_t rows, size_t columns) {
  enum { SIDE = 16 };
  for (size_t r = 0; r < rows; r += SIDE) {
    const size_t r_end = ls_min(rows, r + SIDE);
    for (size_t c = 0; c < columns; c += SIDE) {
      const size_t c_end = ls_min(columns, c + SIDE);
      for (size_t y = r; y < r_end; y++) {
        for (size_t x = c; x < c_end; x++) out[y * out_stride + x] = in[(ptrdiff_t)x * in_stride + (ptrdiff_t)y];
      }
    }
  }
}

static void copy_from(const Copy *copy, int d, uint32_t *out, const uint32_t *in) {
  const size_t n = copy->n[d], out_stride = copy->out_stride[d];
  const ptrdiff_t in_stride = copy->in_stride[d];
  if (d == COPY_RANK - 1) return copy_run(out, out_stride, in, in_stride, n);
  const int transposes = d == COPY_RANK - 2 && in_stride == 1 && copy->out_stride[d + 1] == 1 && copy->in_stride[d + 1] > 1;
  if (transposes) return copy_transposed(out, out_stride, in, copy->in_stride[d + 1], n, copy->n[d + 1]);
  for (size_t i = 0; i < n; i++) copy_from(copy, d + 1, out + i * out_stride, in + (ptrdiff_t)i * in_stride);
}

LS_KERNEL(copy) {
  const Copy copy = {ls_at(ctx, op->out), ls_at(ctx, op->in), op->n, op->outStride, op->inStride};
  for (int d = 0; d < COPY_RANK; d++) {
    if (copy.n[d] == 0) return;
  }
  copy_from(&copy, 0, copy.out, copy.in);
}

/* ---- picking by index ---- */

/** The operands that picking and its adjoint share. */
typedef struct {
  size_t segments, outer, n, inner, count, segment_in, segment_index;
} Shape;

/* A macro, as each instruction has a struct of its own. */
#define SHAPE(op) {op->segments, op->outer, op->n, op->inner, op->count, op->segmentIn, op->segmentIndex}

/** Nothing is picked. */
LS_INLINE int is_empty(const Shape *v) { return v->outer == 0 || v->count == 0 || v->inner == 0; }

LS_INLINE void pick_row(uint32_t *restrict out, const uint32_t *in, uint32_t at, size_t n, size_t inner) {
  if (at < n) __builtin_memcpy(out, in + at * inner, inner * 4);
  else for (size_t i = 0; i < inner; i++) out[i] = NOT_A_NUMBER;
}

/** out[s, o, j, :] = in[s, o, index[s, j], :]. */
LS_KERNEL(take) {
  uint32_t *out = ls_at(ctx, op->out);
  const uint32_t *in = ls_at(ctx, op->in), *index = ls_at(ctx, op->index);
  const Shape v = SHAPE(op);
  if (is_empty(&v)) return;
  for (size_t s = 0; s < v.segments; s++, in += v.segment_in, index += v.segment_index) {
    for (size_t o = 0; o < v.outer; o++) {
      for (size_t j = 0; j < v.count; j++, out += v.inner) {
        pick_row(out, in + o * v.n * v.inner, ls_index(index + j), v.n, v.inner);
      }
    }
  }
}

LS_INLINE void add_row(float *restrict out, const float *in, size_t n) {
  size_t i = 0;
  for (; i + LS_W <= n; i += LS_W) ls_store(out + i, ls_load(out + i) + ls_load(in + i));
  for (; i < n; i++) out[i] += in[i];
}

/** out[s, o, index[s, j], :] = Σ in[s, o, j, :] over j in order. */
static void scatter_segments(float *out, const float *in, const uint32_t *index, const Shape *v) {
  __builtin_memset(out, 0, v->segments * v->outer * v->n * v->inner * 4);
  if (is_empty(v)) return;
  for (size_t s = 0; s < v->segments; s++, in += v->segment_in, index += v->segment_index) {
    for (size_t o = 0; o < v->outer; o++, out += v->n * v->inner) {
      const float *rows = in + o * v->count * v->inner;
      for (size_t j = 0; j < v->count; j++) {
        const uint32_t row = ls_index(index + j);
        if (row < v->n) add_row(out + row * v->inner, rows + j * v->inner, v->inner);
      }
    }
  }
}

/** Columns of a row that are summed at a time, and how many open subtrees a row can have (MAX_SEGMENTS = 2^16). */
enum { WIDTH = 128, DEPTH = 18 };
#define NONE 0xffffffffu

/** Sums of subtrees of the shard tree that are still to be combined, the latest on top; all over one row. */
typedef struct {
  float sums[DEPTH][WIDTH];
  /** A segment within each subtree. */
  uint32_t segment[DEPTH];
  int top;
} Subtrees;

/** The level of the shard tree at which two segments meet. */
LS_INLINE int meeting(uint32_t a, uint32_t b) { return 32 - __builtin_clz(a ^ b); }

/** Left + right, where the left one is older. */
LS_INLINE void merge(Subtrees *t, size_t width) {
  t->top--;
  add_row(t->sums[t->top - 1], t->sums[t->top], width);
}

/** Opens the sum of segment s, when the subtrees that end before it are complete. */
LS_INLINE void open_segment(Subtrees *t, uint32_t s, size_t width) {
  while (t->top > 1 && meeting(t->segment[t->top - 2], t->segment[t->top - 1]) < meeting(t->segment[t->top - 1], s)) {
    merge(t, width);
  }
  __builtin_memset(t->sums[t->top], 0, width * 4);
  t->segment[t->top++] = s;
}

/**
 * The same, summed over the segments by the tree. `first[row]` and `next[position]` list the positions s · J + j that add to
 * each row, in order. Segments that do not touch a row add +0 to it, which changes nothing: they are left out.
 */
static void scatter_tree(float *out, const float *in, const uint32_t *index, uint32_t *first, const Shape *v) {
  if (v->inner == 0) return;
  uint32_t *next = first + v->n;
  for (size_t row = 0; row < v->n; row++) first[row] = NONE;
  for (size_t s = v->segments; s-- > 0;) {
    for (size_t j = v->count; j-- > 0;) {
      const uint32_t row = ls_index(index + s * v->segment_index + j);
      if (row >= v->n) continue;
      next[s * v->count + j] = first[row];
      first[row] = (uint32_t)(s * v->count + j);
    }
  }
  Subtrees t;
  for (size_t o = 0; o < v->outer; o++, in += v->count * v->inner) {
    for (size_t row = 0; row < v->n; row++, out += v->inner) {
      if (first[row] == NONE) {
        __builtin_memset(out, 0, v->inner * 4);
        continue;
      }
      for (size_t c = 0; c < v->inner; c += WIDTH) {
        const size_t width = ls_min(WIDTH, v->inner - c);
        t.top = 0;
        for (uint32_t at = first[row]; at != NONE; at = next[at]) {
          const size_t s = at / v->count, j = at % v->count;
          if (t.top == 0 || t.segment[t.top - 1] != s) open_segment(&t, (uint32_t)s, width);
          add_row(t.sums[t.top - 1], in + s * v->segment_in + j * v->inner + c, width);
        }
        while (t.top > 1) merge(&t, width);
        __builtin_memcpy(out + c, t.sums[0], width * 4);
      }
    }
  }
}

LS_KERNEL(scatterAdd) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const uint32_t *index = ls_at(ctx, op->index);
  const Shape v = SHAPE(op);
  if (op->tree) scatter_tree(out, in, index, ls_at(ctx, op->scratch), &v);
  else scatter_segments(out, in, index, &v);
}

/** out[s, o, j, i] = in[s, o, index[s, o, j, i], i]. */
LS_KERNEL(gather) {
  uint32_t *out = ls_at(ctx, op->out);
  const uint32_t *in = ls_at(ctx, op->in), *index = ls_at(ctx, op->index);
  const Shape v = SHAPE(op);
  if (is_empty(&v)) return;
  for (size_t s = 0; s < v.segments; s++, in += v.segment_in, index += v.segment_index) {
    const uint32_t *at = index;
    for (size_t o = 0; o < v.outer; o++) {
      const uint32_t *rows = in + o * v.n * v.inner;
      for (size_t j = 0; j < v.count; j++, at += v.inner, out += v.inner) {
        for (size_t i = 0; i < v.inner; i++) out[i] = at[i] < v.n ? rows[at[i] * v.inner + i] : NOT_A_NUMBER;
      }
    }
  }
}

/** out[s, o, index[s, o, j, i], i] = Σ in[s, o, j, i] over j in order. */
LS_KERNEL(gatherAdd) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const uint32_t *index = ls_at(ctx, op->index);
  const Shape v = SHAPE(op);
  __builtin_memset(out, 0, v.segments * v.outer * v.n * v.inner * 4);
  if (is_empty(&v)) return;
  for (size_t s = 0; s < v.segments; s++, in += v.segment_in, index += v.segment_index) {
    const uint32_t *at = index;
    const float *x = in;
    for (size_t o = 0; o < v.outer; o++, out += v.n * v.inner) {
      for (size_t j = 0; j < v.count; j++, at += v.inner, x += v.inner) {
        for (size_t i = 0; i < v.inner; i++) {
          if (at[i] < v.n) out[at[i] * v.inner + i] += x[i];
        }
      }
    }
  }
}

/** out[o, j, i] = Σ in[o, 0 … j, i], or Σ in[o, N − 1 … j, i] in reverse. */
LS_KERNEL(cumsum) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const size_t outer = op->outer, n = op->n, inner = op->inner, reverse = op->reverse;
  if (n == 0 || inner == 0) return;
  for (size_t o = 0; o < outer; o++, in += n * inner, out += n * inner) {
    const size_t first = reverse ? (n - 1) * inner : 0;
    for (size_t i = 0; i < inner; i++) out[first + i] = 0 + in[first + i];
    for (size_t j = 1; j < n; j++) {
      float *row = out + (reverse ? n - 1 - j : j) * inner;
      const float *before = reverse ? row + inner : row - inner;
      const float *x = in + (row - out);
      for (size_t i = 0; i < inner; i++) row[i] = before[i] + x[i];
    }
  }
}

/* ---- sorting ---- */

/** Whether x comes strictly before y; a NaN is the largest. */
LS_INLINE int precedes(float x, float y, int descending) {
  if (descending) return x > y || (x != x && y == y);
  return x < y || (x == x && y != y);
}

/** Merges the sorted runs [0, half) and [half, n) of indexes. */
LS_INLINE void merge_runs(uint32_t *out, const uint32_t *runs, size_t half, size_t n, const float *x, int descending) {
  size_t left = 0, right = half;
  for (size_t i = 0; i < n; i++) {
    const int take_right = left == half || (right < n && precedes(x[runs[right]], x[runs[left]], descending));
    out[i] = runs[take_right ? right++ : left++];
  }
}

/** out[r, :] = the indexes that sort in[r, :], by merging runs of 1, 2, 4, …: stable. */
LS_KERNEL(argsort) {
  uint32_t *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  uint32_t *scratch = ls_at(ctx, op->scratch);
  const size_t rows = op->rows, n = op->n;
  const int descending = (int)op->descending;
  if (n == 0) return;
  for (size_t r = 0; r < rows; r++, out += n, in += n) {
    for (size_t i = 0; i < n; i++) out[i] = (uint32_t)i;
    for (size_t run = 1; run < n; run *= 2) {
      __builtin_memcpy(scratch, out, n * 4);
      for (size_t i = 0; i < n; i += 2 * run) {
        const size_t count = ls_min(2 * run, n - i);
        merge_runs(out + i, scratch + i, ls_min(run, count), count, in, descending);
      }
    }
  }
}
