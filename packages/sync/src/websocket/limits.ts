import { HEADER_BYTES, MAX_CHUNK_BYTES } from '@lockstep/protocol';

/** One message is one frame. */
export const MAX_MESSAGE_BYTES = HEADER_BYTES + MAX_CHUNK_BYTES;
// From 2^31 on, ws takes a limit for none at all.
if (!(MAX_MESSAGE_BYTES > 0 && MAX_MESSAGE_BYTES < 2 ** 31)) throw new Error('maxPayload must be below 2^31');

/** Bounds of what strangers can make us hold. Times are milliseconds. */
export interface Limits {
  /** All connections of a listener, those that have yet to prove themselves included. */
  readonly connections: number;
  /** Connections of one address that have yet to prove themselves. */
  readonly unauthenticated: number;
  /** From the first byte of a connection to its upgrade. */
  readonly authenticationTime: number;
  /** For the header of a request. */
  readonly headerTime: number;
  /** Bytes that may wait to be sent to one peer, before it is dropped. */
  readonly buffered: number;
  /** Bytes that all peers together may make this end hold. See Note [One ceiling]. */
  readonly held: number;
  /** So long something may wait to be sent without any byte being taken, before the peer is dropped. */
  readonly stallTime: number;
}

export const DEFAULT_LIMITS: Limits = {
  connections: 1024,
  unauthenticated: 32,
  authenticationTime: 5_000,
  headerTime: 3_000,
  buffered: 2 ** 30,
  held: 2 ** 28,
  stallTime: 30_000,
};

/** Throws an Error for a limit that is no positive integer: 0 would mean "none" to some of those who are given it. */
export const checkLimits = (limits: Partial<Limits> = {}): Limits => {
  const all = { ...DEFAULT_LIMITS, ...limits };
  for (const [name, value] of Object.entries(all)) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new Error(`limits: ${name} is ${value}, expected an integer of at least 1`);
    }
  }
  return all;
};
