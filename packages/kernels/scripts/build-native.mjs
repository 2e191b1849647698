/**
 * Builds dist/lockstep.node, one Node-API addon with a variant of the kernels for each vector width of this architecture, if
 * there is a C compiler ($CC, cc, gcc or clang). If not, one line says that WASM will be used; that is no failure.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { include_dir as nodeHeaders } from 'node-api-headers';
import { addonFiles, dist, flags, kernelFiles, native, unlessCurrent } from './sources.mjs';

const run = promisify(execFile);

/** name → [floats per vector, options]; `addon.c` lists the same names. */
const variants = {
  x64: {
    avx512: [16, '-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mprefer-vector-width=512'],
    avx2: [8, '-mavx2'],
    sse: [4],
  },
  arm64: { neon: [4] },
}[process.arch];

const findCompiler = () => {
  for (const name of [process.env.CC, 'cc', 'gcc', 'clang']) {
    if (!name) continue;
    try {
      return { name, version: execFileSync(name, ['--version'], { encoding: 'utf8' }) };
    } catch {}
  }
  return undefined;
};

const compile = async (compiler, path) => {
  const common = [...flags, '-fPIC', '-fvisibility=hidden', '-c'];
  const objects = `${mkdtempSync(`${dist}native-`)}/`;
  const jobs = addonFiles.map((file) => [file, `${file}.o`, `-I${nodeHeaders}`]);
  for (const [name, [width, ...options]] of Object.entries(variants)) {
    for (const file of kernelFiles) {
      jobs.push([file, `${name}-${file}.o`, ...options, `-DLS_W=${width}`, `-DLS_VARIANT=${name}`]);
    }
  }
  const files = jobs.map(([, object]) => `${objects}${object}`);
  const lane = async () => {
    for (let job = jobs.pop(); job; job = jobs.pop()) {
      const [source, object, ...options] = job;
      await run(compiler, [...common, ...options, `${native}${source}`, '-o', `${objects}${object}`]);
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, lane));
    const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
    await run(compiler, [...link, ...files, '-o', path]);
  } finally {
    rmSync(objects, { recursive: true, force: true });
  }
};

const withoutAddon = (reason) => {
  rmSync(`${dist}lockstep.node`, { force: true });
  console.log(`@lockstep/kernels: WASM kernels will be used (${reason}).`);
  return false;
};

const build = (compiler) => async (path) => {
  try {
    await compile(compiler, path);
    return true;
  } catch (error) {
    const lines = String(error.stderr ?? error.message).split('\n');
    return withoutAddon(
      `${compiler} failed: ${lines.find((line) => line.includes('error')) ?? error.message}`,
    );
  }
};

const compiler = findCompiler();
if (!variants || process.platform === 'win32') {
  withoutAddon(`no native kernels for ${process.platform} ${process.arch}`);
} else if (!compiler) {
  withoutAddon('no C compiler found: set CC, or install gcc or clang, for native speed');
} else {
  await unlessCurrent('lockstep.node', [compiler.version, variants], build(compiler.name));
}
