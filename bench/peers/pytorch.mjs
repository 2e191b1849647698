/** PyTorch's side: a process of `pytorch.py`. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PeerProcess } from './process.mjs';

/**
 * The first of the candidates that can import torch.
 * @param {readonly string[]} candidates commands
 * @returns {string | undefined}
 */
export const findPython = (candidates) =>
  candidates.find((python) => spawnSync(python, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0);

/**
 * @param {string} python
 * @param {import('./models.mjs').Model} model
 * @param {{ threads: number, processes: number }} options
 */
export function pytorch(python, { kind, layers, batch, steps }, { threads, processes }) {
  const spec = JSON.stringify({ kind, layers, batch, steps, threads, processes });
  const script = fileURLToPath(new URL('pytorch.py', import.meta.url));
  // torch.set_num_threads reaches OpenMP, but not OpenBLAS.
  return new PeerProcess(python, [script, spec], { env: { OPENBLAS_NUM_THREADS: String(threads) } });
}
