import type { Socket } from 'node:net';
import {
  encodeHeader,
  type Frame,
  FrameDecoder,
  type FrameKey,
  HEADER_BYTES,
  ProtocolError,
} from '@lockstep/protocol';
import type { RawData, WebSocket } from 'ws';
import {
  type Accept,
  type ClosedReason,
  type Connection,
  type ConnectionEvents,
  nextConnection,
} from '../transport/transport.ts';
import { decodeReason, encodeReason, printable, type TransportCode, TransportError } from './errors.ts';
import { type HeldBytes, type Holder, type Outgoing, PeerMemory, sizeOf } from './heldBytes.ts';
import { readOn, takeFrom } from './inlet.ts';
import { type Limits, MAX_MESSAGE_BYTES } from './limits.ts';
import { MAX_PARTS, MessageReader } from './reader.ts';

/**
 * Options of both ends, for ws. A frame is one message of two parts, header and payload: so neither is copied to stand
 * behind the other, on either side.
 */
export const SOCKET_OPTIONS = {
  maxPayload: MAX_MESSAGE_BYTES,
  maxFragments: MAX_PARTS,
  /** Packets of one part; a chunk of 1 MiB comes in 700 on an ordinary network. */
  maxBufferedChunks: 1 << 14,
  perMessageDeflate: false,
  /** Pings of ours are control messages; those of a stranger need no answer that could pile up. */
  autoPong: false,
} as const;

/** The number of a close frame whose text has a stable code. */
const REASONED = 4000;
/** So long the other end has to take what is left, frame by frame, and to answer a close frame. */
const CLOSE_TIME = 2_000;
/** Bytes that are given to the socket at once; the rest waits here, so that progress shows frame by frame. */
const WINDOW_BYTES = 2 * MAX_MESSAGE_BYTES;

/** What ws writes around the two parts of a frame, at most. */
const WS_HEADER_BYTES = 32;
/** Bytes of a ping or a pong, beside its payload. */
const CONTROL_BYTES = 6;

interface Parts {
  readonly ws: WebSocket;
  /** What it stands on. */
  readonly socket: Socket;
  readonly peer: string;
  readonly isServer: boolean;
  readonly limits: Limits;
  readonly held: HeldBytes;
}

/** One end of a WebSocket that is open. */
export class WebSocketConnection implements Connection, Holder {
  readonly id = nextConnection();
  readonly peer: string;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #limits: Limits;
  readonly #held: HeldBytes;
  readonly #memory: PeerMemory;
  readonly #events: ConnectionEvents;
  readonly #decoder = new FrameDecoder((frame) => this.#take(frame));
  /** Frames of the message that is being read. */
  #frames = 0;
  /** Bytes that ws has of a message that isn't whole. */
  #passed = 0;
  readonly #queue: Outgoing[] = [];
  /** What the socket has. */
  readonly #leaving: Outgoing[] = [];
  /** Bytes in the queue, and those that the socket has. */
  #queued = 0;
  #window = 0;
  /** Frames that were sent, and those that have left. */
  #sent = 0;
  #left = 0;
  #waiting: { readonly sent: number; readonly resolve: () => void; readonly promise: Promise<void> }[] = [];
  #stall: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;
  /** Why this end closes. */
  #reason: ClosedReason | undefined;
  #isRefused = false;
  #isDropped = false;
  #isOver = false;

