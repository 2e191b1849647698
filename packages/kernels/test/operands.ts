import type { InstructionName } from '../src/instructions/instructions.ts';
import { fusedOperands } from './fused.ts';

const shape = {
  m: 3,
  n: 5,
  k: 4,
  lda: 4,
  ldb: 5,
  ldc: 5,
  transA: 0,
  transB: 0,
  segments: 2,
  segmentA: 12,
  segmentB: 20,
};
const batch = {
  batch0: 2,
  batch1: 1,
  strideA0: 24,
  strideA1: 0,
  strideB0: 0,
  strideB1: 0,
  strideC0: 15,
  strideC1: 0,
};
const indexed = { segments: 2, outer: 2, n: 3, inner: 4, count: 5 };
const window = {
  ...{ h: 5, w: 4, oh: 3, ow: 4, kh: 3, kw: 2 },
  ...{ strideH: 2, strideW: 1, padH: 1, padW: 1, dilationH: 1, dilationW: 2 },
};
const convolution = { rows: 2, c: 4, o: 6, groups: 2, ...window };
/** Operands of every instruction with which it does something small; its addresses apart. */
export const operands: { readonly [N in InstructionName]: Readonly<Record<string, number>> } = {
  matmul: { ...shape, ...batch },
  reduce: { outer: 2, n: 3, inner: 4, kind: 0 },
  treeSum: { segments: 3, n: 7 },
  gatherRows: { rows: 3, width: 4, dataRows: 5, indexCount: 6, kind: 0, scale: 1, shift: 0, stride: 2 },
  random: { stream: 1, segments: 2, n: 9 },
  softmax: { rows: 3, n: 7, kind: 0 },
  crossEntropy: { rows: 3, n: 7 },
  crossEntropyGrad: { rows: 3, n: 7 },
  sumOfSquares: { n: 40, block: 16 },
  guard: { count: 3, stride: 2, kind: 0 },
  copy: {
    ...{ n0: 1, n1: 1, n2: 1, n3: 1, n4: 1, n5: 2, n6: 3, n7: 4 },
    ...{ outStride0: 0, outStride1: 0, outStride2: 0, outStride3: 0, outStride4: 0 },
    ...{ outStride5: 20, outStride6: 5, outStride7: 1 },
    ...{ inStride0: 0, inStride1: 0, inStride2: 0, inStride3: 0, inStride4: 0 },
    ...{ inStride5: 3, inStride6: 1, inStride7: 6 },
  },
  take: { ...indexed, segmentIn: 24, segmentIndex: 5 },
  scatterAdd: { ...indexed, segmentIn: 40, segmentIndex: 5, tree: 1 },
  gather: { ...indexed, segmentIn: 24, segmentIndex: 40 },
  gatherAdd: { ...indexed, segmentIn: 40, segmentIndex: 0 },
  cumsum: { outer: 2, n: 3, inner: 5, reverse: 1 },
  argsort: { rows: 3, n: 7, descending: 0 },
  conv2d: convolution,
  conv2dInputGrad: convolution,
  conv2dWeightGrad: { ...convolution, segments: 2, tree: 1 },
  maxPool2d: { images: 3, ...window },
  maxPool2dGrad: { images: 3, ...window },
  sumPool2d: { images: 3, ...window },
  sumPool2dGrad: { images: 3, ...window },
  ...fusedOperands,
};
