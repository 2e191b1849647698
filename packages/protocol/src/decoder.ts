import { crc32 } from '@lockstep/kernels';
import { giveBuffer, takeBuffer } from './buffers.ts';
import { ProtocolError } from './errors.ts';
import { checkPrefix, decodeHeader, HEADER_BYTES, type Header, PREFIX_BYTES } from './header.ts';

export interface Frame {
  readonly header: Header;
  /**
   * The payload, aligned to 4 bytes. Valid only until the receiver returns: it may be a view of the bytes that were
   * pushed, or of the decoder's own buffer.
   */
  readonly payload: Uint8Array;
}

/**
 * Frames from a stream of bytes, cut anywhere. No sockets: whoever has bytes pushes them.
 *
 * Memory: one payload at most (`MAX_CHUNK_BYTES`), taken when the first bytes come of one that a header with a valid checksum
 * asks for, and given back at its end. A frame that lies whole in the bytes pushed is not copied.
 *
 * After an error the place in the stream is lost, and every later call throws `BROKEN_STREAM`.
 */
export class FrameDecoder {
  readonly #receive: (frame: Frame) => void;
  readonly #head = new Uint8Array(HEADER_BYTES);
  /** For a payload that comes in pieces, while it does. */
  #body: Uint8Array | undefined;
  #header: Header | undefined;
  /** Bytes of the header, or of the payload once there is a header, that are already here. */
  #have = 0;
  #broken = false;

  /** @param receive called once per frame, in order; what it throws breaks the stream and is passed on */
  constructor(receive: (frame: Frame) => void) {
    this.#receive = receive;
  }

  /** Bytes that the decoder holds on to: its buffers. */
  get memory(): number {
    return this.#head.byteLength + (this.#body?.byteLength ?? 0);
  }

  /** Takes the next bytes of the stream. Throws a ProtocolError at the first that cannot be right. */
  push(bytes: Uint8Array): void {
    this.#guard(() => {
      let at = 0;
      while (at < bytes.byteLength) {
        at =
          this.#header === undefined
            ? this.#takeHeader(bytes, at)
            : this.#takePayload(bytes, at, this.#header);
      }
    });
  }

  /** The stream is over: throws `TRUNCATED` when that is in the middle of a frame. */
  end(): void {
    this.#guard(() => {
      if (this.#have > 0 || this.#header !== undefined) {
        throw new ProtocolError('TRUNCATED', 'the stream ended inside of a frame');
      }
    });
  }

  #guard(work: () => void): void {
    if (this.#broken) throw new ProtocolError('BROKEN_STREAM', 'bytes after an error are not read');
    this.#broken = true;
    work();
    this.#broken = false;
  }

  #takeHeader(bytes: Uint8Array, from: number): number {
    // The prefix is looked at as soon as it is there: a stranger's greeting may be shorter than a header.
    const need = this.#have < PREFIX_BYTES ? PREFIX_BYTES : HEADER_BYTES;
    const count = Math.min(need - this.#have, bytes.byteLength - from);
    this.#head.set(bytes.subarray(from, from + count), this.#have);
    this.#have += count;
    if (this.#have === PREFIX_BYTES) checkPrefix(this.#head);
    if (this.#have === HEADER_BYTES) {
      this.#header = decodeHeader(this.#head);
      this.#have = 0;
    }
    return from + count;
  }

  #takePayload(bytes: Uint8Array, from: number, header: Header): number {
    const { length } = header;
    const whole = this.#have === 0 && bytes.byteLength - from >= length;
    if (whole && (bytes.byteOffset + from) % 4 === 0) {
      this.#finish(header, bytes.subarray(from, from + length));
      return from + length;
    }
    this.#body ??= takeBuffer(length);
    const count = Math.min(length - this.#have, bytes.byteLength - from);
    this.#body.set(bytes.subarray(from, from + count), this.#have);
    this.#have += count;
    if (this.#have === length) {
      this.#finish(header, this.#body.subarray(0, length));
      giveBuffer(this.#body);
      this.#body = undefined;
    }
    return from + count;
  }

  #finish(header: Header, payload: Uint8Array): void {
    if (crc32(payload) !== header.checksum) {
      throw new ProtocolError('BAD_CHECKSUM', `the payload of a ${header.type} frame is damaged`);
    }
    this.#header = undefined;
    this.#have = 0;
    this.#receive({ header, payload });
  }
}
