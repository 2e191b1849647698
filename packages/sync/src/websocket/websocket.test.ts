import { X509Certificate } from 'node:crypto';
import { decodeHeader, encodeHeader, MAX_CHUNK_BYTES, type ProtocolError } from '@lockstep/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { key, Peer, type Place, place, Raw, TOKEN, upgradeRequest } from '../../test/peers.ts';
import { createCertificate, fingerprintOfPem, parseFingerprint } from './certificate.ts';
import { decodeReason, encodeReason } from './errors.ts';
import { hostOf, isHostAllowed, isLoopback } from './hosts.ts';
import { checkToken, createToken, type DialOptions, dial, type ListenOptions } from './index.ts';

const open: Place[] = [];
const opened = async (options?: ListenOptions): Promise<Place> => {
  const made = await place(options);
  open.push(made);
  return made;
};
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i * 31 + (i >> 8));
const join = async (at: Place, over: Partial<DialOptions> = {}): Promise<Peer> => {
  const peer = new Peer();
  const { token, fingerprint } = at;
  const secrets = { ...(token ? { token } : {}), ...(fingerprint ? { fingerprint } : {}) };
  await dial({ url: at.urls[0]!, ...secrets, ...over }, peer.accept);
  return peer;
};
const refusalOf = (work: () => unknown): ProtocolError => {
  try {
    work();
  } catch (error) {
    return error as ProtocolError;
  }
  throw new Error('expected a refusal');
};
const codeOf = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'fine',
    (error: { code?: unknown }) => error.code,
  );

describe('frames go both ways', () => {
  const lengths = [1, 3, 4, 77, 78, 125, 126, 1000, 65_487, 65_488, 65_536, 300_001, MAX_CHUNK_BYTES];
  test.each<[string, ListenOptions]>([
    ['as they are', {}],
    ['with a token', { token: TOKEN }],
    ['over TLS', { tls: 'selfSigned' }],
    ['over TLS with a token', { tls: 'selfSigned', token: TOKEN }],
    ['on IPv6', { host: '::1', token: TOKEN }],
  ])('%s', async (_, options) => {
    const at = await opened(options);
    const node = await join(at);
    for (const [step, length] of lengths.entries()) node.connection!.send(key({ step }), bytes(length));
    await node.connection!.flushed();
    expect(node.connection!.buffered).toBe(0);
    for (const side of [at.peers[0]!, node]) {
      const heard = await side.hears(lengths.length);
      expect(heard.map(({ header }) => header.step)).toEqual(lengths.map((_, step) => step));
      for (const [i, { payload }] of heard.entries()) {
        expect(Buffer.compare(payload, bytes(lengths[i]!)), `${lengths[i]} bytes`).toBe(0);
      }
    }
  });

  test('also to a client that masks, in one part or two', async () => {
    const at = await opened();
    const ws = new WebSocket(at.urls[0]!);
    await new Promise((resolve) => ws.once('open', resolve));
    const payload = bytes(5000);
    const header = encodeHeader(key(), payload);
    ws.send(Buffer.concat([header, payload]));
    ws.send(header, { fin: false });
    ws.send(payload, { fin: true });
    const heard = await at.peers[0]!.hears(2);
    for (const each of heard) expect(Buffer.compare(each.payload, payload)).toBe(0);
    ws.terminate();
  });

  test('from memory that threads share', async () => {
    const at = await opened();
    const node = await join(at);
    const shared = new Uint8Array(new SharedArrayBuffer(4096)).subarray(8);
    shared.set(bytes(4088));
    node.connection!.send(key(), shared);
    const [heard] = await node.hears(1);
    expect(Buffer.compare(heard!.payload, bytes(4088))).toBe(0);
  });

  test('many at once, in order, and flushed() waits for those before it', async () => {
    const at = await opened();
    const node = await join(at);
    const payload = bytes(MAX_CHUNK_BYTES);
    for (let step = 0; step < 40; step++) node.connection!.send(key({ step }), payload);
    expect(node.connection!.buffered).toBeGreaterThan(30 * MAX_CHUNK_BYTES);
    await node.connection!.flushed();
    expect(node.connection!.buffered).toBe(0);
    const heard = await node.hears(40);
    expect(heard.map(({ header }) => header.step)).toEqual(Array.from({ length: 40 }, (_, step) => step));
  });
});

