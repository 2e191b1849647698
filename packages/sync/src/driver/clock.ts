/** What drivers know of time. Simulations put a clock of their own underneath: then nothing of a driver waits for real. */
export interface Clock {
  /** Milliseconds; never goes back. */
  now(): number;
  /** Calls once, after so many milliseconds. Gives what calls it off. */
  after(milliseconds: number, call: () => void): () => void;
}

/** The time of this process. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** Milliseconds on a clock that is the same in all threads of this machine, and never goes back. */
export function wallClock(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

/** How far another clock is ahead of this one: the quickest answer of those that were given says it best. */
export class ClockOffset {
  #asked: number | undefined;
  #quickest = Number.POSITIVE_INFINITY;
  #offset = 0;

  ask(now: number): void {
    this.#asked = now;
  }

  /** `told`: the other clock, at some moment between the question and its answer. */
  answer(told: number, now: number): void {
    const asked = this.#asked;
    this.#asked = undefined;
    if (asked === undefined || now - asked >= this.#quickest) return;
    this.#quickest = now - asked;
    this.#offset = told - (asked + now) / 2;
  }

  /** Milliseconds; wrong by at most half of the quickest round trip. */
  get ahead(): number {
    return this.#offset;
  }
}
