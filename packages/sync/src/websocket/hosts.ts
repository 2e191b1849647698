import { BlockList, isIP } from 'node:net';
import { TransportError } from './errors.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** `::ffff:192.0.2.1`, as sockets that take both kinds write it, is 192.0.2.1. */
export const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '');

/** Whether only this machine can reach it. */
export const isLoopback = (host: string): boolean => {
  const address = plainAddress(host);
  const kind = isIP(address);
  return kind === 0 ? host === 'localhost' : loopback.check(address, kind === 4 ? 'ipv4' : 'ipv6');
};

/** An address as it stands in a URL. */
export const inUrl = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);

/** The host of a Host header, without port and brackets; undefined when it is none. */
export const hostOf = (header: string | undefined): string | undefined => {
  const [, bracketed, plain] = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/i.exec(header ?? '') ?? [];
  return (bracketed ?? plain)?.toLowerCase();
};

/**
 * Whether a Host header may have brought a request here: the address at which it arrived, `localhost` when that is
 * loopback, or a name that was allowed. A page on the web can make its own name lead to any address (DNS rebinding),
 * but not say another name than its own.
 */
export const isHostAllowed = (host: string, arrivedAt: string, allowed: readonly string[]): boolean =>
  host === plainAddress(arrivedAt).toLowerCase() ||
  (host === 'localhost' && isLoopback(arrivedAt)) ||
  allowed.some((name) => name.toLowerCase() === host);

/** Throws a TransportError on what no Host header can name. */
export const checkHostName = (name: string): void => {
  if (isIP(name) !== 0 || hostOf(name) === name.toLowerCase()) return;
  throw new TransportError(
    'HOST_MALFORMED',
    `got ${JSON.stringify(name)}, expected a name or an address, without scheme and port`,
  );
};
