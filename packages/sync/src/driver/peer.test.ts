/** What a peer is sent when it asks for content, and when it doesn't read. */
import { describe, expect, test } from 'vitest';
import type { Connection } from '../transport/transport.ts';
import type { Content } from './coordinatorHost.ts';
import { Peer } from './peer.ts';

const MEBIBYTE = 1 << 20;

/** A connection whose other end reads when it is told to. */
class SlowConnection implements Connection {
  readonly id = 1;
  readonly peer = 'test';
  buffered = 0;
  sent = 0;
  #waiting: (() => void)[] = [];

  send(_: unknown, payload: Uint8Array): void {
    this.buffered += payload.byteLength;
    this.sent += payload.byteLength;
  }

  async flushed(): Promise<void> {
    if (this.buffered > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Reads all that was sent. */
  async read(): Promise<void> {
    this.buffered = 0;
    for (const resolve of this.#waiting.splice(0)) resolve();
    await new Promise(setImmediate);
  }

  close(): void {}
}

const contentOf = (length: number): Content => ({
  hash: '0'.repeat(64),
  length,
  read: (from, to) => new Uint8Array(to - from),
});
const peerOf = () => {
  const connection = new SlowConnection();
  const peer = new Peer(connection, { run: 1n, incarnation: 1 }, { sent: 0, received: 0 });
  return { connection, peer };
};

describe('a flood of requests for content', () => {
  test.each([
    ['small content', 100_000, 100_000],
    ['content of a few chunks', 3 * MEBIBYTE, 3 * MEBIBYTE],
    ['large content', 100 * MEBIBYTE, 5 * MEBIBYTE],
  ])('of %s: at most %d bytes wait', async (_, length, most) => {
    const { connection, peer } = peerOf();
    for (let i = 0; i < 10_000; i++) void peer.stream('data', contentOf(length), 0);
    await new Promise(setImmediate);
    expect(connection.sent).toBeGreaterThan(0);
    expect(connection.sent).toBeLessThanOrEqual(most);
    // Nor does asking for the last bytes, again and again.
    for (let i = 0; i < 10_000; i++) void peer.stream('data', contentOf(length), length - 4);
    expect(connection.sent).toBeLessThanOrEqual(most);
  });

  test('while a peer that reads gets all of it, and again if it asks again', async () => {
    const { connection, peer } = peerOf();
    const content = contentOf(20 * MEBIBYTE);
    for (const times of [1, 2]) {
      const done = peer.stream('data', content, 0);
      while (connection.sent < times * content.length) await connection.read();
      await connection.read();
      await done;
    }
    expect(connection.sent).toBe(2 * content.length);
  });
});
