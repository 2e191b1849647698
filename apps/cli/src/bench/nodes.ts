/** Measurements on several nodes: processes of this machine that join over loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelVariant } from '@lockstep/kernels';
import { type ServeOptions, type StepEvent, serve, type TrainingDefinition } from 'lockstep';
import { ConfigFileError } from '../common/failure.ts';
import { Gate } from './gate.ts';

/** What a node is at in a step. */
export const nodesActivities = ['compute', 'network', 'update', 'wait'] as const;
export type NodesActivity = (typeof nodesActivities)[number];

export type Traffic = NonNullable<StepEvent['bytes']>;

export interface NodesOptions {
  readonly nodes: number;
  /** Of each. */
  readonly workers: number;
  readonly kernels: KernelVariant;
}

export interface NodesPiece {
  readonly batches: number;
  readonly seconds: number;
  /** Means of these steps. */
  readonly split: Readonly<Record<NodesActivity, number>>;
  readonly bytes: Traffic;
}

/** As in `piece.ts`. */
const WARM_UP = 0.1;
const COLD = 1;
const LEAST_STEPS = 3;
const FIRST = 0.3;
/** Milliseconds until all nodes are there. */
const PATIENCE = 60_000;
/** More steps than can be waited for: the wire counts batches in 32 bits. */
const STEPS = 1e8;

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url));

/** Training on several nodes, as long as it is measured. */
export class NodesSubject {
  readonly #folder = makeFolder();
  readonly #children: ChildProcess[] = [];
  readonly #gate: Gate;
  readonly #end = new AbortController();
  readonly #run: Promise<unknown>;
  readonly #ended: Promise<never>;
  readonly #lost = new AbortController();
  #step: (event: StepEvent) => void = () => {};

  /** Throws what training throws, ConfigFileError where nodes do not come, and the reason of an aborted signal. */
  static async start<M, F extends string>(
    definition: TrainingDefinition<M, F>,
    options: NodesOptions,
    signal: AbortSignal,
  ): Promise<NodesSubject> {
    signal.throwIfAborted();
    const { nodes, kernels } = options;
    const subject = new NodesSubject(options, signal, (part) =>
      serve(
        { ...definition, steps: STEPS },
        { workers: 0, kernels, minNodes: nodes, listen: { host: '127.0.0.1', port: 0 }, ...part },
      ),
    );
    const timer = setTimeout(() => {
      subject.#lose(
        `${nodes} nodes on this machine made no step within ${PATIENCE / 1000} s; try fewer --nodes`,
      );
    }, PATIENCE);
    try {
      await subject.measure(FIRST);
    } catch (error) {
      await subject.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return subject;
  }

  private constructor(
    { nodes, workers, kernels }: NodesOptions,
    signal: AbortSignal,
    begin: (part: Pick<ServeOptions, 'pause' | 'signal' | 'on'>) => PromiseLike<unknown>,
  ) {
    const either = AbortSignal.any([signal, this.#end.signal, this.#lost.signal]);
    this.#gate = new Gate(either);
    const listening = ({ urls: [url] }: { readonly urls: readonly string[] }): void => {
      const words = ['join', url!, '--workers', String(workers), '--kernels', kernels, '--quiet'];
      for (let i = 0; i < nodes; i++) {
        this.#start([...words, '--cache', join(this.#folder, String(i))], `node ${i + 1} of ${nodes}`);
      }
    };
    this.#run = Promise.resolve(
      begin({ pause: this.#gate, signal: either, on: { listening, step: (event) => this.#step(event) } }),
    );
    this.#ended = this.#run.then(() => {
      signal.throwIfAborted();
      this.#lost.signal.throwIfAborted();
      throw new Error('bench: training on nodes has ended');
    });
    this.#ended.catch(() => {});
  }

  /** A node that ends by itself ends the measurement. */
  #start(words: readonly string[], name: string): void {
    // A token is for other runs: nodes of this machine need none.
    const { LOCKSTEP_TOKEN: _, ...env } = process.env;
    const child = spawn(process.execPath, [MAIN, ...words], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-500);
    });
    child.once('error', (error) => this.#lose(`${name} does not start: ${error.message}`));
    child.once('close', (code, signal) => {
      this.#lose(`${name} ended (${signal ?? `exit code ${code}`})${said && `: ${said.trim()}`}`);
    });
    this.#children.push(child);
  }

  #lose(why: string): void {
    this.#lost.abort(new ConfigFileError(`bench: ${why}`));
  }

  /** Trains for so long. Throws what training throws, and the reason of an aborted signal. */
  async measure(seconds: number): Promise<NodesPiece> {
    const steps: StepEvent[] = [];
    let seen = 0;
    let spent = 0;
    this.#step = (event) => {
      if (seen++ < COLD) return;
      spent += millisecondsOf(event);
      if (spent > WARM_UP * 1000 * seconds) steps.push(event);
      if (spent >= 1000 * seconds && steps.length >= LEAST_STEPS) this.#gate.shut();
    };
    const held = this.#gate.holds();
    this.#gate.open();
    await Promise.race([held, this.#ended]);
    return pieceOf(steps);
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#run.catch(() => {});
    await Promise.all(this.#children.map(ended));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function makeFolder(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'lockstep-bench-'));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigFileError(`bench: cannot write to ${tmpdir()} (${reason}); set TMPDIR to another folder`);
  }
}

const timeOf = ({ time }: StepEvent, activity: NodesActivity): number => time?.[activity] ?? Number.NaN;

/** Its parts are all of it. */
const millisecondsOf = (event: StepEvent): number =>
  nodesActivities.reduce((sum, activity) => sum + timeOf(event, activity), 0);

function pieceOf(steps: readonly StepEvent[]): NodesPiece {
  const batches = steps.length;
  const mean = (of: (event: StepEvent) => number): number =>
    steps.reduce((sum, event) => sum + of(event), 0) / batches;
  const split = (activity: NodesActivity) => [activity, mean((event) => timeOf(event, activity))] as const;
  return {
    ...{ batches, seconds: (batches * mean(millisecondsOf)) / 1000 },
    split: Object.fromEntries(nodesActivities.map(split)) as NodesPiece['split'],
    bytes: {
      sent: mean(({ bytes }) => bytes?.sent ?? Number.NaN),
      received: mean(({ bytes }) => bytes?.received ?? Number.NaN),
    },
  };
}

/** A node looks for its coordinator again and again; this one is not coming back. */
function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
    child.kill('SIGKILL');
  });
}
