/** What `pnpm bench` measures. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { optim } from '@lockstep/nn';
import { train } from '@lockstep/trainer';
import { modelNames, models, titles } from './models.mjs';
import { checkpoint } from './suites/checkpoint.mjs';
import { codec } from './suites/codec.mjs';
import { arithmetic, memory } from './suites/kernels.mjs';
import { measuring } from './suites/measuring.mjs';
import { fastestStep, millisecondsPerStep, split, workerCounts } from './suites/steps.mjs';

/**
 * @typedef {import('./report.mjs').Case} Case
 * @typedef {object} Suite
 * @property {string} unit
 * @property {string} [peak] name of the case that the others are shares of
 * @property {(seconds: number) => Case[] | Promise<Case[]>} cases
 */

const perceptrons = /** @type {const} */ (['small', 'large']);
const main = fileURLToPath(new URL('../apps/cli/dist/main.js', import.meta.url));
const command = (/** @type {string[]} */ ...words) => promisify(execFile)(process.execPath, [main, ...words]);

/** What two runs of `bench scaling` must agree on. */
const AGREEING = ['samples/s', 'quick step ms', 'efficiency', 'quick efficiency'];

/** Milliseconds. @param {() => unknown} work */
const timed = async (work) => {
  const began = performance.now();
  await work();
  return performance.now() - began;
};

/** @type {Readonly<Record<string, Suite>>} */
export const suites = {
  arithmetic,
  memory,
  steps: {
    unit: 'ms a step',
    cases: (seconds) =>
      modelNames.flatMap((name) => {
        const definition = models[name]();
        return workerCounts.map((workers) => ({
          name: `${titles[name]}, ${workers} workers`,
          measure: () => millisecondsPerStep(definition, seconds, { workers }),
        }));
      }),
  },
  // The same on a machine that others use, too: look at the least.
  fastest: {
    unit: 'ms, the fastest step',
    cases: (seconds) =>
      modelNames.flatMap((name) => {
        const definition = models[name]();
        return workerCounts.map((workers) => ({
          name: `${titles[name]}, ${workers} workers`,
          measure: () => fastestStep(definition, seconds, workers),
        }));
      }),
  },
  measuring,
  coalescing: {
    unit: 'ms a step',
    cases: (seconds) =>
      perceptrons.flatMap((name) => {
        const definition = models[name]();
        return /** @type {const} */ (['coalesced', 'separate']).map((execution) => ({
          name: `${titles[name]}, ${execution}`,
          measure: () => millisecondsPerStep(definition, seconds, { workers: 1, execution }),
        }));
      }),
  },
  // Sums over units, scale and update in one pass over memory.
  update: {
    unit: 'GB/s',
    cases: (seconds) =>
      Object.entries({
        sgd: optim.sgd({ lr: 1e-3 }),
        momentum: optim.sgd({ lr: 1e-3, momentum: 0.9 }),
        adam: optim.adam({ lr: 1e-3 }),
        adamw: optim.adamw({ lr: 1e-3 }),
      }).flatMap(([name, optimizer]) =>
        workerCounts.map((workers) => ({
          name: `${name}, ${workers} workers`,
          measure: async () => {
            const totals = await split({ ...models.large(), optimizer }, seconds, workers);
            const slowest = Math.max(...totals.split.map(({ update }) => update));
            return totals.bytes.update / totals.batches / slowest / 1e6;
          },
        })),
      ),
  },
  codec,
  checkpoint,
  // `bench predict` beside whole steps of 1 and all workers: at most 10 %.
  predict: {
    unit: 'error, %',
    cases: (seconds) =>
      modelNames.map((name) => ({
        name: titles[name],
        rounds: 3,
        measure: async () => {
          const config = fileURLToPath(new URL(`configs/${name}.mjs`, import.meta.url));
          const words = ['bench', 'predict', config, '--check', '--json', '--seconds', String(12 * seconds)];
          const { stdout } = await command(...words);
          /** @type {{ checks: { workers: number, error: { median: number } }[] }} */
          const { checks } = JSON.parse(stdout);
          return Object.fromEntries(
            checks.map(({ workers, error }) => [`${workers} workers`, 100 * error.median]),
          );
        },
      })),
  },
  // Two runs of `bench scaling`, beside the ± that they state: at most 1.
  agreement: {
    unit: 'times the ±',
    cases: (seconds) =>
      modelNames.map((name) => ({
        name: titles[name],
        rounds: 1,
        measure: async () => {
          const folder = mkdtempSync(join(tmpdir(), 'lockstep-bench-'));
          const config = fileURLToPath(new URL(`configs/${name}.mjs`, import.meta.url));
          try {
            const [first, second] = [join(folder, 'first'), join(folder, 'second')];
            for (const out of [first, second]) {
              await command('bench', 'scaling', config, '--seconds', String(20 * seconds), '--out', out);
            }
            const files = [first, second].map((out) => join(out, 'report.json'));
            const { stdout } = await command('bench', 'compare', ...files, '--json');
            /** @type {{ changes: { workers: number, figure: string, noise: number | null }[] }} */
            const { changes } = JSON.parse(stdout);
            return Object.fromEntries(
              changes
                .filter(({ figure, noise }) => AGREEING.includes(figure) && noise !== null)
                .map(({ workers, figure, noise }) => [`${figure}, ${workers} workers`, noise ?? 0]),
            );
          } finally {
            rmSync(folder, { recursive: true, force: true });
          }
        },
      })),
  },
  'start-up': {
    unit: 'ms',
    cases: () => [
      { name: 'the command: --version', measure: () => timed(() => command('--version')) },
      {
        name: 'the command: two steps of the digits',
        measure: () => timed(() => command('train', '--fast-dev-run', '--json')),
      },
      ...modelNames.map((name) => ({
        name: `train(): two steps of ${titles[name]}`,
        measure: () => timed(async () => train({ ...models[name](), steps: 2 })),
      })),
    ],
  },
};
