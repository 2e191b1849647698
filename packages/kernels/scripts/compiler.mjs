/** The C compiler of this machine, and what it makes of the kernels. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { dist, kernelFiles, native } from './sources.mjs';

const run = promisify(execFile);

/** name → [floats per vector, options]; `addon.c` lists the same names. */
export const variants = {
  x64: {
    avx512: [16, '-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mprefer-vector-width=512'],
    avx2: [8, '-mavx2'],
    sse: [4],
  },
  arm64: { neon: [4] },
}[process.arch];

/** The C compiler of this machine and its version, or undefined. */
export const findCompiler = () => {
  for (const name of [process.env.CC, 'cc', 'gcc', 'clang']) {
    if (!name) continue;
    try {
      return { name, version: execFileSync(name, ['--version'], { encoding: 'utf8' }) };
    } catch {}
  }
  return undefined;
};

/** Each kernel file for each variant: [file, ...options]. */
export const kernelJobs = () =>
  Object.entries(variants).flatMap(([name, [width, ...options]]) =>
    kernelFiles.map((file) => [file, ...options, `-I${dist}`, `-DLS_W=${width}`, `-DLS_VARIANT=${name}`]),
  );

/** Compiles jobs [file of native/ or a path, ...options], as many at once as there are cores, and links them to `path`. */
export const compileAndLink = async (compiler, common, jobs, link, path) => {
  const objects = `${mkdtempSync(`${dist}native-`)}/`;
  const waiting = jobs.map(([file, ...options], i) => ({ file, options, object: `${objects}${i}.o` }));
  const files = waiting.map(({ object }) => object);
  const lane = async () => {
    for (let job = waiting.pop(); job; job = waiting.pop()) {
      const source = job.file.includes('/') ? job.file : `${native}${job.file}`;
      await run(compiler, [...common, '-c', ...job.options, source, '-o', job.object]);
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, lane));
    await run(compiler, [...files, '-o', path, ...link]);
  } finally {
    rmSync(objects, { recursive: true, force: true });
  }
};
