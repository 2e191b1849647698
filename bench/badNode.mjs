/**
 * A node that is of no use, for bench/cluster.mjs: `node bench/badNode.mjs idle|rejoin URL NAME`.
 *
 * idle    takes everything and answers pings, but returns no gradient once it is told to stop (SIGUSR2), or ever (`idle`)
 * rejoin  computes like any other, and its connection ends and is made again every second
 *
 * Writes a line of JSON for what a node reports, but the first step alone that it computes.
 */
import { startNode } from '@lockstep/cluster';
import { dial } from '@lockstep/sync';

const [kind, url = '', name = 'bad'] = process.argv.slice(2);
let hasComputed = false;
let isIdle = kind === 'idle';
process.on('SIGUSR2', () => {
  isIdle = true;
});

/** @param {import('@lockstep/sync').Connection} connection @returns {import('@lockstep/sync').Connection} */
const withoutGradients = (connection) => ({
  id: connection.id,
  peer: connection.peer,
  get buffered() {
    return connection.buffered;
  },
  send: (key, payload) => {
    if (!(isIdle && key.type === 'gradient')) connection.send(key, payload);
  },
  flushed: () => connection.flushed(),
  close: (code, message) => connection.close(code, message),
});

const node = startNode({
  dial: async (accept) => {
    /** @type {import('@lockstep/sync').Connection | undefined} */
    let made;
    const connection = await dial({ url }, (own) => {
      made = withoutGradients(own);
      return accept(made);
    });
    if (kind === 'rejoin') setTimeout(() => connection.close(), 1000);
    return made ?? connection;
  },
  name,
  workers: 1,
  kernels: 'auto',
  backoff: { first: 10, longest: 100 },
  report: (report) => {
    const isComputing = report.type === 'computing';
    if (!(isComputing && hasComputed)) console.log(JSON.stringify(report));
    hasComputed ||= isComputing;
  },
});
await node.ended.catch(() => {});
