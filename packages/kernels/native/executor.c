/** The executor: walks a program's call list. Programs are validated before they come here (`src/program/validate.ts`). */
#include "kernels.h"

/** Whether the program may go on (`guard` in instructions.ts). Another thread may set halt to the same value meanwhile. */
static int guard(const Ctx *ctx, const Op_guard *op) {
  volatile uint32_t *halt = ls_at(ctx, op->halt);
  const uint32_t *tick = ls_at(ctx, op->tick), *values = ls_at(ctx, op->values);
  const size_t count = op->count, stride = op->stride, zero = op->kind;
  if (*halt) return 0;
  for (size_t i = 0; i < count; i++) {
    const uint32_t word = values[i * stride];
    /* All exponent bits: infinite or NaN. */
    if (zero ? word != 0 : (word & 0x7f800000) == 0x7f800000) {
      *halt = *tick - (uint32_t)zero;
      return 0;
    }
  }
  return 1;
}

/* Calls the kernel of an opcode with its operands. */
#define CASE(name, code) case code: LS_NAME(name)(&ctx, (const Op_##name *)w); break;

/** 0: ran to the end; 1: a guard ended it; below zero: stopped at an unknown instruction, at word -1 - status. */
int32_t LS_NAME(run)(uint8_t *mem, uint32_t code, uint32_t from, uint32_t to, uint32_t bases) {
  const Ctx ctx = {mem, (const uint32_t *)(mem + bases)};
  const uint32_t *words = (const uint32_t *)(mem + code);
  for (uint32_t at = from; at < to;) {
    const uint32_t *w = words + at;
    switch (w[0]) {
      LS_KERNELS(CASE)
      case OP_guard:
        if (!guard(&ctx, (const Op_guard *)w)) return 1;
        break;
      default: return -1 - (int32_t)at;
    }
    if (w[1] < 2) return -1 - (int32_t)at; /* never advances: a program that was not validated */
    at += w[1];
  }
  return 0;
}
