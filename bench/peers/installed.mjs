/** Peers in JavaScript that `install.mjs` has put into bench/peers/installed. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PeerProcess } from './process.mjs';

const file = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const modules = 'installed/node_modules';

const tfjs = (/** @type {string} */ backend) => ({
  name: `TensorFlow.js, ${backend}`,
  product: 'TensorFlow.js',
  present: () => existsSync(file(`${modules}/@tensorflow/tfjs/package.json`)),
  start: (/** @type {import('./models.mjs').Model} */ { kind, layers, batch }) => {
    const spec = JSON.stringify({ kind, layers, batch, backend });
    return new PeerProcess(process.execPath, [file('tfjs.mjs'), spec], { quiet: true });
  },
});

/** jax-js needs a newer Node than the project: it comes with the package `node`. */
const jax = {
  name: 'jax-js, wasm',
  product: 'jax-js',
  present: () =>
    existsSync(file(`${modules}/@jax-js/jax/package.json`)) && existsSync(file(`${modules}/node/bin/node`)),
  start: (/** @type {import('./models.mjs').Model} */ { kind, layers, batch }) => {
    const spec = JSON.stringify({ kind, layers, batch });
    return new PeerProcess(file(`${modules}/node/bin/node`), [file('jax.mjs'), spec], { quiet: true });
  },
};

export const installed = [tfjs('cpu'), tfjs('wasm'), jax];
