/**
 * Connections over WebSockets: `listen` for the coordinator, `dial` for a node. What is loaded for it is loaded when it is
 * first used: a run on one machine never does.
 */
import type { Accept, Connection } from '../transport/transport.ts';
import type { Certificate } from './certificate.ts';
import type { DialOptions, Listener, ListenOptions } from './options.ts';

export type { Certificate } from './certificate.ts';
export type { Refusal } from './door.ts';
export { type TransportCode, TransportError } from './errors.ts';
export { isLoopback } from './hosts.ts';
export { DEFAULT_LIMITS, type Limits } from './limits.ts';
export {
  DEFAULT_HOST,
  DEFAULT_PORT,
  type DialOptions,
  type Listener,
  type ListenOptions,
} from './options.ts';
export { checkToken, createToken, TOKEN_BITS } from './token.ts';

/** A certificate that vouches for itself, as `tls: 'selfSigned'` makes one: nodes pin its fingerprint. */
export const createCertificate = async (): Promise<Certificate> =>
  (await import('./certificate.ts')).createCertificate();

/**
 * Listens for nodes. `accept` is called for each that may connect, before its first frame.
 *
 * Rejects with a TransportError for a token that could be guessed, and with Node's error where it cannot listen.
 */
export const listen = async (options: ListenOptions, accept: Accept): Promise<Listener> =>
  (await import('./listen.ts')).openListener(options, accept);

/**
 * Connects to a listener. `accept` is called when the connection stands, before its first frame.
 *
 * Rejects with a TransportError: the server's reason when it refuses, or why it could not be reached.
 */
export const dial = async (options: DialOptions, accept: Accept): Promise<Connection> =>
  (await import('./dial.ts')).openConnection(options, accept);
