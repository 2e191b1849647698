/**
 * Chunks of 1 MiB over a WebSocket between two processes of this machine, checksums included: `node bench/wire.mjs`.
 * Prints GB/s, and the processor time that each end spends for a GB; both ways, and over TLS.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { dial, listen } from '@lockstep/sync';

const CHUNK = 1 << 20;
const COUNT = 2000;
const GB = (COUNT * CHUNK) / 1e9;
/** @type {import('@lockstep/protocol').FrameKey} */
const key = { type: 'weights', run: 1n, incarnation: 1, session: 1, step: 0, lo: 0, hi: 0, offset: 0 };

/** Seconds, and seconds of processor time, since it was made. */
const stopwatch = () => {
  const [begin, used] = [performance.now(), process.cpuUsage()];
  return () => {
    const { user, system } = process.cpuUsage(used);
    return { seconds: (performance.now() - begin) / 1000, busy: (user + system) / 1e6 };
  };
};

/**
 * From memory that threads share, as weights are sent.
 * @param {import('@lockstep/sync').Connection} connection
 */
const send = async (connection) => {
  const memory = new Uint8Array(new SharedArrayBuffer(16 * CHUNK)).fill(7);
  const stop = stopwatch();
  for (let i = 0; i < COUNT; i++) {
    const from = (i % 16) * CHUNK;
    connection.send(key, memory.subarray(from, from + CHUNK));
    if (connection.buffered > 8 * CHUNK) await connection.flushed();
  }
  await connection.flushed();
  tell('sends', stop());
};

/** Hears of all chunks, then closes. @type {import('@lockstep/sync').Accept} */
const receive = (connection) => {
  let count = 0;
  let stop = stopwatch();
  return {
    frame: () => {
      if (++count === 1) stop = stopwatch();
      if (count < COUNT) return;
      tell('receives', stop());
      connection.close();
    },
    closed: () => {},
  };
};

/** @type {import('@lockstep/sync').Accept} */
const silent = () => ({ frame: () => {}, closed: () => {} });

/**
 * @param {string} what
 * @param {{ seconds: number, busy: number }} time
 */
const tell = (what, { seconds, busy }) => {
  const who = process.send ? 'node' : 'coordinator';
  console.log(
    `  the ${who} ${what} ${(GB / seconds).toFixed(2)} GB/s, ${(busy / GB).toFixed(2)} s of processor time a GB`,
  );
};

const [, , direction = '', url = '', fingerprint = ''] = process.argv;
if (process.send) {
  const connection = await dial(
    { url, ...(fingerprint && { fingerprint }) },
    direction === 'up' ? silent : receive,
  );
  if (direction === 'up') await send(connection);
} else {
  for (const tls of [false, true]) {
    for (const way of ['up', 'down']) {
      console.log(`${way === 'up' ? 'node → coordinator' : 'coordinator → node'}${tls ? ', TLS' : ''}`);
      const listener = await listen({ port: 0, ...(tls && { tls: 'selfSigned' }) }, (connection) => {
        if (way === 'down') void send(connection);
        return way === 'up' ? receive(connection) : silent(connection);
      });
      const words = [way, String(listener.urls[0]), listener.fingerprint ?? ''];
      const child = fork(fileURLToPath(import.meta.url), words);
      await new Promise((resolve) => child.once('exit', resolve));
      await listener.close();
    }
  }
}
