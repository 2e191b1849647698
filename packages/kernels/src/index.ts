export * from './builder.ts';
export type { Chain, ChainInput, ChainOutput, ChainStep } from './chain.ts';
export { crc32 } from './checksum.ts';
export {
  type ConvolutionShape,
  convInputGradScratchBytes,
  convScratchBytes,
  convWeightGradScratchBytes,
} from './convolution.ts';
export * from './disassemble.ts';
export { type Decoded, instructionExtents } from './extents.ts';
export {
  attentionScratchBytes,
  normalizeScratchBytes,
  normalizeWeightKinds,
  type RecurrentKind,
  recurrentKinds,
  recurrentParts,
  recurrentScratchBytes,
} from './fused.ts';
export * from './host.ts';
export { COPY_RANK, scatterAddScratchBytes } from './indexing.ts';
export * from './instructions.ts';
export * from './load.ts';
export * from './memory.ts';
export * from './microops.ts';
export * from './philox.ts';
export * from './program.ts';
export { type ReferencePrecision, runReference } from './reference.ts';
export * from './serialize.ts';
export { type ProductPieces, splitProducts } from './split.ts';
export * from './validate.ts';
export type { SharedMemory } from './webassembly.ts';
export { bitsFloat, floatBits } from './words.ts';
export { instructionWork, type Work } from './work.ts';
