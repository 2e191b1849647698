/**
 * What peers make this process hold.
 *
 * Note [One ceiling]: a peer that doesn't read makes the coordinator keep what it is sent; one that begins a message and doesn't
 * end it makes it keep the beginning. Limits for each peer don't bound their sum, and a token holder can open a thousand
 * connections. So all connections of a listener share one sum. Where it passes the ceiling, the connection that has kept this
 * process waiting longest is closed, then the next, until the rest fits: a peer that reads and writes has nothing that waits for
 * long, however much it is sent. Weights go to all nodes from one copy, and are counted once; content (the program, the data) is
 * sent as views of what the run keeps anyway, and is not counted.
 */
import type { FrameType } from '@lockstep/protocol';

/** Whoever may have to go. */
export interface Holder {
  /** When (ms of `performance.now`) the oldest of what is held for it began to wait; Infinity: nothing is held. */
  readonly waitingSince: number;
  /** Closes it, and gives back at once what was held for it. */
  drop(code: 'MEMORY_LIMIT', message: string): void;
}

/** The sum over all connections of a listener. */
export class HeldBytes {
  readonly #ceiling: number;
  #total = 0;
  readonly #holders = new Set<Holder>();
  /** How many hold each of what is shared. */
  readonly #shared = new Map<object, number>();

  /** @param ceiling bytes */
  constructor(ceiling: number) {
    this.#ceiling = ceiling;
  }

  /** Bytes that are held now. */
  get total(): number {
    return this.#total;
  }

  enter(holder: Holder): void {
    this.#holders.add(holder);
  }

  leave(holder: Holder): void {
    this.#holders.delete(holder);
  }

  /** So many bytes more, or fewer where it is negative. */
  add(bytes: number): void {
    this.#total += bytes;
  }

  /** As `add`, of bytes that others may hold as well: the first one counts. */
  share(key: object, bytes: number): void {
    const holders = this.#shared.get(key) ?? 0;
    this.#shared.set(key, holders + 1);
    if (holders === 0) this.add(bytes);
  }

  /** The opposite of `share`, with the same bytes. */
  unshare(key: object, bytes: number): void {
    const holders = this.#shared.get(key)! - 1;
    if (holders > 0) {
      this.#shared.set(key, holders);
    } else {
      this.#shared.delete(key);
      this.add(-bytes);
    }
  }

  /** Closes connections until the rest is within the ceiling. To be called when what was added is accounted for. */
  relieve(): void {
    if (this.#total <= this.#ceiling) return;
    const longest = [...this.#holders]
      .filter(({ waitingSince }) => waitingSince < Number.POSITIVE_INFINITY)
      .sort((a, b) => a.waitingSince - b.waitingSince);
    for (const holder of longest) {
      if (this.#total <= this.#ceiling) return;
      holder.drop(
        'MEMORY_LIMIT',
        `all peers together make this end hold ${this.#total} bytes, the limit is ${this.#ceiling}; this one kept it ` +
          'waiting longest',
      );
    }
  }
}

/** A frame on its way out. */
export interface Outgoing {
  readonly type: FrameType;
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
  /** When (ms of `performance.now`) it was sent. */
  readonly since: number;
}

/** What a frame that waits costs beside its payload: its header, and the objects around them. */
const FRAME_BYTES = 512;

/** What one peer makes this process hold. */
export class PeerMemory {
  readonly #held: HeldBytes;
  readonly #isSecure: boolean;
  /** Kept of a message that isn't whole, and since when. */
  #incoming = 0;
  #incomingSince = Number.POSITIVE_INFINITY;

  constructor(held: HeldBytes, isSecure: boolean) {
    this.#held = held;
    this.#isSecure = isSecure;
  }

  get incomingSince(): number {
    return this.#incomingSince;
  }

  /** A frame waits to be sent. */
  waits({ type, payload }: Outgoing): void {
    this.#held.add(FRAME_BYTES);
    if (isContent(type)) return;
    if (type === 'weights') this.#held.share(payload.buffer, payload.byteLength);
    else this.#held.add(payload.byteLength);
  }

  /** It is given to the socket, where TLS makes a copy of it. */
  leaves(frame: Outgoing): void {
    if (this.#isSecure) this.#held.add(sizeOf(frame));
  }

  /** It is gone. */
  left(frame: Outgoing): void {
    if (this.#isSecure) this.#held.add(-sizeOf(frame));
    this.dropped(frame);
  }

  /** It isn't sent any more. */
  dropped({ type, payload }: Outgoing): void {
    this.#held.add(-FRAME_BYTES);
    if (isContent(type)) return;
    if (type === 'weights') this.#held.unshare(payload.buffer, payload.byteLength);
    else this.#held.add(-payload.byteLength);
  }

  /** So many bytes are kept of a message that isn't whole. */
  keeps(bytes: number): void {
    this.#held.add(bytes - this.#incoming);
    this.#incoming = bytes;
    if (bytes === 0) this.#incomingSince = Number.POSITIVE_INFINITY;
    else this.#incomingSince = Math.min(this.#incomingSince, performance.now());
  }
}

export const sizeOf = ({ header, payload }: Outgoing): number => header.byteLength + payload.byteLength;

const isContent = (type: FrameType): boolean => type === 'data' || type === 'program';
