/** Processes over WebSockets on loopback: whoever computes, comes, goes or dies, the digest is that of one machine. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { availableVariants } from '@lockstep/kernels';
import { afterAll, afterEach, describe, expect, it, test } from 'vitest';
import { configText, folderWith, lockstep } from '../command.ts';
import { Cluster, type Told } from './processes.ts';

const variants = availableVariants();
const [best = 'wasm'] = variants;

/** Dropout, a short last batch of which the last shard is short, validation; a few hundred and a few thousand batches. */
const folder = folderWith({
  // So many shards that one, two, three, and five nodes have the same number of them: then each gets some.
  'short.mjs': configText({ epochs: '20', shards: '30' }),
  'long.mjs': configText({ epochs: '250' }),
  // Of the weights most do not change from batch to batch, and are not sent again.
  'partly.mjs': configText({
    ...{ epochs: '250', accumulate: '3' },
    model: `() => {
      const first = nn.linear(784, 24);
      nn.freeze(first);
      return nn.sequential(first, nn.batchNorm1d(24), nn.relu(), nn.linear(24, 10));
    }`,
  }),
  // Products of several panels and pieces, batches of more than a thousand rows, 13 buckets of weights.
  'wide.mjs': configText({
    ...{ batch: '1100', epochs: '30' },
    data: '() => data.digits({ train: 1300, validation: 130 })',
    model: '() => nn.sequential(nn.linear(784, 1030), nn.relu(), nn.dropout(0.2), nn.linear(1030, 10))',
  }),
});
afterAll(() => rmSync(folder, { recursive: true }));

let cluster = new Cluster(folder);
afterEach(async () => {
  await cluster.end();
  cluster = new Cluster(folder);
});

const digests = new Map<string, Promise<unknown>>();
/** How a run ends on one machine. */
const digestOf = (config: string): Promise<unknown> => {
  const known = digests.get(config) ?? new Cluster(folder).start(`train ${config} --quiet`).done();
  digests.set(config, known);
  return known.then((last) => (last as Told).weightsDigest);
};

const isStep =
  (from: number) =>
  ({ type, step }: Told): boolean =>
    type === 'step' && Number(step) >= from;
const is =
  (type: string) =>
  (event: Told): boolean =>
    event.type === type;

describe('the digest of one machine', () => {
  /** So many nodes of so many workers, of all the kernels that there are here in turn. */
  const nodes = (count: number, workers: number): [string, string, string, string[]] => [
    `${count} of ${workers} workers`,
    'short.mjs',
    '0',
    Array.from({ length: count }, (_, i) => `${workers} ${variants[i % variants.length]}`),
  ];
  it.each<[string, string, string, readonly string[]]>([
    ...[1, 2, 3, 5].flatMap((count) => [nodes(count, 1), nodes(count, 2)]),
    ['of WASM and two workers, alone', 'short.mjs', '0', ['2 wasm']],
    ['native and WASM, one and two workers', 'short.mjs', '0', [`1 ${best}`, '2 wasm']],
    ['this machine alone', 'short.mjs', '2', []],
    ['this machine and two nodes', 'short.mjs', '1', ['2 wasm', `1 ${best}`]],
    ['native and WASM, a wide model', 'wide.mjs', '0', [`1 ${best}`, '2 wasm']],
    ['this machine and two nodes, a wide model', 'wide.mjs', '1', ['2 wasm', `1 ${best}`]],
  ])('%s', async (_, config, own, nodes) => {
    const count = nodes.length + (own === '0' ? 0 : 1);
    const { serving, url } = await cluster.serve(`${config} --port 0 --workers ${own} --min-nodes ${count}`);
    const joined = nodes.map((node) => {
      const [workers, kernels] = node.split(' ');
      return cluster.join(url, `--workers ${workers} --kernels ${kernels}`);
    });
    const digest = await digestOf(config);
    expect(await serving.done()).toMatchObject({ type: 'done', weightsDigest: digest, nodes: count });
    for (const node of joined) {
      expect(await node.done()).toMatchObject({ type: 'done', reason: 'finished', digest });
    }
  });
});

