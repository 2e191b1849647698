/** One or two lines of a terminal that are drawn again in place. */
import type { WriteStream } from 'node:tty';

/** Milliseconds between drawings: a terminal is slower than a step. */
const INTERVAL = 100;
const CLEAR = '\r\u001b[2K';
const UP = '\u001b[1A';

export class ProgressLine {
  readonly #stream: Pick<WriteStream, 'write' | 'columns' | 'isTTY'>;
  #drawnAt = Number.NEGATIVE_INFINITY;
  /** Lines that are drawn now. */
  #lines = 0;

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

  /** Draws what `text` gives, lines of at most `width` characters, if it is a terminal and the last drawing is old enough. */
  draw(text: () => string): void {
    if (!this.isTerminal) return;
    const now = performance.now();
    if (now - this.#drawnAt < INTERVAL) return;
    this.#drawnAt = now;
    const drawn = text();
    this.#stream.write(this.#erase + drawn);
    this.#lines = drawn.split('\n').length;
  }

  /** Lines above, which stay. */
  print(...lines: readonly string[]): void {
    this.clear();
    this.#stream.write(lines.map((line) => `${line}\n`).join(''));
  }

  clear(): void {
    if (this.#lines > 0) this.#stream.write(this.#erase);
    this.#lines = 0;
  }

  get #erase(): string {
    return CLEAR + (UP + CLEAR).repeat(Math.max(0, this.#lines - 1));
  }
}
