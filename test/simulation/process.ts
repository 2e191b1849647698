import type { Clock } from './clock.ts';

/** A process of the simulation: it can be killed, and stopped for a while (everything then waits for it). */
export class Process {
  readonly #clock: Clock;
  #alive = true;
  #stoppedUntil = 0;
  /** What came while it was stopped. */
  readonly #waiting: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  kill(): void {
    this.#alive = false;
  }

  /** SIGSTOP, and SIGCONT after this time; stopped again, it goes on when the longer of the two is over. */
  stop(time: number): void {
    this.#stoppedUntil = Math.max(this.#stoppedUntil, this.#clock.now + time);
  }

  /** Runs something now: when the process is stopped, in order as soon as it goes on; when it is dead, never. */
  run(work: () => void): void {
    if (!this.#alive) return;
    if (this.#waiting.length === 0 && this.#clock.now >= this.#stoppedUntil) {
      work();
      return;
    }
    this.#waiting.push(work);
    if (this.#waiting.length === 1) this.#clock.at(this.#stoppedUntil, () => this.#continue());
  }

  #continue(): void {
    if (this.#clock.now < this.#stoppedUntil) {
      this.#clock.at(this.#stoppedUntil, () => this.#continue());
      return;
    }
    for (const work of this.#waiting.splice(0)) if (this.#alive) work();
  }

  later(delay: number, work: () => void): void {
    this.#clock.after(delay, () => this.run(work));
  }

  at(time: number, work: () => void): void {
    this.#clock.at(time, () => this.run(work));
  }
}