describe('nodes that come and go', () => {
  test.each([
    ['long.mjs', 50],
    ['partly.mjs', 50],
    ['wide.mjs', 5],
  ])('one joins late, one leaves, one is killed: %s', async (config, late) => {
    const { serving, url } = await cluster.serve(`${config} --port 0 --workers 0`);
    const first = cluster.join(url);
    await serving.seen(isStep(late));
    const second = cluster.join(url, '--workers 2 --kernels wasm');
    await second.seen(is('computing'));
    first.kill('SIGINT');
    expect(await first.done(130)).toMatchObject({ type: 'done', reason: 'left' });
    const third = cluster.join(url, '--name third');
    await third.seen(is('computing'));
    third.kill();
    expect(await serving.done()).toMatchObject({ weightsDigest: await digestOf(config) });
    expect(serving.told.find(is('leave'))).toBeDefined();
    expect(serving.told.find(is('lost'))).toMatchObject({ name: 'third', reason: 'closed' });
    expect(await second.done()).toMatchObject({ reason: 'finished' });
  });

  test('nobody is there for a while', async () => {
    const { serving, url } = await cluster.serve('long.mjs --port 0 --workers 0');
    const first = cluster.join(url);
    await first.seen(is('computing'));
    first.kill();
    await serving.seen(is('stall'));
    const second = cluster.join(url);
    expect(await serving.done()).toMatchObject({ weightsDigest: await digestOf('long.mjs') });
    expect(serving.told.find(is('resume'))).toBeDefined();
    await second.done();
  });

  test('a node that has the data fetches nothing; so does one with a folder that has them', async () => {
    const serve = () => cluster.serve('short.mjs --port 0 --workers 0');
    const received = async (words: string): Promise<unknown[]> => {
      const { serving, url } = await serve();
      const node = cluster.start(`join ${url} --workers 1 ${words}`);
      await node.done();
      await serving.done();
      return node.told.filter(is('receiving')).map(({ what }) => what);
    };
    expect(await received('--cache kept')).toEqual(['program', 'data']);
    expect(await received('--cache kept')).toEqual([]);
    expect(await received('--cache other --data kept')).toEqual([]);
    expect(readdirSync(join(folder, 'kept')).every((name) => /^[0-9a-f]{64}$/.test(name))).toBe(true);
    expect(await received('--cache none --cache-quota 0')).toEqual(['program', 'data']);
    expect(existsSync(join(folder, 'none'))).toBe(false);
    const cache = async (words: string) =>
      (await lockstep(`cache ${words} --cache kept`.split(' '), { cwd: folder })).stdout;
    const { entries } = JSON.parse(await cache('--json')) as { entries: { kind: string; bytes: number }[] };
    expect(entries.map(({ kind }) => kind).sort()).toEqual(['data', 'program']);
    const lines = (await cache('list')).trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    for (const line of lines.slice(1, 3)) expect(line).toMatch(/^(data|program) .* KiB .* [0-9a-f]{64}$/);
    expect(await cache('clear')).toMatch(/kept: 2 files removed/);
    expect(readdirSync(join(folder, 'kept'))).toEqual([]);
  });
});