describe('a connection ends', () => {
  test('with a reason for both, after what was sent', async () => {
    const at = await opened();
    const node = await join(at);
    for (let step = 0; step < 8; step++) node.connection!.send(key({ step }), bytes(MAX_CHUNK_BYTES));
    node.connection!.close('LEFT', 'good bye');
    node.connection!.close('AGAIN');
    node.connection!.send(key(), bytes(4));
    expect(await node.closes()).toEqual({ code: 'LEFT', message: 'good bye' });
    expect(await at.peers[0]!.closes()).toMatchObject({ code: 'LEFT' });
    expect(at.peers[0]!.heard).toHaveLength(8);
    await node.connection!.flushed();
    expect(at.connections).toBe(0);
  });

  test('when the listener closes', async () => {
    const at = await opened();
    const [a, b] = [await join(at), await join(at)];
    await at.close('STOPPED', 'the run ends');
    expect(await a.closes()).toMatchObject({ code: 'STOPPED' });
    expect(await b.closes()).toMatchObject({ code: 'STOPPED' });
    expect(await codeOf(join(at))).toBe('UNREACHABLE');
  });

  test('when the other end closes without a close frame', async () => {
    const at = await opened();
    const raw = new Raw(at.port);
    raw.write(upgradeRequest());
    await raw.until(/101 Switching/);
    raw.socket.resetAndDestroy();
    expect((await at.peers[0]!.closes()).code).toBe('RESET');
  });

  test.each([
    [{ code: 'DAMAGED', message: 'why' }, 'DAMAGED: why'],
    [{ code: 'LONG', message: 'x'.repeat(500) }, `LONG: ${'x'.repeat(117)}`],
    [{ code: 'CUT', message: `${'x'.repeat(117)}ééé` }, `CUT: ${'x'.repeat(117)}`],
  ])('%j fits in a close frame', (reason, text) => {
    expect(encodeReason(reason)).toBe(text);
    expect(decodeReason(text).code).toBe(reason.code);
  });
  test('why a frame of another version is refused fits in a close frame', () => {
    const header = encodeHeader(key(), bytes(4)).with(4, 255);
    const error = refusalOf(() => decodeHeader(header));
    expect(error.code).toBe('BAD_VERSION');
    const reason = { code: error.code, message: error.message.slice('BAD_VERSION: '.length) };
    expect(encodeReason(reason)).toBe(error.message);
  });
  test('a reason without a code', () =>
    expect(decodeReason('bye: ok')).toEqual({ code: 'CLOSED', message: 'bye: ok' }));
});

describe('tokens', () => {
  test.each([
    createToken(),
    TOKEN,
    '0123456789abcdef0123456789abcdef',
    '012345678901234567890123456789012345678',
  ])('%s is strong enough', (token) => expect(checkToken(token)).toBeUndefined());
  test.each([
    '',
    'secret',
    'correct-horse-battery',
    '0123456789abcdef0123456789abcde',
    '01234567890123456789012345678901234567',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'with spaces in between 0123456789',
    'x'.repeat(300),
  ])('%j is not', (token) =>
    expect(() => checkToken(token)).toThrow(/^TOKEN_WEAK: .* expected 128 random bits/),
  );

  test('one is made where others reach the listener, and only there', async () => {
    expect((await opened()).token).toBeUndefined();
    const { token, urls } = await opened({ host: '0.0.0.0' });
    expect(checkToken(token!)).toBeUndefined();
    for (const url of urls) expect(url).toMatch(/^ws:\/\/\d+\.\d+\.\d+\.\d+:\d+$/);
  });

  test('a weak one is refused before anything listens', async () => {
    expect(await codeOf(opened({ token: 'hunter2' }))).toBe('TOKEN_WEAK');
  });

  test('never travels, and no error repeats it', async () => {
    const at = await opened({ token: TOKEN });
    let seen = '';
    const { createServer, connect } = await import('node:net');
    const tap = createServer((near) => {
      const far = connect(at.port, '127.0.0.1');
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.on('data', (chunk) => {
          seen += chunk.toString('latin1');
          to.write(chunk);
        });
        from.on('error', () => {});
        from.on('close', () => to.destroy());
      }
    });
    await new Promise<void>((resolve) => tap.listen(0, '127.0.0.1', resolve));
    const { port } = tap.address() as { port: number };
    const url = `ws://127.0.0.1:${port}`;
    const node = await join(at, { url });
    node.connection!.send(key(), bytes(10));
    await node.hears(1);
    const other = `other-${TOKEN}`;
    const wrong = await join(at, { url, token: other }).catch((error: Error) => error);
    expect(wrong).toMatchObject({ code: 'TOKEN_WRONG' });
    expect(String((wrong as Error).stack)).not.toContain(TOKEN);
    expect(seen).toContain('Authorization: Lockstep ');
    expect(seen).not.toContain(TOKEN);
    node.connection!.close();
    await node.closes();
    tap.close();
  });
});

