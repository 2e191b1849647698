/** Many peers at once, each within its own limits: together they make a listener hold no more than its ceiling. */
import { connect as connectSecure } from 'node:tls';
import { encodeHeader, MAX_CHUNK_BYTES } from '@lockstep/protocol';
import { afterEach, expect, test } from 'vitest';
import { key, Peer, type Place, place, Raw, upgradeRequest, webSocketFrame } from '../../test/peers.ts';
import { dial, type ListenOptions } from './index.ts';

const MEBIBYTE = 1 << 20;
const CEILING = 8 * MEBIBYTE;
const PEERS = 20;

let at: Place;
let honest: Peer;
/** The most that was held at any time that somebody looked. */
let most = 0;
const start = async (options: ListenOptions = {}): Promise<void> => {
  at = await place({ limits: { held: CEILING, authenticationTime: 60_000 }, ...options });
  honest = new Peer();
  const { fingerprint } = at;
  await dial({ url: at.urls[0]!, ...(fingerprint && { fingerprint }) }, honest.accept);
  await goesOn();
  most = 0;
};
afterEach(async () => at.close());

/** The honest node is still answered. */
const goesOn = async (): Promise<void> => {
  const count = honest.heard.length + 1;
  honest.connection!.send(key({ step: count }), new Uint8Array(1000));
  expect((await honest.hears(count)).at(-1)?.header.step).toBe(count);
  expect(honest.reason).toBeUndefined();
  most = Math.max(most, at.heldBytes);
};

/** Peers that were let in, one after the other, and the listener's ends of them. */
const intruders = async (isSecure = false): Promise<{ raw: Raw; end: Peer }[]> => {
  const all: { raw: Raw; end: Peer }[] = [];
  for (let i = 0; i < PEERS; i++) {
    const socket = isSecure
      ? connectSecure({ port: at.port, host: '127.0.0.1', rejectUnauthorized: false })
      : undefined;
    const raw = new Raw(at.port, socket);
    raw.write(upgradeRequest());
    await raw.until(/101 Switching/);
    all.push({ raw, end: at.peers.at(-1)! });
  }
  return all;
};
const leave = async (all: readonly { raw: Raw; end: Peer }[]): Promise<void> => {
  for (const { raw } of all) raw.socket.destroy();
  for (const { end } of all) await end.closes();
  await goesOn();
  expect(at.heldBytes).toBe(0);
};
const codesOf = (all: readonly { end: Peer }[]): (string | undefined)[] =>
  all.map(({ end }) => end.reason?.code);

test.each<[string, ListenOptions, number[]]>([
  ['as nodes write', {}, [0, 0, 0, 0]],
  ['with masks', {}, [1, 2, 3, 4]],
  ['over TLS', { tls: 'selfSigned' }, [0, 0, 0, 0]],
])('who begin a message and do not end it, %s', async (_, options, mask) => {
  await start(options);
  const all = await intruders(options.tls !== undefined);
  const payload = new Uint8Array(MAX_CHUNK_BYTES);
  const message = Uint8Array.from([...encodeHeader(key(), payload), ...payload]);
  const beginning = webSocketFrame(2, message, { mask }).subarray(0, 900_000);
  const dropped = (): number => codesOf(all).filter((code) => code === 'MEMORY_LIMIT').length;
  // One after the other, so that it is known who has waited longest.
  for (const [i, { raw }] of all.entries()) {
    raw.write(beginning);
    const atLeast = Math.min(CEILING - 2 * MEBIBYTE, (i + 1) * 800_000);
    for (let tries = 0; tries < 500 && at.heldBytes < atLeast; tries++) await goesOn();
  }
  // As many as fit stay.
  for (let tries = 0; tries < 500 && dropped() < PEERS - CEILING / 900_000; tries++) await goesOn();
  expect(dropped()).toBeGreaterThanOrEqual(PEERS - CEILING / 900_000);
  expect(most).toBeLessThanOrEqual(CEILING);
  expect(most).toBeGreaterThan(CEILING / 2);
  const codes = codesOf(all);
  expect(new Set(codes)).toEqual(new Set(['MEMORY_LIMIT', undefined]));
  // Those who had waited longest.
  expect(codes.lastIndexOf('MEMORY_LIMIT')).toBeLessThan(codes.indexOf(undefined));
  await leave(all);
});

test.each([
  ['each something else', true],
  ['all the same', false],
])('who are sent weights and do not read them, %s', async (_, differ) => {
  await start();
  const all = await intruders();
  for (const { raw } of all) raw.socket.pause();
  const payloads = Array.from({ length: 7 }, () => new Uint8Array(MAX_CHUNK_BYTES));
  for (const { end } of all) {
    for (const payload of payloads) {
      end.connection!.send(key({ type: 'weights' }), differ ? payload.slice() : payload);
      most = Math.max(most, at.heldBytes);
    }
  }
  await goesOn();
  expect(most).toBeGreaterThan(CEILING / 2);
  expect(most).toBeLessThanOrEqual(CEILING + MAX_CHUNK_BYTES);
  // The same bytes are held once, whoever waits for them.
  expect(new Set(codesOf(all))).toEqual(new Set(differ ? ['MEMORY_LIMIT', undefined] : [undefined]));
  await leave(all);
});

test('who send pings in masses and read nothing', async () => {
  await start();
  const all = await intruders();
  const before = all.map(({ raw }) => raw.received.length);
  const pings = Buffer.concat(Array.from({ length: 2000 }, () => webSocketFrame(9, new Uint8Array(120))));
  for (const { raw } of all) raw.socket.pause();
  for (let i = 0; i < 5; i++) {
    for (const { raw } of all) raw.write(pings);
    await goesOn();
  }
  for (const { raw, end } of all) {
    raw.socket.resume();
    raw.write(webSocketFrame(2, Uint8Array.from([...encodeHeader(key(), new Uint8Array(4)), 0, 0, 0, 0])));
    await end.hears(1);
    await raw.until(/LKSP/);
  }
  await goesOn();
  expect(most).toBeLessThan(MEBIBYTE);
  // Only the echo of the frame came, and no pong.
  for (const [i, { raw }] of all.entries()) expect(raw.received.length - before[i]!).toBeLessThan(200);
  await leave(all);
});

test('who ask for status again and again and read nothing', async () => {
  await start();
  const ask = 'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'.repeat(20_000);
  const all = Array.from({ length: PEERS }, () => new Raw(at.port));
  for (const raw of all) {
    raw.socket.pause();
    raw.write(ask);
  }
  await goesOn();
  for (const raw of all) raw.socket.resume();
  // Each is answered once.
  for (const raw of all) {
    await raw.closed;
    expect(raw.received.toString().split('HTTP/1.1 ').length - 1).toBeLessThanOrEqual(1);
  }
  await goesOn();
});
