/** A run for programs: one JSON object per line. */
import type { TrainingEvent } from 'lockstep';
import type { Reporter } from './reporter.ts';

export class JsonReporter implements Reporter {
  readonly #stream: NodeJS.WritableStream;
  readonly #quiet: boolean;

  /** `quiet`: without the steps. */
  constructor(stream: NodeJS.WritableStream, options: { readonly quiet: boolean }) {
    this.#stream = stream;
    this.#quiet = options.quiet;
  }

  event(event: TrainingEvent): void {
    if (this.#quiet && event.type === 'step') return;
    this.#stream.write(`${JSON.stringify(event)}\n`);
  }

  interrupted(): void {}

  end(): void {}
}
