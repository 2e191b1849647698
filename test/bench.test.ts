/** `lockstep bench` and `train --profile` as their users call them. No test here judges a time. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { configText, events, folderWith, lockstep } from './command.ts';

const ACTIVITIES = ['data', 'forward', 'backward', 'update', 'wait', 'record'] as const;

interface Report {
  readonly type: string;
  readonly mode: string;
  readonly rounds: number;
  readonly results: readonly {
    readonly workers: number;
    readonly batch: number;
    readonly samplesPerSecond: { readonly median: number; readonly rounds: readonly number[] };
    readonly stepMilliseconds: { readonly median: number };
    readonly splitOfWorkers: readonly Readonly<Record<string, number>>[];
    readonly gflops: { readonly median: number };
    readonly timeline: readonly { readonly worker: number }[];
  }[];
  readonly nodes: readonly {
    readonly nodes: number;
    readonly samplesPerSecond: { readonly rounds: readonly number[] };
    readonly stepMilliseconds: { readonly median: number };
    readonly split: Readonly<Record<string, number>>;
    readonly bytes: { readonly sent: number; readonly received: number };
  }[];
}

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly cat?: string;
  readonly args?: Readonly<Record<string, unknown>>;
}

/** Of the config that tests use. */
const PARAMETERS = 784 * 24 + 24 + 24 * 10 + 10;
const cwd = folderWith({
  'c.mjs': configText(),
  // Where the command looks for what runs nodes.
  'nowhere.mjs': `process.execPath = '/nowhere/node';`,
});
const read = <T>(file: string): T => JSON.parse(readFileSync(join(cwd, file), 'utf8'));

