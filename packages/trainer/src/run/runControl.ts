/** What can happen to a run from outside: it is paused, stopped, or one of its callbacks fails. */
import type { Callbacks, TrainingEvent } from './events.ts';
import type { Pause } from './loop.ts';

export class RunControl implements Pause {
  readonly #outer: Pause | undefined;
  readonly #on: Callbacks;
  readonly #stop = new AbortController();
  /** Aborted when the run is to end after the batches under way. */
  readonly signal: AbortSignal;
  /** Of callbacks that are async and not done. */
  readonly #callbacks = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #isPaused = false;
  /** Nothing is under way, until it is resumed. */
  #isHeld = false;
  #reached: (() => void)[] = [];
  #resume: () => void = () => {};
  #hasEnded = false;

  constructor(options: { on?: Callbacks; pause?: Pause | undefined; signal?: AbortSignal | undefined }) {
    this.#outer = options.pause;
    this.#on = options.on ?? {};
    this.signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    this.signal.addEventListener('abort', () => this.#resume(), { once: true });
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Settles when nothing is under way any more, or the run is over. */
  pause(): Promise<void> {
    this.#isPaused = true;
    if (this.#isHeld || this.#hasEnded || this.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.#reached.push(resolve));
  }

  resume(): void {
    this.#isPaused = false;
    this.#resume();
  }

  get isWanted(): boolean {
    return (this.#isPaused && !this.signal.aborted) || (this.#outer?.isWanted ?? false);
  }

  async wait(): Promise<void> {
    for (const reached of this.#reached.splice(0)) reached();
    if (this.#outer?.isWanted) await this.#outer.wait();
    if (!this.#isPaused || this.signal.aborted) return;
    this.#isHeld = true;
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
    });
    this.#isHeld = false;
  }

  /** Calls those who want to hear of an event. What they throw fails the run, at once or when they are done. */
  tell(event: TrainingEvent): void {
    const own = this.#on[event.type] as ((event: TrainingEvent) => unknown) | undefined;
    for (const result of [own?.(event), this.#on.event?.(event)] as unknown[]) {
      if (!(result instanceof Promise)) continue;
      const settled: Promise<void> = result
        .then(undefined, (error: unknown) => this.#fail(error))
        .finally(() => this.#callbacks.delete(settled));
      this.#callbacks.add(settled);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.stop();
  }

  /** Waits for callbacks that are not done, and throws what one of them threw. */
  async settle(): Promise<void> {
    while (this.#callbacks.size > 0) await Promise.all(this.#callbacks);
    if (this.#failure) throw this.#failure.error;
  }

  /** The run is over: nobody waits for a pause any more. */
  end(): void {
    this.#hasEnded = true;
    for (const reached of this.#reached.splice(0)) reached();
  }
}
