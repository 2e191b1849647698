/**
 * Looks through MessagePack bytes before a general decoder sees them, and lets only plain data pass: nil, booleans,
 * integers of up to 32 bits, floats, UTF-8 strings, arrays, and maps with different string keys.
 *
 * Why not trust the decoder's options: msgpackr decodes extensions (records, typed arrays, RegExp, Error, ...) even
 * when its options are off, and a claim of 2^32 elements in 5 bytes must be refused before anything is allocated.
 */
import { ProtocolError } from './errors.ts';

export interface PlainLimits {
  /** Arrays and maps inside of each other. */
  readonly depth: number;
  /** Values altogether, keys not counted. */
  readonly values: number;
}

/** Throws a ProtocolError unless `bytes` are exactly one plain value within the limits. */
export const checkPlain = (bytes: Uint8Array, limits: PlainLimits): void => new Walk(bytes, limits).whole();

/** Tokens of values of a fixed width: nil, false, true, f32, f64, u8, u16, u32, i8, i16, i32; with their bytes. */
const SCALARS = new Map<number, number>([
  [0xc0, 0],
  [0xc2, 0],
  [0xc3, 0],
  [0xca, 4],
  [0xcb, 8],
  [0xcc, 1],
  [0xcd, 2],
  [0xce, 4],
  [0xd0, 1],
  [0xd1, 2],
  [0xd2, 4],
]);

const utf8 = new TextDecoder('utf-8', { fatal: true });

class Walk {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limits: PlainLimits;
  #at = 0;
  #values = 0;

  constructor(bytes: Uint8Array, limits: PlainLimits) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#limits = limits;
  }

  whole(): void {
    this.#value(0);
    if (this.#at !== this.#bytes.byteLength) throw this.#malformed();
  }

  #value(depth: number): void {
    if (++this.#values > this.#limits.values) {
      throw new ProtocolError('CONTROL_TOO_LARGE', `more than ${this.#limits.values} values`);
    }
    const token = this.#number(1);
    if (token <= 0x7f || token >= 0xe0) return; // a small integer
    const length = this.#stringLength(token);
    if (length !== undefined) this.#text(length);
    else if (token <= 0x8f) this.#map(token & 0x0f, depth);
    else if (token <= 0x9f) this.#list(token & 0x0f, depth);
    else if (token >= 0xdc && token <= 0xdd) this.#list(this.#number(token === 0xdc ? 2 : 4), depth);
    else if (token >= 0xde) this.#map(this.#number(token === 0xde ? 2 : 4), depth);
    else this.#scalar(token);
  }

  #scalar(token: number): void {
    const width = SCALARS.get(token);
    if (width === undefined) {
      throw new ProtocolError('CONTROL_FORBIDDEN', `token 0x${token.toString(16)} at byte ${this.#at - 1}`);
    }
    this.#take(width);
  }

  #list(count: number, depth: number): void {
    this.#checkDepth(depth);
    for (let i = 0; i < count; i++) this.#value(depth + 1);
  }

  #map(count: number, depth: number): void {
    this.#checkDepth(depth);
    const keys = new Set<string>();
    for (let i = 0; i < count; i++) {
      const key = this.#key();
      if (key === '__proto__' || keys.has(key)) {
        throw new ProtocolError('CONTROL_FORBIDDEN', `the key ${JSON.stringify(key.slice(0, 40))}`);
      }
      keys.add(key);
      this.#value(depth + 1);
    }
  }

  #checkDepth(depth: number): void {
    if (depth < this.#limits.depth) return;
    throw new ProtocolError('CONTROL_TOO_DEEP', `more than ${this.#limits.depth} levels`);
  }

  #key(): string {
    const length = this.#stringLength(this.#number(1));
    if (length === undefined) throw new ProtocolError('CONTROL_FORBIDDEN', 'a key of a map is not a string');
    return this.#text(length);
  }

  /** How long the string with this token is; undefined when it is not the token of a string. */
  #stringLength(token: number): number | undefined {
    if (token >= 0xa0 && token <= 0xbf) return token & 0x1f;
    return token >= 0xd9 && token <= 0xdb ? this.#number(1 << (token - 0xd9)) : undefined;
  }

  #text(length: number): string {
    const from = this.#take(length);
    try {
      return utf8.decode(this.#bytes.subarray(from, this.#at));
    } catch {
      throw this.#malformed();
    }
  }

  /** An unsigned number of 1, 2 or 4 bytes. */
  #number(width: number): number {
    const from = this.#take(width);
    if (width === 1) return this.#view.getUint8(from);
    return width === 2 ? this.#view.getUint16(from) : this.#view.getUint32(from);
  }

  #take(count: number): number {
    if (this.#bytes.byteLength - this.#at < count) throw this.#malformed();
    this.#at += count;
    return this.#at - count;
  }

  #malformed(): ProtocolError {
    return new ProtocolError(
      'CONTROL_MALFORMED',
      `no whole value at byte ${this.#at} of ${this.#bytes.byteLength}`,
    );
  }
}
