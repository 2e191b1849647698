/**
 * Builds dist/harness, which runs programs on all variants of the kernels under AddressSanitizer and UBSan (`fuzz/harness.c`),
 * and prints its path. Without a compiler that has the sanitizers: prints why not, and exits with code 1.
 */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileAndLink, findCompiler, kernelJobs, variants } from './compiler.mjs';
import { dist, unlessCurrent } from './sources.mjs';

const source = fileURLToPath(new URL('../fuzz/harness.c', import.meta.url));
const sanitize = ['-fsanitize=address,undefined', '-fno-omit-frame-pointer'];
/** As the kernels are built (`sources.mjs`), but for the level: the bits do not matter here, the accesses do. */
const options = [
  '-std=gnu11',
  '-O1',
  '-g1',
  '-ffp-contract=off',
  '-fno-delete-null-pointer-checks',
  ...sanitize,
];

const compiler = findCompiler();
const refuse = (why) => {
  console.log(why);
  process.exit(1);
};
if (!variants || process.platform === 'win32')
  refuse(`no native kernels for ${process.platform} ${process.arch}`);
if (!compiler) refuse('no C compiler found: set CC, or install gcc or clang');

await unlessCurrent(
  'harness',
  [compiler.version, variants, options, readFileSync(source, 'utf8')],
  async (path) => {
    try {
      await compileAndLink(compiler.name, options, [[source], ...kernelJobs()], [...sanitize, '-lm'], path);
      return true;
    } catch (error) {
      const lines = String(error.stderr ?? error.message).split('\n');
      return refuse(
        `${compiler.name} failed: ${lines.find((line) => line.includes('error')) ?? error.message}`,
      );
    }
  },
);
console.log(`${dist}harness`);
