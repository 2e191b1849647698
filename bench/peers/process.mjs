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

/** Milliseconds in which a peer must have ended. */
const GRACE = 3_000;

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
      // A group of its own: what the peer starts ends with it.
      detached: true,
    });
    const end = () => this.#kill();
    process.once('exit', end);
    this.#child.once('exit', () => process.off('exit', end));
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

  /** A peer ends when its input does. Of two processes of gloo, one may wait for the other for ever. */
  close() {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#kill(), GRACE);
    this.#child.once('exit', () => clearTimeout(timer));
  }

  #kill() {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // Nobody of the group is there any more.
    }
  }

  async #next() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.#command} ended before its answer; its reason is above`);
    return JSON.parse(value);
  }
}
