/**
 * What peers in JavaScript share: they train a model by steps that are given, and answer on standard output as `pytorch.py`
 * does. Their script lies outside of the folder that they are installed in, so they are found from there.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

/** Seconds of a round, and of the warm-up: a step at least. */
const ROUND = 1;
const WARM_UP = 0.5;

export const load = createRequire(new URL('installed/package.json', import.meta.url));

/** @param {string} name of an installed package @returns {string} */
export const versionOf = (name) =>
  JSON.parse(readFileSync(new URL(`installed/node_modules/${name}/package.json`, import.meta.url), 'utf8'))
    .version;

/** @typedef {Pick<import('./models.mjs').Model, 'kind' | 'layers' | 'batch'>} Spec */

/** @param {() => Promise<void>} step @param {number} seconds */
async function secondsPerStep(step, seconds) {
  const began = performance.now();
  let [steps, spent] = [0, 0];
  while (spent < seconds) {
    await step();
    steps++;
    spent = (performance.now() - began) / 1000;
  }
  return spent / steps;
}

const reply = (/** @type {unknown} */ value) => process.stdout.write(`${JSON.stringify(value)}\n`);

/**
 * Answers the driver until the end of input. A model that the peer cannot train is told as missing, with the reason.
 * @param {string} version
 * @param {(spec: Spec) => Promise<() => Promise<void>>} prepare gives what makes a whole step: forward, backward, update
 */
export async function serve(version, prepare) {
  /** @type {Spec} */
  const spec = JSON.parse(process.argv[2] ?? '{}');
  /** @type {() => Promise<void>} */
  let step;
  let warm = 0;
  try {
    step = await prepare(spec);
    warm = await secondsPerStep(step, WARM_UP);
  } catch (error) {
    const [missing = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    reply({ version, missing });
    return;
  }
  reply({ version, secondsPerStep: warm });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === 'round') reply({ secondsPerStep: await secondsPerStep(step, ROUND) });
  }
}
