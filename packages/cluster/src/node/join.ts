/** join(): this machine computes for a coordinator, until the run is over. */

import { stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { KernelChoice } from '@lockstep/kernels';
import { ConfigError } from '@lockstep/nn';
import { type DialOptions, dial, isNodeName, type NodeOutcome, type NodeReport } from '@lockstep/sync';
import { resolveKernels, resolveWorkers } from '@lockstep/trainer';
import { defaultCache, diskStore } from './contentCache.ts';
import { PATIENCE, startNode } from './node.ts';

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
  /** The most that is kept there; what was used least recently goes first. Default 10 GiB. */
  readonly cacheQuotaBytes?: number | undefined;
  /** The node finishes what it holds, and leaves. */
  readonly signal?: AbortSignal;
  readonly on?: (report: NodeReport) => void;
}

/**
 * Settles when the run is over, or the node has left. A coordinator that is gone is looked for again and again. Throws a
 * ConfigError on options that cannot be, and a RefusedError, TransportError or Error where this node cannot take part.
 */
export async function join(options: JoinOptions): Promise<NodeOutcome> {
  const { url, token, fingerprint, cache = defaultCache(), cacheQuotaBytes, dataDir, signal, on } = options;
  await check(options);
  const target = { url, ...(token && { token }), ...(fingerprint && { fingerprint }) };
  const node = startNode({
    dial: (accept) => dial({ ...target, timeout: PATIENCE }, accept),
    name: options.name ?? nameOf(hostname()),
    workers: resolveWorkers(options.workers),
    kernels: resolveKernels(options.kernels),
    store: diskStore(cache, { quotaBytes: cacheQuotaBytes, extra: dataDir }),
    ...(on && { report: on }),
  });
  const leave = (): void => node.leave();
  if (signal?.aborted) leave();
  signal?.addEventListener('abort', leave, { once: true });
  return node.ended.finally(() => signal?.removeEventListener('abort', leave));
}

async function check({ name, dataDir, cacheQuotaBytes = 0 }: JoinOptions): Promise<void> {
  if (name !== undefined && !isNodeName(name)) {
    throw new ConfigError(
      'name',
      `got ${JSON.stringify(name)}, expected at most 64 letters, digits, spaces and . _ : @ -, a letter or digit first`,
    );
  }
  if (!Number.isSafeInteger(cacheQuotaBytes) || cacheQuotaBytes < 0) {
    throw new ConfigError('cacheQuotaBytes', `got ${cacheQuotaBytes}, expected a whole number of bytes`);
  }
  if (dataDir === undefined) return;
  const found = await stat(dataDir).catch(() => undefined);
  if (!found?.isDirectory()) throw new ConfigError('data', `there is no folder ${dataDir}`);
}

/** A host's name as the protocol takes it. */
const nameOf = (host: string): string =>
  host
    .replace(/[^\p{L}\p{N} ._:@-]/gu, '-')
    .replace(/^[^\p{L}\p{N}]+/u, '')
    .slice(0, 64) || 'node';
