/** Lets a run go on for a piece at a time. */
import type { Pause } from '@lockstep/trainer';

/** Shut at first: the run comes up, and holds before its first step. */
export class Gate implements Pause {
  readonly #signal: AbortSignal;
  #isOpen = false;
  #goOn: () => void = () => {};
  #held: () => void = () => {};

  /** An aborted `signal` opens it for good, so that the run can end. */
  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.open(), { once: true });
  }

  get isWanted(): boolean {
    return !(this.#isOpen || this.#signal.aborted);
  }

  wait(): Promise<void> {
    this.#held();
    if (!this.isWanted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }

  /** Settles when the run holds the next time. */
  holds(): Promise<void> {
    return new Promise((resolve) => {
      this.#held = resolve;
    });
  }

  open(): void {
    this.#isOpen = true;
    this.#goOn();
  }

  shut(): void {
    this.#isOpen = false;
  }
}
