/** Coordinators and nodes as processes, with what they tell. */
import type { ChildProcess } from 'node:child_process';
import { events, lockstep, type Outcome } from '../command.ts';

export type Told = ReturnType<typeof events>[number];

/** A `lockstep` command that runs, and tells in `--json` what it does. */
export class Running {
  readonly outcome: Promise<Outcome>;
  #child: ChildProcess | undefined;
  #told: Told[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}) {
    this.outcome = lockstep([...args, '--json'], {
      cwd,
      env,
      onStart: (child) => {
        this.#child = child;
      },
      onOutput: (stdout) => {
        this.#told = events(stdout.slice(0, stdout.lastIndexOf('\n')));
        for (const look of this.#waiting) look();
      },
    });
  }

  get told(): readonly Told[] {
    return this.#told;
  }

  /** Settles when the `count`-th such event has come; rejects when the process ends before. */
  async seen(is: (event: Told) => boolean, count = 1): Promise<Told> {
    let found: Told | undefined;
    const told = new Promise<void>((resolve) => {
      const look = (): void => {
        found = this.#told.filter(is)[count - 1];
        if (found === undefined) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
    const ended = this.outcome.then(({ stderr }) => {
      if (found === undefined) throw new Error(`the process ended before: ${stderr}`);
    });
    await Promise.race([told, ended]);
    return found!;
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#child?.kill(signal);
  }

  /** Its last word. Throws when it did not end well. */
  async done(code = 0): Promise<Told> {
    const outcome = await this.outcome;
    const last = events(outcome.stdout).at(-1);
    if (outcome.code === code && last) return last;
    throw new Error(
      `exit code ${outcome.code}, expected ${code}: ${outcome.stderr}\n${JSON.stringify(last)}`,
    );
  }
}

/** Processes in one folder, all of which end with the test. */
export class Cluster {
  readonly folder: string;
  readonly #running: Running[] = [];

  constructor(folder: string) {
    this.folder = folder;
  }

  /** `lockstep WORDS --json`. */
  start(words: string, env?: Readonly<Record<string, string>>): Running {
    const running = new Running(words.split(' '), this.folder, env);
    this.#running.push(running);
    return running;
  }

  /** A coordinator that listens already, and its URL. `words`: after `serve`. */
  async serve(
    words: string,
    env?: Readonly<Record<string, string>>,
  ): Promise<{ serving: Running; url: string; port: string }> {
    const serving = this.start(`serve ${words}`, env);
    const { urls } = await serving.seen(({ type }) => type === 'listening');
    const url = String((urls as string[])[0]);
    return { serving, url, port: new URL(url).port };
  }

  /** A node with a cache of the folder's. */
  join(url: string, words = '--workers 1', env?: Readonly<Record<string, string>>): Running {
    return this.start(`join ${url} --cache ${this.folder}/cache ${words}`, env);
  }

  async end(): Promise<void> {
    for (const running of this.#running) running.kill();
    await Promise.all(this.#running.map(({ outcome }) => outcome));
  }
}
