/** Peers that mean no good. Each is refused with its stable code, and an honest node goes on beside it. */
import { encodeHeader, MAX_CHUNK_BYTES } from '@lockstep/protocol';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  key,
  Peer,
  type Place,
  place,
  Raw,
  TOKEN,
  upgradeRequest,
  webSocketFrame,
} from '../../test/peers.ts';
import type { TransportError } from './errors.ts';
import { dial, type Limits, type ListenOptions } from './index.ts';
import { MAX_MESSAGE_BYTES } from './limits.ts';
import { encodeAuthorization } from './token.ts';

let at: Place;
let honest: Peer;
const start = async (options: ListenOptions = {}): Promise<void> => {
  at = await place(options);
  honest = new Peer();
  await dial({ url: at.urls[0]!, ...(at.token ? { token: at.token } : {}) }, honest.accept);
  // Whoever comes in is to say something.
  await goesOn();
};
/** The honest node is still answered. */
const goesOn = async (): Promise<void> => {
  const count = honest.heard.length + 1;
  honest.connection!.send(key({ step: count }), Uint8Array.of(1, 2, 3));
  expect((await honest.hears(count)).at(-1)?.header.step).toBe(count);
  expect(honest.reason).toBeUndefined();
};
afterEach(async () => at.close());

/** Asks for a nonce on a connection. */
const challenge = async (raw: Raw): Promise<string> => {
  raw.write('GET /challenge HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
  return /"nonce":"([\w-]{24})"/.exec(await raw.until(/"nonce":"[\w-]{24}"/))![1]!;
};
const authorization = (serverNonce: string, token = TOKEN, host = '127.0.0.1'): Record<string, string> => ({
  Authorization: encodeAuthorization({
    token,
    serverNonce,
    nodeNonce: 'n'.repeat(24),
    host,
    fingerprint: '',
  }),
});

/** A request with a header twice. */
const twice = (name: string, first: string, second: string): string =>
  upgradeRequest()
    .replace(`Host: 127.0.0.1\r\n`, name.toLowerCase() === 'host' ? '' : '$&')
    .replace('\r\n\r\n', `\r\n${name}: ${first}\r\n${name}: ${second}\r\n\r\n`);

describe('at the door', () => {
  beforeEach(async () => start({ token: TOKEN }));

  test.each<[string, string, string, number]>([
    ['no token', upgradeRequest(), 'TOKEN_REQUIRED', 401],
    ['another scheme', upgradeRequest({ Authorization: `Bearer ${TOKEN}` }), 'TOKEN_REQUIRED', 401],
    ['a nonce that nobody gave out', upgradeRequest(authorization('x'.repeat(24))), 'NONCE_UNKNOWN', 401],
    ['the name of a web page', upgradeRequest({ Host: 'attacker.example' }), 'HOST_NOT_ALLOWED', 403],
    [
      'no name',
      'GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      'HOST_NOT_ALLOWED',
      403,
    ],
    ['two names, the right one first', twice('Host', '127.0.0.1', 'attacker.example'), 'HTTP_MALFORMED', 400],
    ['two names, the right one last', twice('Host', 'attacker.example', '127.0.0.1'), 'HTTP_MALFORMED', 400],
    ['the same name twice', twice('HOST', '127.0.0.1', '127.0.0.1'), 'HTTP_MALFORMED', 400],
    [
      'two names in a question',
      'GET /challenge HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: attacker.example\r\n\r\n',
      'HTTP_MALFORMED',
      400,
    ],
    ['two proofs', twice('Authorization', 'none', 'none'), 'HTTP_MALFORMED', 400],
    ['two origins', twice('Origin', 'https://a.example', 'https://b.example'), 'HTTP_MALFORMED', 400],
    ['another version', upgradeRequest({ 'Lockstep-Protocol': '99' }), 'BAD_VERSION', 400],
    ['a web page', upgradeRequest({ Origin: 'https://attacker.example' }), 'ORIGIN_NOT_ALLOWED', 403],
    ['another path', upgradeRequest({}, '/../../etc/passwd'), 'NOT_FOUND', 404],
    ['a request for a file', 'GET /etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 'NOT_FOUND', 404],
    ['no HTTP', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 'HTTP_MALFORMED', 400],
    ['endless headers', `GET / HTTP/1.1\r\nHost: ${'x'.repeat(20_000)}`, 'HTTP_TOO_LARGE', 431],
  ])('%s', async (_, request, code, status) => {
    const raw = new Raw(at.port);
    raw.write(request);
    expect(await raw.code()).toBe(code);
    expect(raw.received.toString()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(at.refusals).toEqual([{ code, address: '127.0.0.1' }]);
    expect(at.peers).toHaveLength(1);
    await goesOn();
  });

  test('a wrong token, and the right one too late', async () => {
    const raw = new Raw(at.port);
    raw.write(upgradeRequest(authorization(await challenge(raw), `${TOKEN}x`)));
    expect(await raw.code()).toBe('TOKEN_WRONG');
    await goesOn();
  });

  test('a proof for another host: passed on by someone in the middle', async () => {
    const raw = new Raw(at.port);
    raw.write(upgradeRequest(authorization(await challenge(raw), TOKEN, '192.0.2.1')));
    expect(await raw.code()).toBe('TOKEN_WRONG');
    await goesOn();
  });

  test('a handshake that was recorded: on another connection, and on its own', async () => {
    const first = new Raw(at.port);
    const request = upgradeRequest(authorization(await challenge(first)));
    first.write(request);
    await first.until(/101 Switching/);
    const second = new Raw(at.port);
    await challenge(second);
    second.write(request);
    expect(await second.code()).toBe('NONCE_UNKNOWN');
    const third = new Raw(at.port);
    third.write(request);
    expect(await third.code()).toBe('NONCE_UNKNOWN');
    expect(at.peers).toHaveLength(2);
    first.socket.destroy();
    await goesOn();
  });

  test('deflate is not agreed to', async () => {
    const raw = new Raw(at.port);
    const offer = { 'Sec-WebSocket-Extensions': 'permessage-deflate' };
    raw.write(upgradeRequest({ ...authorization(await challenge(raw)), ...offer }));
    expect(await raw.until(/\r\n\r\n$/)).not.toMatch(/extensions|deflate/i);
    raw.socket.destroy();
  });
});

describe('too much or too slow', () => {
  const limits: Partial<Limits> = {
    authenticationTime: 300,
    headerTime: 100,
    unauthenticated: 4,
    connections: 8,
  };

  test.each<[string, string]>([
    ['says nothing', ''],
    ['stops in the middle of its headers', 'GET / HTTP/1.1\r\nHost: 127.0'],
    ['asks for a nonce and stays', 'GET /challenge HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'],
  ])('one who %s', async (_, request) => {
    await start({ token: TOKEN, limits });
    const raw = new Raw(at.port);
    raw.write(request);
    expect(await raw.code()).toBe('AUTHENTICATION_TIMEOUT');
    expect(at.refusals).toEqual([{ code: 'AUTHENTICATION_TIMEOUT', address: '127.0.0.1' }]);
    await goesOn();
  });

  test('one who comes in and says nothing', async () => {
    await start({ limits });
    const raw = new Raw(at.port);
    raw.write(upgradeRequest());
    await raw.until(/101 Switching/);
    expect(await at.peers[1]!.closes()).toMatchObject({ code: 'AUTHENTICATION_TIMEOUT' });
    raw.socket.destroy();
    await goesOn();
  });

  test('many who do not prove themselves: the rest is turned away, and room again later', async () => {
    await start({ token: TOKEN, limits });
    const many = Array.from({ length: 10 }, () => new Raw(at.port));
    await at.refusal(6);
    expect(at.refusals.map(({ code }) => code)).toEqual(Array(6).fill('TOO_MANY_UNAUTHENTICATED'));
    await goesOn();
    for (const each of many) await each.closed;
    // The listener may hear of their end a moment later.
    const late = new Peer();
    while (late.connection === undefined) {
      await dial({ url: at.urls[0]!, token: TOKEN }, late.accept).catch(() => {});
    }
    await goesOn();
  });

  test('more nodes than connections', async () => {
    await start({ limits });
    const nodes = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const peer = new Peer();
        return dial({ url: at.urls[0]! }, peer.accept).then(
          () => 'fine',
          (error: TransportError) => error.code,
        );
      }),
    );
    expect(nodes.filter((each) => each === 'fine').length).toBeLessThanOrEqual(7);
    expect(new Set(nodes)).toContain('TOO_MANY_CONNECTIONS');
    expect(at.connections).toBeLessThanOrEqual(8);
    await goesOn();
  });
});

