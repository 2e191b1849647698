/** What suites of whole steps share: training for some seconds. */
import { SplitTotals, train } from '@lockstep/trainer';
import { cores } from '@lockstep/workers';

/**
 * @typedef {import('../models.mjs').Definition} Definition
 * @typedef {import('@lockstep/trainer').TrainOptions} TrainOptions
 * @typedef {import('@lockstep/trainer').ProfileOptions} ProfileOptions
 */

/** Of a measurement: code gets compiled, caches get warm. */
const WARM_UP = 0.3;
/** Batches of a profile that are not counted. */
const COLD = 3;

export const workerCounts = [...new Set([1, cores()])];

/**
 * Trains for so long and gives the time of a step: from the first results that come after the warm-up to the last.
 * @param {Definition} definition @param {number} seconds @param {TrainOptions} options
 */
export async function millisecondsPerStep(definition, seconds, options) {
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

/**
 * Trains for so long, measured; `take` gets the batches that are warm.
 * @param {Definition} definition @param {number} seconds @param {number} workers
 * @param {ProfileOptions['depth']} depth @param {ProfileOptions['onBatch']} take
 */
export async function profile(definition, seconds, workers, depth, take) {
  let batches = 0;
  const onBatch = (/** @type {import('@lockstep/trainer').ProfiledBatch} */ batch) => {
    if (batches++ >= COLD) take(batch);
  };
  await millisecondsPerStep(definition, seconds, { workers, profile: { depth, onBatch } });
}

/** @param {Definition} definition @param {number} seconds @param {number} workers */
export async function split(definition, seconds, workers) {
  const totals = new SplitTotals();
  await profile(definition, seconds, workers, 'parts', (batch) => totals.add(batch));
  return totals;
}

/**
 * The fastest step of so many seconds (ms): what else runs can only make steps longer, so this says what the machine can do.
 * @param {Definition} definition @param {number} seconds @param {number} workers
 */
export async function fastestStep(definition, seconds, workers) {
  let fastest = Number.POSITIVE_INFINITY;
  await profile(definition, seconds, workers, 'parts', ({ moments }) => {
    const began = Math.max(...moments.map((own) => own[0] ?? 0));
    fastest = Math.min(fastest, Math.max(...moments.map((own) => own.at(-1) ?? 0)) - began);
  });
  return fastest;
}
