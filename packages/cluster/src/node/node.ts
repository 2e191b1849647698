/** A node: takes part in runs that it is sent, and keeps nothing that a run depends on. */
import { randomBytes } from 'node:crypto';
import { type KernelChoice, resolveVariant } from '@lockstep/kernels';
import {
  type Dial,
  type Fetch,
  NodeDriver,
  type NodeReport,
  type NodeWork,
  RefusedError,
  type Welcome,
} from '@lockstep/sync';
import { decodeBundle } from '../wire/bundle.ts';
import { type DataColumn, decodeData } from '../wire/dataImage.ts';
import { arithmeticProof } from '../wire/knownAnswer.ts';
import { NodeEngine } from './engine.ts';

/** Where content is kept between runs. */
export interface ContentStore {
  /** Undefined where it is not there. `bytes`: its length. */
  get(hash: string, bytes: number): Promise<Uint8Array | undefined>;
  put(hash: string, bytes: Uint8Array): Promise<void>;
}

export interface NodeOptions {
  readonly dial: Dial;
  /** Of the process; default: random. */
  readonly id?: string;
  readonly name: string;
  readonly workers: number;
  readonly kernels: KernelChoice;
  readonly store?: ContentStore | undefined;
  /** Data that are here already, with their hash. */
  readonly data?: { readonly hash: string; readonly columns: readonly DataColumn[] } | undefined;
  /** In milliseconds, see `NodeConfig`. */
  readonly backoff?: { readonly first: number; readonly longest: number };
  readonly patience?: number;
  readonly report?: (report: NodeReport) => void;
}

/**
 * Milliseconds for a connection and its welcome. While nothing gets through, systems ask for a connection after 0, 1, 3, 7 and 15
 * s: a new attempt at 5 leaves at most two seconds between two of them.
 */
export const PATIENCE = 5_000;

/** Tells a process from all others, which don't get to know it. */
export const newNodeId = (): string => randomBytes(8).toString('hex');

/** A node at work: `ended` settles when it is over; the threads end with it. */
export function startNode(options: NodeOptions): NodeDriver {
  const kernels = resolveVariant(options.kernels);
  const engines = new Engines({ ...options, kernels });
  const driver: NodeDriver = new NodeDriver({
    hello: {
      id: options.id ?? newNodeId(),
      name: options.name,
      workers: options.workers,
      kernels,
      arithmetic: 'strict',
      proof: arithmeticProof(kernels),
    },
    config: {
      backoff: options.backoff ?? { first: 100, longest: 5_000 },
      patience: options.patience ?? PATIENCE,
    },
    dial: options.dial,
    prepare: (welcome, fetch) => engines.prepare(welcome, fetch),
    ...(options.report && { report: options.report }),
    close: () => engines.close(),
  });
  return driver;
}

/** The engine of the run that was last welcomed: a coordinator that comes back finds it warm. */
export class Engines {
  readonly #options: Pick<NodeOptions, 'workers' | 'kernels' | 'store' | 'data'>;
  #last: { readonly key: string; readonly work: Promise<NodeEngine> } | undefined;
  /** Grows when what is being made ready is not wanted any more. */
  #turn = 0;

  constructor(options: Pick<NodeOptions, 'workers' | 'kernels' | 'store' | 'data'>) {
    this.#options = options;
  }

  async prepare({ program, data }: Pick<Welcome, 'program' | 'data'>, fetch: Fetch): Promise<NodeWork> {
    const key = `${program.hash} ${data.hash}`;
    const turn = ++this.#turn;
    if (this.#last?.key !== key) {
      await this.#end();
      const { workers, kernels, data: here } = this.#options;
      const bundle = await this.#get('program', program, fetch);
      const columns =
        here?.hash === data.hash
          ? here.columns
          : await usable('data', decodeData, await this.#get('data', data, fetch));
      // Threads that were started now, nobody would end.
      if (turn !== this.#turn) throw new Error('node: it has left, or is welcome elsewhere, meanwhile');
      const parts = { bundle: await usable('program', decodeBundle, bundle), data: columns };
      const start = () => NodeEngine.start({ ...parts, workers, kernels });
      this.#last = { key, work: usable('program', start, undefined) };
    }
    return this.#last.work;
  }

  async #get(
    what: 'program' | 'data',
    { hash, bytes: size }: Welcome['program'],
    fetch: Fetch,
  ): Promise<Uint8Array> {
    const { store } = this.#options;
    const kept = await store?.get(hash, size);
    if (kept) return kept;
    const bytes = await fetch(what);
    await store?.put(hash, bytes);
    return bytes;
  }

  async #end(): Promise<void> {
    const last = this.#last;
    this.#last = undefined;
    await last?.work.then((engine) => engine.close()).catch(() => {});
  }

  close(): Promise<void> {
    this.#turn++;
    return this.#end();
  }
}

/**
 * What `use` makes of content from the coordinator. Throws a RefusedError where it says by a plain Error that the content is
 * malformed or doesn't fit into memory: nothing on this machine is at fault. Other kinds of errors are mistakes and pass.
 */
async function usable<T, R>(
  what: 'program' | 'data',
  use: (content: T) => R | Promise<R>,
  content: T,
): Promise<R> {
  try {
    return await use(content);
  } catch (error) {
    const isPlain = error instanceof Error && (error.name === 'Error' || error instanceof RangeError);
    if (!isPlain || 'code' in error) throw error;
    throw new RefusedError(
      'CONTENT_UNUSABLE',
      `this machine can't use the coordinator's ${what} (${error.message}); use the same version of Lockstep on both ` +
        'machines, or join from a machine with more memory',
    );
  }
}
