/** Hands the steps of a run to those who iterate over them. While somebody does, training waits for them after each step. */
import type { StepEvent } from './events.ts';

/** One `for await` over the steps. */
interface Reader {
  /** Done and not read yet. */
  readonly queue: StepEvent[];
  /** Set while the reader waits for the next step. */
  settle:
    | { resolve: (result: IteratorResult<StepEvent>) => void; reject: (error: unknown) => void }
    | undefined;
  /** Set while training waits for the reader. */
  asked: () => void;
  /** Why the run failed, until the reader was told. */
  failure?: { readonly error: unknown } | undefined;
}

const END = { done: true, value: undefined } as const;

export class StepStream {
  readonly #readers = new Set<Reader>();
  readonly #leave: () => Promise<unknown>;
  #hasEnded = false;

  /** @param leave called when a reader leaves its loop early; the loop is left when it settles */
  constructor(leave: () => Promise<unknown>) {
    this.#leave = leave;
  }

  /** Whether somebody iterates: then training goes one step at a time. */
  get isRead(): boolean {
    return this.#readers.size > 0;
  }

  /** Every step from now on, or from the first one if the run has only just been started. */
  read(): AsyncIterableIterator<StepEvent> {
    const reader: Reader = { queue: [], settle: undefined, asked: () => {} };
    if (!this.#hasEnded) this.#readers.add(reader);
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: () => {
        reader.asked();
        const value = reader.queue.shift();
        if (value !== undefined) return Promise.resolve({ done: false, value });
        const { failure } = reader;
        reader.failure = undefined;
        if (failure !== undefined) return Promise.reject(failure.error);
        if (!this.#readers.has(reader)) return Promise.resolve(END);
        return new Promise((resolve, reject) => {
          reader.settle = { resolve, reject };
        });
      },
      return: async () => {
        if (this.#readers.delete(reader)) {
          reader.asked();
          await this.#leave();
        }
        return END;
      },
    };
  }

  /** Hands steps over, one after the other; settles when all readers have asked for the next one, or left. */
  async give(steps: readonly StepEvent[]): Promise<void> {
    for (const step of steps) {
      await Promise.all([...this.#readers].map((reader) => give(reader, step)));
    }
  }

  /** The run is over; `failure`: why it failed, thrown by every loop over its steps. */
  end(failure?: { readonly error: unknown }): void {
    this.#hasEnded = true;
    for (const reader of this.#readers) {
      if (failure === undefined) reader.settle?.resolve(END);
      else if (reader.settle) reader.settle.reject(failure.error);
      else reader.failure = failure;
    }
    this.#readers.clear();
  }
}

function give(reader: Reader, step: StepEvent): Promise<void> {
  return new Promise((resolve) => {
    reader.asked = resolve;
    if (reader.settle === undefined) {
      reader.queue.push(step);
    } else {
      reader.settle.resolve({ done: false, value: step });
      reader.settle = undefined;
    }
  });
}
