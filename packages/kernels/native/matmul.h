/** The matrix product as other kernels call it: the same order of additions (matmul.c). */
#ifndef LS_MATMUL_H
#define LS_MATMUL_H

#include "kernels.h"

/* Depth of a piece. The scratch (`MATMUL_SCRATCH_BYTES` in instructions.ts) holds a packed block of A, a packed panel of B
   for the widest vectors, and the stack of partial sums; these sizes are the same in all builds. */
#define MM_KC 256
#define MM_PACKED_A (128 * 1024)
#define MM_PACKED_B (MM_KC * 32)
#define MM_STACK (128 * 1024)
/** Floats of scratch. */
#define MM_SCRATCH (MM_PACKED_A + MM_PACKED_B + MM_STACK)

/** C [m, n] = Σ over segments of op(A) [m, k] op(B) [k, n]; the operands of the instruction, without batches. */
typedef struct {
  float *c, *packedA, *packedB, *stack; /* all but c: set by `multiply` */
  const float *a, *b;
  size_t m, n, k, lda, ldb, ldc, transA, transB, segments, segmentA, segmentB;
  int near; /* B is small and in cache: packing it would not pay */
} Product;

/** Computes a product; `scratch` has MM_SCRATCH floats. */
void LS_NAME(multiply)(Product *p, float *scratch);

#endif
