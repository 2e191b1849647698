/**
 * Recurrent layers over whole sequences; x holds the input's part of each gate for all steps: x W_ihᵀ + b.
 *   tanh, relu   h' = f(x + r)
 *   lstm         i, f, o = σ(x + r), g = tanh(x + r);  c' = f c + i g;  h' = o tanh c'         gates i f g o
 *   gru          r, z = σ(x + r), n = tanh(x_n + r r_n);  h' = (1 − z) n + z h                 gates r z n
 * with r = h W_hhᵀ + b. Rows are independent: blocks of ROWS of them go through all steps while their state is in cache.
 *
 * States [rows, T, P, H], what backward needs: h | h c i f g o | h r z n r_n.
 * Slopes [rows, T, Q, H], of the gates before their functions: those of x, then for a GRU that of r_n.
 * With `reverse` the steps run from the last to the first, and what is "before" t is t + 1.
 */
#include "math.h"
#include "matmul.h"

#define ROWS 64

enum { TANH, RELU, LSTM, GRU };
static const uint8_t GATES[4] = {1, 1, 4, 3}, STATES[4] = {1, 1, 6, 5}, SLOPES[4] = {1, 1, 4, 4};

typedef struct {
  const float *w, *bias;
  size_t rows, steps, hidden;
  int kind, initial, biased, reverse, cells;
  float *wt, *h, *c, *r, *scratch; /* W_hhᵀ, a block's state and r */
} Layer;

LS_INLINE vf part(const float *p, size_t i, size_t n) { return i + LS_W <= n ? ls_load(p + i) : ls_load_part(p + i, n - i); }
LS_INLINE void put(float *p, size_t i, size_t n, vf v) {
  if (i + LS_W <= n) ls_store(p + i, v);
  else ls_store_part(p + i, v, n - i);
}

/** Scratch after that of `multiply` (recurrentScratchBytes in fused.ts). */
static void place(Layer *l, float *scratch) {
  const size_t n = l->hidden;
  l->scratch = scratch, scratch += MM_SCRATCH;
  l->wt = scratch, scratch += 4 * n * n;
  l->h = scratch, scratch += ROWS * n;
  l->c = scratch, scratch += ROWS * n;
  l->r = scratch;
}

static void multiply(const Layer *l, float *c, const float *a, const float *b, size_t m, size_t n, size_t k) {
  Product p = {.c = c, .a = a, .b = b, .m = m, .n = n, .k = k, .lda = k, .ldb = n, .ldc = n, .segments = 1};
  LS_NAME(multiply)(&p, l->scratch);
}

static void transpose(float *to, const float *from, size_t rows, size_t columns) {
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
}

LS_INLINE vf recurrent_part(const float *r, const float *bias, size_t i, size_t n) {
  if (bias) return part(r, i, n) + part(bias, i, n);
  return part(r, i, n);
}

/** A row's state and gates at one step; `s` is where they are kept. */
LS_INLINE void step_row(int kind, float *h, float *c, const float *x, const float *r, const float *bias, float *s, size_t n) {
  for (size_t i = 0; i < n; i += LS_W) {
#define R(gate) recurrent_part(r + gate * n, bias ? bias + gate * n : 0, i, n)
#define X(gate) part(x + gate * n, i, n)
    vf next;
    if (kind == LSTM) {
      const vf in = ls_sigmoid(X(0) + R(0)), forget = ls_sigmoid(X(1) + R(1));
      const vf g = ls_tanh(X(2) + R(2)), out = ls_sigmoid(X(3) + R(3));
      const vf cell = forget * part(c, i, n) + in * g;
      next = out * ls_tanh(cell);
      put(c, i, n, cell);
      put(s + n, i, n, cell), put(s + 2 * n, i, n, in), put(s + 3 * n, i, n, forget);
      put(s + 4 * n, i, n, g), put(s + 5 * n, i, n, out);
    } else if (kind == GRU) {
      const vf reset = ls_sigmoid(X(0) + R(0)), z = ls_sigmoid(X(1) + R(1)), inner = R(2);
      const vf candidate = ls_tanh(X(2) + reset * inner);
      next = (1 - z) * candidate + z * part(h, i, n);
      put(s + n, i, n, reset), put(s + 2 * n, i, n, z), put(s + 3 * n, i, n, candidate), put(s + 4 * n, i, n, inner);
    } else {
      const vf sum = X(0) + R(0);
      if (kind == TANH) next = ls_tanh(sum);
      else next = ls_max_v(sum, (vf){0});
    }
    put(h, i, n, next);
    put(s, i, n, next);
#undef R
#undef X
  }
}

