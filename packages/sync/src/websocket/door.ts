import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TRANSPORT_CODES, type TransportCode } from './errors.ts';
import { plainAddress } from './hosts.ts';
import type { Limits } from './limits.ts';

/** So long one who was refused has to read why. */
const LINGER = 500;

/** Someone who was refused before the connection stood. */
export interface Refusal {
  readonly code: TransportCode;
  /** Where it came from, as far as is known. */
  readonly address: string;
}

interface Visitor {
  readonly address: string;
  readonly timer: NodeJS.Timeout;
  /** What can be written to: with TLS, not before its handshake. */
  front: Duplex | undefined;
  isStranger: boolean;
}

/** Counts connections from their first moment, and shows strangers out in time. */
export class Door {
  readonly #limits: Limits;
  readonly #refused: (refusal: Refusal) => void;
  readonly #visitors = new Map<string, Visitor>();
  /** How many of each address are strangers. */
  readonly #strangers = new Map<string, number>();
  /** Those who are being told that there is no room. */
  #turnedAway = 0;

  constructor(limits: Limits, refused: (refusal: Refusal) => void) {
    this.#limits = limits;
    this.#refused = refused;
  }

  get size(): number {
    return this.#visitors.size;
  }

  /** A socket was accepted; `isPlain`: it speaks without TLS. */
  enter(socket: Socket, isPlain: boolean): void {
    const key = keyOf(socket);
    const address = addressOf(socket);
    const front = isPlain ? socket : undefined;
    const strangers = this.#strangers.get(address) ?? 0;
    if (key === undefined) socket.destroy();
    else if (this.#visitors.size >= this.#limits.connections)
      this.#turnAway(socket, front, 'TOO_MANY_CONNECTIONS');
    else if (strangers >= this.#limits.unauthenticated)
      this.#turnAway(socket, front, 'TOO_MANY_UNAUTHENTICATED');
    else {
      const timer = setTimeout(() => this.#overdue(socket, key), this.#limits.authenticationTime);
      this.#visitors.set(key, { address, timer, front, isStranger: true });
      this.#strangers.set(address, strangers + 1);
      socket.once('close', () => {
        this.authenticated(key);
        this.#visitors.delete(key);
      });
    }
  }

  /** The TLS handshake is done: `front` speaks for the socket. */
  secured(front: Socket): void {
    const visitor = this.#visitors.get(keyOf(front) ?? '');
    if (visitor !== undefined) visitor.front = front;
  }

  /** The visitor has proved itself: from now on it counts as a connection only. */
  authenticated(key: string | undefined): void {
    const visitor = this.#visitors.get(key ?? '');
    if (visitor === undefined || !visitor.isStranger) return;
    visitor.isStranger = false;
    clearTimeout(visitor.timer);
    const left = this.#strangers.get(visitor.address)! - 1;
    if (left === 0) this.#strangers.delete(visitor.address);
    else this.#strangers.set(visitor.address, left);
  }

  /** Says why, and ends the connection. */
  refuse(front: Duplex, address: string, code: TransportCode, message: string): void {
    this.#refused({ code, address });
    showOut(front, code, message);
  }

  #overdue(socket: Socket, key: string): void {
    const { front, address } = this.#visitors.get(key)!;
    this.#refused({ code: 'AUTHENTICATION_TIMEOUT', address });
    if (front === undefined) socket.destroy();
    else showOut(front, 'AUTHENTICATION_TIMEOUT', `no proof within ${this.#limits.authenticationTime} ms`);
  }

  #turnAway(socket: Socket, front: Duplex | undefined, code: TransportCode): void {
    this.#refused({ code, address: addressOf(socket) });
    // Who comes in masses is not answered one by one.
    if (front === undefined || this.#turnedAway > this.#limits.unauthenticated) {
      socket.destroy();
      return;
    }
    this.#turnedAway++;
    socket.once('close', () => {
      this.#turnedAway--;
    });
    showOut(front, code, 'come back later');
  }
}

/** Names a socket, also when TLS has wrapped it; undefined when it is gone already. */
export const keyOf = ({ remoteAddress, remotePort }: Socket): string | undefined =>
  remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`;

export const addressOf = ({ remoteAddress }: Socket): string => plainAddress(remoteAddress ?? 'unknown');

/** The body of a refusal, which the other end reads by its code. */
export const refusalBody = (code: TransportCode, message: string): string =>
  `${JSON.stringify({ code, message })}\n`;

const showOut = (front: Duplex, code: TransportCode, message: string): void => {
  if (!front.writable) {
    front.destroy();
    return;
  }
  const status: number = TRANSPORT_CODES[code] ?? 400;
  const body = refusalBody(code, message);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  front.on('error', () => front.destroy());
  // What still comes is read and dropped: a socket that is closed with unread bytes takes its last words back.
  front.resume();
  front.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  setTimeout(() => front.destroy(), LINGER).unref();
};
