/**
 * What measuring costs (bar: 1 %). Steps of one run, in one pool, on the same memory, are measured and not, in blocks so short
 * that both sides of a pair find the machine alike; the cost is the median of the pairs' ratios, and the interval has a
 * confidence of 97 % whatever their distribution. Beside it the same by counting: readings of the clock times what one takes.
 */
import { SplitTotals, train } from '@lockstep/trainer';
import { modelNames, models, titles } from '../models.mjs';

/** Milliseconds of a block, and steps at least. */
const BLOCK = 30;
const LEAST = 2;
/** Blocks that are not counted: code gets compiled. */
const COLD = 20;
/** Half of the interval of a median: so many standard deviations of the rank. */
const SIGMAS = 2.17;

/** @typedef {import('@lockstep/trainer').ProfileOptions['depth']} Depth */

/** Nanoseconds of reading the clock and noting it. */
const readingTime = () => {
  const moments = new Float64Array(1024);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 50; round++) {
    const began = performance.now();
    for (let i = 0; i < 10_240; i++) moments[i & 1023] = performance.now() + 0.5;
    best = Math.min(best, (performance.now() - began) / 10_240);
  }
  return best * 1e6;
};

/**
 * Times of blocks (ms), not measured and measured in turn: off, on, on, off, …
 * @param {import('./steps.mjs').Definition} definition @param {Depth} depth @param {number} seconds
 */
async function blocksOf(definition, depth, seconds) {
  const enough = new AbortController();
  const totals = new SplitTotals();
  let readings = 0;
  let steps = LEAST;
  let [isOn, submitted, began, ended] = [false, 0, 0, 0];
  // The last batches of a block are done and told of, all at once: what is made of them then would be hidden elsewhere.
  const tell = () => {
    if (submitted >= steps && ended === 0) ended = performance.now();
  };
  /** @type {number[]} */
  const times = [];
  const end = performance.now() + 1000 * seconds;
  await train(
    { ...definition, steps: Number.MAX_SAFE_INTEGER, dropLast: true },
    {
      workers: 1,
      signal: enough.signal,
      profile: {
        depth,
        isOn: () => {
          submitted++;
          return isOn;
        },
        onBatch: (batch) => {
          tell();
          totals.add(batch);
          readings += batch.moments.reduce((sum, own) => sum + own.length, 0);
        },
      },
      on: { step: tell },
      pause: {
        get isWanted() {
          return submitted >= steps || times.length === 0;
        },
        wait: async () => {
          const time = ended - began;
          times.push(time);
          if (times.length === COLD) steps = Math.max(LEAST, Math.round((BLOCK * steps) / time));
          if (ended > end) enough.abort();
          isOn = times.length % 4 === 2 || times.length % 4 === 3;
          [submitted, ended] = [0, 0];
          began = performance.now();
        },
      },
    },
  );
  return { times, steps, readings: readings / totals.batches };
}

/** @param {number[]} sorted @param {number} place */
const at = (sorted, place) => sorted[Math.max(0, Math.min(sorted.length - 1, Math.round(place)))] ?? 0;

/** @param {import('./steps.mjs').Definition} definition @param {Depth} depth @param {number} seconds */
async function costOf(definition, depth, seconds) {
  const { times, steps, readings } = await blocksOf(definition, depth, seconds);
  /** @type {number[]} */
  const ratios = [];
  /** @type {number[]} */
  const off = [];
  // Blocks are numbered from 0, which is the wait for the first: 1 is off, 2 and 3 are on, 4 and 5 are off.
  for (let i = COLD + 1; i + 1 < times.length; i += 2) {
    const [first = 0, second = 0] = times.slice(i, i + 2);
    const isOnFirst = i % 4 === 3;
    ratios.push(isOnFirst ? first / second : second / first);
    off.push((isOnFirst ? second : first) / steps);
  }
  ratios.sort((a, b) => a - b);
  const [middle, margin] = [(ratios.length - 1) / 2, (SIGMAS * Math.sqrt(ratios.length)) / 2];
  const percent = (/** @type {number} */ ratio) => 100 * (ratio - 1);
  const step = at(
    off.sort((a, b) => a - b),
    off.length / 2,
  );
  return {
    'cost, %': percent(at(ratios, middle)),
    'cost, %, at least': percent(at(ratios, middle - margin)),
    'cost, %, at most': percent(at(ratios, middle + margin)),
    pairs: ratios.length,
    'readings of the clock a step': readings,
    'cost by counting, %': (100 * readings * readingTime()) / 1e6 / step,
  };
}

/** @type {import('../suites.mjs').Suite} */
export const measuring = {
  unit: '',
  cases: (seconds) =>
    modelNames.flatMap((name) =>
      /** @type {const} */ (['parts', 'instructions']).map((depth) => ({
        name: `${titles[name]}, by ${depth}`,
        rounds: 1,
        measure: () => costOf(models[name](), depth, 20 * seconds),
      })),
    ),
};
