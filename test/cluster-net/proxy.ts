/**
 * A TCP proxy between a node and its coordinator that does harm on demand: it knows where WebSocket messages begin and
 * end, and passes them on one by one. Every fault says whether it happened.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

/** `up`: from the node to the coordinator. */
export type Direction = 'up' | 'down';

export type LinkFault =
  /** The connection ends in the middle of a frame. */
  | 'cut'
  /** Nothing passes any more, in one direction, and nobody is told. */
  | 'half-open'
  /** What passes waits for a while; the order stays. */
  | 'delay'
  /** A frame comes twice. */
  | 'duplicate'
  /** A frame comes after the one that followed it. */
  | 'reorder';

/** Numbers from 0 to 1. */
export type Random = () => number;

/** A frame that waits for another one to pass it is let go after this many ms: nothing may follow it. */
const PATIENCE = 30;
const LONGEST_DELAY = 150;

/** One direction of a connection. */
class Way {
  readonly #to: Socket;
  readonly #end: () => void;
  readonly #random: Random;
  readonly #handshake: RegExp;
  #bytes: Buffer = Buffer.alloc(0);
  #isOpen = false;
  #messages = 0;
  /** What happens to the next message, and who wants to know. */
  #fault: { readonly kind: LinkFault; readonly told: (happened: boolean) => void } | undefined;
  #isHung = false;
  /** What waits: delayed, or to be passed by the next one. */
  #held: Buffer[] = [];
  #isHolding = false;
  #swap: (() => void) | undefined;

  constructor(to: Socket, handshake: RegExp, random: Random, end: () => void) {
    this.#to = to;
    this.#handshake = handshake;
    this.#random = random;
    this.#end = end;
  }

  get messages(): number {
    return this.#messages;
  }

  /** The fault that strikes the next message. Settles when it has happened, or can not any more. */
  strike(kind: LinkFault): Promise<boolean> {
    this.#fault?.told(false);
    return new Promise((told) => {
      this.#fault = { kind, told };
    });
  }

  close(): void {
    this.#fault?.told(false);
    this.#fault = undefined;
  }

  push(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    if (!this.#isOpen) this.#pass(this.#takeHandshake());
    for (let message = this.#takeMessage(); message !== undefined; message = this.#takeMessage()) {
      this.#messages++;
      this.#meet(message);
    }
  }

  #takeHandshake(): Buffer {
    const found = this.#handshake.exec(this.#bytes.toString('latin1'));
    this.#isOpen = found !== null;
    return this.#take(found === null ? this.#bytes.length : found.index + found[0].length);
  }

  /** A whole message of one frame or more. */
  #takeMessage(): Buffer | undefined {
    if (!this.#isOpen) return undefined;
    let at = 0;
    for (let isLast = false; !isLast; ) {
      const frame = frameAt(this.#bytes, at);
      if (frame === undefined) return undefined;
      ({ isLast } = frame);
      at = frame.end;
    }
    return this.#take(at);
  }

  #take(count: number): Buffer {
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  #meet(message: Buffer): void {
    const fault = this.#fault;
    this.#fault = undefined;
    if (this.#swap !== undefined) {
      this.#pass(message);
      this.#swap();
    } else if (fault === undefined) this.#pass(message);
    else if (fault.kind === 'reorder') this.#reorder(message, fault.told);
    else {
      this.#hurt(message, fault.kind);
      fault.told(true);
    }
  }

  #hurt(message: Buffer, kind: Exclude<LinkFault, 'reorder'>): void {
    if (kind === 'duplicate') {
      this.#pass(message);
      this.#pass(message);
    } else if (kind === 'cut') {
      this.#pass(message.subarray(0, 1 + Math.floor(this.#random() * (message.length - 1))));
      this.#to.end(() => this.#end());
      this.#isHung = true;
    } else if (kind === 'half-open') {
      this.#isHung = true;
    } else {
      this.#isHolding = true;
      this.#pass(message);
      setTimeout(() => this.#release(), this.#random() * LONGEST_DELAY);
    }
  }

  #reorder(message: Buffer, told: (happened: boolean) => void): void {
    const go = (happened: boolean) => (): void => {
      if (this.#swap === undefined) return;
      this.#swap = undefined;
      clearTimeout(timer);
      this.#pass(message);
      told(happened);
    };
    const timer = setTimeout(() => go(false)(), PATIENCE);
    this.#swap = go(true);
  }

  #release(): void {
    this.#isHolding = false;
    for (const message of this.#held.splice(0)) this.#pass(message);
  }

  #pass(bytes: Buffer): void {
    if (this.#isHolding) this.#held.push(bytes);
    else if (!this.#isHung && bytes.length > 0 && this.#to.writable) this.#to.write(bytes);
  }
}

/** Where the WebSocket frame ends that begins here, and whether its message ends with it. */
const frameAt = (bytes: Buffer, at: number): { end: number; isLast: boolean } | undefined => {
  if (bytes.length < at + 2) return undefined;
  const second = bytes[at + 1]!;
  const short = second & 0x7f;
  const wide = short === 126 ? 2 : short === 127 ? 8 : 0;
  const head = at + 2 + wide + (second & 0x80 ? 4 : 0);
  if (bytes.length < head) return undefined;
  const length =
    wide === 0 ? short : wide === 2 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
  return bytes.length < head + length ? undefined : { end: head + length, isLast: (bytes[at]! & 0x80) !== 0 };
};

/** A connection that passes through the proxy. */
export class Link {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #ways: Readonly<Record<Direction, Way>>;
  isClosed = false;

  constructor(near: Socket, port: number, random: Random, closed: (link: Link) => void) {
    this.#near = near;
    this.#far = connect({ port, host: '127.0.0.1', noDelay: true });
    near.setNoDelay();
    const end = (): void => {
      if (this.isClosed) return;
      this.isClosed = true;
      near.destroy();
      this.#far.destroy();
      for (const way of Object.values(this.#ways)) way.close();
      closed(this);
    };
    this.#ways = {
      up: new Way(this.#far, /Upgrade: websocket[\s\S]*?\r\n\r\n/i, random, end),
      down: new Way(near, /101 Switching[\s\S]*?\r\n\r\n/, random, end),
    };
    near.on('data', (bytes) => this.#ways.up.push(bytes));
    this.#far.on('data', (bytes) => this.#ways.down.push(bytes));
    for (const socket of [near, this.#far]) socket.on('close', end).on('error', end);
  }

  /** Frames that have passed, both ways. */
  get messages(): number {
    return this.#ways.up.messages + this.#ways.down.messages;
  }

  strike(kind: LinkFault, direction: Direction): Promise<boolean> {
    return this.isClosed ? Promise.resolve(false) : this.#ways[direction].strike(kind);
  }

  end(): void {
    this.#near.destroy();
    this.#far.destroy();
  }
}

export class FaultyProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();

  private constructor(server: Server, port: number, random: Random) {
    this.#server = server;
    server.on('connection', (near) => {
      this.#links.add(new Link(near, port, random, (link) => this.#links.delete(link)));
    });
  }

  /** A proxy to this port of loopback. */
  static async to(port: number, random: Random): Promise<FaultyProxy> {
    const server = createServer();
    const proxy = new FaultyProxy(server, port, random);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** A connection on which at least so many frames have passed. */
  link(messages = 0): Link | undefined {
    return [...this.#links].find((link) => link.messages >= messages && !link.isClosed);
  }

  close(): void {
    this.#server.close();
    for (const link of this.#links) link.end();
  }
}
