/**
 * Both ends say in the handshake which version of the protocol they speak, so that the reason for a refusal arrives in full:
 * the close frame that refuses a frame of another version has room for 123 bytes.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { PROTOCOL_VERSION } from '@lockstep/protocol';
import { printable, type TransportCode } from './errors.ts';

export const VERSION_HEADER = 'Lockstep-Protocol';

/** Why this end can't talk to a peer that sent these headers; undefined: it can. */
export const wrongVersion = (
  peer: 'node' | 'coordinator',
  headers: IncomingHttpHeaders,
): [TransportCode, string] | undefined => {
  const version = headers[VERSION_HEADER.toLowerCase()];
  // Whoever doesn't say is found out by its first frame, if it isn't a browser that only asks for a page.
  if (version === undefined || version === String(PROTOCOL_VERSION)) return undefined;
  const other = peer === 'node' ? 'coordinator' : 'node';
  return [
    'BAD_VERSION',
    `the ${peer} speaks version ${printable(String(version), 16)} of the protocol, the ${other} version ` +
      `${PROTOCOL_VERSION}; install the same version of Lockstep on both machines`,
  ];
};
