/**
 * The fixed header of a frame: 48 bytes, little-endian.
 *
 * | at | size | field |
 * | --- | --- | --- |
 * | 0 | 4 | magic, `LKSP` |
 * | 4 | 1 | version |
 * | 5 | 1 | type |
 * | 6 | 2 | reserved, 0 |
 * | 8 | 8 | run |
 * | 16 | 4 | incarnation of the coordinator |
 * | 20 | 4 | session of the node |
 * | 24 | 4 | step |
 * | 28 | 2 + 2 | shard range [lo, hi) |
 * | 32 | 4 | offset of the payload in what it is part of, in words of 4 bytes |
 * | 36 | 4 | length of the payload in bytes |
 * | 40 | 4 | CRC-32 of the payload |
 * | 44 | 4 | CRC-32 of the 44 bytes before |
 *
 * The header has a checksum of its own, so that a damaged length is noticed before anyone waits for that many bytes.
 */
import { crc32 } from '@lockstep/kernels';
import { ProtocolError } from './errors.ts';

export const PROTOCOL_VERSION = 1;
export const HEADER_BYTES = 48;
/** Bytes that tell protocol and version apart, whatever the rest of that version's header looks like. */
export const PREFIX_BYTES = 8;
/** The largest payload of a bulk frame: small enough that a ping behind it need not wait long. */
export const MAX_CHUNK_BYTES = 1 << 20;
/** The largest control message. */
export const MAX_CONTROL_BYTES = 1 << 16;

const MAGIC = 0x50534b4c;

/** What a frame carries; the numbers are on the wire and are never used again for something else. */
export const FRAME_TYPES = {
  /** A control message, see `messages.ts`. */
  control: { code: 1, floats: false, ranged: false, maxBytes: MAX_CONTROL_BYTES },
  /** Part of the gradient sum of the shards [lo, hi). */
  gradient: { code: 2, floats: true, ranged: true, maxBytes: MAX_CHUNK_BYTES },
  /** Part of the weights before `step`. */
  weights: { code: 3, floats: true, ranged: false, maxBytes: MAX_CHUNK_BYTES },
  /** Part of the data set, as bytes. */
  data: { code: 4, floats: false, ranged: false, maxBytes: MAX_CHUNK_BYTES },
  /** Part of the program, as bytes. */
  program: { code: 5, floats: false, ranged: false, maxBytes: MAX_CHUNK_BYTES },
  /** What a node's threads did in the steps that it was asked to measure. */
  profile: { code: 6, floats: false, ranged: false, maxBytes: MAX_CHUNK_BYTES },
} as const satisfies Record<
  string,
  { readonly code: number; readonly floats: boolean; readonly ranged: boolean; readonly maxBytes: number }
>;

export type FrameType = keyof typeof FRAME_TYPES;

/**
 * Who speaks: frames of another run, of a coordinator that was restarted since, or of a connection that was
 * replaced, are not for us (they are *fenced*).
 */
export interface Fence {
  /** u64: names the definition of the run. */
  readonly run: bigint;
  /** u32: grows by one with every start of the coordinator. */
  readonly incarnation: number;
  /** u32: grows by one with every node that joins; 0 before a node was welcomed. */
  readonly session: number;
}

export interface FrameKey extends Fence {
  readonly type: FrameType;
  /** u32. */
  readonly step: number;
  /** u16: first shard of a gradient; 0 in all other frames. */
  readonly lo: number;
  /** u16: one past the last shard of a gradient; 0 in all other frames. */
  readonly hi: number;
  /** u32: where the payload begins in the whole that it is part of, in words of 4 bytes. */
  readonly offset: number;
}

/** A header as it was read: its payload has yet to come. */
export interface Header extends FrameKey {
  /** Bytes of payload. */
  readonly length: number;
  /** CRC-32 of the payload. */
  readonly checksum: number;
}

