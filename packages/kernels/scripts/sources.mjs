/** What both builds share: the sources, the flags that keep the bits, and a stamp that skips needless work. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
export const native = at('native/');
export const dist = at('dist/');
mkdirSync(dist, { recursive: true });

/** File name → text of everything in native/. */
export const sources = Object.fromEntries(
  readdirSync(native)
    .sort()
    .map((name) => [name, readFileSync(`${native}${name}`, 'utf8')]),
);

/** The kernels; `addon.c` is Node's side of the native build. */
export const kernelFiles = Object.keys(sources).filter((name) => name.endsWith('.c') && name !== 'addon.c');

/**
 * Exactness first: no contraction to FMA, no fast-math of any kind. Only errno and trapping (exception flags), which nobody
 * reads, are given up; neither changes a result. In WASM the memory begins at address 0: a null base is a good one, and
 * `base + offset` must not be taken for null.
 */
export const flags = [
  '-std=gnu11',
  '-O3',
  '-ffp-contract=off',
  '-fno-math-errno',
  '-fno-trapping-math',
  '-fno-delete-null-pointer-checks',
];

/** Runs `build` unless `dist/<name>` already records the same inputs. `build` says whether it succeeded. */
export const unlessCurrent = async (name, inputs, build) => {
  const stamp = `${dist}${name}`;
  const hash = createHash('sha256')
    .update(JSON.stringify([sources, flags, inputs]))
    .digest('hex');
  const previous = (() => {
    try {
      return readFileSync(stamp, 'utf8');
    } catch {
      return '';
    }
  })();
  if (previous === hash) return;
  if (await build()) writeFileSync(stamp, hash);
};