/** Samples by name and labels. Throws on a line that is not of Prometheus' text format, and on a sample without a type. */
function readMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.trimEnd().split('\n')) {
    const [, name = '', type = ''] = /^# TYPE ([a-z_]+) (counter|gauge)$/.exec(line) ?? [];
    if (name !== '') types.set(name, type);
    if (name !== '' || /^# HELP [a-z_]+ [^\\]+$/.test(line)) continue;
    const sample = /^(([a-z_]+)(?:\{[a-z_]+="[^"\\]*"\})?) (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN)$/.exec(line);
    expect(sample, line).not.toBeNull();
    const [, key = '', family = '', value] = sample!;
    expect(types.has(family) && family.endsWith('_total') === (types.get(family) === 'counter'), line).toBe(
      true,
    );
    samples.set(key, Number(value));
  }
  return samples;
}

/** An address of this machine that isn't loopback. */
const outer = Object.values(networkInterfaces())
  .flat()
  .find((each) => each !== undefined && !each.internal && each.family === 'IPv4')?.address;

test.runIf(outer !== undefined)('metrics are for this machine, health is for everybody', async () => {
  const { port } = await cluster.serve('short.mjs --host 0.0.0.0 --port 0 --workers 0');
  const get = (host: string, path: string) => fetch(`http://${host}:${port}${path}`);
  expect((await get('127.0.0.1', '/metrics')).status).toBe(200);
  expect((await get(outer!, '/metrics')).status).toBe(403);
  expect(await (await get(outer!, '/healthz')).json()).toEqual({ status: 'waiting for nodes' });
});

test('health and metrics of a run', async () => {
  const { serving, url } = await cluster.serve('long.mjs --port 0 --workers 0');
  const get = (path: string, headers = {}) => fetch(url.replace('ws:', 'http:') + path, { headers });
  expect(await (await get('/healthz')).json()).toEqual({ status: 'waiting for nodes', step: 0, nodes: 0 });
  expect((await get('/healthz', { origin: 'https://attacker.example' })).status).toBe(403);
  const refused = { type: 'refused', code: 'ORIGIN_NOT_ALLOWED', address: '127.0.0.1', count: 1 };
  expect(await serving.seen(is('refused'))).toEqual(refused);
  cluster.join(url);
  await serving.seen(isStep(20));
  expect(await (await get('/healthz')).json()).toMatchObject({ status: 'ok', nodes: 1 });
  const answer = await get('/metrics');
  expect(answer.headers.get('connection')).toBe('close');
  const metrics = readMetrics(await answer.text());
  expect(metrics.get('lockstep_step')).toBeGreaterThanOrEqual(20);
  expect(metrics.get('lockstep_workers')).toBe(1);
  expect(metrics.get('lockstep_refused_connections_total{code="ORIGIN_NOT_ALLOWED"}')).toBe(1);
  for (const part of ['compute', 'wait', 'network', 'update']) {
    expect(metrics.get(`lockstep_step_seconds{part="${part}"}`)).toBeGreaterThanOrEqual(0);
  }
  expect((await get('/etc/passwd')).status).toBe(404);
});

test('every step says who was there and where its time went', async () => {
  const begin = performance.now();
  const { serving, url } = await cluster.serve('short.mjs --port 0 --workers 1 --min-nodes 2');
  const node = cluster.join(url, '--workers 2');
  await Promise.all([serving.done(), node.done()]);
  const steps = serving.told.filter(is('step'));
  expect(steps).toHaveLength(180);
  const times = steps.map(({ time }) => Object.values(time as Record<string, number>));
  expect(steps[50]).toMatchObject({ nodes: 2, workers: 3, time: { compute: expect.any(Number) } });
  for (const parts of times) expect(Math.min(...parts)).toBeGreaterThanOrEqual(0);
  const total = times.flat().reduce((a, b) => a + b);
  expect(total).toBeLessThan(performance.now() - begin);
});

describe('coordinators that come and go', () => {
  test.each([
    ['long.mjs', 100, [150, 500]],
    ['wide.mjs', 4, [7, 25]],
  ])('one is killed and goes on: its nodes find it: %s', async (config, every, kills) => {
    const words = `${config} --workers 0 --out killed-${config} --resume --checkpoint-every ${every}`;
    let { serving, url, port } = await cluster.serve(`${words} --port 0`);
    const nodes = [cluster.join(url), cluster.join(url, '--workers 2 --kernels wasm')];
    for (const from of kills) {
      await serving.seen(isStep(from));
      serving.kill();
      await serving.outcome;
      ({ serving } = await cluster.serve(`${words} --port ${port}`));
    }
    const digest = await digestOf(config);
    expect(await serving.done()).toMatchObject({ weightsDigest: digest });
    expect(serving.told.find(is('start'))).toMatchObject({ resumed: { step: expect.any(Number) } });
    for (const node of nodes) expect(await node.done()).toMatchObject({ reason: 'finished', digest });
  });

  test('one is interrupted while it waits for nodes, and while it computes itself', async () => {
    const { serving: waiting } = await cluster.serve('short.mjs --port 0 --workers 1 --min-nodes 2');
    await waiting.seen(is('join'));
    waiting.kill('SIGINT');
    expect(await waiting.done(130)).toMatchObject({ step: 0, interrupted: true });
    const { serving } = await cluster.serve('long.mjs --port 0 --workers 2');
    await serving.seen(isStep(30));
    serving.kill('SIGTERM');
    expect(await serving.done(130)).toMatchObject({ interrupted: true });
  });

  test('one is interrupted while nobody computes, and goes on alone', async () => {
    const words = 'long.mjs --port 0 --out interrupted --resume --checkpoint-every 100';
    const { serving, url } = await cluster.serve(`${words} --workers 0`);
    const node = cluster.join(url);
    await serving.seen(isStep(250));
    node.kill();
    await serving.seen(is('stall'));
    serving.kill('SIGTERM');
    const { step } = await serving.done(130);
    expect(step).toBeGreaterThanOrEqual(250);
    const { serving: again } = await cluster.serve(`${words} --workers 2`);
    expect(await again.done()).toMatchObject({ weightsDigest: await digestOf('long.mjs') });
    expect(again.told.find(is('start'))).toMatchObject({ resumed: { step } });
  });
});