const typeOf = new Map<number, FrameType>(
  (Object.keys(FRAME_TYPES) as FrameType[]).map((type) => [FRAME_TYPES[type].code, type]),
);

export const isSameFence = (a: Fence, b: Fence): boolean =>
  a.run === b.run && a.incarnation === b.incarnation && a.session === b.session;

/**
 * The header of a frame with this payload: 48 bytes, to be sent before it. The payload is not copied.
 * Throws a ProtocolError when no receiver would take the frame.
 */
export const encodeHeader = (key: FrameKey, payload: Uint8Array): Uint8Array => {
  const header: Header = { ...key, length: payload.byteLength, checksum: crc32(payload) };
  checkFields(header);
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, PROTOCOL_VERSION);
  view.setUint8(5, FRAME_TYPES[header.type].code);
  view.setBigUint64(8, header.run, true);
  view.setUint32(16, header.incarnation, true);
  view.setUint32(20, header.session, true);
  view.setUint32(24, header.step, true);
  view.setUint16(28, header.lo, true);
  view.setUint16(30, header.hi, true);
  view.setUint32(32, header.offset, true);
  view.setUint32(36, header.length, true);
  view.setUint32(40, header.checksum, true);
  view.setUint32(44, crc32(bytes.subarray(0, 44)), true);
  return bytes;
};

/** Checks what every version has in common: the first `PREFIX_BYTES`. */
export const checkPrefix = (bytes: Uint8Array): void => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, PREFIX_BYTES);
  if (view.getUint32(0, true) !== MAGIC) {
    throw new ProtocolError('BAD_MAGIC', 'the peer does not speak the Lockstep protocol');
  }
  const version = view.getUint8(4);
  if (version !== PROTOCOL_VERSION) {
    throw new ProtocolError(
      'BAD_VERSION',
      `the peer speaks version ${version} of the protocol, this is version ${PROTOCOL_VERSION}; ` +
        'use the same Lockstep on both machines',
    );
  }
};

/** Reads a whole header of `HEADER_BYTES`. Throws a ProtocolError when anything in it is not as it must be. */
export const decodeHeader = (bytes: Uint8Array): Header => {
  checkPrefix(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint32(44, true) !== crc32(bytes.subarray(0, 44))) {
    throw new ProtocolError('BAD_HEADER', 'the checksum of a header is wrong');
  }
  if (view.getUint16(6, true) !== 0) throw new ProtocolError('BAD_HEADER', 'reserved bits are set');
  const type = typeOf.get(view.getUint8(5));
  if (type === undefined) {
    throw new ProtocolError('UNKNOWN_TYPE', `frames of type ${view.getUint8(5)} are unknown`);
  }
  const header: Header = {
    type,
    run: view.getBigUint64(8, true),
    incarnation: view.getUint32(16, true),
    session: view.getUint32(20, true),
    step: view.getUint32(24, true),
    lo: view.getUint16(28, true),
    hi: view.getUint16(30, true),
    offset: view.getUint32(32, true),
    length: view.getUint32(36, true),
    checksum: view.getUint32(40, true),
  };
  checkFields(header);
  return header;
};

const checkFields = ({ type, lo, hi, offset, length }: Header): void => {
  const { floats, ranged, maxBytes } = FRAME_TYPES[type];
  if (ranged ? lo >= hi : lo !== 0 || hi !== 0) {
    throw new ProtocolError('BAD_RANGE', `a ${type} frame has the shard range [${lo}, ${hi})`);
  }
  if (length === 0 || length > maxBytes || (floats && length % 4 !== 0)) {
    const expected = `${floats ? 'a multiple of 4 ' : ''}from 1 to ${maxBytes}`;
    throw new ProtocolError('BAD_LENGTH', `a ${type} frame has ${length} bytes, expected ${expected}`);
  }
  if (offset + Math.ceil(length / 4) > 2 ** 32) {
    throw new ProtocolError('BAD_RANGE', `a ${type} frame reaches beyond word 2^32 (offset ${offset})`);
  }
};
