/**
 * The instruction set. One entry says how a kernel call is encoded and which memory it touches; the builder,
 * the validator, the disassembler and the documentation of the C side (`native/kernels.h`) follow from it.
 *
 * Words are 32-bit little-endian. An `addr` takes two words (region, byte offset), everything else one.
 * Strides and sizes count elements (4 bytes) unless a name says bytes.
 */
import { convolutions } from './convolution.ts';
import { fused } from './fused.ts';
import { indexing } from './indexing.ts';
import {
  define,
  elements,
  fields,
  indexes,
  oneOf,
  scratchOf,
  segmentCount,
  span,
  type Values,
} from './instruction.ts';
import { MATMUL_SCRATCH_BYTES } from './matmul.ts';
import { ELEMENT_BYTES, TILE } from './program.ts';

export { type Extent, type Fields, type FieldType, MAX_SEGMENTS, type Values } from './instruction.ts';

export { MATMUL_SCRATCH_BYTES } from './matmul.ts';

export const reduceKinds = { sum: 0, max: 1, min: 2, prod: 3, argmax: 4, argmin: 5 } as const;
export const guardKinds = { finite: 0, zero: 1 } as const;
export const softmaxKinds = { softmax: 0, logSoftmax: 1, logSumExp: 2 } as const;
/** How `gatherRows` reads its source. u8 and i32 sources may also be converted to f32. */
export const sourceKinds = { f32: 0, i32: 1, u8ToI32: 2, u8ToF32: 3 } as const;

/** Terms of an element of a product: the WASM kernels count them in 32 bits. */
const MAX_DEPTH = 2 ** 32 - 1;

