/** One line of a terminal that is drawn again in place. */
import type { WriteStream } from 'node:tty';

/** Milliseconds between drawings: a terminal is slower than a step. */
const INTERVAL = 100;
const CLEAR = '\r\u001b[2K';

export class ProgressLine {
  readonly #stream: Pick<WriteStream, 'write' | 'columns' | 'isTTY'>;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #visible = false;

  constructor(stream: Pick<WriteStream, 'write' | 'columns' | 'isTTY'>) {
    this.#stream = stream;
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY;
  }

  /** Characters of the line: one column stays free, so that no terminal wraps. */
  get width(): number {
    return (this.#stream.columns || 80) - 1;
  }

  /** Draws what `line` gives, if it is a terminal and the last drawing is old enough. */
  draw(line: () => string): void {
    if (!this.isTerminal) return;
    const now = performance.now();
    if (now - this.#drawnAt < INTERVAL) return;
    this.#drawnAt = now;
    this.#visible = true;
    this.#stream.write(CLEAR + line());
  }

  /** Lines above, which stay. */
  print(...lines: readonly string[]): void {
    this.clear();
    this.#stream.write(lines.map((line) => `${line}\n`).join(''));
  }

  clear(): void {
    if (this.#visible) this.#stream.write(CLEAR);
    this.#visible = false;
  }
}
