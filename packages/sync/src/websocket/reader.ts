import { TransportError } from './errors.ts';
import { MAX_MESSAGE_BYTES } from './limits.ts';

/** Who takes a stream apart. */
export interface Taker {
  /** Some bytes of a binary message, in order. */
  part(bytes: Uint8Array): void;
  /** The message is whole. */
  end(): void;
  /** All else, as it came: control frames, text, masked messages, and what is no WebSocket stream at all. */
  pass(bytes: Uint8Array): void;
}

/** Parts of a message: header and payload of a frame. */
export const MAX_PARTS = 2;

const [CONTINUATION, BINARY, CLOSE] = [0x0, 0x2, 0x8];

/**
 * Takes plain binary messages out of a WebSocket stream (RFC 6455, section 5.2); everything else is passed on to ws.
 *
 * Note [Reading beside ws]: ws gathers a message before it hands it over: a new buffer for every chunk. This reader gives the
 * bytes away as they come, so that sockets can be read into one buffer (Note [Reading into one buffer]). Only binary messages without a mask (or with one of zeros) are taken; handshake,
 * control frames, closing and every refusal of a malformed stream stay with ws.
 */
export class MessageReader {
  readonly #isMasked: boolean;
  readonly #taker: Taker;
  readonly #head = new Uint8Array(14);
  /** Bytes of the header that are here. */
  #have = 0;
  /** Bytes of payload that have yet to come. */
  #left = 0;
  #isTaken = false;
  #isLast = false;
  /** Of the message that is being taken. */
  #parts = 0;
  #bytes = 0;
  #isClosed = false;

  /** @param isServer frames of nodes have a mask, those of a server have none */
  constructor(isServer: boolean, taker: Taker) {
    this.#isMasked = isServer;
    this.#taker = taker;
  }

  /** Takes the next bytes. Throws a TransportError for a message that is too long or in too many parts. */
  push(bytes: Uint8Array): void {
    let at = 0;
    // After a close frame nothing counts any more.
    while (at < bytes.byteLength && !this.#isClosed) {
      at = this.#left > 0 ? this.#payload(bytes, at) : this.#header(bytes, at);
    }
  }

  #payload(bytes: Uint8Array, from: number): number {
    const count = Math.min(this.#left, bytes.byteLength - from);
    const piece = bytes.subarray(from, from + count);
    this.#left -= count;
    if (this.#isTaken) this.#taker.part(piece);
    else this.#taker.pass(piece);
    if (this.#left === 0) this.#finish();
    return from + count;
  }

  #header(bytes: Uint8Array, from: number): number {
    const head = this.#head;
    let at = from;
    while (at < bytes.byteLength) {
      head[this.#have++] = bytes[at++]!;
      if (this.#have >= 2 && this.#have === headerBytes(head[1]!)) {
        this.#begin(head.subarray(0, this.#have));
        this.#have = 0;
        break;
      }
    }
    return at;
  }

  #begin(head: Uint8Array): void {
    const opcode = head[0]! & 0x0f;
    const inMessage = this.#parts > 0;
    this.#left = lengthIn(head);
    this.#isLast = (head[0]! & 0x80) !== 0;
    this.#isTaken = opcode === (inMessage ? CONTINUATION : BINARY) && this.#isPlain(head);
    if (this.#isTaken) {
      this.#bytes += this.#left;
      if (this.#bytes > MAX_MESSAGE_BYTES) {
        throw new TransportError('MESSAGE_TOO_LARGE', `a message has more than ${MAX_MESSAGE_BYTES} bytes`);
      }
      if (++this.#parts > MAX_PARTS) {
        throw new TransportError('TOO_MANY_FRAGMENTS', `a message has more than ${MAX_PARTS} parts`);
      }
    } else if (inMessage && opcode < CLOSE) {
      throw new TransportError('STREAM_MALFORMED', 'a message goes on with a part of another kind');
    } else {
      // ws keeps what it is given, and the next header is written over this one.
      this.#taker.pass(head.slice());
    }
    if (this.#left === 0) this.#finish();
  }

  #isPlain(head: Uint8Array): boolean {
    if ((head[0]! & 0x70) !== 0 || this.#isMasked !== (head[1]! & 0x80) > 0) return false;
    return !this.#isMasked || head.subarray(-4).every((byte) => byte === 0);
  }

  #finish(): void {
    if (!this.#isTaken) {
      this.#isClosed = (this.#head[0]! & 0x0f) === CLOSE;
    } else if (this.#isLast) {
      this.#parts = 0;
      this.#bytes = 0;
      this.#taker.end();
    }
  }
}

/** Bytes of a header, by its second byte. */
const headerBytes = (second: number): number => {
  const length = second & 0x7f;
  return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + (second & 0x80 ? 4 : 0);
};

const lengthIn = (head: Uint8Array): number => {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const short = head[1]! & 0x7f;
  if (short < 126) return short;
  return short === 126 ? view.getUint16(2) : view.getUint32(2) * 2 ** 32 + view.getUint32(6);
};
