/** What `pnpm bench` measures. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { optim } from '@lockstep/nn';
import { SplitTotals, train } from '@lockstep/trainer';
import { cores } from '@lockstep/workers';
import { models } from './models.mjs';

/**
 * @typedef {import('./report.mjs').Case} Case
 * @typedef {import('./models.mjs').Definition} Definition
 * @typedef {import('@lockstep/trainer').TrainOptions} TrainOptions
 * @typedef {{ unit: string, cases: (seconds: number) => Case[] | Promise<Case[]> }} Suite
 */

/** Of a measurement: code gets compiled, caches get warm. */
const WARM_UP = 0.3;

/**
 * Trains for so long and gives the time of a step: from the first results that come after the warm-up to the last.
 * @param {Definition} definition @param {number} seconds @param {TrainOptions} options
 */
async function millisecondsPerStep(definition, seconds, options) {
  const enough = new AbortController();
  let [began, first, last, firstStep, steps] = [0, 0, 0, 0, 0];
  await train(
    { ...definition, steps: Number.MAX_SAFE_INTEGER, dropLast: true },
    {
      ...options,
      signal: enough.signal,
      on: {
        start: () => {
          began = performance.now();
        },
        step: ({ step }) => {
          const now = performance.now();
          if (now - began < WARM_UP * seconds * 1000) [first, firstStep] = [now, step];
          [last, steps] = [now, step - firstStep];
          if (now - began > seconds * 1000 && steps > 2) enough.abort();
        },
      },
    },
  );
  return (last - (first || began)) / steps;
}

/** Trains for so long, measured, and gives what `figure` makes of it. */
const profiled = async (
  /** @type {Definition} */ definition,
  /** @type {number} */ seconds,
  /** @type {TrainOptions} */ options,
  /** @type {(totals: SplitTotals) => number} */ figure,
) => {
  const totals = new SplitTotals();
  let batches = 0;
  await millisecondsPerStep(definition, seconds, {
    ...options,
    profile: {
      depth: 'parts',
      onBatch: (batch) => {
        if (batches++ > 3) totals.add(batch);
      },
    },
  });
  return figure(totals);
};

const workerCounts = [...new Set([1, cores()])];
const [small = 'MLP', large = 'MLP'] = Object.keys(models);
const definitionOf = (/** @type {string} */ name) => {
  const make = models[name];
  if (!make) throw new Error(`bench: there is no model ${name}`);
  return make();
};

/** @type {Readonly<Record<string, Suite>>} */
export const suites = {
  steps: {
    unit: 'ms a step',
    cases: (seconds) =>
      Object.keys(models).flatMap((name) => {
        const definition = definitionOf(name);
        return workerCounts.map((workers) => ({
          name: `${name}, ${workers} workers`,
          measure: () => millisecondsPerStep(definition, seconds, { workers }),
        }));
      }),
  },
  // What the measurement itself costs: at most 1 %.
  measuring: {
    unit: 'ms a step',
    cases: (seconds) =>
      [small, large].flatMap((name) => {
        const definition = definitionOf(name);
        return /** @type {const} */ ([undefined, 'parts', 'instructions']).map((depth) => ({
          name: `${name}, ${depth === undefined ? 'not measured' : `measured by ${depth}`}`,
          measure: () =>
            millisecondsPerStep(definition, seconds, {
              workers: 1,
              ...(depth && { profile: { depth, onBatch: (batch) => void new SplitTotals().add(batch) } }),
            }),
        }));
      }),
  },
  coalescing: {
    unit: 'ms a step',
    cases: (seconds) =>
      [small, large].flatMap((name) => {
        const definition = definitionOf(name);
        return /** @type {const} */ (['coalesced', 'separate']).map((execution) => ({
          name: `${name}, ${execution}`,
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
          measure: () =>
            profiled(
              { ...definitionOf(large), optimizer },
              seconds,
              { workers },
              ({ bytes, split, batches }) => {
                const slowest = Math.max(...split.map(({ update }) => update));
                return bytes.update / batches / slowest / 1e6;
              },
            ),
        })),
      ),
  },
  'start-up': {
    unit: 'ms',
    cases: () => {
      const main = fileURLToPath(new URL('../apps/cli/dist/main.js', import.meta.url));
      const timed = async (/** @type {() => Promise<unknown>} */ work) => {
        const began = performance.now();
        await work();
        return performance.now() - began;
      };
      return [
        {
          name: 'the command: --version',
          measure: () => timed(() => promisify(execFile)(process.execPath, [main, '--version'])),
        },
        {
          name: 'the command: two steps of the digits',
          measure: () =>
            timed(() => promisify(execFile)(process.execPath, [main, 'train', '--fast-dev-run', '--json'])),
        },
        ...Object.keys(models).map((name) => ({
          name: `train(): two steps of ${name}`,
          measure: () => timed(async () => train({ ...definitionOf(name), steps: 2 })),
        })),
      ];
    },
  },
};
