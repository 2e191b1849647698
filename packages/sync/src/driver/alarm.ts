import type { Clock } from './clock.ts';

/** One timer for a state machine that says when it wants to be woken. */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #cancel: () => void = () => {};
  #at = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** At this time of the clock; Infinity: never. A later time replaces an earlier one when that has rung. */
  set(at: number): void {
    if (at >= this.#at) return;
    this.#cancel();
    this.#at = at;
    // Whole milliseconds: a timer that fires a little early would find nothing due.
    this.#cancel = this.#clock.after(Math.max(0, Math.ceil(at - this.#clock.now())), () => {
      this.#at = Number.POSITIVE_INFINITY;
      this.#ring();
    });
  }

  stop(): void {
    this.#cancel();
    this.#at = Number.NEGATIVE_INFINITY;
  }
}
