/**
 * The token that a node must know, and how both sides prove that they do.
 *
 * Note [The handshake]: on one connection, the node asks for a nonce (`GET /challenge`), and then asks for the upgrade
 * with `Authorization: Lockstep NONCE.NONCE_OF_THE_NODE.PROOF`, where PROOF is an HMAC-SHA256 by the token over a label,
 * both nonces, the host that the node meant to reach and the SHA-256 of the certificate that it saw. The server's answer
 * carries its own proof, with another label. So:
 * - the token itself never travels, and stands in no URL and no header;
 * - a nonce belongs to one connection, is good once, and ends with the time to authenticate: nothing can be replayed;
 * - nobody in the middle can pass the proofs on, since host and certificate would differ;
 * - the node does not follow a server that does not know the token.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { TransportError } from './errors.ts';

/** The least strength of a token. */
export const TOKEN_BITS = 128;
const NONCE_BYTES = 18;
const AUTHORIZATION = /^Lockstep ([\w-]{24})\.([\w-]{24})\.([\w-]{43})$/;

/** A new token: 256 random bits, as text that needs no quotes in a shell. */
export const createToken = (): string => `t${randomBytes(32).toString('base64url')}`;

export const createNonce = (): string => randomBytes(NONCE_BYTES).toString('base64url');

/**
 * Throws a TransportError for a token that could be guessed: it must be of visible ASCII characters, and hold 128 bits
 * if they were drawn by chance from the smallest of digits, hexadecimal digits and base64 that has them all.
 */
export const checkToken = (token: string): void => {
  const perCharacter = /^\d*$/.test(token) ? Math.log2(10) : /^[\da-f]*$/i.test(token) ? 4 : 6;
  const isWeak = token.length * perCharacter < TOKEN_BITS || new Set(token).size < 8;
  if (isWeak || !/^[\x21-\x7e]{1,256}$/.test(token)) {
    throw new TransportError(
      'TOKEN_WEAK',
      `the token has ${token.length} characters that could be guessed, expected ${TOKEN_BITS} random bits as 22 or more ` +
        'letters and digits (32 if they are hexadecimal); leave it out and one is made',
    );
  }
};

/** What a proof is about. */
export interface Proven {
  readonly token: string;
  readonly serverNonce: string;
  readonly nodeNonce: string;
  /** The host name or address that the node dialled. */
  readonly host: string;
  /** SHA-256 of the certificate, or '' without TLS. */
  readonly fingerprint: string;
}

export type Role = 'node' | 'server';

export const prove = (role: Role, { token, serverNonce, nodeNonce, host, fingerprint }: Proven): string =>
  createHmac('sha256', token)
    .update(`lockstep 1 ${role}\n${serverNonce}\n${nodeNonce}\n${host}\n${fingerprint}`)
    .digest('base64url');

/** Compares in a time that does not depend on where they differ. */
export const isProof = (role: Role, proven: Proven, proof: string): boolean => {
  const [expected, got] = [Buffer.from(prove(role, proven)), Buffer.from(proof)];
  return expected.length === got.length && timingSafeEqual(expected, got);
};

export const encodeAuthorization = (proven: Proven): string =>
  `Lockstep ${proven.serverNonce}.${proven.nodeNonce}.${prove('node', proven)}`;

export interface Authorization {
  readonly serverNonce: string;
  readonly nodeNonce: string;
  readonly proof: string;
}

export const decodeAuthorization = (header: string): Authorization | undefined => {
  const [, serverNonce, nodeNonce, proof] = AUTHORIZATION.exec(header) ?? [];
  if (serverNonce === undefined || nodeNonce === undefined || proof === undefined) return undefined;
  return { serverNonce, nodeNonce, proof };
};
