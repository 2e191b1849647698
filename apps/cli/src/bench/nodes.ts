/** Measurements on several nodes: processes of this machine that join over loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelVariant } from '@lockstep/kernels';
import { type ServeOptions, serve, type TrainingDefinition } from 'lockstep';
import { ConfigFileError } from '../failure.ts';
import { Gate } from './gate.ts';
import type { Measured } from './statistics.ts';

/** Figures of one number of nodes. */
export interface NodesScaling {
  readonly nodes: number;
  /** Of each node. */
  readonly workers: number;
  readonly batch: number;
  readonly shards: number;
  readonly samplesPerSecond: Measured;
  readonly stepMilliseconds: Measured;
  /** Throughput over that of the fewest workers without a network. */
  readonly speedup: Measured;
  /** Speed-up per worker that was added. */
  readonly efficiency: Measured;
}

export interface NodesOptions {
  readonly nodes: number;
  /** Of each. */
  readonly workers: number;
  readonly kernels: KernelVariant;
}

export interface NodesPiece {
  readonly steps: number;
  readonly seconds: number;
}

/** As in `piece.ts`. */
const WARM_UP = 0.1;
const COLD = 1;
const LEAST_STEPS = 3;
const FIRST = 0.3;
/** Milliseconds until all nodes are there. */
const PATIENCE = 60_000;
/** Steps that are told of within so many milliseconds were done before: the loop picks up several at once. */
const AT_ONCE = 1;
/** More steps than can be waited for: the wire counts batches in 32 bits. */
const STEPS = 1e8;

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url));

/** Training on several nodes, as long as it is measured. */
export class NodesSubject {
  readonly #folder = mkdtempSync(join(tmpdir(), 'lockstep-bench-'));
  readonly #children: ChildProcess[] = [];
  readonly #gate: Gate;
  readonly #end = new AbortController();
  readonly #run: Promise<unknown>;
  readonly #ended: Promise<never>;
  #step: () => void = () => {};

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
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () =>
          reject(
            new ConfigFileError(
              `bench: ${nodes} nodes on this machine made no step within ${PATIENCE / 1000} s; try fewer --nodes`,
            ),
          ),
        PATIENCE,
      );
    });
    try {
      await Promise.race([subject.measure(FIRST), late]);
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
    const either = AbortSignal.any([signal, this.#end.signal]);
    this.#gate = new Gate(either);
    const listening = ({ urls: [url] }: { readonly urls: readonly string[] }): void => {
      const words = ['join', url!, '--workers', String(workers), '--kernels', kernels, '--quiet'];
      for (let i = 0; i < nodes; i++) {
        const own = [...words, '--cache', join(this.#folder, String(i))];
        this.#children.push(spawn(process.execPath, [MAIN, ...own], { stdio: 'ignore' }));
      }
    };
    this.#run = Promise.resolve(
      begin({ pause: this.#gate, signal: either, on: { listening, step: () => this.#step() } }),
    );
    this.#ended = this.#run.then(() => {
      signal.throwIfAborted();
      throw new Error('bench: training on nodes has ended');
    });
    this.#ended.catch(() => {});
  }

  /** Trains for so long. Throws what training throws, and the reason of an aborted signal. */
  async measure(seconds: number): Promise<NodesPiece> {
    /** When how many steps had been done. */
    const seen: { at: number; steps: number }[] = [];
    let steps = 0;
    this.#step = () => {
      const at = performance.now();
      steps++;
      const last = seen.at(-1);
      if (last && at - last.at < AT_ONCE) last.steps = steps;
      else seen.push({ at, steps });
      const isLong = at - seen[0]!.at >= 1000 * seconds;
      if (isLong && steps >= seen[0]!.steps + COLD + LEAST_STEPS) this.#gate.shut();
    };
    const held = this.#gate.holds();
    this.#gate.open();
    await Promise.race([held, this.#ended]);
    const [begin, end] = [seen[0]!, seen.at(-1)!];
    const from =
      seen.find(
        ({ at, steps }) => steps >= begin.steps + COLD && at - begin.at >= WARM_UP * 1000 * seconds,
      ) ?? begin;
    return { steps: end.steps - from.steps, seconds: (end.at - from.at) / 1000 };
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#run.catch(() => {});
    await Promise.all(this.#children.map(ended));
    rmSync(this.#folder, { recursive: true, force: true });
  }
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
