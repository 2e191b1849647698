/** Who waits in the main thread for what the workers do, without ever blocking it. */
import { type Control, sequenceOf } from './control.ts';

/** What is waited for. */
export interface Wait {
  readonly done: () => boolean;
  /** Sequence that `done` needs, to have the workers signal no earlier. */
  readonly sequence: number;
  /** It may be done at a mark, before. */
  readonly atMark: boolean;
}

interface Waiter extends Wait {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Waiters {
  readonly #control: Control;
  readonly #look: () => number;
  readonly #waiting: Waiter[] = [];
  #isListening = false;

  /** `look` is called whenever the workers may have got on; it gives a tick that is complete, of the last 2²⁸. */
  constructor(control: Control, look: () => number) {
    this.#control = control;
    this.#look = look;
  }

  /** Settles when it is done; rejects when `reject` is called before. */
  wait(what: Wait): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...what, resolve, reject });
      if (this.#isListening) {
        this.#want(this.#look());
        this.settle();
      } else {
        void this.#listen();
      }
    });
  }

  /** Looks who has waited long enough. */
  settle(): void {
    this.#look();
    for (let i = 0; i < this.#waiting.length; ) {
      const waiter = this.#waiting[i]!;
      if (waiter.done()) {
        this.#waiting.splice(i, 1);
        waiter.resolve();
      } else {
        i++;
      }
    }
  }

  /** Nobody waits any more. */
  reject(reason: unknown): void {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(reason);
  }

  /** Has the workers signal when the first of the waiters may be done. */
  #want(completed: number): void {
    const now = sequenceOf(completed, 0);
    let nearest: number | undefined;
    for (const { sequence } of this.#waiting) {
      const distance = (sequence - now) | 0;
      if (nearest === undefined || distance < nearest) nearest = distance;
    }
    if (nearest !== undefined) this.#control.want((now + nearest) | 0);
    if (this.#waiting.some(({ atMark }) => atMark)) this.#control.watch();
  }

  async #listen(): Promise<void> {
    this.#isListening = true;
    // In this order, so that nothing happens unnoticed: count, ask for a signal, look, wait for a further signal.
    while (this.#waiting.length > 0) {
      const seen = this.#control.signals;
      this.#want(this.#look());
      this.settle();
      if (this.#waiting.length > 0) await this.#control.signal(seen);
    }
    this.#isListening = false;
  }
}
