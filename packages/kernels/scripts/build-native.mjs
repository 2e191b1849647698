/**
 * Builds dist/lockstep.node, one Node-API addon with a variant of the kernels for each vector width of this architecture, if
 * there is a C compiler ($CC, cc, gcc or clang). If not, one line says that WASM will be used; that is no failure.
 */
import { rmSync } from 'node:fs';
import { include_dir as nodeHeaders } from 'node-api-headers';
import { compileAndLink, findCompiler, kernelJobs, variants } from './compiler.mjs';
import { addonFiles, dist, flags, unlessCurrent } from './sources.mjs';

const compile = async (compiler, path) => {
  const options = ['-fPIC', '-fvisibility=hidden'];
  const jobs = [...addonFiles.map((file) => [file, `-I${nodeHeaders}`]), ...kernelJobs()];
  const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
  await compileAndLink(compiler, [...flags, ...options], jobs, link, path);
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
