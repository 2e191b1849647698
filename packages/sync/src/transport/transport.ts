/** What carries frames between a coordinator and a node: WebSocket, or a pair of ends in one process. */
import { checksumOf, type FrameKey, type Header } from '@lockstep/protocol';

/** One end of a connection. Frames arrive in the order in which they were sent, whole, or the connection ends. */
export interface Connection {
  /** Counts the connections of this process: never used twice. */
  readonly id: number;
  /** Who is on the other end, for messages: an address, not a name to trust. */
  readonly peer: string;
  /** Bytes that were sent and have not left yet. */
  readonly buffered: number;
  /**
   * Sends a frame. The payload is not copied: it must stay unchanged until `flushed` settles. Does nothing when the
   * connection is closed. Throws a ProtocolError where the header cannot be.
   */
  send(key: FrameKey, payload: Uint8Array): void;
  /** Settles when all that was sent so far has left, or never will because the connection is closed. */
  flushed(): Promise<void>;
  /** Ends the connection, after what was sent. `code`: stable, for logs and for the peer. Twice is once. */
  close(code?: string, message?: string): void;
}

/** Who hears from a connection. */
export interface ConnectionEvents {
  /** A frame that passed all checks. The payload is valid only until this returns, and aligned to 4 bytes. */
  frame(header: Header, payload: Uint8Array): void;
  /** Once, last: the connection is gone, by whichever end. `code` is stable. */
  closed(reason: ClosedReason): void;
}

export interface ClosedReason {
  readonly code: string;
  readonly message: string;
  /** It was the other end that closed, and says why. */
  readonly isTheirs?: boolean;
}

/** Takes a new connection and says who hears from it. Called before its first frame. */
export type Accept = (connection: Connection) => ConnectionEvents;

/** Makes a connection: settles when it stands. Rejects, with a `code`, where it cannot be made. */
export type Dial = (accept: Accept) => Promise<Connection>;

/** What a `Dial` may say of why there is no connection. */
export interface DialError {
  readonly code: string;
  /** Trying again changes nothing. */
  readonly isFinal: boolean;
}

let connections = 0;

/** A number for a new connection of this process. */
export const nextConnection = (): number => ++connections;

/** A pair of ends in one process. Frames are handed over as they are, in turns of the event loop. */
export const connectInProcess = (coordinator: Accept, node: Accept): Connection => {
  const [a, b] = [new LocalEnd('coordinator, in this process'), new LocalEnd('node, in this process')];
  a.join(b, node(a));
  b.join(a, coordinator(b));
  return a;
};

class LocalEnd implements Connection {
  readonly id = nextConnection();
  readonly peer: string;
  buffered = 0;
  #other: LocalEnd | undefined;
  #events: ConnectionEvents | undefined;
  #queue: { readonly header: Header; readonly payload: Uint8Array }[] = [];
  #waiting: (() => void)[] = [];
  #isScheduled = false;
  #reason: ClosedReason | undefined;

  constructor(peer: string) {
    this.peer = peer;
  }

  join(other: LocalEnd, events: ConnectionEvents): void {
    this.#other = other;
    this.#events = events;
  }

  send(key: FrameKey, payload: Uint8Array): void {
    if (this.#reason !== undefined) return;
    // Nothing is damaged on this way; gradients' checksums are compared.
    const checksum = key.type === 'gradient' ? checksumOf(payload) : 0;
    const header = { ...key, length: payload.byteLength, checksum };
    this.#queue.push({ header, payload });
    this.buffered += payload.byteLength;
    this.#schedule();
  }

  async flushed(): Promise<void> {
    if (this.#queue.length > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  close(code = 'CLOSED', message = 'closed by this end'): void {
    if (this.#reason !== undefined) return;
    this.#reason = { code, message };
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const frames = this.#queue;
    this.#queue = [];
    for (const { header, payload } of frames) {
      if (this.#other?.isOpen) this.#other.#events?.frame(header, payload);
    }
    this.buffered = this.#queue.reduce((sum, { payload }) => sum + payload.byteLength, 0);
    for (const resolve of this.#waiting.splice(0)) resolve();
    if (this.#reason !== undefined && this.#queue.length === 0) this.#end(this.#reason);
  }

  /** A close that is under way still takes what the other end sent before. */
  get isOpen(): boolean {
    return this.#events !== undefined;
  }

  #end(reason: ClosedReason): void {
    const [own, other] = [this.#events, this.#other];
    this.#events = undefined;
    this.#other = undefined;
    own?.closed(reason);
    if (other?.isOpen)
      other.#ended({
        code: reason.code,
        message: `closed by the other end: ${reason.message}`,
        isTheirs: true,
      });
  }

  #ended(reason: ClosedReason): void {
    this.#reason = reason;
    this.#queue = [];
    this.buffered = 0;
    for (const resolve of this.#waiting.splice(0)) resolve();
    const events = this.#events;
    this.#events = undefined;
    this.#other = undefined;
    events?.closed(reason);
  }
}
