/** Rows of a data set, picked by index and converted: out[r, :] = convert(data[index[start + r], :]); rows of the data may overlap. */
#include "kernels.h"

enum { F32, I32, U8_TO_I32, U8_TO_F32 };

static void u8_to_i32(int32_t *restrict out, const uint8_t *restrict in, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = in[i];
}

static void u8_to_f32(float *restrict out, const uint8_t *restrict in, size_t n, float scale, float shift) {
  for (size_t i = 0; i < n; i++) out[i] = (float)in[i] * scale + shift;
}

/** The row at a position of the index; row 0 where either is out of range. */
LS_INLINE size_t row_at(const uint32_t *index, size_t count, size_t rows, size_t at) {
  const size_t row = at < count ? ls_index(index + at) : 0;
  return row < rows ? row : 0;
}

/** Rows that are asked for ahead: rows come in random order, so no hardware sees the next one coming. */
enum { AHEAD = 4, LINE = 64 };

LS_KERNEL(gatherRows) {
  uint8_t *out = ls_at(ctx, op->out);
  const uint8_t *data = ls_at(ctx, op->data);
  const uint32_t *index = ls_at(ctx, op->index), *record = ls_at(ctx, op->record), *unit = ls_at(ctx, op->unit);
  const size_t rows = op->rows, width = op->width, data_rows = op->dataRows, index_count = op->indexCount;
  const uint32_t kind = op->kind;
  const size_t source_bytes = kind >= U8_TO_I32 ? 1 : 4, stride = op->stride * source_bytes;
  const uint64_t start = (uint64_t)record[3] + unit[1];
  for (size_t r = 0; r < rows; r++, out += width * 4) {
    const uint8_t *source = data + row_at(index, index_count, data_rows, start + r) * stride;
    const uint8_t *next = data + row_at(index, index_count, data_rows, start + r + AHEAD) * stride;
    for (size_t byte = 0; byte < width * source_bytes; byte += LINE) __builtin_prefetch(next + byte);
    switch (kind) {
      case U8_TO_I32: u8_to_i32((int32_t *)out, source, width); break;
      case U8_TO_F32: u8_to_f32((float *)out, source, width, op->scale, op->shift); break;
      default: __builtin_memcpy(out, source, width * source_bytes);
    }
  }
}