describe('bench scaling', () => {
  beforeAll(async () => {
    const args = 'bench scaling c.mjs --workers 2,1 --seconds 1.2 --out strong';
    const { code, stdout, stderr } = await lockstep(args.split(' '), { cwd });
    expect(stderr).toBe('');
    expect(code).toBe(0);
    for (const line of stdout.split('\n').slice(4)) expect(line.length, line).toBeLessThanOrEqual(80);
  });

  test('measures each number of workers in every round', () => {
    const { type, mode, rounds, results } = read<Report>('strong/report.json');
    expect([type, mode, rounds]).toEqual(['scaling', 'strong', 5]);
    expect(results.map(({ workers }) => workers)).toEqual([1, 2]);
    for (const { samplesPerSecond, gflops, timeline, workers, splitOfWorkers } of results) {
      expect(samplesPerSecond.rounds).toHaveLength(rounds);
      expect(samplesPerSecond.median).toBeGreaterThan(0);
      expect(gflops.median).toBeGreaterThan(0);
      expect(new Set(timeline.map(({ worker }) => worker)).size).toBe(workers);
      expect(splitOfWorkers).toHaveLength(workers);
    }
  });

  test('the parts of a step add up to the step, within 2 %', () => {
    for (const { stepMilliseconds, splitOfWorkers } of read<Report>('strong/report.json').results) {
      for (const split of splitOfWorkers) {
        const sum = ACTIVITIES.reduce((total, activity) => total + split[activity]!, 0);
        expect(Math.abs(sum / stepMilliseconds.median - 1)).toBeLessThan(0.02);
      }
    }
  });

  test('with --weak the batch grows; --json gives one object', async () => {
    const args = 'bench scaling c.mjs --workers 1,2 --weak --seconds 0.6 --json';
    const { code, stdout } = await lockstep(args.split(' '), { cwd });
    expect(code).toBe(0);
    const report: Report = JSON.parse(stdout);
    expect(report.results.map(({ batch }) => batch)).toEqual([60, 120]);
  });

  test('with --nodes processes join over loopback, in every round', async () => {
    const args = 'bench scaling c.mjs --workers 1 --nodes 1,2 --seconds 0.9 --out nodes';
    // A token is for other runs.
    const env = { LOCKSTEP_TOKEN: 'of_another_run-0123456789' };
    const { code, stdout, stderr } = await lockstep(args.split(' '), { cwd, env });
    expect([code, stderr]).toEqual([0, '']);
    for (const line of stdout.split('\n').slice(4)) expect(line.length, line).toBeLessThanOrEqual(80);
    const { nodes } = read<Report>('nodes/report.json');
    expect(nodes.map((each) => each.nodes)).toEqual([1, 2]);
    for (const { nodes: count, samplesPerSecond, stepMilliseconds, split, bytes } of nodes) {
      // Weights to every node that computes; a gradient and the loss from it.
      // So small a batch may be computed by one of them.
      for (const moved of Object.values(bytes)) {
        expect(moved / (4 * PARAMETERS)).toBeGreaterThan(0.9);
        expect(moved / (4 * PARAMETERS)).toBeLessThan(1.1 * count);
      }
      const sum = Object.values(split).reduce((total, time) => total + time, 0);
      expect(Math.abs(sum / stepMilliseconds.median - 1)).toBeLessThan(0.02);
      expect(samplesPerSecond.rounds).toHaveLength(5);
      expect(Math.min(...samplesPerSecond.rounds)).toBeGreaterThan(0);
    }
  });

  test('a report compared with itself has not changed', async () => {
    const args = ['bench', 'compare', 'strong/report.json', 'strong/report.json'];
    const { code, stdout } = await lockstep(args, { cwd });
    expect(code).toBe(0);
    expect(stdout).toMatch(/samples\/s/);
    expect(stdout).not.toMatch(/changed|not alike/);
  });

  test('predict measures costs, checks them, and takes them again', async () => {
    const args = 'bench predict c.mjs --seconds 2 --check --nodes 1,10000 --weak --json';
    const { code, stdout, stderr } = await lockstep(args.split(' '), { cwd });
    expect([code, stderr]).toEqual([0, '']);
    const { costs, predictions, checks } = JSON.parse(stdout);
    expect(predictions.map(({ nodes }: { nodes: number }) => nodes)).toEqual([1, 10_000]);
    for (const { stepMilliseconds } of predictions) expect(stepMilliseconds).toBeGreaterThan(0);
    expect(checks.map(({ workers }: { workers: number }) => workers)).toContain(1);
    writeFileSync(join(cwd, 'costs.json'), stdout);
    const again = 'bench predict --costs costs.json --nodes 1,10000 --weak --json';
    const { stdout: second } = await lockstep(again.split(' '), { cwd });
    expect(JSON.parse(second)).toMatchObject({ costs, predictions, checks: [] });
    const table = await lockstep('bench predict --costs costs.json'.split(' '), { cwd });
    for (const line of table.stdout.split('\n').slice(4)) expect(line.length, line).toBeLessThanOrEqual(80);
  });

  const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
    existsSync(path),
  );
  test.skipIf(browser === undefined)(
    `its page in a browser${browser === undefined ? ' (skipped: no Chromium or Chrome in /usr/bin)' : ''}`,
    async () => {
      const running = await chromium.launch({ executablePath: browser!, args: ['--no-sandbox'] });
      try {
        const strong = { charts: 5, curves: 2, dots: 4, kinds: ACTIVITIES };
        // Of one worker, so one time line; throughput and time of nodes.
        const nodes = { charts: 6, curves: 3, dots: 4, kinds: ['compute', 'network', 'forward'] };
        for (const [folder, width, colorScheme, { charts, curves, dots, kinds }] of [
          ['strong', 1200, 'light', strong],
          ['strong', 360, 'dark', strong],
          ['nodes', 360, 'dark', nodes],
        ] as const) {
          const page = await running.newPage({ viewport: { width, height: 800 }, colorScheme });
          const complaints: string[] = [];
          page.on('console', (message) => complaints.push(message.text()));
          page.on('pageerror', (error) => complaints.push(String(error)));
          await page.goto(`file://${join(cwd, `${folder}/report.html`)}`);
          const seen = await page.evaluate(`({
            charts: [...document.querySelectorAll('svg')].map((svg) => svg.getBoundingClientRect().height > 40),
            curves: document.querySelectorAll('polyline.curve').length,
            ideal: document.querySelectorAll('polyline.ideal').length,
            dots: document.querySelectorAll('circle').length,
            blocks: ${JSON.stringify(kinds)}.filter((name) => document.querySelector('rect.' + name)),
            wider: document.documentElement.scrollWidth > window.innerWidth,
            background: getComputedStyle(document.body).backgroundColor,
          })`);
          expect(seen).toMatchObject({
            charts: Array.from({ length: charts }, () => true),
            ...{ curves, ideal: curves, dots, wider: false },
            blocks: kinds,
            background: colorScheme === 'dark' ? 'rgb(16, 19, 23)' : 'rgb(255, 255, 255)',
          });
          expect(complaints).toEqual([]);
        }
      } finally {
        await running.close();
      }
    },
  );
});

test('train --profile: the same digest, a trace for Perfetto, a table of kernels', async () => {
  const digest = /[0-9a-f]{64}/;
  const plain = await lockstep(['train', 'c.mjs', '--workers', '2'], { cwd });
  const { code, stdout } = await lockstep(
    ['train', 'c.mjs', '--workers', '2', '--profile', 'traces/t.json'],
    {
      cwd,
    },
  );
  expect(code).toBe(0);
  expect(digest.exec(stdout)?.[0]).toBe(digest.exec(plain.stdout)?.[0]);
  expect(stdout).toMatch(/where +kernel .*GFLOP\/s/);
  const { traceEvents, otherData } = read<{
    readonly traceEvents: readonly { readonly ph: string; readonly tid: number; readonly cat?: string }[];
    readonly otherData: { readonly costs: readonly { readonly kernel: string }[] };
  }>('traces/t.json');
  const kernels = traceEvents.filter(({ cat }) => cat === 'matmul');
  expect(new Set(kernels.map(({ tid }) => tid))).toEqual(new Set([0, 1]));
  expect(otherData.costs.map(({ kernel }) => kernel)).toContain('gatherRows');
});

