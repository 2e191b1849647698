import { Agent, get, type IncomingMessage } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { connect as connectSecure, type TLSSocket } from 'node:tls';
import { PROTOCOL_VERSION } from '@lockstep/protocol';
import { WebSocket } from 'ws';
import type { Accept, Connection } from '../transport/transport.ts';
import { fingerprintOf, parseFingerprint } from './certificate.ts';
import { SOCKET_OPTIONS, WebSocketConnection } from './connection.ts';
import { decodeRefusal, type TransportCode, TransportError } from './errors.ts';
import { HeldBytes } from './heldBytes.ts';
import { inUrl } from './hosts.ts';
import { connectInlet } from './inlet.ts';
import { checkLimits } from './limits.ts';
import type { DialOptions } from './options.ts';
import { createNonce, encodeAuthorization, isProof, type Proven } from './token.ts';
import { VERSION_HEADER, wrongVersion } from './version.ts';

const DEFAULT_TIMEOUT = 10_000;
const OWN_VERSION = { [VERSION_HEADER]: PROTOCOL_VERSION };
/** Of an answer that is no upgrade. */
const MAX_ANSWER_BYTES = 4096;

interface Target {
  readonly host: string;
  readonly port: number;
  readonly isSecure: boolean;
  readonly fingerprint: string | undefined;
}

export const openConnection = async (options: DialOptions, accept: Accept): Promise<Connection> => {
  const { timeout = DEFAULT_TIMEOUT } = options;
  checkLimits(options.limits);
  const target = readTarget(options);
  const socket = target.isSecure ? openSecure(target) : connectInlet(target.host, target.port);
  const timer = setTimeout(() => {
    socket.destroy(new TransportError('TIMEOUT', `no connection within ${timeout} ms`));
  }, timeout);
  const gone = new Promise<never>((_, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new TransportError('UNREACHABLE', 'the connection was closed')));
  });
  try {
    return await Promise.race([gone, handshake(socket, target, options, accept)]);
  } catch (error) {
    socket.destroy();
    throw explained(error, target);
  } finally {
    clearTimeout(timer);
  }
};

const handshake = async (
  socket: Socket,
  target: Target,
  { token, limits }: DialOptions,
  accept: Accept,
): Promise<Connection> => {
  await secured(socket, target);
  // Everything happens on one connection: the nonce is good on no other.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => socket;
  const proven = token === undefined ? undefined : await challenge(agent, socket, target, token);
  return upgrade(agent, target, proven, (ws) => {
    const peer = `${inUrl(target.host)}:${target.port}`;
    return new WebSocketConnection(
      {
        ws,
        socket,
        peer,
        isServer: false,
        limits: checkLimits(limits),
        held: new HeldBytes(Number.POSITIVE_INFINITY),
      },
      accept,
    );
  });
};

const readTarget = ({ url, fingerprint }: DialOptions): Target => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const { protocol = '', hostname = '', port = '', pathname = '', search = '', hash = '' } = parsed ?? {};
  const isBare = pathname === '/' && search === '' && hash === '' && !parsed?.username && !parsed?.password;
  if (!/^wss?:$/.test(protocol) || hostname === '' || !isBare) {
    // The URL is not repeated: someone may have put the token into it.
    throw new TransportError(
      'URL_MALFORMED',
      'expected ws://host:port or wss://host:port, and nothing after it',
    );
  }
  const isSecure = protocol === 'wss:';
  if (fingerprint !== undefined && !isSecure) {
    throw new TransportError(
      'URL_MALFORMED',
      'a fingerprint needs wss://: without TLS there is no certificate',
    );
  }
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    // WHATWG URLs drop the port that is usual for the scheme.
    port: port === '' ? (isSecure ? 443 : 80) : Number(port),
    isSecure,
    fingerprint: fingerprint === undefined ? undefined : parseFingerprint(fingerprint),
  };
};

const openSecure = ({ host, port, fingerprint }: Target): TLSSocket =>
  connectSecure({
    host,
    port,
    minVersion: 'TLSv1.3',
    ...(isIP(host) === 0 ? { servername: host } : {}),
    // A pinned certificate needs nobody who vouches for it; nothing is sent before its fingerprint was compared.
    rejectUnauthorized: fingerprint === undefined,
  });

const secured = async (socket: Socket, { isSecure, fingerprint }: Target): Promise<void> => {
  await new Promise<void>((resolve) => socket.once(isSecure ? 'secureConnect' : 'connect', resolve));
  if (fingerprint === undefined || seenFingerprint(socket) === fingerprint) return;
  throw new TransportError(
    'FINGERPRINT_WRONG',
    'the certificate is not the one that was pinned: another server answers, or it was started anew',
  );
};