/** All steps of a layer (`recurrent` in fused.ts). */
LS_KERNEL(recurrent) {
  float *out = ls_at(ctx, op->out);
  const float *x = ls_at(ctx, op->x), *h0 = ls_at(ctx, op->h0), *c0 = ls_at(ctx, op->c0);
  Layer l = {.w = ls_at(ctx, op->w), .bias = ls_at(ctx, op->bias), .rows = op->rows, .steps = op->steps, .hidden = op->hidden,
             .kind = (int)op->kind, .initial = op->initial != 0, .biased = op->biased != 0, .reverse = op->reverse != 0};
  if (l.hidden == 0 || l.steps == 0) return;
  place(&l, ls_at(ctx, op->scratch));
  const size_t n = l.hidden, gates = GATES[l.kind] * n, states = STATES[l.kind] * n;
  const float *bias = l.biased ? l.bias : 0;
  transpose(l.wt, l.w, gates, n);
  for (size_t b = 0; b < l.rows; b += ROWS) {
    const size_t m = ls_min(ROWS, l.rows - b);
    __builtin_memset(l.h, 0, m * n * 4), __builtin_memset(l.c, 0, m * n * 4);
    if (l.initial) __builtin_memcpy(l.h, h0 + b * n, m * n * 4);
    if (l.initial && l.kind == LSTM) __builtin_memcpy(l.c, c0 + b * n, m * n * 4);
    for (size_t step = 0; step < l.steps; step++) {
      const size_t t = l.reverse ? l.steps - 1 - step : step;
      multiply(&l, l.r, l.h, l.wt, m, gates, n);
      for (size_t row = 0; row < m; row++) {
        float *h = l.h + row * n, *c = l.c + row * n, *s = out + ((b + row) * l.steps + t) * states;
        const float *input = x + ((b + row) * l.steps + t) * gates, *r = l.r + row * gates;
        switch (l.kind) {
          case LSTM: step_row(LSTM, h, c, input, r, bias, s, n); break;
          case GRU: step_row(GRU, h, c, input, r, bias, s, n); break;
          case TANH: step_row(TANH, h, c, input, r, bias, s, n); break;
          default: step_row(RELU, h, c, input, r, bias, s, n);
        }
      }
    }
  }
}

/** What a row's step needs going back: slopes of h and c (in: from later steps, out: to earlier ones), of the gates. */
typedef struct {
  float *dh, *dc;
  const float *g, *s, *before; /* gradient of the output, states here and before (0: zeros) */
  const float *c0;             /* cell before the first step, where `before` is 0 and there is one */
  float *slopes, *r;           /* slopes of the gates: kept, and as r needs them */
} Row;

