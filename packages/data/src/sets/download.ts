import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { DataError } from '../common/errors.ts';
import { temporaryBeside } from '../common/files.ts';

/** How far a download is. */
export interface DownloadProgress {
  /** Where the file will be. */
  readonly path: string;
  readonly url: string;
  /** Bytes so far, and in all. */
  readonly received: number;
  readonly total: number;
}

export interface DownloadOptions {
  /** Mirrors, tried in order. */
  readonly urls: readonly string[];
  /** Where the file goes: it appears when it is complete and checked, or not at all. */
  readonly path: string;
  /** Length of the file in bytes: what is longer is given up at once. */
  readonly bytes: number;
  /** SHA-256 of the file, hex. */
  readonly sha256: string;
  readonly onProgress?: ProgressListener | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds without a byte after which a mirror is given up. Default 30,000. */
  readonly idleTimeout?: number | undefined;
}

type ProgressListener = (progress: DownloadProgress) => void;
let standing: ProgressListener | undefined;

/** Tells a listener of every download of this process that has no `onProgress` of its own (undefined: nobody). */
export function onDownload(listener: ProgressListener | undefined): void {
  standing = listener;
}

/** The folder for downloaded data: LOCKSTEP_CACHE, or `lockstep` in XDG_CACHE_HOME or in ~/.cache. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return env.LOCKSTEP_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'lockstep');
}

/**
 * Fetches a file of known length and checksum from the first mirror that has it.
 *
 * @throws DataError (DATA_DOWNLOAD) with the reason of every mirror; or the signal's reason when it is aborted.
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { urls, path, signal } = options;
  const reasons: string[] = [];
  for (const url of urls) {
    const temporary = temporaryBeside(path);
    try {
      signal?.throwIfAborted();
      await mkdir(dirname(path), { recursive: true });
      await fetchTo(temporary, url, options);
      await rename(temporary, path);
      return;
    } catch (error) {
      await rm(temporary, { force: true });
      signal?.throwIfAborted();
      reasons.push(`${url}: ${reasonOf(error)}`);
    }
  }
  throw new DataError(
    'DATA_DOWNLOAD',
    `download: cannot fetch ${path}:\n  ${reasons.join('\n  ')}\nCheck the connection, or put the file there yourself.`,
  );
}

/** `fetch` hides why a connection failed in the cause of its error. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

async function fetchTo(temporary: string, url: string, options: DownloadOptions): Promise<void> {
  const { path, bytes, sha256, onProgress = standing, signal, idleTimeout = 30_000 } = options;
  const idle = new AbortController();
  const timer = setTimeout(() => {
    idle.abort(new Error(`no data for ${idleTimeout} ms`));
  }, idleTimeout);
  const file = await open(temporary, 'wx');
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any(signal ? [signal, idle.signal] : [idle.signal]),
    });
    if (!response.ok || response.body === null) throw new Error(`HTTP status ${response.status}`);
    const hash = createHash('sha256');
    let received = 0;
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      timer.refresh();
      received += chunk.length;
      if (received > bytes) throw new Error(`more than the expected ${bytes} bytes`);
      hash.update(chunk);
      await file.writeFile(chunk);
      onProgress?.({ path, url, received, total: bytes });
    }
    if (received < bytes) throw new Error(`only ${received} of ${bytes} bytes`);
    const digest = hash.digest('hex');
    if (digest !== sha256) throw new Error(`checksum ${digest}; expected ${sha256}`);
    await file.sync();
  } finally {
    clearTimeout(timer);
    await file.close();
  }
}
