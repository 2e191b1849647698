import type { Clock } from '@lockstep/sync';

/** Milliseconds between two pings: a tenth of the real ones, so that runs are short. */
export const HEARTBEAT = 100;

/**
 * Turns of the microtask queue between two events: promises that are settled go on before time does. Which of two chains of
 * promises is longer never depends on anything but the seed, so a chain that is not through yet goes on a little later.
 */
const TURNS = 24;

interface Entry {
  readonly at: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** Virtual time: what is due next runs next; what is due at the same time runs in the order it was asked for. */
export class VirtualClock {
  now = 0;
  readonly #heap: Entry[] = [];
  #order = 0;

  after(delay: number, run: () => void): () => void {
    return this.at(this.now + delay, run);
  }

  /** Gives what calls it off. */
  at(time: number, run: () => void): () => void {
    const heap = this.#heap;
    const entry: Entry = { at: Math.max(time, this.now), order: this.#order++, run };
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
    return () => {
      entry.run = undefined;
    };
  }

  /** Runs what is due next; false when nothing is. */
  advance(): boolean {
    for (;;) {
      const first = this.#pop();
      if (first === undefined) return false;
      if (first.run === undefined) continue;
      this.now = first.at;
      first.run();
      return true;
    }
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined) return undefined;
    const last = heap.pop()!;
    if (heap.length > 0) this.#sink(last);
    return first;
  }

  #sink(entry: Entry): void {
    const heap = this.#heap;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, entry)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = entry;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Lets promises that are settled go on. */
export async function settle(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await null;
}

/** A process of the simulation: it can be killed, and stopped for a while (everything then waits for it). */
export class Process implements Clock {
  readonly #clock: VirtualClock;
  #alive = true;
  #stoppedUntil = 0;
  /** What came while it was stopped. */
  readonly #waiting: (() => void)[] = [];

  constructor(clock: VirtualClock) {
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

  now(): number {
    return this.#clock.now;
  }

  after(delay: number, work: () => void): () => void {
    let isOff = false;
    this.#clock.after(delay, () =>
      this.run(() => {
        if (!isOff) work();
      }),
    );
    return () => {
      isOff = true;
    };
  }

  /** Settles after this time; never when the process is killed meanwhile. */
  sleep(delay: number): Promise<void> {
    return new Promise((resolve) => this.after(delay, resolve));
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
}