LS_INLINE void back_row(int kind, int cells, const Row *row, const float *h0, size_t n) {
  const float *s = row->s;
  for (size_t i = 0; i < n; i += LS_W) {
    const vf dh = part(row->dh, i, n) + part(row->g, i, n);
    if (kind == LSTM) {
      const vf in = part(s + 2 * n, i, n), forget = part(s + 3 * n, i, n), g = part(s + 4 * n, i, n);
      const vf out = part(s + 5 * n, i, n), tanh_c = ls_tanh(part(s + n, i, n));
      const float *cell = row->before ? row->before + n : row->c0;
      const vf before = cell ? part(cell, i, n) : (vf){0};
      vf dc = part(row->dc, i, n) + dh * out * (1 - tanh_c * tanh_c);
      if (cells) dc = dc + part(row->g + n, i, n);
      const vf d_in = dc * g * (in * (1 - in)), d_forget = dc * before * (forget * (1 - forget));
      const vf d_g = dc * in * (1 - g * g), d_out = dh * tanh_c * (out * (1 - out));
      put(row->dc, i, n, dc * forget);
      put(row->slopes, i, n, d_in), put(row->slopes + n, i, n, d_forget);
      put(row->slopes + 2 * n, i, n, d_g), put(row->slopes + 3 * n, i, n, d_out);
      put(row->r, i, n, d_in), put(row->r + n, i, n, d_forget);
      put(row->r + 2 * n, i, n, d_g), put(row->r + 3 * n, i, n, d_out);
    } else if (kind == GRU) {
      const vf reset = part(s + n, i, n), z = part(s + 2 * n, i, n), candidate = part(s + 3 * n, i, n);
      const float *hidden = row->before ? row->before : h0;
      const vf before = hidden ? part(hidden, i, n) : (vf){0};
      const vf d_n = dh * (1 - z) * (1 - candidate * candidate);
      const vf d_r = d_n * part(s + 4 * n, i, n) * (reset * (1 - reset)), d_z = dh * (before - candidate) * (z * (1 - z));
      put(row->dc, i, n, dh * z); /* the direct way to h before */
      put(row->slopes, i, n, d_r), put(row->slopes + n, i, n, d_z), put(row->slopes + 2 * n, i, n, d_n);
      put(row->slopes + 3 * n, i, n, d_n * reset);
      put(row->r, i, n, d_r), put(row->r + n, i, n, d_z), put(row->r + 2 * n, i, n, d_n * reset);
    } else {
      const vf h = part(s, i, n);
      vf d = dh * (1 - h * h);
      if (kind == RELU) d = ls_select(h <= 0, (vf){0}, dh); /* dh also at a NaN */
      put(row->slopes, i, n, d), put(row->r, i, n, d);
    }
  }
}

/** Back through all steps; with `cells`, grad is of h and c. */
LS_KERNEL(recurrentGrad) {
  float *out = ls_at(ctx, op->out), *dh0 = ls_at(ctx, op->dh0), *dc0 = ls_at(ctx, op->dc0);
  const float *kept = ls_at(ctx, op->states), *g = ls_at(ctx, op->grad), *h0 = ls_at(ctx, op->h0), *c0 = ls_at(ctx, op->c0);
  Layer l = {.w = ls_at(ctx, op->w), .rows = op->rows, .steps = op->steps, .hidden = op->hidden, .kind = (int)op->kind,
             .initial = op->initial != 0, .reverse = op->reverse != 0, .cells = op->cells != 0};
  if (l.hidden == 0) return;
  place(&l, ls_at(ctx, op->scratch));
  const size_t n = l.hidden, gates = GATES[l.kind] * n, states = STATES[l.kind] * n, slopes = SLOPES[l.kind] * n;
  const size_t width = l.cells ? 2 * n : n;
  for (size_t b = 0; b < l.rows; b += ROWS) {
    const size_t m = ls_min(ROWS, l.rows - b);
    __builtin_memset(l.h, 0, m * n * 4), __builtin_memset(l.c, 0, m * n * 4);
    for (size_t step = l.steps; step-- > 0;) {
      const size_t t = l.reverse ? l.steps - 1 - step : step, before = l.reverse ? t + 1 : t - 1;
      for (size_t i = 0; i < m; i++) {
        const size_t at = (b + i) * l.steps;
        const float *first_h = l.initial ? h0 + (b + i) * n : 0;
        const Row row = {.dh = l.h + i * n, .dc = l.c + i * n, .g = g + (at + t) * width, .s = kept + (at + t) * states,
                         .before = step > 0 ? kept + (at + before) * states : 0,
                         .c0 = l.initial && l.kind == LSTM ? c0 + (b + i) * n : 0,
                         .slopes = out + (at + t) * slopes, .r = l.r + i * gates};
        switch (l.kind) {
          case LSTM: back_row(LSTM, l.cells, &row, first_h, n); break;
          case GRU: back_row(GRU, 0, &row, first_h, n); break;
          case TANH: back_row(TANH, 0, &row, first_h, n); break;
          default: back_row(RELU, 0, &row, first_h, n);
        }
      }
      multiply(&l, l.h, l.r, l.w, m, n, gates);
      if (l.kind == GRU)
        for (size_t i = 0; i < m * n; i++) l.h[i] = l.c[i] + l.h[i];
    }
    __builtin_memcpy(dh0 + b * n, l.h, m * n * 4);
    if (l.kind == LSTM) __builtin_memcpy(dc0 + b * n, l.c, m * n * 4);
    else __builtin_memset(dc0 + b * n, 0, m * n * 4);
  }
}
