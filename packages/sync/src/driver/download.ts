import { createHash } from 'node:crypto';
import { totalmem } from 'node:os';
import { ProtocolError } from '@lockstep/protocol';
import { RefusedError } from './refusedError.ts';

/** Content on its way in: chunks in order, checked by its hash when it is whole. */
export class Download {
  readonly hash: string;
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #sha256 = createHash('sha256');
  #received = 0;
  #waiting: { readonly resolve: (bytes: Uint8Array) => void } | undefined;

  /** Throws a RefusedError where this machine can't hold `size` bytes. */
  constructor(hash: string, size: number, memoryBytes = totalmem()) {
    this.hash = hash;
    this.size = size;
    this.#bytes = allocate(size, memoryBytes);
  }

  get received(): number {
    return this.#received;
  }

  /** False for what is here already. Throws a ProtocolError on bytes that cannot be right. */
  take(offset: number, chunk: Uint8Array): boolean {
    if (offset < this.#received) return false;
    if (offset > this.#received || offset + chunk.length > this.size) {
      throw new ProtocolError('BAD_RANGE', `content of ${this.size} bytes: got ${chunk.length} at ${offset}`);
    }
    this.#bytes.set(chunk, offset);
    this.#sha256.update(chunk);
    this.#received += chunk.length;
    if (this.#received === this.size) this.#finish();
    return true;
  }

  /** Settles with all of it; never when the connection is lost before and nobody asks again. */
  whole(): Promise<Uint8Array> {
    return new Promise((resolve) => {
      this.#waiting = { resolve };
      if (this.#received === this.size) resolve(this.#bytes);
    });
  }

  pause(): void {
    this.#waiting = undefined;
  }

  #finish(): void {
    const got = this.#sha256.digest('hex');
    if (got !== this.hash) {
      throw new ProtocolError('BAD_CHECKSUM', `content has the hash ${got}, expected ${this.hash}`);
    }
    this.#waiting?.resolve(this.#bytes);
  }
}

const GIBIBYTE = 2 ** 30;

/** Where the system hands out memory only as it is written, a claim beyond it would fail in the middle of the download. */
const allocate = (size: number, memoryBytes: number): Uint8Array => {
  const refuse = (why: string): never => {
    throw new RefusedError(
      'CONTENT_TOO_LARGE',
      `the coordinator's program or data has ${(size / GIBIBYTE).toFixed(1)} GiB, ${why}; join from a machine with more ` +
        'memory, or train on less data',
    );
  };
  if (size > memoryBytes)
    return refuse(`this machine has ${(memoryBytes / GIBIBYTE).toFixed(1)} GiB of memory`);
  try {
    return new Uint8Array(size);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refuse('more than this process can allocate');
  }
};
