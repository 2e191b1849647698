/** Bytes that lie in pieces, as one: named by their hash and sent to nodes without being put together. */
import { createHash } from 'node:crypto';
import type { Content } from '@lockstep/sync';

export class Pieces implements Content {
  readonly hash: string;
  readonly length: number;
  readonly #pieces: readonly { readonly from: number; readonly bytes: Uint8Array }[];

  /** Nothing of the pieces may change. */
  constructor(...pieces: readonly Uint8Array[]) {
    const hash = createHash('sha256');
    let from = 0;
    this.#pieces = pieces.map((bytes) => {
      hash.update(bytes);
      const piece = { from, bytes };
      from += bytes.length;
      return piece;
    });
    this.length = from;
    this.hash = hash.digest('hex');
  }

  read(from: number, to: number): Uint8Array {
    const index = this.#pieces.findLastIndex((piece) => piece.from <= from && piece.bytes.length > 0);
    const { from: start, bytes } = this.#pieces[index]!;
    const [begin, end] = [from - start, Math.min(to - start, bytes.length)];
    const isLast = end === to - start;
    if (isLast || end - begin >= WORD)
      return bytes.subarray(begin, isLast ? end : end - ((end - begin) % WORD));
    return this.#across(from, Math.min(to, from + SEAM_BYTES));
  }

  /** A copy, where parts meet within a word. */
  #across(from: number, to: number): Uint8Array {
    return Buffer.concat(
      this.#pieces.flatMap((piece) => {
        const [begin, end] = [Math.max(from, piece.from), Math.min(to, piece.from + piece.bytes.length)];
        return begin < end ? [piece.bytes.subarray(begin - piece.from, end - piece.from)] : [];
      }),
    );
  }
}

/** Chunks of content begin on words of 4 bytes. */
const WORD = 4;
const SEAM_BYTES = 64;