describe('on an open connection', () => {
  beforeEach(async () => start({ limits: { buffered: 8 * MAX_CHUNK_BYTES, stallTime: 300 } }));

  /** A connection that was let in, and the listener's end of it. */
  const intruder = async (): Promise<[Raw, Peer]> => {
    const raw = new Raw(at.port);
    raw.write(upgradeRequest());
    await raw.until(/101 Switching/);
    return [raw, at.peers.at(-1)!];
  };
  const payload = new Uint8Array(64);
  const header = encodeHeader(key(), payload);
  const huge = encodeHeader(key(), payload);
  new DataView(huge.buffer).setUint32(36, 0xffff_ffff, true);
  const good = Uint8Array.from([...header, ...payload]);
  const damaged = good.with(60, 1);
  const masked = { mask: [1, 2, 3, 4] };

  test.each<[string, string, readonly Uint8Array[]]>([
    ['claims a message of 2^40 bytes', 'MESSAGE_TOO_LARGE', [webSocketFrame(2, payload, { claim: 2 ** 40 })]],
    [
      'claims 2^40 bytes with a mask',
      'MESSAGE_TOO_LARGE',
      [webSocketFrame(2, payload, { claim: 2 ** 40, ...masked })],
    ],
    [
      'claims one byte too many',
      'MESSAGE_TOO_LARGE',
      [webSocketFrame(2, payload, { claim: MAX_MESSAGE_BYTES + 1 })],
    ],
    ['claims too much in a header', 'BAD_HEADER', [webSocketFrame(2, huge)]],
    ['sends empty parts without end', 'TOO_MANY_FRAGMENTS', endless(2, new Uint8Array(0))],
    ['sends small parts without end', 'TOO_MANY_FRAGMENTS', endless(2, header.subarray(0, 1))],
    ['sends masked parts without end', 'TOO_MANY_FRAGMENTS', endless(2, header.subarray(0, 1), masked)],
    ['sends text', 'MESSAGE_MALFORMED', [webSocketFrame(1, new TextEncoder().encode('hello'))]],
    ['sends text that is none', 'STREAM_MALFORMED', [webSocketFrame(1, Uint8Array.of(0xff, 0xfe))]],
    ['sends half a frame', 'TRUNCATED', [webSocketFrame(2, good.subarray(0, 70))]],
    ['sends an empty message', 'MESSAGE_MALFORMED', [webSocketFrame(2, new Uint8Array(0))]],
    [
      'sends two frames in one message',
      'MESSAGE_MALFORMED',
      [webSocketFrame(2, Uint8Array.from([...good, ...good]))],
    ],
    [
      'speaks another protocol',
      'BAD_MAGIC',
      [webSocketFrame(2, new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n'))],
    ],
    ['sends a damaged payload', 'BAD_CHECKSUM', [webSocketFrame(2, damaged)]],
    ['sends a damaged payload with a mask', 'BAD_CHECKSUM', [webSocketFrame(2, damaged, masked)]],
    ['does not mask', 'STREAM_MALFORMED', [webSocketFrame(2, good, { mask: null })]],
    ['sends an unknown opcode', 'STREAM_MALFORMED', [webSocketFrame(5, good)]],
    ['sends a continuation of nothing', 'STREAM_MALFORMED', [webSocketFrame(0, good)]],
    [
      'begins a message in a message',
      'STREAM_MALFORMED',
      [webSocketFrame(2, header, { fin: false }), webSocketFrame(2, good)],
    ],
    ['sends a ping that is too long', 'STREAM_MALFORMED', [webSocketFrame(9, new Uint8Array(200))]],
    ['sends a broken close', 'STREAM_MALFORMED', [webSocketFrame(8, Uint8Array.of(3))]],
  ])('one who %s', async (_, code, frames) => {
    const [raw, end] = await intruder();
    for (const frame of frames) raw.write(frame);
    expect(await end.closes()).toMatchObject({ code });
    expect(end.heard.length).toBe(
      frames.length === 1 && frames[0]!.length > 200 && code === 'MESSAGE_MALFORMED' ? 1 : 0,
    );
    await goesOn();
    raw.socket.destroy();
  });

  test('one who sends frames in pieces of a byte is slow, but honest', async () => {
    const [raw, end] = await intruder();
    for (const byte of webSocketFrame(2, good)) raw.write(Uint8Array.of(byte));
    expect(Buffer.compare((await end.hears(1))[0]!.payload, payload)).toBe(0);
    raw.socket.destroy();
  });

  test('pings in masses are not answered', async () => {
    const [raw, end] = await intruder();
    const before = raw.received.length;
    for (let i = 0; i < 1000; i++) raw.write(webSocketFrame(9, new Uint8Array(100)));
    raw.write(webSocketFrame(2, good));
    await end.hears(1);
    await goesOn();
    // Only the echo of the frame came.
    expect(raw.received.length - before).toBeLessThan(200);
    raw.socket.destroy();
  });

  test('one who never reads, while it is sent more than the limit', async () => {
    const [raw, end] = await intruder();
    raw.socket.pause();
    const chunk = new Uint8Array(MAX_CHUNK_BYTES);
    for (let i = 0; i < 40 && end.reason === undefined; i++) end.connection!.send(key({ step: i }), chunk);
    expect(await end.closes()).toMatchObject({
      code: 'PEER_NOT_READING',
      message: expect.stringMatching(/limit is/),
    });
    expect(end.connection!.buffered).toBe(0);
    await end.connection!.flushed();
    await goesOn();
    raw.socket.destroy();
  });

  test('one who never reads does not hold up a close', async () => {
    const [raw, end] = await intruder();
    raw.socket.pause();
    const chunk = new Uint8Array(MAX_CHUNK_BYTES);
    for (let i = 0; i < 7; i++) end.connection!.send(key({ step: i }), chunk);
    end.connection!.close('LOST', 'no word from it');
    expect(await end.closes()).toMatchObject({ code: 'LOST' });
    raw.socket.destroy();
  });

  test('one who stops reading in the middle of what it is sent', async () => {
    const [raw, end] = await intruder();
    raw.socket.pause();
    const chunk = new Uint8Array(MAX_CHUNK_BYTES);
    for (let i = 0; i < 7; i++) end.connection!.send(key({ step: i }), chunk);
    expect(await end.closes()).toMatchObject({
      code: 'PEER_NOT_READING',
      message: expect.stringMatching(/nothing was taken for 300 ms/),
    });
    await goesOn();
    raw.socket.destroy();
  });
});

function endless(opcode: number, part: Uint8Array, options: { mask?: readonly number[] } = {}): Uint8Array[] {
  return Array.from({ length: 50 }, (_, i) =>
    webSocketFrame(i === 0 ? opcode : 0, part, { fin: false, ...options }),
  );
}
