/**
 * Pooling over windows of images [images, height, width]. Positions outside of an image are skipped. The greatest of a
 * window is its first one in the order of rows, or its first NaN. What flows back is added in the order of the windows.
 */
#include "math.h"

typedef int32_t Int;

typedef struct {
  Int in, out, k, stride, pad, dilation;
} Axis;

typedef struct {
  size_t images;
  Axis y, x;
} Shape;

/* Of any of the instructions, which all have these operands: a macro, as each has a struct of its own. */
#define SHAPE(op)                                                                                                      \
  {.images = op->images,                                                                                               \
   .y = {.in = op->h, .out = op->oh, .k = op->kh, .stride = op->strideH, .pad = op->padH, .dilation = op->dilationH},  \
   .x = {.in = op->w, .out = op->ow, .k = op->kw, .stride = op->strideW, .pad = op->padW, .dilation = op->dilationW}}

/** Taps [from, to) of a window lie inside of the image; tap 0 is at `first`. */
typedef struct {
  Int first, from, to;
} Window;

LS_INLINE Window window_of(const Axis *a, Int at) {
  Window w = {at * a->stride - a->pad, 0, a->k};
  if (w.first < 0) w.from = (-w.first + a->dilation - 1) / a->dilation;
  const Int room = a->in - w.first;
  const Int fit = room <= 0 ? 0 : (room + a->dilation - 1) / a->dilation;
  if (fit < w.to) w.to = fit;
  return w;
}

/** The place of the greatest of a window; −1 in an empty one. */
LS_INLINE Int greatest(const float *in, const Shape *s, Window y, Window x) {
  Int at = -1;
  float best = 0;
  for (Int i = y.from; i < y.to; i++)
    for (Int j = x.from; j < x.to; j++) {
      const Int here = (y.first + i * s->y.dilation) * s->x.in + x.first + j * s->x.dilation;
      const float value = in[here];
      if (at < 0 || value > best || (value != value && best == best)) at = here, best = value;
    }
  return at;
}

/** Windows of 2 × 2 side by side: the most common, and they need no test. */
static int is_halving(const Shape *s) {
  return s->y.k == 2 && s->x.k == 2 && s->y.stride == 2 && s->x.stride == 2 && s->y.pad == 0 && s->x.pad == 0 &&
         s->y.dilation == 1 && s->x.dilation == 1 && 2 * s->y.out <= s->y.in && 2 * s->x.out <= s->x.in;
}

/** The first and the second of n pairs of neighbours. */
typedef struct {
  vf first, second;
} Pairs;

LS_INLINE vf load_lanes(const float *p, size_t n) { return n >= LS_W ? ls_load(p) : ls_load_part(p, n); }
LS_INLINE void store_lanes(float *p, vf v, size_t n) {
  if (n >= LS_W) ls_store(p, v);
  else ls_store_part(p, v, n);
}

LS_INLINE Pairs load_pairs(const float *p, size_t n) {
  const vf a = load_lanes(p, 2 * n), b = 2 * n > LS_W ? load_lanes(p + LS_W, 2 * n - LS_W) : (vf){0};
  return (Pairs){__builtin_shufflevector(a, b, LS_EVEN), __builtin_shufflevector(a, b, LS_ODD)};
}

#if LS_W == 4
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#elif LS_W == 8
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

LS_INLINE void store_pairs(float *p, vf first, vf second, size_t n) {
  store_lanes(p, __builtin_shufflevector(first, second, ZIP_LOW), 2 * n);
  if (2 * n > LS_W) store_lanes(p + LS_W, __builtin_shufflevector(first, second, ZIP_HIGH), 2 * n - LS_W);
}

/** −1 where x replaces best. */
LS_INLINE vi better(vf x, vf best) { return (x > best) | (ls_is_nan(x) & ~ls_is_nan(best)); }

/** Which of the four of each window is the greatest: −1 in the lanes where the later one beat those before. */
typedef struct {
  vi second, third, fourth;
} Winner;

LS_INLINE Winner winner(Pairs top, Pairs bottom) {
  Winner w;
  vf best = top.first;
  w.second = better(top.second, best), best = ls_select(w.second, top.second, best);
  w.third = better(bottom.first, best), best = ls_select(w.third, bottom.first, best);
  w.fourth = better(bottom.second, best);
  return w;
}

static void halve(float *out, const float *in, const float *values, const Shape *s) {
  const size_t width = s->x.in, columns = s->x.out;
  for (Int y = 0; y < s->y.out; y++, in += 2 * width, values += 2 * width, out += columns)
    for (size_t x = 0; x < columns; x += LS_W) {
      const size_t n = ls_min(LS_W, columns - x);
      const Winner w = winner(load_pairs(in + 2 * x, n), load_pairs(in + width + 2 * x, n));
      const Pairs top = load_pairs(values + 2 * x, n), bottom = load_pairs(values + width + 2 * x, n);
      const vf upper = ls_select(w.second, top.second, top.first);
      store_lanes(out + x, ls_select(w.fourth, bottom.second, ls_select(w.third, bottom.first, upper)), n);
    }
}

