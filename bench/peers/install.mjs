/**
 * `node bench/peers/install.mjs`: installs the peers that come from npm (TensorFlow.js, jax-js and a newer Node for it) into
 * bench/peers/installed, by npm. They are no dependencies of the project: nothing but `pnpm bench:peers` looks there.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = new URL('installed/', import.meta.url);
const manifest = {
  name: 'lockstep-peers',
  private: true,
  type: 'module',
  dependencies: {
    '@jax-js/jax': '0.1.25',
    '@tensorflow/tfjs': '4.22.0',
    '@tensorflow/tfjs-backend-wasm': '4.22.0',
    node: '^24',
  },
};

mkdirSync(folder, { recursive: true });
writeFileSync(new URL('package.json', folder), `${JSON.stringify(manifest, null, 2)}\n`);
const { status } = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock'], {
  cwd: fileURLToPath(folder),
  stdio: 'inherit',
  shell: process.platform === 'win32',
});
process.exitCode = status ?? 1;
