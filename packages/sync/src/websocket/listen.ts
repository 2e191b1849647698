import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, isIP, type Socket } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import type { Duplex } from 'node:stream';
import { PROTOCOL_VERSION } from '@lockstep/protocol';
import { WebSocketServer } from 'ws';
import type { Accept } from '../transport/transport.ts';
import { checkCertificate, createCertificate, fingerprintOfPem } from './certificate.ts';
import { SOCKET_OPTIONS, WebSocketConnection } from './connection.ts';
import { addressOf, Door, keyOf, refusalBody } from './door.ts';
import { TRANSPORT_CODES, type TransportCode, TransportError } from './errors.ts';
import { HeldBytes } from './heldBytes.ts';
import { checkHostName, hostOf, inUrl, isHostAllowed, isLoopback } from './hosts.ts';
import { acceptInlets } from './inlet.ts';
import { checkLimits, type Limits } from './limits.ts';
import { DEFAULT_HOST, DEFAULT_PORT, type Listener, type ListenOptions } from './options.ts';
import {
  checkToken,
  createNonce,
  createToken,
  decodeAuthorization,
  isProof,
  type Proven,
  prove,
} from './token.ts';
import { VERSION_HEADER, wrongVersion } from './version.ts';

/** Bytes of all headers of a request. */
const MAX_HEADER_BYTES = 8192;

export const openListener = async (options: ListenOptions, accept: Accept): Promise<Listener> => {
  const { host = DEFAULT_HOST, port = DEFAULT_PORT, tls, hosts = [] } = options;
  const limits = checkLimits(options.limits);
  if (options.token !== undefined) checkToken(options.token);
  for (const name of [host, ...hosts]) checkHostName(name);
  if (typeof tls === 'object') checkCertificate(tls);
  const token = options.token ?? (isLoopback(host) ? undefined : createToken());
  const certificate = tls === 'selfSigned' ? await createCertificate() : tls;
  const http = {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: limits.headerTime,
    requestTimeout: limits.authenticationTime,
    // Announced to clients, who do not use a connection again shortly before; the door is what ends them.
    keepAliveTimeout: limits.authenticationTime + 5_000,
    connectionsCheckingInterval: Math.min(1000, limits.headerTime),
  };
  const server =
    certificate === undefined
      ? createServer(http)
      : createSecureServer({
          ...http,
          cert: certificate.cert,
          key: certificate.key,
          minVersion: 'TLSv1.3',
          handshakeTimeout: limits.authenticationTime,
        });
  const fingerprint = certificate === undefined ? undefined : fingerprintOfPem(certificate.cert);
  const gate = new Gate(server, { options, limits, token, fingerprint }, accept);
  if (certificate === undefined) acceptInlets(server);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const actual = (server.address() as AddressInfo).port;
  const scheme = certificate === undefined ? 'ws' : 'wss';
  return {
    urls: reachable(host).map((address) => `${scheme}://${inUrl(address)}:${actual}`),
    port: actual,
    token,
    fingerprint,
    get connections() {
      return gate.connections;
    },
    get heldBytes() {
      return gate.held.total;
    },
    close: async (code = 'CLOSED', message = 'the server ends') => gate.close(code, message),
  };
};

/** The addresses that lead to a listener on `host`; of all, those that other machines reach first. */
const reachable = (host: string): string[] => {
  if (host !== '0.0.0.0' && host !== '::') return [host];
  const found = Object.values(networkInterfaces())
    .flat()
    .flatMap((each) => (each === undefined || (each.family === 'IPv6' && host === '0.0.0.0') ? [] : [each]))
    .filter(({ address }) => !address.startsWith('fe80:'));
  const [outer, inner] = [
    found.filter(({ internal }) => !internal),
    found.filter(({ internal }) => internal),
  ];
  return [...outer, ...inner].map(({ address }) => address);
};

interface GateOptions {
  readonly options: ListenOptions;
  readonly limits: Limits;
  readonly token: string | undefined;
  readonly fingerprint: string | undefined;
}