export const instructions = {
  /**
   * C[b] = Σ over segments by the tree of op(A[b, s]) op(B[b, s]); every segment adds over k in order, from +0.
   * op(A) is [M, K], op(B) is [K, N], C is [M, N] with row stride ldc; `transA`: A is stored [K, M], `transB`:
   * B is stored [N, K]. Two batch dimensions; a batch stride of 0 repeats the operand.
   */
  matmul: define({
    code: 2,
    fields: {
      ...fields('addr', 'c', 'a', 'b', 'scratch'),
      ...fields('u32', 'm', 'n', 'k', 'lda', 'ldb', 'ldc', 'transA', 'transB'),
      ...fields('u32', 'batch0', 'batch1'),
      ...fields('u32', 'strideA0', 'strideA1', 'strideB0', 'strideB1', 'strideC0', 'strideC1'),
      ...fields('u32', 'segments', 'segmentA', 'segmentB'),
    },
    extents: (v) => {
      oneOf('transA', v.transA, 2);
      oneOf('transB', v.transB, 2);
      segmentCount(v.segments);
      if (v.segments * v.k > MAX_DEPTH) {
        throw new Error(`segments · k is ${v.segments * v.k}, expected at most ${MAX_DEPTH}`);
      }
      if (v.m > 1 && v.ldc < v.n) throw new Error(`ldc is ${v.ldc}, expected at least n = ${v.n}`);
      const overwrites = (v.batch0 > 1 && v.strideC0 === 0) || (v.batch1 > 1 && v.strideC1 === 0);
      if (overwrites) throw new Error('a batch stride of C is 0: its products would overwrite each other');
      const a: [number, number][] = v.transA
        ? [
            [v.k, v.lda],
            [v.m, 1],
          ]
        : [
            [v.m, v.lda],
            [v.k, 1],
          ];
      const b: [number, number][] = v.transB
        ? [
            [v.n, v.ldb],
            [v.k, 1],
          ]
        : [
            [v.k, v.ldb],
            [v.n, 1],
          ];
      const batches = (s0: number, s1: number): [number, number][] => [
        [v.batch0, s0],
        [v.batch1, s1],
      ];
      return [
        elements('c', v.c, span(...batches(v.strideC0, v.strideC1), [v.m, v.ldc], [v.n, 1]), 'write'),
        elements('a', v.a, span(...batches(v.strideA0, v.strideA1), [v.segments, v.segmentA], ...a)),
        elements('b', v.b, span(...batches(v.strideB0, v.strideB1), [v.segments, v.segmentB], ...b)),
        scratchOf(v.scratch, MATMUL_SCRATCH_BYTES),
      ];
    },
  }),
  /**
   * out[o, i] = reduction over n of in[o, n, i]. Sums: inner = 1 uses 16 virtual lanes (lane l adds elements
   * l, l + 16, … in order; then the tree of design §3 over the lanes); inner > 1 adds in order of n. `argmax` and
   * `argmin` give the i32 index of the first extreme; a NaN counts as the extreme. n = 0 gives 0 (1 for prod).
   */
  reduce: define({
    code: 3,
    fields: { ...fields('addr', 'out', 'in'), ...fields('u32', 'outer', 'n', 'inner', 'kind') },
    extents: (v) => {
      oneOf('kind', v.kind, 6);
      return [
        elements('out', v.out, v.outer * v.inner, 'write'),
        elements('in', v.in, v.outer * v.n * v.inner),
      ];
    },
  }),
  /** out[i] = tree over s of in[s, i] (the shard tree of design §3); in is [segments, n]. */
  treeSum: define({
    code: 4,
    fields: { ...fields('addr', 'out', 'in'), ...fields('u32', 'segments', 'n') },
    extents: (v) => {
      segmentCount(v.segments);
      return [elements('out', v.out, v.n, 'write'), elements('in', v.in, v.segments * v.n)];
    },
  }),
  /**
   * Batch from a data set: out[r, :] = convert(data[index[record[3] + unit[1] + r], :]) for r < rows, where a row of the
   * data begins `stride` numbers after the one before (less than `width`: windows that overlap); u8ToF32 gives
   * (x · scale) + shift. An index outside of the data or of the index region reads as row 0 (memory stays safe).
   */
  gatherRows: define({
    code: 5,
    fields: {
      ...fields('addr', 'out', 'data', 'index', 'record', 'unit'),
      ...fields('u32', 'rows', 'width', 'dataRows', 'indexCount', 'kind'),
      ...fields('f32', 'scale', 'shift'),
      stride: 'u32',
    },
    extents: (v) => {
      oneOf('kind', v.kind, 4);
      if (v.dataRows < 1 || v.indexCount < 1) throw new Error('an empty data set or index');
      const sourceBytes = v.kind >= sourceKinds.u8ToI32 ? 1 : ELEMENT_BYTES;
      return [
        elements('out', v.out, v.rows * v.width, 'write'),
        {
          what: 'data',
          address: v.data,
          bytes: span([v.dataRows, v.stride], [v.width, 1]) * sourceBytes,
          access: 'read',
        },
        indexes('index', v.index, v.indexCount),
        elements('record', v.record, 4),
        elements('unit', v.unit, 2),
      ];
    },
  }),
  /**
   * Uniform f32 in [0, 1) (24 bits) by Philox4x32-10: key = (record[0], record[1]) = seed; counter =
   * (element ÷ 4, stream, record[2] = step, unit[0] + segment = shard); lane = element mod 4. Shape [segments, n].
   */
  random: define({
    code: 6,
    fields: { ...fields('addr', 'out', 'record', 'unit'), ...fields('u32', 'stream', 'segments', 'n') },
    extents: (v) => [
      elements('out', v.out, v.segments * v.n, 'write'),
      elements('record', v.record, 4),
      elements('unit', v.unit, 2),
    ],
  }),
  /** Over the last axis of in[rows, n]: softmax, log-softmax (out[rows, n]) or log-sum-exp (out[rows]). */
  softmax: define({
    code: 7,
    fields: { ...fields('addr', 'out', 'in'), ...fields('u32', 'rows', 'n', 'kind') },
    extents: (v) => {
      oneOf('kind', v.kind, 3);
      const outs = v.kind === softmaxKinds.logSumExp ? v.rows : v.rows * v.n;
      return [elements('out', v.out, outs, 'write'), elements('in', v.in, v.rows * v.n)];
    },
  }),
  /** out[r] = logSumExp(logits[r, :]) − logits[r, label[r]]; a label out of range gives NaN. */
  crossEntropy: define({
    code: 8,
    fields: { ...fields('addr', 'out', 'logits', 'labels'), ...fields('u32', 'rows', 'n') },
    extents: (v) => [
      elements('out', v.out, v.rows, 'write'),
      elements('logits', v.logits, v.rows * v.n),
      indexes('labels', v.labels, v.rows),
    ],
  }),
  /** out[r, c] = (softmax(logits[r, :])[c] − [c = label[r]]) · grad[r]. */
  crossEntropyGrad: define({
    code: 9,
    fields: { ...fields('addr', 'out', 'logits', 'labels', 'grad'), ...fields('u32', 'rows', 'n') },
    extents: (v) => [
      elements('out', v.out, v.rows * v.n, 'write'),
      elements('logits', v.logits, v.rows * v.n),
      indexes('labels', v.labels, v.rows),
      elements('grad', v.grad, v.rows),
    ],
  }),
  /** out[b] = sum of squares of block b of in[n], blocks of `block` elements (16 lanes, then the lane tree). */
  sumOfSquares: define({
    code: 10,
    fields: { ...fields('addr', 'out', 'in'), ...fields('u32', 'n', 'block') },
    extents: (v) => {
      if (v.block < 1) throw new Error(`block is ${v.block}, expected at least 1`);
      return [elements('out', v.out, Math.ceil(v.n / v.block), 'write'), elements('in', v.in, v.n)];
    },
  }),
  /**
   * Lets the program go on only as long as nothing has gone wrong: returns from it when halt[0] is not 0, or when one
   * of values[0], values[stride], … (`count` words) is bad, which sets halt[0]. Kind `finite`: a bad one is an f32 that
   * is NaN or infinite, and halt[0] = tick[0]. Kind `zero`: a bad one is a word other than 0 (the mark of a journal that
   * refused a tile in the tick before), and halt[0] = tick[0] − 1. Every program after it starts with a guard, too, so
   * the state stays as it was before the tick in `halt`.
   */
  guard: define({
    code: 11,
    control: true,
    fields: { ...fields('addr', 'halt', 'tick', 'values'), ...fields('u32', 'count', 'stride', 'kind') },
    extents: (v) => {
      oneOf('kind', v.kind, 2);
      return [
        elements('halt', v.halt, 1, 'write'),
        elements('tick', v.tick, 1),
        elements('values', v.values, span([v.count, v.stride])),
      ];
    },
  }),
  ...indexing,
  ...convolutions,
  ...fused,
} as const;

