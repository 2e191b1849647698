/**
 * `npm run simulate [-- --seeds N --from S | --seed S | --mutants | --mutant NUMBER]`: runs the simulation of `test/simulation`
 * over many seeds on every core (2,000,000 by default), or one seed with its trace; or plants bugs, one at a time, and tells
 * by which seed each is found. `--json` prints the result as JSON. Exit code 1 when a seed fails, or a bug is not found.
 */
import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { bootstrap, root } from './bootstrap.mjs';

/** Seeds that a thread takes at a time. */
const PORTION = 500;
const THREADS = availableParallelism();

/** @param {string} name */
const fileOf = (name) => join(root, `test/dist/simulation/${name}.js`);

/** @param {string} name @returns {Promise<any>} */
const load = (name) => import(pathToFileURL(fileOf(name)).href);

async function main() {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '2000000' },
      from: { type: 'string', default: '0' },
      seed: { type: 'string' },
      mutants: { type: 'boolean', default: false },
      mutant: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  await bootstrap();
  compile();
  if (values.seed !== undefined) await trace(Number(values.seed));
  else if (values.mutants) await plantAll(values.json, undefined);
  else if (values.mutant !== undefined) await plantAll(values.json, Number(values.mutant));
  else await sweepAll(Number(values.from), Number(values.seeds), values.json);
}

function compile() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const config = join(root, 'test/simulation/tsconfig.build.json');
  const { status } = spawnSync(process.execPath, [tsc, '-p', config], { stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

/** @param {number} seed */
async function trace(seed) {
  const { simulate } = await load('world');
  const { trace, counts } = await simulate(seed, console.log);
  for (const [what, count] of [...counts].sort()) console.log(`${String(count).padStart(6)} ${what}`);
  console.log(`trace ${trace.toString(16)}`);
}

/** @param {number} from @param {number} seeds @param {boolean} asJson */
async function sweepAll(from, seeds, asJson) {
  const began = performance.now();
  const to = from + seeds;
  let next = from;
  let done = 0;
  let events = 0;
  /** @type {Record<string, number>} */
  const reached = {};
  /** @type {{ seed: number, message: string }[]} */
  const failures = [];
  const threads = Array.from({ length: THREADS }, () => {
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
      for (const [what, n] of Object.entries(result.reached))
        reached[what] = (reached[what] ?? 0) + Number(n);
      if (process.stderr.isTTY)
        process.stderr.write(`\r${done} of ${seeds} seeds, ${failures.length} failed `);
      give();
    });
    give();
    return new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
  });
  await Promise.all(threads);
  if (process.stderr.isTTY) process.stderr.write('\n');
  const seconds = (performance.now() - began) / 1000;
  if (asJson) {
    process.stdout.write(`${JSON.stringify({ seeds: done, events, seconds, reached, failures })}\n`);
  } else {
    for (const [what, n] of Object.entries(reached).sort((a, b) => b[1] - a[1]))
      console.log(`${String(n).padStart(9)} ${what}`);
    for (const { seed, message } of failures) console.log(`seed ${seed}: ${message}`);
    console.log(`${done} seeds, ${events} events, ${seconds.toFixed(1)} s, ${failures.length} failed`);
  }
  process.exitCode = failures.length > 0 ? 1 : 0;
}

/** Plants bugs, one in each process. @param {boolean} asJson @param {number | undefined} only */
async function plantAll(asJson, only) {
  const { MUTATIONS } = await load('mutations');
  const numbers = [...MUTATIONS.keys()].filter((number) =>
    only === undefined ? !MUTATIONS[number].isRare : number === only,
  );
  /** @type {{ name: string, seed: number | null, message: string }[]} */
  const found = [];
  await Promise.all(
    Array.from({ length: THREADS }, async () => {
      for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
        const { name } = MUTATIONS[number];
        const { seeds, failures } = await plant(number);
        const [first] = failures;
        found.push({ name, seed: first?.seed ?? null, message: first?.message ?? `not by ${seeds} seeds` });
        if (!asJson)
          console.log(`${number} ${name}: ${first ? `seed ${first.seed}` : `NOT FOUND by ${seeds} seeds`}`);
      }
    }),
  );
  if (asJson) process.stdout.write(`${JSON.stringify(found)}\n`);
  process.exitCode = found.some(({ seed }) => seed === null) ? 1 : 0;
}

/** @param {number} number @returns {Promise<{ seeds: number, failures: { seed: number, message: string }[] }>} */
async function plant(number) {
  const child = spawn(process.execPath, [fileOf('mutants'), String(number)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const status = await new Promise((resolve) => child.on('exit', resolve));
  if (status !== 0) throw new Error(`mutant ${number}: exit code ${status}`);
  return JSON.parse(output);
}

async function work() {
  const { sweep } = await load('sweep');
  parentPort?.on('message', async (portion) => {
    if (portion === null) process.exit(0);
    parentPort?.postMessage(await sweep(portion.from, portion.count));
  });
}

if (isMainThread) await main();
else await work();
