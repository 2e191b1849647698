import type { ChildProcess } from 'node:child_process';
import { type events, lockstep, type Outcome } from '../command.ts';

export type Told = ReturnType<typeof events>[number];

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

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
      this.#heard(told);
    }
    this.#read = Math.max(this.#read, end);
  }

  /** Waits until this is so. Throws when the process ends before, or nothing comes of it for 60 s. */
  async until(isSo: () => boolean): Promise<void> {
    const begin = performance.now();
    while (!isSo()) {
      if (this.isOver) throw new Error(`the process ended: ${(await this.outcome).stderr}`);
      if (performance.now() - begin > 60_000)
        throw new Error(`waited for 60 s after ${JSON.stringify(this.last)}`);
      await sleep(2);
    }
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.child?.kill(signal);
    await this.outcome;
  }
}
