/** A peer: a process that trains, and answers round by round. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/**
 * What runs there.
 * @typedef {object} About
 * @property {string} version
 * @property {number} [secondsPerStep] while it warmed up
 * @property {number} [productGflops] speed of its matrix product, where that says whether it is fairly installed
 * @property {string} [missing] why it cannot train this model
 */

export class PeerProcess {
  #command;
  #child;
  #lines;

  /**
   * @param {string} command @param {readonly string[]} words
   * @param {{ env?: Readonly<Record<string, string>>, quiet?: boolean }} [options] `quiet`: its stderr is nobody's
   */
  constructor(command, words, { env = {}, quiet = false } = {}) {
    this.#command = words[0] ?? command;
    this.#child = spawn(command, words, {
      stdio: ['pipe', 'pipe', quiet ? 'ignore' : 'inherit'],
      env: { ...process.env, ...env },
    });
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
    if (done) throw new Error(`${this.#command} ended before its answer; its reason is above`);
    return JSON.parse(value);
  }
}