/** SHA-256 of the certificate that the server showed; '' without TLS. */
const seenFingerprint = (socket: Socket): string =>
  'getPeerCertificate' in socket ? fingerprintOf((socket as TLSSocket).getPeerCertificate().raw) : '';

/** Asks for a nonce: what is to be proved with it. See Note [The handshake]. */
const challenge = async (agent: Agent, socket: Socket, target: Target, token: string): Promise<Proven> => {
  const { host, port } = target;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get({ agent, host, port, path: '/challenge', headers: OWN_VERSION }, resolve).once('error', reject);
  });
  const body = await readBody(response);
  const serverNonce = response.statusCode === 200 ? readNonce(body) : undefined;
  if (serverNonce === undefined) throw decodeRefusal(response.statusCode ?? 0, body);
  // As in a Host header, which is what the server sees.
  return { token, serverNonce, nodeNonce: createNonce(), host, fingerprint: seenFingerprint(socket) };
};

const readNonce = (body: string): string | undefined => {
  try {
    const { nonce } = JSON.parse(body) as Record<string, unknown>;
    return typeof nonce === 'string' && /^[\w-]{24}$/.test(nonce) ? nonce : undefined;
  } catch {
    return undefined;
  }
};

const upgrade = (
  agent: Agent,
  { host, port }: Target,
  proven: Proven | undefined,
  open: (ws: WebSocket) => Connection,
): Promise<Connection> =>
  new Promise((resolve, reject) => {
    // TLS, where there is any, is the agent's business.
    const ws = new WebSocket(`ws://${inUrl(host)}:${port}/`, {
      ...SOCKET_OPTIONS,
      agent,
      headers: {
        ...OWN_VERSION,
        ...(proven !== undefined && { Authorization: encodeAuthorization(proven) }),
      },
      // Masks keep web pages from writing bytes of their choice past proxies; a node is no web page. Zeros cost nothing.
      generateMask: (mask) => mask.fill(0),
    });
    ws.once('upgrade', ({ headers }) => {
      const proof = headers['lockstep-proof'];
      const isProven =
        proven === undefined || (typeof proof === 'string' && isProof('server', proven, proof));
      const wrong: [TransportCode, string] | undefined = isProven
        ? wrongVersion('coordinator', headers)
        : ['SERVER_UNPROVEN', 'the server does not know the token'];
      if (wrong === undefined) return;
      reject(new TransportError(...wrong));
      ws.terminate();
    });
    ws.once('unexpected-response', async (_, response) => {
      try {
        reject(decodeRefusal(response.statusCode ?? 0, await readBody(response)));
      } catch (error) {
        reject(error);
      }
    });
    ws.on('error', reject);
    // In the same turn: frames may be here already.
    ws.once('open', () => resolve(open(ws)));
  });

const readBody = async (response: IncomingMessage): Promise<string> => {
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) {
    body += chunk;
    if (body.length > MAX_ANSWER_BYTES)
      throw new TransportError('NOT_LOCKSTEP', 'the server answers with too much');
  }
  return body;
};

const UNTRUSTED = /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/;

/** Any failure as a TransportError that says whom it was about: with the port, which a URL may leave out. */
const explained = (error: unknown, { host, port, isSecure }: Target): TransportError => {
  const url = `${isSecure ? 'wss' : 'ws'}://${inUrl(host)}:${port}`;
  if (error instanceof TransportError) {
    return new TransportError(error.code, `${url}: ${error.message.slice(error.code.length + 2)}`);
  }
  const { code = '', message } = error as Error & { code?: string };
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return new TransportError(
      'CERTIFICATE_UNTRUSTED',
      `${url}: its certificate is for other names; use one of them, or give its fingerprint`,
    );
  }
  if (UNTRUSTED.test(code)) {
    return new TransportError(
      'CERTIFICATE_UNTRUSTED',
      `${url}: its certificate is not trusted by this machine (${code}); give its fingerprint`,
    );
  }
  if (code.startsWith('ERR_SSL') || code === 'EPROTO' || code.startsWith('HPE_')) {
    return new TransportError(
      'NOT_LOCKSTEP',
      `${url}: no answer that makes sense; is it ws:// or wss://? (${code})`,
    );
  }
  const why = UNREACHABLE[code];
  return new TransportError('UNREACHABLE', `${url}: ${why ? `${why} (${code})` : code || message}`);
};

/** What a system's codes mean to the one who typed the address. */
const UNREACHABLE: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing is listening there',
  ECONNRESET: 'the other end hung up; is it ws:// or wss://?',
  EHOSTUNREACH: 'no route to this host',
  ENETUNREACH: 'no route to this network',
  ENOTFOUND: 'no host of this name is known',
  EAI_AGAIN: 'the name of the host cannot be looked up',
};
