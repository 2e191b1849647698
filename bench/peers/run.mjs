/**
 * Lockstep and its peers side by side: `pnpm bench:peers [--rounds 7] [--model 784-128-10] [--python python3]
 * [--peers pytorch,tensorflow.js,jax-js]` after a build. One trains at a time, in interleaved rounds; medians are compared,
 * with PyTorch at its best. Each peer that is installed takes part: PyTorch in a Python, the others by
 * `node bench/peers/install.mjs`. The figures also go to bench/results/peers.json.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { interleave, machine, table } from '../report.mjs';
import { installed } from './installed.mjs';
import { lockstep } from './lockstep.mjs';
import { models } from './models.mjs';
import { findPython, pytorch } from './pytorch.mjs';

/** Below this a PyTorch has no optimised BLAS, and a comparison says nothing. */
const FAIR_GFLOPS = 20;
/** A peer that needs longer for a step (s) is measured in one round. */
const SLOW = 2;

/** @typedef {import('./models.mjs').Model} Model */
/**
 * @typedef {object} Peer
 * @property {string} name
 * @property {string} product
 * @property {(model: Model) => import('./process.mjs').PeerProcess} start
 */

const ours = [
  { name: 'Lockstep, 1 worker', workers: 1, shards: 8 },
  { name: 'Lockstep, 2 workers', workers: 2, shards: 8 },
  { name: 'Lockstep, 2 workers, S = 2', workers: 2, shards: 2 },
];

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    model: { type: 'string' },
    python: { type: 'string' },
    peers: { type: 'string' },
  },
});

/** @returns {Peer[]} */
function findPeers() {
  const wanted = options.peers?.toLowerCase().split(',');
  const isWanted = (/** @type {string} */ product) => wanted?.includes(product.toLowerCase()) ?? true;
  const leaveOut = (/** @type {string} */ product, /** @type {string} */ reason) => {
    if (isWanted(product)) console.log(`${product} is left out: ${reason}\n`);
  };
  /** @type {Peer[]} */
  const peers = [];
  const python = findPython(options.python ? [options.python] : ['python3', '/usr/bin/python3']);
  if (!python) leaveOut('PyTorch', 'no python3 here can import torch (Debian: apt install python3-torch)');
  else if (isWanted('PyTorch')) {
    for (const [name, threads, processes] of /** @type {const} */ ([
      ['1 thread', 1, 1],
      ['2 threads', 2, 1],
      ['DDP, 2 processes', 1, 2],
    ])) {
      const start = (/** @type {Model} */ model) => pytorch(python, model, { threads, processes });
      peers.push({ name: `PyTorch, ${name}`, product: 'PyTorch', start });
    }
  }
  for (const product of new Set(installed.map((peer) => peer.product))) {
    const own = installed.filter((peer) => peer.product === product);
    if (!own.every((peer) => peer.present()))
      leaveOut(product, 'not installed (node bench/peers/install.mjs)');
    else if (isWanted(product)) peers.push(...own);
  }
  return peers;
}

/** @param {Model} model @param {readonly Peer[]} peers */
async function compare(model, peers) {
  /** @type {(Peer & { process: import('./process.mjs').PeerProcess, about: import('./process.mjs').About })[]} */
  const present = [];
  /** @type {import('./process.mjs').PeerProcess[]} */
  const processes = [];
  try {
    for (const peer of peers) {
      const process = peer.start(model);
      processes.push(process);
      // One after the other: each warms up alone.
      present.push({ ...peer, process, about: await process.about() });
    }
    const results = await interleave(
      [
        ...ours.map((own) => ({ name: own.name, measure: lockstep(model, own) })),
        ...present
          .filter(({ about }) => about.missing === undefined)
          .map(({ name, process, about }) => ({
            name,
            measure: () => process.round(),
            ...((about.secondsPerStep ?? 0) > SLOW && { rounds: 1 }),
          })),
      ],
      Number(options.rounds),
    );
    return { model, peers: present.map(({ name, product, about }) => ({ name, product, about })), results };
  } finally {
    for (const process of processes) process.close();
  }
}

/** @param {Awaited<ReturnType<typeof compare>>} comparison */
function show({ model, peers, results }) {
  const best = Math.min(
    ...results.filter(({ name }) => name.startsWith('PyTorch')).map(({ median }) => median),
  );
  const fastest = Math.min(...results.slice(0, ours.length).map(({ median }) => median));
  const versions = new Map(peers.map(({ product, about }) => [product, about.version]));
  const title = [
    `${model.name}, batch ${model.batch}`,
    ...[...versions].map(([name, version]) => `${name} ${version}`),
  ];
  const rows = results.map(({ name, median, min, max }) => [
    ...[name, median * 1e3, min * 1e3, max * 1e3, model.batch / median],
    Number.isFinite(best) ? `${(best / median).toFixed(2)}×` : '',
    `${(median / fastest).toFixed(2)}×`,
  ]);
  for (const { name, about } of peers) {
    if (about.missing !== undefined) rows.push([`${name}: ${about.missing}`, '–', '–', '–', '–', '–', '–']);
  }
  const header = ['ms a step (median)', 'min', 'max', 'samples/s', 'against the best PyTorch'];
  console.log(`${table([title.join(', '), ...header, 'times Lockstep’s best'], rows)}\n`);
  const gflops = peers.find(({ about }) => about.productGflops !== undefined)?.about.productGflops;
  if (gflops !== undefined && gflops < FAIR_GFLOPS) {
    console.log(
      `NOT A FAIR COMPARISON: the matrix product of this PyTorch reaches ${gflops.toFixed(1)} GFLOP/s, so it ` +
        'uses the reference BLAS. Install an optimised one (Debian: apt install libopenblas0-pthread).\n',
    );
  }
}

const chosen = models.filter(({ name }) => options.model === undefined || name === options.model);
if (chosen.length === 0) {
  console.error(`--model is ${options.model}, expected one of ${models.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const peers = findPeers();
console.log(`## Peers: float32, Adam, synthetic data\n\n${machine()}\n`);
const comparisons = [];
for (const model of chosen) {
  const comparison = await compare(model, peers);
  show(comparison);
  comparisons.push(comparison);
}
const folder = new URL('../results/', import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(
  new URL('peers.json', folder),
  `${JSON.stringify({ machine: machine(), comparisons }, null, 2)}\n`,
);
