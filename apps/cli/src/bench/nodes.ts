/** One piece of a measurement on several nodes: processes of this machine that join over loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelVariant } from '@lockstep/kernels';
import { serve, type TrainingDefinition } from 'lockstep';
import { ConfigFileError } from '../failure.ts';
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

export interface NodesPieceOptions {
  readonly nodes: number;
  readonly workers: number;
  readonly kernels: KernelVariant;
  /** After the first step, warm-up included. */
  readonly seconds: number;
}

export interface NodesPiece {
  readonly steps: number;
  readonly seconds: number;
}

const WARM_UP = 0.25;
/** Steps that are not counted, at least. */
const COLD = 2;
const LEAST_STEPS = 3;
/** Milliseconds until all nodes are there and a step is done. */
const PATIENCE = 60_000;
/** More steps than can be waited for: the wire counts batches in 32 bits. */
const STEPS = 1e8;

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url));

/** Throws what training throws, ConfigFileError where nodes do not come, and the reason of an aborted signal. */
export async function trainOnNodes<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  { nodes, workers, kernels, seconds }: NodesPieceOptions,
  signal: AbortSignal,
): Promise<NodesPiece> {
  signal.throwIfAborted();
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-bench-'));
  const children: ChildProcess[] = [];
  const enough = new AbortController();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    enough.abort();
  }, PATIENCE);
  const start = (url: string): void => {
    const words = ['join', url, '--workers', String(workers), '--kernels', kernels, '--quiet'];
    for (let i = 0; i < nodes; i++) {
      children.push(
        spawn(process.execPath, [MAIN, ...words, '--cache', join(folder, String(i))], { stdio: 'ignore' }),
      );
    }
  };
  const times: number[] = [];
  try {
    await serve(
      { ...definition, steps: STEPS },
      {
        ...{ workers: 0, kernels, minNodes: nodes, listen: { host: '127.0.0.1', port: 0 } },
        signal: AbortSignal.any([signal, enough.signal]),
        on: {
          listening: ({ urls }) => start(urls[0]!),
          step: () => {
            clearTimeout(timer);
            times.push(performance.now());
            const long = times.at(-1)! - times[0]! >= 1000 * seconds;
            if (long && times.length > COLD + LEAST_STEPS) enough.abort();
          },
        },
      },
    );
  } finally {
    clearTimeout(timer);
    await Promise.all(children.map(ended));
    rmSync(folder, { recursive: true, force: true });
  }
  signal.throwIfAborted();
  if (late) {
    throw new ConfigFileError(
      `bench: ${nodes} nodes on this machine made no step within ${PATIENCE / 1000} s; try fewer --nodes`,
    );
  }
  const warm = times.findIndex((time, i) => i >= COLD && time - times[0]! >= 1000 * WARM_UP * seconds);
  const from = Math.max(COLD, Math.min(warm === -1 ? COLD : warm, times.length - 1 - LEAST_STEPS));
  return { steps: times.length - 1 - from, seconds: (times.at(-1)! - times[from]!) / 1000 };
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
