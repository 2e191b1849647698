import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Certificate } from './certificate.ts';
import type { Refusal } from './door.ts';
import type { Limits } from './limits.ts';

export const DEFAULT_HOST = '127.0.0.1';
export const DEFAULT_PORT = 7070;

export interface ListenOptions {
  /** Address to listen on; default 127.0.0.1, which only this machine reaches. `0.0.0.0` and `::`: every one it has. */
  readonly host?: string;
  /** Default 7070; 0: any that is free. */
  readonly port?: number;
  /** What nodes must know. On an address that others reach, one is made when none is given; on loopback, none is needed. */
  readonly token?: string;
  /** wss: with this certificate, or one that is made for this start and that nodes pin by its fingerprint. */
  readonly tls?: 'selfSigned' | Certificate;
  /** Further names by which nodes reach this machine (a Host header must be an address of it or one of its names). */
  readonly hosts?: readonly string[];
  /** Web pages that may connect, as `https://example.org`; default none. Nodes are no web pages and send no Origin. */
  readonly origins?: readonly string[];
  readonly limits?: Partial<Limits>;
  /** Answers other HTTP requests, of hosts and origins that are allowed. They have not proved the token. */
  readonly request?: (request: IncomingMessage, response: ServerResponse) => void;
  /** Hears of every connection that is refused before it stands. */
  readonly refused?: (refusal: Refusal) => void;
}

export interface Listener {
  /** Where nodes reach it: one URL per address. */
  readonly urls: readonly string[];
  readonly port: number;
  /** What nodes must know, given or made. */
  readonly token: string | undefined;
  /** SHA-256 of the certificate, for nodes to pin; undefined without TLS. */
  readonly fingerprint: string | undefined;
  /** Connections now, those that have yet to prove themselves included. */
  readonly connections: number;
  /** Bytes that all peers together make this end hold now. */
  readonly heldBytes: number;
  /** Listens no more and closes what is open, with this reason. */
  close(code?: string, message?: string): Promise<void>;
}

export interface DialOptions {
  /** `ws://host:port` or `wss://host:port`. Never holds a token. */
  readonly url: string;
  readonly token?: string;
  /** SHA-256 of the server's certificate: then no one else needs to vouch for it. */
  readonly fingerprint?: string;
  readonly limits?: Partial<Limits>;
  /** Milliseconds until the connection must stand; default 10,000. */
  readonly timeout?: number;
}