export type InstructionName = keyof typeof instructions;
export type InstructionValues<N extends InstructionName> = Values<(typeof instructions)[N]['fields']>;

/**
 * The elementwise chain, the one instruction of variable length:
 * `[1, words, …elementwiseHeader]`, then `dims[rank]`, then
 * per input `[addr, kind, strides[rank]]`, per step `[microOp, dst, a, b, c, imm]`, per output `[addr]`.
 *
 * Slots are numbered inputs first, then registers, then outputs. For every tile of TILE elements (row-major over
 * `dims`) all steps run in order; a step may read any slot that was written before. `constant` steps fill their
 * register once, before the first tile, and no other step writes it. An output has the full shape, contiguous.
 *
 * With a journal (2 words, zero at first) the call may be cut off anywhere and run again without harm, also in
 * place: outputs are computed into scratch and committed tile by tile. journal = [tick, progress]: a call whose
 * record's tick differs starts anew (progress = 0, then the tick is written); progress = 2 · tile while it computes,
 * 2 · tile + 1 while it copies. A call that finds an odd progress copies that tile from scratch first. A tile in
 * which some output is not finite is not committed, and word 2 of the journal is set to 1 (it has 3 words).
 */
export const ELEMENTWISE = 1;
/** What comes after opcode and length, before the dimensions. */
export const elementwiseHeader = {
  ...fields('u32', 'total', 'rank', 'inputs', 'registers', 'outputs', 'steps'),
  ...fields('addr', 'scratch', 'journal', 'tick'),
} as const;
/** Words of it, with opcode and length. */
export const ELEMENTWISE_HEADER = 14;
export const inputKinds = { contiguous: 0, scalar: 1, strided: 2 } as const;
export const MAX_RANK = 8;
export const MAX_SLOTS = 64;

/** Scratch for an elementwise chain, in bytes. */
export const elementwiseScratchBytes = (slots: number): number => slots * TILE * ELEMENT_BYTES;
