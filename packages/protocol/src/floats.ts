/** Bulk floats: raw little-endian f32, cut into chunks. */
import { endianness } from 'node:os';
import { ProtocolError } from './errors.ts';
import { MAX_CHUNK_BYTES } from './header.ts';

// Every platform that Node is built for today, but s390x. Swapping bytes there is not worth untested code here.
if (endianness() !== 'LE') throw new Error('Lockstep needs a little-endian machine');

/** Floats of a full chunk. */
export const CHUNK_FLOATS = MAX_CHUNK_BYTES / 4;

export interface Chunk {
  /** In floats. */
  readonly offset: number;
  /** A view, not a copy: at most `MAX_CHUNK_BYTES`. */
  readonly payload: Uint8Array;
}

/** The chunks of values[from, to), in order; offsets count from the start of `values`. */
export function* chunksOf(values: Float32Array, from = 0, to = values.length): Generator<Chunk> {
  for (let offset = from; offset < to; offset += CHUNK_FLOATS) {
    const count = Math.min(CHUNK_FLOATS, to - offset);
    yield { offset, payload: new Uint8Array(values.buffer, values.byteOffset + offset * 4, count * 4) };
  }
}

/** The floats of a payload: a view of it. The payload must be aligned to 4 bytes, as a decoder's are. */
export const floatsOf = (payload: Uint8Array): Float32Array =>
  new Float32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);

/** Throws `NOT_FINITE` with the place of the first NaN or infinity. */
export const checkFinite = (values: Float32Array): void => {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i]! & 0x7f800000) === 0x7f800000) {
      throw new ProtocolError('NOT_FINITE', `element ${i} is ${values[i]}`);
    }
  }
};
