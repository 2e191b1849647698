/** What both builds share: the sources, the flags that keep the bits, and a stamp that skips needless work. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
export const native = at('native/');
export const dist = at('dist/');
mkdirSync(dist, { recursive: true });

/** File name → text of everything in native/, and of what `generate-opcodes.mjs` made before. */
export const sources = {
  ...Object.fromEntries(
    readdirSync(native)
      .sort()
      .map((name) => [name, readFileSync(`${native}${name}`, 'utf8')]),
  ),
  'opcodes.h': readFileSync(`${dist}opcodes.h`, 'utf8'),
};

/** What the native build has besides: Node's side of it, and what is of no vector width. */
export const addonFiles = ['addon.c', 'checksum.c'];

/** The kernels. */
export const kernelFiles = Object.keys(sources).filter(
  (name) => name.endsWith('.c') && !addonFiles.includes(name),
);

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

/**
 * Builds dist/<name> unless it is there and was made of the same inputs. `build(path)` writes the file to `path` and says
 * whether it succeeded; a rename then puts it in place, so that builds at the same time do not meet half a file.
 */
export const unlessCurrent = async (name, inputs, build) => {
  const [file, stamp] = [`${dist}${name}`, `${dist}${name}.stamp`];
  const hash = createHash('sha256')
    .update(JSON.stringify([sources, flags, inputs]))
    .digest('hex');
  if (existsSync(file) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
  const fresh = `${file}.${process.pid}`;
  rmSync(stamp, { force: true });
  if (!(await build(fresh))) return rmSync(file, { force: true });
  renameSync(fresh, file);
  writeFileSync(stamp, hash);
};
