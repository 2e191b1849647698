/** A step leaves nothing behind: over 20,000 of them the process keeps its size. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const script = fileURLToPath(new URL('./steps.mjs', import.meta.url));

interface Memory {
  readonly rss: readonly number[];
  readonly heap: readonly number[];
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

/** Growth from the second quarter (the first one warms up) to the last. */
function growth(samples: readonly number[]): number {
  const quarter = Math.floor(samples.length / 4);
  return median(samples.slice(-quarter)) / median(samples.slice(quarter, 2 * quarter)) - 1;
}

it.for(['wasm', 'auto'])('20,000 steps on %s kernels', async (kernels, { annotate }) => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', script, kernels, '2']);
  const { rss, heap } = JSON.parse(stdout) as Memory;
  expect([rss.length, heap.length]).toEqual([200, 20]);
  const percent = (samples: readonly number[]): string => `${(100 * growth(samples)).toFixed(2)} %`;
  await annotate(`resident ${percent(rss)} of ${(rss.at(-1)! / 1e6).toFixed(0)} MB, heap ${percent(heap)}`);
  expect(Math.abs(growth(rss))).toBeLessThan(0.02);
  expect(Math.abs(growth(heap))).toBeLessThan(0.02);
});
