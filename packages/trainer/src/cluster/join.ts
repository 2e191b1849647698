/** join(): this machine computes for a coordinator, until the run is over. */
import { hostname } from 'node:os';
import type { KernelChoice } from '@lockstep/kernels';
import { type DialOptions, dial, type NodeOutcome, type NodeReport } from '@lockstep/sync';
import { resolveKernels, resolveWorkers } from '../train.ts';
import { startNode } from './node.ts';
import { defaultCache, diskStore } from './store.ts';

export type { NodeOutcome, NodeReport } from '@lockstep/sync';

export interface JoinOptions extends Pick<DialOptions, 'url' | 'token' | 'fingerprint'> {
  /** Threads; `auto` (default): one per core. */
  readonly workers?: number | 'auto';
  readonly kernels?: KernelChoice;
  /** For people; default: the name of this machine. */
  readonly name?: string | undefined;
  /** A folder that is looked through for the data before they are fetched: a file of the same hash, whatever its name. */
  readonly dataDir?: string | undefined;
  /** Where programs and data are kept for the next run; default ~/.cache/lockstep. */
  readonly cache?: string | undefined;
  /** The node finishes what it holds, and leaves. */
  readonly signal?: AbortSignal;
  readonly on?: (report: NodeReport) => void;
}

/**
 * Settles when the run is over, or the node has left. A coordinator that is gone is looked for again and again. Throws a
 * RefusedError, TransportError or Error where this node cannot take part.
 */
export async function join(options: JoinOptions): Promise<NodeOutcome> {
  const { url, token, fingerprint, cache = defaultCache(), dataDir, signal, on } = options;
  const target = { url, ...(token && { token }), ...(fingerprint && { fingerprint }) };
  const node = startNode({
    dial: (accept) => dial(target, accept),
    name: options.name ?? nameOf(hostname()),
    workers: resolveWorkers(options.workers),
    kernels: resolveKernels(options.kernels),
    store: diskStore(cache, dataDir),
    ...(on && { report: on }),
  });
  const leave = (): void => node.leave();
  if (signal?.aborted) leave();
  signal?.addEventListener('abort', leave, { once: true });
  return node.ended.finally(() => signal?.removeEventListener('abort', leave));
}

/** A host's name as the protocol takes it. */
const nameOf = (host: string): string =>
  host
    .replace(/[^\p{L}\p{N} ._:@-]/gu, '-')
    .replace(/^[^\p{L}\p{N}]+/u, '')
    .slice(0, 64) || 'node';
