/** PyTorch's side: a process of `pytorch.py` that answers round by round. */
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

/** @typedef {{ torch: string, foreach: boolean, productGflops: number }} About */

/**
 * The first of the candidates that can import torch.
 * @param {readonly string[]} candidates commands
 * @returns {string | undefined}
 */
export const findPython = (candidates) =>
  candidates.find((python) => spawnSync(python, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0);

export class PyTorch {
  #child;
  #lines;

  /**
   * @param {string} python
   * @param {import('./models.mjs').Model} model
   * @param {{ threads: number, processes: number }} options
   */
  constructor(python, { kind, layers, batch, steps }, { threads, processes }) {
    const spec = JSON.stringify({ kind, layers, batch, steps, threads, processes });
    const script = new URL('pytorch.py', import.meta.url).pathname;
    // torch.set_num_threads reaches OpenMP, but not OpenBLAS.
    const env = { ...process.env, OPENBLAS_NUM_THREADS: String(threads) };
    this.#child = spawn(python, [script, spec], { stdio: ['pipe', 'pipe', 'inherit'], env });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** What runs here, once it is warm. @returns {Promise<About>} */
  about() {
    return this.#next();
  }

  /** Measures a round: seconds per step. */
  async round() {
    this.#child.stdin.write('round\n');
    /** @type {{ secondsPerStep: number }} */
    const { secondsPerStep } = await this.#next();
    return secondsPerStep;
  }

  close() {
    this.#child.stdin.end();
  }

  async #next() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('pytorch.py ended before its answer; its reason is above');
    return JSON.parse(value);
  }
}