/** out[i, y, x] = values at the place of the greatest of in[i, window (y, x)]; 0 where the window is empty. */
LS_KERNEL(maxPool2d) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in), *values = ls_at(ctx, op->values);
  const Shape s = SHAPE(op);
  const size_t plane = (size_t)s.y.in * s.x.in, outPlane = (size_t)s.y.out * s.x.out;
  const int halving = is_halving(&s);
  for (size_t i = 0; i < s.images; i++, in += plane, values += plane, out += outPlane) {
    if (halving) {
      halve(out, in, values, &s);
      continue;
    }
    for (Int y = 0; y < s.y.out; y++) {
      const Window rows = window_of(&s.y, y);
      for (Int x = 0; x < s.x.out; x++) {
        const Int at = greatest(in, &s, rows, window_of(&s.x, x));
        out[(size_t)y * s.x.out + x] = at < 0 ? 0 : values[at];
      }
    }
  }
}

static void fill_zero(float *out, size_t n) {
  for (size_t i = 0; i < n; i += LS_W) store_lanes(out + i, (vf){0}, n - i);
}

static void unhalve(float *out, const float *in, const float *grad, const Shape *s) {
  const size_t width = s->x.in, columns = s->x.out;
  for (Int y = 0; y < s->y.out; y++, in += 2 * width, out += 2 * width, grad += columns) {
    for (size_t x = 0; x < columns; x += LS_W) {
      const size_t n = ls_min(LS_W, columns - x);
      const Winner w = winner(load_pairs(in + 2 * x, n), load_pairs(in + width + 2 * x, n));
      const vi g = (vi)(load_lanes(grad + x, n) + (vf){0}); /* as a sum from +0 */
      const vi later = w.third | w.fourth;
      store_pairs(out + 2 * x, (vf)(g & ~(w.second | later)), (vf)(g & w.second & ~later), n);
      store_pairs(out + width + 2 * x, (vf)(g & w.third & ~w.fourth), (vf)(g & w.fourth), n);
    }
    fill_zero(out + 2 * columns, width - 2 * columns);
    fill_zero(out + width + 2 * columns, width - 2 * columns);
  }
  fill_zero(out, (s->y.in - 2 * s->y.out) * width);
}

/** out[i, place of the greatest of in[i, window (y, x)]] += grad[i, y, x], from 0. */
LS_KERNEL(maxPool2dGrad) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in), *grad = ls_at(ctx, op->grad);
  const Shape s = SHAPE(op);
  const size_t plane = (size_t)s.y.in * s.x.in, outPlane = (size_t)s.y.out * s.x.out;
  const int halving = is_halving(&s);
  for (size_t i = 0; i < s.images; i++, in += plane, out += plane, grad += outPlane) {
    if (halving) {
      unhalve(out, in, grad, &s);
      continue;
    }
    fill_zero(out, plane);
    for (Int y = 0; y < s.y.out; y++) {
      const Window rows = window_of(&s.y, y);
      for (Int x = 0; x < s.x.out; x++) {
        const Int at = greatest(in, &s, rows, window_of(&s.x, x));
        if (at >= 0) out[at] += grad[(size_t)y * s.x.out + x];
      }
    }
  }
}

/** out[i, y, x] = Σ of in[i, window (y, x)], in the order of rows. */
LS_KERNEL(sumPool2d) {
  float *out = ls_at(ctx, op->out);
  const float *in = ls_at(ctx, op->in);
  const Shape s = SHAPE(op);
  for (size_t n = 0; n < s.images; n++, in += (size_t)s.y.in * s.x.in)
    for (Int y = 0; y < s.y.out; y++) {
      const Window rows = window_of(&s.y, y);
      for (Int x = 0; x < s.x.out; x++) {
        const Window columns = window_of(&s.x, x);
        float sum = 0;
        for (Int i = rows.from; i < rows.to; i++)
          for (Int j = columns.from; j < columns.to; j++)
            sum += in[(rows.first + i * s.y.dilation) * s.x.in + columns.first + j * s.x.dilation];
        *out++ = sum;
      }
    }
}

/** out[i, window (y, x)] += grad[i, y, x], from 0. */
LS_KERNEL(sumPool2dGrad) {
  float *out = ls_at(ctx, op->out);
  const float *grad = ls_at(ctx, op->in);
  const Shape s = SHAPE(op);
  const size_t plane = (size_t)s.y.in * s.x.in;
  for (size_t n = 0; n < s.images; n++, out += plane) {
    fill_zero(out, plane);
    for (Int y = 0; y < s.y.out; y++) {
      const Window rows = window_of(&s.y, y);
      for (Int x = 0; x < s.x.out; x++, grad++) {
        const Window columns = window_of(&s.x, x);
        for (Int i = rows.from; i < rows.to; i++)
          for (Int j = columns.from; j < columns.to; j++)
            out[(rows.first + i * s.y.dilation) * s.x.in + columns.first + j * s.x.dilation] += *grad;
      }
    }
  }
}
