import type { ChildProcess } from 'node:child_process';
import { type events, lockstep, type Outcome } from '../command.ts';

export type Told = ReturnType<typeof events>[number];

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Events that are kept. */
const LATEST = 12;

/** A `lockstep` command that runs, with what it told last. */
export class Command {
  readonly outcome: Promise<Outcome>;
  child: ChildProcess | undefined;
  last: Told | undefined;
  /** When each batch was told of: milliseconds of `performance.now()`. */
  readonly stepTimes: number[] = [];
  url: string | undefined;
  isOver = false;
  readonly #heard: (told: Told) => void;
  readonly #latest: { readonly at: number; readonly told: Told }[] = [];
  #read = 0;

  /** @param through a command that runs the rest of its words */
  constructor(
    words: string,
    cwd: string,
    through: readonly string[] = [],
    heard: (told: Told) => void = () => {},
  ) {
    this.#heard = heard;
    this.outcome = lockstep([...words.split(' '), '--json'], {
      cwd,
      through,
      onStart: (child) => {
        this.child = child;
      },
      onOutput: (stdout) => this.#hear(stdout),
    });
    void this.outcome.then(() => {
      this.isOver = true;
    });
  }

  /** The last events, one a line, with how long ago they came. */
  get history(): string {
    const now = performance.now();
    return this.#latest
      .map(({ at, told }) => `${((now - at) / 1000).toFixed(1)} s ago: ${JSON.stringify(told)}`)
      .join('\n');
  }

  get steps(): number {
    return this.stepTimes.length;
  }

  #hear(stdout: string): void {
    const end = stdout.lastIndexOf('\n') + 1;
    for (const line of stdout.slice(this.#read, end).split('\n')) {
      if (line === '') continue;
      const told = JSON.parse(line) as Told;
      if (told.type === 'step') this.stepTimes.push(performance.now());
      if (told.type === 'listening') this.url = (told.urls as string[])[0];
      this.last = told;
      if (this.#latest.push({ at: performance.now(), told }) > LATEST) this.#latest.shift();
      this.#heard(told);
    }
    this.#read = Math.max(this.#read, end);
  }

  /** Waits until this is so. Throws when the process ends before, or nothing comes of it for five minutes. */
  async until(isSo: () => boolean): Promise<void> {
    const begin = performance.now();
    while (!isSo()) {
      if (this.isOver) throw new Error(`the process ended: ${(await this.outcome).stderr}`);
      if (performance.now() - begin > 300_000)
        throw new Error(`waited for 300 s after ${JSON.stringify(this.last)}`);
      await sleep(2);
    }
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.child?.kill(signal);
    await this.outcome;
  }
}
