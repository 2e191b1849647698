export {
  type ConvolutionShape,
  convInputGradScratchBytes,
  convScratchBytes,
  convWeightGradScratchBytes,
} from './instructions/convolution.ts';
export {
  attentionScratchBytes,
  normalizeScratchBytes,
  normalizeWeightKinds,
  type RecurrentKind,
  recurrentKinds,
  recurrentParts,
  recurrentScratchBytes,
} from './instructions/fused.ts';
export { COPY_RANK, scatterAddScratchBytes } from './instructions/indexing.ts';
export * from './instructions/instructions.ts';
export * from './instructions/microops.ts';
export * from './instructions/program.ts';
export { bitsFloat, floatBits } from './instructions/words.ts';
export * from './program/builder.ts';
export type { Chain, ChainInput, ChainOutput, ChainStep } from './program/chain.ts';
export * from './program/disassemble.ts';
export { type Decoded, instructionExtents } from './program/extents.ts';
export * from './program/serialize.ts';
export { type ProductPieces, splitProducts } from './program/split.ts';
export * from './program/validate.ts';
export { instructionWork, type Work } from './program/work.ts';
export * from './reference/philox.ts';
export { type ReferencePrecision, runReference } from './reference/reference.ts';
export { crc32 } from './run/checksum.ts';
export * from './run/host.ts';
export * from './run/load.ts';
export * from './run/memory.ts';
export type { SharedMemory } from './run/webassembly.ts';