/** Takes requests from a server, and lets through those who may connect. See Note [The handshake]. */
class Gate {
  readonly #server: Server;
  readonly #options: ListenOptions;
  readonly #limits: Limits;
  readonly #token: string | undefined;
  readonly #fingerprint: string;
  readonly #accept: Accept;
  readonly #door: Door;
  readonly #sockets = new WebSocketServer({ ...SOCKET_OPTIONS, noServer: true, clientTracking: false });
  /** The nonce that was given out on a connection, until it is used. */
  readonly #nonces = new WeakMap<Duplex, string>();
  /** What is open, and the end of each. */
  readonly #open = new Map<WebSocketConnection, Promise<unknown>>();
  readonly #hosts: readonly string[];
  readonly held: HeldBytes;

  constructor(server: Server, { options, limits, token, fingerprint = '' }: GateOptions, accept: Accept) {
    this.#server = server;
    this.#options = options;
    this.#limits = limits;
    this.held = new HeldBytes(limits.held);
    this.#token = token;
    this.#fingerprint = fingerprint;
    this.#accept = accept;
    this.#door = new Door(limits, options.refused ?? (() => {}));
    const { host = DEFAULT_HOST, hosts = [] } = options;
    this.#hosts = [hostname(), `${hostname()}.local`, ...hosts, ...(isIP(host) === 0 ? [host] : [])];
    server.on('connection', (socket: Socket) => this.#door.enter(socket, fingerprint === ''));
    server.on('secureConnection', (socket: Socket) => this.#door.secured(socket));
    server.on('clientError', (error, socket) => this.#malformed(error, socket as Socket));
    server.on('request', (request, response) => this.#answer(request, response));
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#sockets.on('wsClientError', (error, socket, request) =>
      this.#refuse(request, socket, 'HTTP_MALFORMED', error.message),
    );
  }

  get connections(): number {
    return this.#door.size;
  }

  /** Who was let in is to say something in time, too: without a token that is all that is known of it. */
  readonly #introduced: Accept = (connection) => {
    const { authenticationTime } = this.#limits;
    const { frame, closed } = this.#accept(connection);
    const timer = setTimeout(
      () => connection.close('AUTHENTICATION_TIMEOUT', `nothing was said within ${authenticationTime} ms`),
      authenticationTime,
    );
    return {
      frame: (header, payload) => {
        clearTimeout(timer);
        frame(header, payload);
      },
      closed: (reason) => {
        clearTimeout(timer);
        closed(reason);
      },
    };
  };

  async close(code: string, message: string): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const ends = [closed, ...this.#open.values()];
    for (const connection of this.#open.keys()) connection.close(code, message);
    this.#server.closeIdleConnections();
    await Promise.all(ends);
  }

  /** Why a request may not come in, whatever it wants. */
  #stranger({ headers, rawHeaders, socket }: IncomingMessage): [TransportCode, string] | undefined {
    const repeated = UNIQUE_HEADERS.find((name) => countHeader(rawHeaders, name) > 1);
    if (repeated !== undefined)
      return ['HTTP_MALFORMED', `got more than one ${repeated} header, expected one`];
    const host = hostOf(headers.host);
    if (host === undefined || !isHostAllowed(host, socket.localAddress ?? '', this.#hosts)) {
      return ['HOST_NOT_ALLOWED', 'this is not a name of the server; name it when the server is started'];
    }
    const { origin } = headers;
    if (origin !== undefined && !(this.#options.origins ?? []).includes(origin)) {
      return ['ORIGIN_NOT_ALLOWED', 'web pages may not connect; allow the origin when the server is started'];
    }
    return wrongVersion('node', headers);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const stranger = this.#stranger(request);
    if (stranger !== undefined) this.#deny(request, response, ...stranger);
    else if (request.method === 'GET' && request.url === '/challenge') this.#challenge(request, response);
    else if (this.#options.request !== undefined) {
      // Who only asks how things stand proves nothing: kept open, the connection would be shown out as a stranger's.
      response.setHeader('Connection', 'close');
      this.#options.request(request, response);
    } else this.#deny(request, response, 'NOT_FOUND', 'there is nothing here');
  }

  #challenge(request: IncomingMessage, response: ServerResponse): void {
    if (this.#token === undefined) {
      this.#deny(
        request,
        response,
        'TOKEN_UNEXPECTED',
        'the server was started without a token: leave it out',
      );
      return;
    }
    const nonce = createNonce();
    this.#nonces.set(request.socket, nonce);
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Cache-Control': 'no-store',
      [VERSION_HEADER]: PROTOCOL_VERSION,
    });
    response.end(JSON.stringify({ nonce }));
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    try {
      const nodeNonce = this.#authenticate(request);
      // Added to the answer by the `headers` event, which ws emits in this turn.
      const proof = nodeNonce === undefined ? [] : [`Lockstep-Proof: ${prove('server', nodeNonce)}`];
      const answer = [`${VERSION_HEADER}: ${PROTOCOL_VERSION}`, ...proof];
      this.#sockets.once('headers', (headers) => headers.push(...answer));
      this.#sockets.handleUpgrade(request, socket, head, (ws) => {
        this.#door.authenticated(keyOf(request.socket));
        const { remotePort } = request.socket;
        const peer = `${inUrl(addressOf(request.socket))}:${remotePort}`;
        const connection = new WebSocketConnection(
          { ws, socket: request.socket, peer, isServer: true, limits: this.#limits, held: this.held },
          this.#introduced,
        );
        this.#open.set(connection, new Promise((resolve) => ws.once('close', resolve)));
        ws.on('close', () => this.#open.delete(connection));
      });
      this.#sockets.removeAllListeners('headers');
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
      this.#refuse(request, socket, error.code, error.message.slice(error.code.length + 2));
    }
  }

