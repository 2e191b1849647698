/**
 * Lockstep and PyTorch side by side: `pnpm bench:peers [--rounds 7] [--model 784-128-10] [--python python3]` after a build.
 * One trains at a time, in interleaved rounds; medians are compared, with PyTorch at its best. The figures also go to
 * bench/results/peers.json.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { interleave, machine, table } from '../report.mjs';
import { lockstep } from './lockstep.mjs';
import { models } from './models.mjs';
import { findPython, PyTorch } from './pytorch.mjs';

/** Below this a PyTorch has no optimised BLAS, and a comparison says nothing. */
const FAIR_GFLOPS = 20;

const ours = [
  { name: 'Lockstep, 1 worker', workers: 1, shards: 8 },
  { name: 'Lockstep, 2 workers', workers: 2, shards: 8 },
  { name: 'Lockstep, 2 workers, S = 2', workers: 2, shards: 2 },
];
const theirs = [
  { name: 'PyTorch, 1 thread', threads: 1, processes: 1 },
  { name: 'PyTorch, 2 threads', threads: 2, processes: 1 },
  { name: 'PyTorch, DDP, 2 processes', threads: 1, processes: 2 },
];

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    model: { type: 'string' },
    python: { type: 'string' },
  },
});

const python = findPython(options.python ? [options.python] : ['python3', '/usr/bin/python3']);
if (!python)
  console.log('PyTorch is left out: no python3 here can import torch (Debian: apt install python3-torch)\n');

/** @param {import('./models.mjs').Model} model */
async function compare(model) {
  /** @type {{ name: string, process: PyTorch }[]} */
  const peers = [];
  try {
    /** @type {import('./pytorch.mjs').About[]} */
    const abouts = [];
    for (const peer of python ? theirs : []) {
      const process = new PyTorch(python ?? '', model, peer);
      peers.push({ name: peer.name, process });
      // One after the other: each warms up alone.
      abouts.push(await process.about());
    }
    const results = await interleave(
      [
        ...ours.map((own) => ({ name: own.name, measure: lockstep(model, own) })),
        ...peers.map(({ name, process }) => ({ name, measure: () => process.round() })),
      ],
      Number(options.rounds),
    );
    return { model, about: abouts[0], results };
  } finally {
    for (const { process } of peers) process.close();
  }
}

/** @param {Awaited<ReturnType<typeof compare>>} comparison */
function show({ model, about, results }) {
  const best = Math.min(...results.slice(ours.length).map(({ median }) => median));
  const rows = results.map(({ name, median, min, max }) => [
    name,
    median * 1e3,
    min * 1e3,
    max * 1e3,
    model.batch / median,
    Number.isFinite(best) ? `${(best / median).toFixed(2)}×` : '',
  ]);
  const title = `${model.name}, batch ${model.batch}${about ? `, PyTorch ${about.torch}` : ''}`;
  const header = [title, 'ms a step (median)', 'min', 'max', 'samples/s', 'against the best PyTorch'];
  console.log(`${table(header, rows)}\n`);
  if (about && about.productGflops < FAIR_GFLOPS) {
    console.log(
      `NOT A FAIR COMPARISON: the matrix product of this PyTorch reaches ${about.productGflops.toFixed(1)} GFLOP/s, so it ` +
        'uses the reference BLAS. Install an optimised one (Debian: apt install libopenblas0-pthread).\n',
    );
  }
}

const chosen = models.filter(({ name }) => options.model === undefined || name === options.model);
if (chosen.length === 0) {
  console.error(`--model is ${options.model}, expected one of ${models.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
console.log(`## Peers: float32, Adam, synthetic data\n\n${machine()}\n`);
const comparisons = [];
for (const model of chosen) {
  const comparison = await compare(model);
  show(comparison);
  comparisons.push(comparison);
}
const folder = new URL('../results/', import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(
  new URL('peers.json', folder),
  `${JSON.stringify({ machine: machine(), comparisons }, null, 2)}\n`,
);