describe('a node is refused, and told why', () => {
  test.each<[string, ListenOptions, Partial<DialOptions>, string]>([
    ['without a token', { token: TOKEN }, { token: undefined as never }, 'TOKEN_REQUIRED'],
    ['with a wrong token', { token: TOKEN }, { token: createToken() }, 'TOKEN_WRONG'],
    ['with a token that nobody asked for', {}, { token: TOKEN }, 'TOKEN_UNEXPECTED'],
    ['by another certificate', { tls: 'selfSigned' }, { fingerprint: '0'.repeat(64) }, 'FINGERPRINT_WRONG'],
    [
      'by an unknown authority',
      { tls: 'selfSigned' },
      { fingerprint: undefined as never },
      'CERTIFICATE_UNTRUSTED',
    ],
  ])('%s', async (_, options, over, code) => {
    const at = await opened(options);
    expect(await codeOf(join(at, over))).toBe(code);
    expect(at.peers).toEqual([]);
    expect((await join(at)).connection).toBeDefined();
  });

  test.each([
    ['ws://127.0.0.1:1', 'UNREACHABLE'],
    ['http://127.0.0.1:1', 'URL_MALFORMED'],
    [`ws://127.0.0.1:1/?token=${TOKEN}`, 'URL_MALFORMED'],
    [`ws://me:${TOKEN}@127.0.0.1:1`, 'URL_MALFORMED'],
    ['not a url', 'URL_MALFORMED'],
  ])('at %s', async (url, code) => {
    const failed = await dial({ url }, new Peer().accept).catch((error: Error) => error);
    expect(failed).toMatchObject({ code });
    expect((failed as Error).message).not.toContain(TOKEN);
  });

  test('with a fingerprint that is none', async () => {
    const failed = dial({ url: 'wss://127.0.0.1:1', fingerprint: 'ab:cd' }, new Peer().accept);
    expect(await failed.catch((error: Error) => error)).toMatchObject({
      code: 'FINGERPRINT_MALFORMED',
      isFinal: true,
    });
  });

  test('at the port that is usual, when none was named: the message names it', async () => {
    await expect(dial({ url: 'ws://127.0.0.255', timeout: 100 }, new Peer().accept)).rejects.toThrow(
      /ws:\/\/127\.0\.0\.255:80: /,
    );
  });

  test('by a server that cannot prove the token itself', async () => {
    const { createServer } = await import('node:http');
    const { WebSocketServer } = await import('ws');
    const server = createServer((_, response) => response.end(JSON.stringify({ nonce: 'n'.repeat(24) })));
    new WebSocketServer({ server });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const peer = new Peer();
    expect(await codeOf(dial({ url: `ws://127.0.0.1:${port}`, token: TOKEN }, peer.accept))).toBe(
      'SERVER_UNPROVEN',
    );
    expect(peer.connection).toBeUndefined();
    server.close();
  });

  test.each([
    ['1', 'fine'],
    ['99', 'BAD_VERSION'],
  ])('by a coordinator of version %s: %s', async (version, outcome) => {
    const { createServer } = await import('node:http');
    const { WebSocketServer } = await import('ws');
    const server = createServer();
    const sockets = new WebSocketServer({ server });
    sockets.on('headers', (headers) => headers.push(`Lockstep-Protocol: ${version}`));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const peer = new Peer();
    const dialed = dial({ url: `ws://127.0.0.1:${port}` }, peer.accept);
    expect(await codeOf(dialed)).toBe(outcome);
    const why = await dialed.catch((error: Error) => error.message);
    if (outcome !== 'fine') {
      expect(why).toMatch(/coordinator speaks version 99 .*, the node version 1; install the same version/);
    }
    for (const client of sockets.clients) client.terminate();
    server.close();
  });

  test('by a coordinator that gives a long reason: all of it', async () => {
    const { createServer } = await import('node:http');
    const message = `the coordinator speaks version 99 of the protocol, ${'x'.repeat(200)} end`;
    const server = createServer();
    server.on('upgrade', (_, socket) => {
      const body = JSON.stringify({ code: 'BAD_VERSION', message });
      socket.end(`HTTP/1.1 400 Bad Request\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const failed = await dial({ url: `ws://127.0.0.1:${port}` }, new Peer().accept).catch(
      (error: Error) => error,
    );
    expect(failed).toMatchObject({ code: 'BAD_VERSION', isFinal: true });
    expect((failed as Error).message).toContain(message);
    server.close();
  });

  test('by whoever does not answer', async () => {
    const { createServer } = await import('node:net');
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const url = `ws://127.0.0.1:${port}`;
    expect(await codeOf(dial({ url, timeout: 100 }, new Peer().accept))).toBe('TIMEOUT');
    silent.close();
  });
});

describe('hosts', () => {
  test.each([
    ['127.0.0.1:7070', '127.0.0.1'],
    ['LOCALHOST', 'localhost'],
    ['[::1]:80', '::1'],
    ['a.b:1', 'a.b'],
    ['a b', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%s is %s', (header, host) => expect(hostOf(header)).toBe(host));
  test.each([
    ['127.0.0.1', '127.0.0.1', true],
    ['localhost', '127.0.0.1', true],
    ['localhost', '192.0.2.1', false],
    ['192.0.2.1', '::ffff:192.0.2.1', true],
    ['192.0.2.2', '192.0.2.1', false],
    ['attacker.example', '127.0.0.1', false],
    ['trainer.lan', '192.0.2.1', true],
  ])('%s, arrived at %s: %s', (host, arrived, expected) =>
    expect(isHostAllowed(host, arrived, ['Trainer.lan'])).toBe(expected),
  );
  test.each([{ host: '' }, { host: 'a:1' }, { hosts: [''] }, { hosts: ['http://a'] }])(
    'what no node can dial is refused: %j',
    async (options) => expect(await codeOf(opened(options))).toBe('HOST_MALFORMED'),
  );
  test.each([
    ['127.9.9.9', true],
    ['::1', true],
    ['localhost', true],
    ['0.0.0.0', false],
    ['192.168.0.1', false],
    ['example.org', false],
  ])('%s is loopback: %s', (host, expected) => expect(isLoopback(host)).toBe(expected));
});

describe('a certificate for one start', () => {
  test('is what TLS needs, and differs each time', async () => {
    const [a, b] = [await createCertificate(), await createCertificate()];
    const { validFromDate, validToDate, ...x509 } = read(a.cert);
    expect(x509).toEqual({ subject: 'CN=lockstep', issuer: 'CN=lockstep', ca: false, isOwn: true });
    expect(validFromDate).toBeLessThan(Date.now());
    expect(validToDate).toBeGreaterThan(Date.now() + 360 * 86_400_000);
    expect(fingerprintOfPem(a.cert)).toMatch(/^[\da-f]{64}$/);
    expect(fingerprintOfPem(a.cert)).not.toBe(fingerprintOfPem(b.cert));
    expect(parseFingerprint(new X509Certificate(a.cert).fingerprint256)).toBe(fingerprintOfPem(a.cert));
  });

  test('that was given is looked at before anything listens', async () => {
    const [own, other] = [await createCertificate(), await createCertificate()];
    for (const [tls, says] of [
      [{ ...own, key: other.key }, /the key is not that of the certificate/],
      [{ ...own, cert: 'none' }, /the certificate is not PEM/],
      [{ ...own, key: own.cert }, /the key is not PEM/],
    ] as const)
      await expect(opened({ tls })).rejects.toThrow(says);
    expect((await opened({ tls: own })).fingerprint).toBe(fingerprintOfPem(own.cert));
  });

  const read = (pem: string) => {
    const certificate = new X509Certificate(pem);
    const { subject, issuer, ca, validFrom, validTo } = certificate;
    const isOwn = certificate.verify(certificate.publicKey);
    return {
      subject,
      issuer,
      ca,
      isOwn,
      validFromDate: Date.parse(validFrom),
      validToDate: Date.parse(validTo),
    };
  };
});