test('serve --profile: the same digest, every node with its workers down to kernels, on one clock', async () => {
  let joining: ReturnType<typeof lockstep> | undefined;
  const words = 'serve c.mjs --workers 1 --min-nodes 2 --port 0 --epochs 4 --profile nodes.json --json';
  const { code, stdout } = await lockstep(words.split(' '), {
    cwd,
    onOutput: (text) => {
      const [url] = /ws:[^"]+/.exec(text) ?? [];
      if (url === undefined || joining !== undefined) return;
      joining = lockstep(['join', url, '--workers', '2', '--name', 'other', '--cache', 'cache'], { cwd });
    },
  });
  expect([code, (await joining)?.code]).toEqual([0, 0]);
  const same = await lockstep('train c.mjs --epochs 4 --json'.split(' '), { cwd });
  expect(events(stdout).at(-1)?.weightsDigest).toBe(events(same.stdout).at(-1)?.weightsDigest);
  const { traceEvents } = read<{ readonly traceEvents: readonly TraceEvent[] }>('nodes.json');
  const names = traceEvents.filter(({ name }) => name === 'process_name').map(({ args }) => args?.name);
  expect(names.sort()).toEqual(['other', 'small: coordinator', 'this machine']);
  const pid = traceEvents.find(({ args }) => args?.name === 'other')?.pid;
  const own = traceEvents.filter((event) => event.pid === pid && event.ph === 'X');
  expect(new Set(own.map(({ cat }) => cat))).toContain('matmul');
  expect(own.some(({ name }) => /^weights of step \d+ come$/.test(name))).toBe(true);
  const steps = traceEvents.filter(({ cat }) => cat === 'step');
  expect(steps.length).toBeGreaterThan(0);
});

test.each<[string, Record<string, string>, RegExp]>([
  [
    'nodes that do not come up',
    { NODE_OPTIONS: `--import=${pathToFileURL(join(cwd, 'nowhere.mjs'))}` },
    /^lockstep: bench: node 1 of 1 does not start: .*nowhere\/node ENOENT\n$/,
  ],
  ['no folder for what nodes keep', { TMPDIR: '/dev/null/x' }, /cannot write to \/dev\/null\/x.*TMPDIR/],
])('--nodes, %s: one message, exit code 2', async (_, env, says) => {
  const args = 'bench scaling c.mjs --workers 1 --nodes 1 --seconds 0.3';
  const { code, stdout, stderr } = await lockstep(args.split(' '), { cwd, env });
  expect(stderr).toMatch(says);
  expect(stderr).not.toMatch(/\n {4}at /);
  expect([code, stdout]).toEqual([2, '']);
});

test.each([
  ['no number of workers', 'bench scaling --workers 0', /--workers.*'0'.*1 to 1024/],
  ['no numbers', 'bench scaling --workers 1,two', /--workers.*'1,two'/],
  ['nodes that are none', 'bench scaling --nodes host1', /--nodes.*'host1'.*1 to 64/],
  ['no time', 'bench scaling --seconds 0', /--seconds.*above 0/],
  ['both kinds of scaling', 'bench scaling --weak --strong', /--strong.*--weak|--weak.*--strong/],
  ['a config that is not there', 'bench scaling none.ts', /no file none\.ts/],
  ['a folder that cannot be', 'bench scaling --out /dev/null/x', /\/dev\/null\/x.*another folder/],
  ['a batch beyond the data', 'bench scaling c.mjs --weak --workers 1,50', /50 times the batch of 60/],
  ['nothing to do', 'bench', /no command/],
  ['a report that is not there', 'bench compare a.json b.json', /a\.json.*report\.json/],
  ['a report that is none', 'bench compare c.mjs c.mjs', /c\.mjs.*report\.json/],
  ['no nodes', 'bench predict --nodes 0', /--nodes.*'0'.*1 to 10000/],
  ['too many nodes', 'bench predict --nodes 10001', /--nodes.*10001/],
  ['no bandwidth', 'bench predict --bandwidth fast', /--bandwidth.*'fast'.*100Mbit/],
  ['slow links of nobody', 'bench predict --slow-links 10Mbit', /--slow-links.*2x10Mbit/],
  ['stragglers beyond all', 'bench predict --stragglers 200%x3', /--stragglers.*1%x3/],
  ['an unknown topology', 'bench predict --topology ring', /--topology.*star, sliced/],
  ['costs that are none', 'bench predict --costs c.mjs', /c\.mjs.*bench predict --json/],
  ['a profile that cannot be written', 'train c.mjs --profile /dev/null/x.json', /\/dev\/null\/x\.json/],
])('%s: one message, exit code 2', async (_, words, says) => {
  const { code, stdout, stderr } = await lockstep(words.split(' '), { cwd });
  expect(stderr).toMatch(says);
  expect(stderr).not.toMatch(/\n {4}at /);
  expect([code, stdout]).toEqual([2, words === 'bench' ? expect.any(String) : '']);
});