  /** What the server is to prove in turn; undefined where no token is needed. Throws a TransportError. */
  #authenticate(request: IncomingMessage): Proven | undefined {
    const stranger = this.#stranger(request);
    if (stranger !== undefined) throw new TransportError(...stranger);
    if (request.url !== '/') throw new TransportError('NOT_FOUND', 'there is nothing here');
    const header = request.headers.authorization;
    if (this.#token === undefined) {
      if (header === undefined) return undefined;
      throw new TransportError('TOKEN_UNEXPECTED', 'the server was started without a token: leave it out');
    }
    const nonce = this.#nonces.get(request.socket);
    this.#nonces.delete(request.socket);
    const authorization = header === undefined ? undefined : decodeAuthorization(header);
    if (authorization === undefined) {
      throw new TransportError(
        'TOKEN_REQUIRED',
        'the server needs a token; it was printed when the server started',
      );
    }
    const { serverNonce, nodeNonce, proof } = authorization;
    if (nonce === undefined || serverNonce !== nonce) {
      throw new TransportError('NONCE_UNKNOWN', 'the proof is not for this connection, or was used before');
    }
    const host = hostOf(request.headers.host) ?? '';
    const proven = { token: this.#token, serverNonce, nodeNonce, host, fingerprint: this.#fingerprint };
    if (isProof('node', proven, proof)) return proven;
    throw new TransportError('TOKEN_WRONG', 'the token is not the one of this server');
  }

  #deny(request: IncomingMessage, response: ServerResponse, code: TransportCode, message: string): void {
    this.#options.refused?.({ code, address: addressOf(request.socket) });
    response.writeHead(TRANSPORT_CODES[code] ?? 400, {
      'Content-Type': 'application/json',
      Connection: 'close',
    });
    response.end(refusalBody(code, message));
  }

  #refuse(request: IncomingMessage, socket: Duplex, code: TransportCode, message: string): void {
    this.#door.refuse(socket, addressOf(request.socket), code, message);
  }

  #malformed(error: Error & { code?: string }, socket: Socket): void {
    // A connection that ends in the middle of a request is nothing to answer.
    if (!socket.writable || error.code === 'ECONNRESET') socket.destroy();
    else
      this.#door.refuse(
        socket,
        addressOf(socket),
        HTTP_ERRORS[error.code ?? ''] ?? 'HTTP_MALFORMED',
        'not read',
      );
  }
}

/**
 * Headers that decide who may come in. Node keeps the first of several and drops the rest, while a proxy in front may have
 * checked another one of them.
 */
const UNIQUE_HEADERS = ['Host', 'Origin', 'Authorization', VERSION_HEADER] as const;

/** @param rawHeaders names and values in turn, as they came */
const countHeader = (rawHeaders: readonly string[], name: string): number =>
  rawHeaders.filter((text, i) => i % 2 === 0 && text.toLowerCase() === name.toLowerCase()).length;

const HTTP_ERRORS: Readonly<Record<string, TransportCode>> = {
  HPE_HEADER_OVERFLOW: 'HTTP_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'AUTHENTICATION_TIMEOUT',
};
