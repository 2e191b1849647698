/**
 * What a cluster of processes does on this machine, over loopback:
 * `node bench/cluster.mjs [speed] [recovery] [audit] [idle] [stops] [rejoin] [slow] [--rounds n] [--seconds n] [--python COMMAND]
 * [--how killed,stopped] [--keep FILE]`.
 *
 * speed     784-1024-1024-10 at batch 512: one process, one and two nodes, a coordinator that computes as well; with
 *           `--python COMMAND` also PyTorch's DDP. In rounds that take turns
 * recovery  from a node's end (killed: its socket closes; stopped: it is silent) to the next batch, and from the start of
 *           a node that has the data to its first work; small model, default heartbeats. `--keep`: the times are added to
 *           those in the file, so that many rounds can be measured in portions
 * idle, stops, rejoin, slow
 *           what a run loses to one more node that is of no use: steps in so many seconds (`--seconds`, 5) without it, and from
 *           the moment on at which it joins, in turns. idle: it answers pings, but never returns a gradient; stops: so it
 *           does after it has computed for a while; rejoin: it joins again every second; slow: it computes, on cores that are
 *           busy already (a coordinator on all cores, and a node with as many threads). Small model, default heartbeats
 * audit     what `serve --audit` costs: the same model, two nodes; no audits, 2 % and all, in rounds that take turns
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { models } from './peers/models.mjs';
import { pytorch } from './peers/pytorch.mjs';

const MAIN = fileURLToPath(new URL('../apps/cli/dist/main.js', import.meta.url));

/**
 * @param {string} layers
 * @param {string} fields
 */
const config = (layers, fields) => `
import { data, defineTraining, loss, metrics, nn, optim } from 'lockstep';
export default defineTraining({
  seed: 1, shards: 8, ${fields},
  model: () => nn.sequential(${layers}),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  optimizer: optim.adam({ lr: 1e-3 }),
});`;

const files = {
  'large.mjs': config(
    'nn.linear(784, 1024), nn.relu(), nn.linear(1024, 1024), nn.relu(), nn.linear(1024, 10)',
    'batch: 512, steps: 150, data: () => data.digits({ train: 5120, validation: 10 })',
  ),
  'small.mjs': config(
    'nn.linear(784, 128), nn.relu(), nn.linear(128, 10)',
    'batch: 128, steps: 1_000_000, data: () => data.digits({ train: 5120, validation: 10 })',
  ),
};

/** @typedef {{ type: string, [field: string]: unknown }} Told */

/** A command and the times at which it told what. */
class Command {
  /** @type {{ at: number, told: Told }[]} */
  heard = [];
  started = performance.now();
  #rest = '';

