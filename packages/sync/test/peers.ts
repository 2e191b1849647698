/** Peers for tests of the transport: honest ones, and raw sockets that send what they like. */
import { connect, type Socket } from 'node:net';
import { FRAME_TYPES, type FrameKey, type Header } from '@lockstep/protocol';
import type { Accept, ClosedReason, Connection } from '../src/transport/transport.ts';
import { type Listener, type ListenOptions, listen, type Refusal } from '../src/websocket/index.ts';

export const TOKEN = 'a-token_of-Enough-bits-0123';

export const key = (over: Partial<FrameKey> = {}): FrameKey => ({
  type: 'data',
  run: 7n,
  incarnation: 1,
  session: 2,
  step: 3,
  lo: 0,
  hi: FRAME_TYPES[over.type ?? 'data'].ranged ? 1 : 0,
  offset: 0,
  ...over,
});

export interface Heard {
  readonly header: Header;
  readonly payload: Uint8Array;
}

/** Remembers what it hears. */
export class Peer {
  readonly heard: Heard[] = [];
  connection: Connection | undefined;
  reason: ClosedReason | undefined;
  readonly #waiting: (() => void)[] = [];

  readonly accept: Accept = (connection) => {
    this.connection = connection;
    return {
      frame: (header, payload) => {
        this.heard.push({ header, payload: payload.slice() });
        this.#wake();
      },
      closed: (reason) => {
        this.reason = reason;
        this.#wake();
      },
    };
  };

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Settles when it has heard so many frames, or the connection has ended. */
  async hears(count: number): Promise<readonly Heard[]> {
    while (this.heard.length < count && this.reason === undefined) await this.#next();
    return this.heard;
  }

  async closes(): Promise<ClosedReason> {
    while (this.reason === undefined) await this.#next();
    return this.reason;
  }

  async #next(): Promise<void> {
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

export interface Place extends Listener {
  /** Those who came in, in order. */
  readonly peers: Peer[];
  readonly refusals: Refusal[];
  refusal(count: number): Promise<Refusal>;
}

/** A listener that answers every frame with the same frame. */
export const place = async (options: ListenOptions = {}): Promise<Place> => {
  const peers: Peer[] = [];
  const refusals: Refusal[] = [];
  const waiting: (() => void)[] = [];
  const refused = (refusal: Refusal) => {
    refusals.push(refusal);
    for (const resolve of waiting.splice(0)) resolve();
  };
  const listener = await listen({ port: 0, ...options, refused }, (connection) => {
    const peer = new Peer();
    peers.push(peer);
    const events = peer.accept(connection);
    return {
      ...events,
      frame: (header, payload) => {
        connection.send(header, payload.slice());
        events.frame(header, payload);
      },
    };
  });
  const refusal = async (count: number): Promise<Refusal> => {
    while (refusals.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    return refusals[count - 1]!;
  };
  return Object.defineProperties(
    { peers, refusals, refusal },
    Object.getOwnPropertyDescriptors(listener),
  ) as Place;
};

/** A socket that speaks bytes, and all that it is answered. */
export class Raw {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  readonly closed: Promise<void>;

  /** @param socket instead of a plain one to this port */
  constructor(port: number, socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })) {
    this.socket = socket;
    this.socket.on('data', (bytes) => {
      this.received = Buffer.concat([this.received, bytes]);
    });
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
  }

  write(bytes: string | Uint8Array): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  /** Waits until what was received has this, and returns all of it. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.received.toString('latin1'))) {
      if (this.socket.destroyed)
        throw new Error(`closed after ${JSON.stringify(this.received.toString('latin1'))}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return this.received.toString('latin1');
  }

  /** The code of the refusal that it was answered, once the connection has ended. */
  async code(): Promise<string | undefined> {
    await this.closed;
    return /\{"code":"(\w+)"/.exec(this.received.toString('latin1'))?.[1];
  }
}

export const upgradeRequest = (headers: Readonly<Record<string, string>> = {}, path = '/'): string => {
  const all = {
    Host: '127.0.0.1',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
};

/** A WebSocket frame of a client (with a mask, of zeros unless given), or of a server. */
export const webSocketFrame = (
  opcode: number,
  payload: Uint8Array,
  { fin = true, mask = [0, 0, 0, 0] as readonly number[] | null, claim = payload.length } = {},
): Uint8Array => {
  const length =
    claim < 126 ? [claim] : claim < 65_536 ? [126, claim >> 8, claim & 255] : [127, ...bigEndian(claim)];
  length[0]! |= mask === null ? 0 : 0x80;
  const masked = mask === null ? payload : payload.map((byte, i) => byte ^ mask[i % 4]!);
  return Uint8Array.from([(fin ? 0x80 : 0) | opcode, ...length, ...(mask ?? []), ...masked]);
};

const bigEndian = (value: number): number[] => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return [...bytes];
};
