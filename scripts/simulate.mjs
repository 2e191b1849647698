/**
 * `npm run simulate [-- --seeds N --from S | --seed S]`: runs the simulation of `test/simulation` over many seeds on
 * every core (1,000,000 by default), or one seed with its trace. Exit code 1 when a seed fails.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { bootstrap, root } from './bootstrap.mjs';

/** Seeds that a thread takes at a time. */
const PORTION = 5_000;

/** @param {string} name @returns {Promise<any>} */
const load = (name) => import(pathToFileURL(join(root, `test/dist/simulation/${name}.js`)).href);

async function main() {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1000000' },
      from: { type: 'string', default: '0' },
      seed: { type: 'string' },
    },
  });
  await bootstrap();
  compile();
  if (values.seed !== undefined) await trace(Number(values.seed));
  else await sweepAll(Number(values.from), Number(values.seeds));
}

function compile() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(
    process.execPath,
    [tsc, '-p', join(root, 'test/simulation/tsconfig.build.json')],
    {
      stdio: 'inherit',
    },
  );
  if (status !== 0) process.exit(1);
}

/** @param {number} seed */
async function trace(seed) {
  const { simulate } = await load('world');
  const { trace, counts } = simulate(seed, undefined, console.log);
  for (const [what, count] of [...counts].sort()) console.log(`${String(count).padStart(6)} ${what}`);
  console.log(`trace ${trace.toString(16)}`);
}

/** @param {number} from @param {number} seeds */
async function sweepAll(from, seeds) {
  const began = performance.now();
  const to = from + seeds;
  let next = from;
  let done = 0;
  let events = 0;
  /** @type {Map<string, number>} */
  const reached = new Map();
  /** @type {{ seed: number, message: string }[]} */
  const failures = [];
  const threads = Array.from({ length: availableParallelism() }, () => {
    const worker = new Worker(fileURLToPath(import.meta.url));
    const give = () => {
      if (next >= to || failures.length >= 10) worker.postMessage(null);
      else worker.postMessage({ from: next, count: Math.min(PORTION, to - next) });
      next += PORTION;
    };
    worker.on('message', (result) => {
      done += result.seeds;
      events += result.events;
      failures.push(...result.failures);
      for (const [what, n] of result.reached) reached.set(what, (reached.get(what) ?? 0) + n);
      if (process.stderr.isTTY)
        process.stderr.write(`\r${done} of ${seeds} seeds, ${failures.length} failed `);
      give();
    });
    give();
    return new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
  });
  await Promise.all(threads);
  if (process.stderr.isTTY) process.stderr.write('\n');
  for (const [what, n] of [...reached].sort((a, b) => b[1] - a[1]))
    console.log(`${String(n).padStart(9)} ${what}`);
  for (const { seed, message } of failures) console.log(`seed ${seed}: ${message}`);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${done} seeds, ${events} events, ${seconds} s, ${failures.length} failed`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}

async function work() {
  const { sweep } = await load('sweep');
  parentPort?.on('message', (portion) => {
    if (portion === null) process.exit(0);
    parentPort?.postMessage(sweep(portion.from, portion.count));
  });
}

if (isMainThread) await main();
else await work();
