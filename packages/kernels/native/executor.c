/** The executor: walks a program's call list. Programs are validated before they come here (`src/validate.ts`). */
#include "kernels.h"

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
      default: return -1 - (int32_t)at;
    }
    if (w[1] < 2) return -1 - (int32_t)at; /* never advances: a program that was not validated */
    at += w[1];
  }
  return 0;
}
