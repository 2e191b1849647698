/** What frames carry of their payloads. */
export { crc32 as checksumOf } from '@lockstep/kernels';
export * from './control.ts';
export * from './decoder.ts';
export * from './errors.ts';
export * from './floats.ts';
export {
  checkPrefix,
  decodeHeader,
  encodeHeader,
  type Fence,
  FRAME_TYPES,
  type FrameKey,
  type FrameType,
  HEADER_BYTES,
  type Header,
  isSameFence,
  MAX_CHUNK_BYTES,
  MAX_CONTROL_BYTES,
  PROTOCOL_VERSION,
} from './header.ts';
export { type CoordinatorMessage, isNodeName, type NodeMessage } from './messages.ts';
