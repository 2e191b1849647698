/**
 * Builds dist/lockstep.node, one Node-API addon with a variant of the kernels for each vector width of this architecture, if
 * there is a C compiler ($CC, cc, gcc or clang). If not, one line says that WASM will be used; that is no failure.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { include_dir as nodeHeaders } from 'node-api-headers';
import { dist, flags, kernelFiles, native, unlessCurrent } from './sources.mjs';

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

const compile = async (compiler) => {
  const common = [...flags, '-fPIC', '-fvisibility=hidden', '-c'];
  const objects = `${dist}native/`;
  mkdirSync(objects, { recursive: true });
  const one = async (source, object, options) => {
    await run(compiler, [...common, ...options, `${native}${source}`, '-o', `${objects}${object}`]);
    return `${objects}${object}`;
  };
  const jobs = [['addon.c', 'addon.o', [`-I${nodeHeaders}`]]];
  for (const [name, [width, ...options]] of Object.entries(variants)) {
    for (const file of kernelFiles) {
      jobs.push([file, `${file}.${name}.o`, [...options, `-DLS_W=${width}`, `-DLS_VARIANT=${name}`]]);
    }
  }
  const files = await Promise.all(jobs.map((job) => one(...job)));
  const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
  await run(compiler, [...link, ...files, '-o', `${dist}lockstep.node`]);
  rmSync(objects, { recursive: true });
};

const withoutAddon = (reason) => {
  rmSync(`${dist}lockstep.node`, { force: true });
  console.log(`@lockstep/kernels: WASM kernels will be used (${reason}).`);
  return false;
};

const compiler = findCompiler();
if (!variants || process.platform === 'win32')
  withoutAddon(`no native kernels for ${process.platform} ${process.arch}`);
else if (!compiler) withoutAddon('no C compiler found: set CC, or install gcc or clang, for native speed');
else {
  await unlessCurrent('native.stamp', [compiler.version, variants, nodeHeaders], async () => {
    try {
      await compile(compiler.name);
      return true;
    } catch (error) {
      const line =
        String(error.stderr ?? error.message)
          .split('\n')
          .find((text) => text.includes('error')) ?? error.message;
      return withoutAddon(`${compiler.name} failed: ${line}`);
    }
  });
}
