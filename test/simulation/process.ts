import type { Clock } from './clock.ts';

/** A process of the simulation: it can be killed, and stopped for a while (everything then waits for it). */
export class Process {
  readonly #clock: Clock;
  #alive = true;
  #stoppedUntil = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  kill(): void {
    this.#alive = false;
  }

  /** SIGSTOP, and SIGCONT after this time. */
  stop(time: number): void {
    this.#stoppedUntil = this.#clock.now + time;
  }

  /** Runs something now: when the process is stopped, as soon as it goes on; when it is dead, never. */
  run(work: () => void): void {
    if (!this.#alive) return;
    if (this.#clock.now < this.#stoppedUntil) this.#clock.at(this.#stoppedUntil, () => this.run(work));
    else work();
  }

  later(delay: number, work: () => void): void {
    this.#clock.after(delay, () => this.run(work));
  }

  at(time: number, work: () => void): void {
    this.#clock.at(time, () => this.run(work));
  }
}