  /**
   * @param {string} words
   * @param {string} cwd
   * @param {string} [script]
   */
  constructor(words, cwd, script = MAIN) {
    this.child = spawn(
      process.execPath,
      [script, ...words.split(' '), ...(script === MAIN ? ['--json'] : [])],
      {
        cwd,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) this.heard.push({ at: performance.now(), told: JSON.parse(line) });
    });
  }

  /**
   * The time of the first event of a type after another time.
   * @param {string} type
   * @param {number} [after]
   */
  async at(type, after = 0) {
    for (let from = 0; ; ) {
      for (; from < this.heard.length; from++) {
        const each = this.heard[from];
        if (each && each.told.type === type && each.at > after) return each;
      }
      if (this.child.exitCode !== null) throw new Error(`${type} was never told`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async end() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

const folder = mkdtempSync(join(tmpdir(), 'lockstep-cluster-'));
for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);

let nodes = 0;
/** Each has a name of its own: one that comes and goes is tried ever more rarely. @param {string} url @param {number} [workers] */
const node = (url, workers = 1) =>
  new Command(`join ${url} --workers ${workers} --name n${++nodes} --cache cache`, folder);
/** @param {string} words @param {number} [workers] */
const serve = async (words, workers = 0) => {
  const coordinator = new Command(`serve ${words} --workers ${workers} --port 0`, folder);
  const { told } = await coordinator.at('listening');
  return { coordinator, url: String(/** @type {string[]} */ (told.urls)[0]) };
};

/**
 * Samples/s from batch 30 to the last.
 * @param {Command} command
 */
const speedOf = async (command) => {
  await command.ended;
  const steps = command.heard.filter(({ told }) => told.type === 'step').slice(30);
  const seconds = ((steps.at(-1)?.at ?? 0) - (steps[0]?.at ?? 0)) / 1000;
  return (512 * (steps.length - 1)) / seconds;
};

/**
 * A run with nodes of one worker each. `own`: workers of the coordinator's process, which are a node, too.
 * `more`: words of `serve`.
 * @param {number} nodes @param {number} [own] @param {string} [more]
 */
const cluster = async (nodes, own = 0, more = '') => {
  const all = nodes + Math.min(own, 1);
  const { coordinator, url } = await serve(`large.mjs --min-nodes ${all}${more}`, own);
  const joined = Array.from({ length: nodes }, () => node(url));
  const rate = await speedOf(coordinator);
  await Promise.all(joined.map(({ ended }) => ended));
  return rate;
};

/** PyTorch's DDP with gloo: two processes of one thread. @param {string} python */
const ddp = async (python) => {
  const model = models.find(({ name }) => name === '784-1024-1024-10');
  if (model === undefined) throw new Error('bench/peers/models.mjs has no 784-1024-1024-10');
  const peer = pytorch(python, model, { threads: 1, processes: 2 });
  await peer.about();
  const seconds = await peer.round();
  peer.close();
  return model.batch / seconds;
};

/** Cases take turns, so that a machine that drifts hurts all alike. @param {number} rounds @param {string | undefined} python */
const speed = async (rounds, python) => {
  /** @type {Record<string, () => Promise<number>>} */
  const cases = {
    'one process, 1 worker': () => speedOf(new Command('train large.mjs --workers 1', folder)),
    'one process, 2 workers': () => speedOf(new Command('train large.mjs --workers 2', folder)),
    '1 node': () => cluster(1),
    '2 nodes': () => cluster(2),
    'a coordinator that computes, and 1 node': () => cluster(1, 1),
    ...(python && { 'PyTorch, DDP with gloo, 2 processes': () => ddp(python) }),
  };
  /** @type {Record<string, number[]>} */
  const rates = Object.fromEntries(Object.keys(cases).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(cases)) rates[name]?.push(await run());
  }
  const median = (/** @type {string} */ name) => {
    const sorted = (rates[name] ?? []).toSorted((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? Number.NaN;
  };
  console.log(`784-1024-1024-10, batch 512, 1 worker a node; medians of ${rounds} rounds (least to most)`);
  for (const [name, each] of Object.entries(rates)) {
    const range = `${(512_000 / Math.max(...each)).toFixed(1)} to ${(512_000 / Math.min(...each)).toFixed(1)}`;
    const time = `${(512_000 / median(name)).toFixed(1)} ms a step (${range})`;
    console.log(`${name.padEnd(40)} ${median(name).toFixed(0).padStart(6)} samples/s, ${time}`);
  }
  for (const two of ['2 nodes', 'a coordinator that computes, and 1 node']) {
    const ratios = ['1 node', 'PyTorch, DDP with gloo, 2 processes']
      .filter((name) => rates[name])
      .map((name) => `${(median(two) / median(name)).toFixed(2)} × ${name}`);
    console.log(`${two}: ${ratios.join(', ')}`);
  }
};

/** @param {number} rounds */
const audit = async (rounds) => {
  /** @type {Record<'0' | '0.02' | '1', number[]>} */
  const rates = { 0: [], 0.02: [], 1: [] };
  for (let round = 0; round < rounds; round++) {
    for (const [part, each] of Object.entries(rates)) each.push(await cluster(2, 0, ` --audit ${part}`));
  }
  // Ratios within a round: a machine that drifts hurts neighbours alike.
  const cost = (/** @type {number[]} */ those) => {
    const parts = those.map((rate, i) => 1 - rate / (rates[0][i] ?? Number.NaN)).toSorted((a, b) => a - b);
    const percent = (/** @type {number | undefined} */ part) =>
      `${(100 * (part ?? Number.NaN)).toFixed(1)} %`;
    return `${percent(parts[parts.length >> 1])} (${percent(parts[0])} to ${percent(parts.at(-1))})`;
  };
  console.log(`784-1024-1024-10, batch 512, 2 nodes of 1 worker; ${rounds} rounds, medians (least to most)`);
  console.log(`--audit 0.02 costs ${cost(rates[0.02])} of the samples/s, --audit 1 ${cost(rates[1])}`);
};

/**
 * @param {string} what
 * @param {number[]} times
 */
const show = (what, times) => {
  const sorted = times.toSorted((a, b) => a - b);
  const part = (/** @type {number} */ p) => (sorted[Math.ceil(p * sorted.length) - 1] ?? 0).toFixed(0);
  const parts = `p50 ${part(0.5)} ms, p99 ${part(0.99)} ms, slowest ${part(1)} ms`;
  console.log(`${what.padEnd(46)} ${times.length} times: ${parts}`);
};

/** @typedef {'killed' | 'stopped'} How */

/**
 * @param {number} rounds
 * @param {readonly How[]} ways
 * @param {string | undefined} file
 */
const recovery = async (rounds, ways, file) => {
  const { coordinator, url } = await serve('small.mjs');
  const stays = node(url);
  /** @type {Record<'killed' | 'stopped' | 'started' | 'connected', number[]>} */
  const times =
    file !== undefined && existsSync(file)
      ? JSON.parse(readFileSync(file, 'utf8'))
      : { killed: [], stopped: [], started: [], connected: [] };
  const lost = { killed: 'SIGKILL', stopped: 'SIGSTOP' };
  await stays.at('computing');
  let holders = 0;
  for (let i = 0; i < rounds; i++) {
    for (const how of ways) {
      const goes = node(url);
      const first = await goes.at('computing');
      times.started.push(first.at - goes.started);
      times.connected.push(first.at - (await goes.at('connected')).at);
      // First it is tried; whether it has a share then, steps with and without it decide.
      await coordinator.at('step', first.at + 500 + Math.random() * 50);
      const begin = performance.now();
      goes.child.kill(/** @type {NodeJS.Signals} */ (lost[how]));
      // Batches that were done before it was lost do not count.
      const { at } = await coordinator.at('lost', begin);
      times[how].push((await coordinator.at('step', at)).at - begin);
      holders += coordinator.heard.some((each) => each.at >= begin && each.told.type === 'reassign') ? 1 : 0;
      await goes.end();
    }
  }
  await Promise.all([coordinator.end(), stays.end()]);
  if (file !== undefined) writeFileSync(file, JSON.stringify(times));
  console.log(`${holders} of ${rounds * ways.length} nodes that ended had a share of the batch`);
  show('a node is killed → next batch', times.killed);
  show('a node falls silent → next batch', times.stopped);
  show('start of a process that has the data → works', times.started);
  show('its connection → works', times.connected);
};

/** @typedef {'idle' | 'stops' | 'rejoin' | 'slow'} Bad */

const BAD_NODE = fileURLToPath(new URL('badNode.mjs', import.meta.url));

/** What must be left of the speed without the bad node. @type {Record<Bad, number>} */
const LEFT = { idle: 0.9, stops: 0.9, rejoin: 0.95, slow: 0.95 };

/**
 * @param {Bad} kind
 * @param {number} rounds
 * @param {number} seconds
 */
const useless = async (kind, rounds, seconds) => {
  const cores = availableParallelism();
  const { coordinator, url } = await serve('small.mjs', kind === 'slow' ? cores : 0);
  const good = kind === 'slow' ? undefined : node(url);
  await coordinator.at('step');
  const wait = (/** @type {number} */ milliseconds) =>
    new Promise((resolve) => setTimeout(resolve, milliseconds));
  /** Steps in a second, from now on. */
  const speed = async () => {
    const [begin, from] = [performance.now(), coordinator.heard.length];
    await wait(seconds * 1000);
    const end = performance.now();
    const steps = coordinator.heard.slice(from).filter(({ told }) => told.type === 'step').length;
    return (steps * 1000) / (end - begin);
  };
  const join = (/** @type {Bad} */ how) =>
    how === 'slow' ? node(url, cores) : new Command(`${how} ${url} bad${++nodes}`, folder, BAD_NODE);
  await wait(2000);
  /** @type {{ without: number, with: number }[]} */
  const found = [];
  for (let round = 0; round < rounds; round++) {
    const without = await speed();
    const bad = join(kind);
    await bad.at(kind === 'stops' ? 'computing' : 'ready');
    if (kind === 'stops') {
      await wait(2000);
      bad.child.kill('SIGUSR2');
    }
    found.push({ without, with: await speed() });
    await bad.end();
    await wait(500);
    process.stderr.write(
      `${kind}: ${without.toFixed(0)} steps/s without, ${found.at(-1)?.with.toFixed(0)} with\n`,
    );
  }
  await Promise.all([coordinator.end(), good?.end()]);
  const median = (/** @type {number[]} */ values) =>
    values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
  const [a, b] = [median(found.map(({ without }) => without)), median(found.map((each) => each.with))];
  const left = median(found.map((each) => each.with / each.without));
  const least = Math.min(...found.map((each) => each.with / each.without));
  console.log(
    `${kind.padEnd(7)} ${a.toFixed(0)} steps/s without, ${b.toFixed(0)} with (medians of ${rounds} rounds of ${seconds} s): ` +
      `${(100 * left).toFixed(1)} % left (least ${(100 * least).toFixed(1)} %), expected ${100 * LEFT[kind]} %`,
  );
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '5' },
    python: { type: 'string' },
    how: { type: 'string', default: 'killed,stopped' },
    keep: { type: 'string' },
  },
});
const ways = /** @type {How[]} */ (values.how.split(','));
const wanted = positionals.length === 0 ? ['speed', 'recovery'] : positionals;
try {
  if (wanted.includes('speed')) await speed(Number(values.rounds ?? 3), values.python);
  for (const kind of /** @type {const} */ (['idle', 'stops', 'rejoin', 'slow'])) {
    if (wanted.includes(kind)) await useless(kind, Number(values.rounds ?? 5), Number(values.seconds));
  }
  if (wanted.includes('audit')) await audit(Number(values.rounds ?? 9));
  if (wanted.includes('recovery')) await recovery(Number(values.rounds ?? 10), ways, values.keep);
} finally {
  rmSync(folder, { recursive: true });
}
