/** The executor: walks a program's call list. Programs are validated before they come here (`src/program/validate.ts`). */
#include "kernels.h"

/** Whether the program may go on (`guard` in instructions.ts). Another thread may set halt to the same value meanwhile. */
static int guard(const Ctx *ctx, const uint32_t *w) {
  volatile uint32_t *halt = ls_at(ctx, w + 2);
  const uint32_t *tick = ls_at(ctx, w + 4), *values = ls_at(ctx, w + 6);
  const size_t count = w[8], stride = w[9], zero = w[10];
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

/** 0: ran to the end; 1: a guard ended it; below zero: stopped at an unknown instruction, at word -1 - status. */
int32_t LS_NAME(run)(uint8_t *mem, uint32_t code, uint32_t from, uint32_t to, uint32_t bases) {
  const Ctx ctx = {mem, (const uint32_t *)(mem + bases)};
  const uint32_t *words = (const uint32_t *)(mem + code);
  for (uint32_t at = from; at < to;) {
    const uint32_t *w = words + at;
    switch (w[0]) {
      case 1: LS_NAME(elementwise)(&ctx, w); break;
      case 2: LS_NAME(matmul)(&ctx, w); break;
      case 3: LS_NAME(reduce)(&ctx, w); break;
      case 4: LS_NAME(treeSum)(&ctx, w); break;
      case 5: LS_NAME(gatherRows)(&ctx, w); break;
      case 6: LS_NAME(random)(&ctx, w); break;
      case 7: LS_NAME(softmax)(&ctx, w); break;
      case 8: LS_NAME(crossEntropy)(&ctx, w); break;
      case 9: LS_NAME(crossEntropyGrad)(&ctx, w); break;
      case 10: LS_NAME(sumOfSquares)(&ctx, w); break;
      case 11:
        if (!guard(&ctx, w)) return 1;
        break;
      case 12: LS_NAME(copy)(&ctx, w); break;
      case 13: LS_NAME(take)(&ctx, w); break;
      case 14: LS_NAME(scatterAdd)(&ctx, w); break;
      case 15: LS_NAME(gather)(&ctx, w); break;
      case 16: LS_NAME(gatherAdd)(&ctx, w); break;
      case 17: LS_NAME(cumsum)(&ctx, w); break;
      case 18: LS_NAME(argsort)(&ctx, w); break;
      case 24: LS_NAME(conv2d)(&ctx, w); break;
      case 25: LS_NAME(conv2dInputGrad)(&ctx, w); break;
      case 26: LS_NAME(conv2dWeightGrad)(&ctx, w); break;
      case 27: LS_NAME(maxPool2d)(&ctx, w); break;
      case 28: LS_NAME(maxPool2dGrad)(&ctx, w); break;
      case 29: LS_NAME(sumPool2d)(&ctx, w); break;
      case 30: LS_NAME(sumPool2dGrad)(&ctx, w); break;
      case 40: LS_NAME(normalize)(&ctx, w); break;
      case 41: LS_NAME(normalizeGrad)(&ctx, w); break;
      case 42: LS_NAME(normalizeWeightGrad)(&ctx, w); break;
      case 43: LS_NAME(attention)(&ctx, w); break;
      case 44: LS_NAME(attentionGrad)(&ctx, w); break;
      case 45: LS_NAME(recurrent)(&ctx, w); break;
      case 46: LS_NAME(recurrentGrad)(&ctx, w); break;
      default: return -1 - (int32_t)at;
    }
    if (w[1] < 2) return -1 - (int32_t)at; /* never advances: a program that was not validated */
    at += w[1];
  }
  return 0;
}