  constructor({ ws, socket, peer, isServer, limits, held }: Parts, accept: Accept) {
    this.peer = peer;
    this.#ws = ws;
    this.#socket = socket;
    this.#limits = limits;
    this.#held = held;
    this.#memory = new PeerMemory(held, 'encrypted' in socket);
    held.enter(this);
    this.#readBeside(isServer);
    // Before ws hears of it, which takes out what is whole.
    socket.prependListener('data', (chunk: Uint8Array) => this.#passes(chunk.byteLength));
    for (const kind of ['ping', 'pong'] as const) {
      ws.on(kind, (data) => this.#passes(-(CONTROL_BYTES + data.byteLength)));
    }
    ws.binaryType = 'fragments';
    ws.on('message', (data, isBinary) => this.#receive(data, isBinary));
    ws.on('error', (error) => this.#failed(error));
    ws.on('close', (number, text) => this.#closed(number, text));
    this.#events = accept(this);
  }

  get buffered(): number {
    return this.#isOver ? 0 : this.#queued + this.#window;
  }

  send(key: FrameKey, payload: Uint8Array): void {
    if (this.#reason !== undefined) return;
    const header = encodeHeader(key, payload);
    const frame = { type: key.type, header, payload, since: performance.now() };
    this.#queue.push(frame);
    this.#queued += sizeOf(frame);
    this.#sent++;
    this.#memory.waits(frame);
    this.#pump();
    const { buffered } = this.#limits;
    if (this.buffered > buffered) {
      this.drop('PEER_NOT_READING', `${this.buffered} bytes wait to be sent, the limit is ${buffered}`);
    }
    this.#held.relieve();
  }

  async flushed(): Promise<void> {
    if (this.#sent === this.#left || this.#isOver) return;
    const last = this.#waiting.at(-1);
    // Each step may wait for a peer that doesn't read: one promise is enough for all of them.
    if (last?.sent === this.#sent) return last.promise;
    let resolve = (): void => {};
    const promise = new Promise<void>((settle) => {
      resolve = settle;
    });
    this.#waiting.push({ sent: this.#sent, resolve, promise });
    return promise;
  }

  close(code = 'CLOSED', message = 'closed by this end'): void {
    if (this.#reason !== undefined) return;
    this.#reason = { code, message };
    // What was sent still goes out, but a peer that takes nothing does not hold up the end.
    this.#calm();
    this.#pump();
  }

  // Sending

  #pump(): void {
    while (this.#queue.length > 0 && this.#window < WINDOW_BYTES) this.#write(this.#queue.shift()!);
    if (this.#sent > this.#left) {
      const time = this.#reason === undefined ? this.#limits.stallTime : CLOSE_TIME;
      const stalled = () => this.drop('PEER_NOT_READING', `nothing was taken for ${time} ms`);
      this.#stall ??= setTimeout(stalled, time).unref();
    } else if (this.#reason !== undefined) {
      this.#hangUp(this.#reason);
    }
  }

  #write(frame: Outgoing): void {
    const { header, payload } = frame;
    this.#leaving.push(frame);
    this.#queued -= sizeOf(frame);
    this.#window += sizeOf(frame);
    this.#memory.leaves(frame);
    // Corked: one system call, one packet where it fits.
    this.#socket.cork();
    this.#ws.send(header, { binary: true, fin: false });
    this.#ws.send(payload, { binary: true, fin: true }, () => this.#leave());
    this.#socket.uncork();
  }

  #leave(): void {
    if (this.#isOver || this.#isDropped) return;
    const frame = this.#leaving.shift()!;
    this.#window -= sizeOf(frame);
    this.#left++;
    this.#memory.left(frame);
    if (this.#sent > this.#left) this.#stall?.refresh();
    else this.#calm();
    while (this.#waiting[0] !== undefined && this.#waiting[0].sent <= this.#left)
      this.#waiting.shift()!.resolve();
    if (this.#ws.readyState === this.#ws.OPEN) this.#pump();
  }

  #calm(): void {
    clearTimeout(this.#stall);
    this.#stall = undefined;
  }

  // Receiving

  /** See Note [Reading beside ws]. */
  #readBeside(isServer: boolean): void {
    const socket = this.#socket;
    const reader = new MessageReader(isServer, {
      part: (bytes) => this.#decoder.push(bytes),
      end: () => this.#endMessage(),
      pass: (bytes) => readOn(socket, bytes),
    });
    takeFrom(socket, (bytes) => {
      this.#guard(() => reader.push(bytes));
      this.#keeps();
    });
  }

  /** Bytes that go to ws; negative: that it is done with. */
  #passes(bytes: number): void {
    this.#passed += bytes;
    this.#keeps();
  }

  /** How much is kept of a message that isn't whole, and of what ws answers by itself. */
  #keeps(): void {
    if (this.#isOver || this.#isDropped) return;
    const frames = this.#window + WS_HEADER_BYTES * this.#leaving.length;
    const answers = Math.max(0, this.#socket.writableLength - frames);
    this.#memory.keeps(this.#decoder.memory - HEADER_BYTES + Math.max(0, this.#passed) + answers);
    this.#held.relieve();
  }

  /** A message that came by way of ws: over TLS, with a mask, or text. */
  #receive(data: RawData, isBinary: boolean): void {
    this.#passed = 0;
    this.#guard(() => {
      if (!isBinary) throw new TransportError('MESSAGE_MALFORMED', 'text, expected frames');
      for (const part of data as Buffer[]) this.#decoder.push(plain(part));
      this.#endMessage();
    });
    this.#keeps();
  }

  #take({ header, payload }: Frame): void {
    if (this.#frames++ > 0)
      throw new TransportError('MESSAGE_MALFORMED', 'a message has more than one frame');
    this.#events.frame(header, payload);
  }

  #endMessage(): void {
    this.#decoder.end();
    if (this.#frames === 0) throw new TransportError('MESSAGE_MALFORMED', 'a message is empty');
    this.#frames = 0;
  }

  /** Whatever is wrong with what came ends the connection; after that, nothing that comes is read. */
  #guard(work: () => void): void {
    if (this.#isRefused) return;
    try {
      work();
    } catch (error) {
      const isTheirs = error instanceof ProtocolError || error instanceof TransportError;
      if (isTheirs) this.#refuse(error.code, error.message.slice(error.code.length + 2));
      else this.#refuse('INTERNAL_ERROR', 'the other end failed');
      if (!isTheirs) throw error;
    }
  }

  // Ending

  /** Ends the connection for what came on it: nothing that waits is sent, nothing that comes is read. */
  #refuse(code: string, message: string): void {
    this.#isRefused = true;
    this.#reason = { code, message };
    this.#hangUp(this.#reason);
    this.#end(this.#reason);
  }

  /** Ends the connection to a peer that keeps this end waiting: nothing more can be said to it. */
  drop(code: TransportCode, message: string): void {
    if (this.#isDropped) return;
    this.#isDropped = true;
    this.#isRefused = true;
    this.#reason ??= { code, message };
    this.#letGo();
    this.#ws.terminate();
  }

  /** See Note [One ceiling]. */
  get waitingSince(): number {
    const oldest = this.#leaving[0] ?? this.#queue[0];
    return Math.min(this.#memory.incomingSince, oldest?.since ?? Number.POSITIVE_INFINITY);
  }

  /** Nothing is held for it any more. */
  #letGo(): void {
    for (const frame of this.#leaving.splice(0)) this.#memory.left(frame);
    for (const frame of this.#queue.splice(0)) this.#memory.dropped(frame);
    [this.#queued, this.#window] = [0, 0];
    this.#memory.keeps(0);
    this.#held.leave(this);
  }

  #hangUp(reason: ClosedReason): void {
    if (this.#deadline !== undefined) return;
    this.#deadline = setTimeout(() => this.#ws.terminate(), CLOSE_TIME).unref();
    this.#ws.close(REASONED, encodeReason(reason));
  }

  /** What ws refused: it sends a close frame of its own. */
  #failed(error: Error & { code?: string }): void {
    this.#isRefused = true;
    this.#deadline ??= setTimeout(() => this.#ws.terminate(), CLOSE_TIME).unref();
    const code =
      FAILURES[error.code ?? ''] ?? (error.code?.startsWith('WS_ERR') ? 'STREAM_MALFORMED' : 'RESET');
    this.#reason ??= { code, message: error.message };
    this.#end(this.#reason);
  }

  #closed(number: number, text: Buffer): void {
    clearTimeout(this.#deadline);
    this.#reason ??= remoteReason(number, text.toString());
    this.#end(this.#reason);
  }

  /** Says so at once: who was refused may take its time to go. */
  #end(reason: ClosedReason): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#calm();
    this.#letGo();
    for (const { resolve } of this.#waiting.splice(0)) resolve();
    this.#events.closed(reason);
  }
}

/** The same bytes, not as a Buffer: its slice() would be a view, not a copy. */
const plain = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const FAILURES: Readonly<Record<string, TransportCode>> = {
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: 'MESSAGE_TOO_LARGE',
  WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH: 'MESSAGE_TOO_LARGE',
  WS_ERR_TOO_MANY_BUFFERED_PARTS: 'TOO_MANY_FRAGMENTS',
};

/** Close frames that ws sends without a text of ours. */
const NUMBERS: Readonly<Record<number, TransportCode>> = {
  1002: 'STREAM_MALFORMED',
  1006: 'RESET',
  1007: 'STREAM_MALFORMED',
  1008: 'TOO_MANY_FRAGMENTS',
  1009: 'MESSAGE_TOO_LARGE',
};

const remoteReason = (number: number, text: string): ClosedReason => {
  if (number === 1006) return { code: 'RESET', message: 'closed without a close frame' };
  const { code, message } = decodeReason(text);
  return {
    code: number === REASONED ? code : (NUMBERS[number] ?? 'CLOSED'),
    message: `closed by the other end: ${printable(message)} (${number})`,
    isTheirs: true,
  };
};
