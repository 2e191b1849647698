/**
 * What a node was sent, on its disk: under its SHA-256, so that nothing is sent twice. Only its owner may read it, since it is
 * somebody's data; it is bounded by a quota, and what was used least recently goes first.
 */

import { createHash, randomBytes } from 'node:crypto';
import { chmod, open, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { makeFolder, writeLasting } from '@lockstep/trainer';
import { BUNDLE_MAGIC } from '../wire/bundle.ts';
import { DATA_MAGIC } from '../wire/dataImage.ts';
import type { ContentStore } from './node.ts';

/** Where content is kept unless another folder is given. */
export const defaultCache = (): string =>
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'lockstep');

/** Bytes that a cache holds unless another quota is given: 10 GiB. */
export const DEFAULT_QUOTA_BYTES = 10 * 2 ** 30;

const OWNER_FOLDER = 0o700;
const OWNER_FILE = 0o600;
const NAME = /^[0-9a-f]{64}$/;
/** Being written, or left behind by a process that died. */
const PARTIAL = /^[0-9a-f]{64}\.[0-9a-f]{8}\.tmp$/;
/** Milliseconds after which nobody can still be writing. */
const ABANDONED = 3_600_000;

/** Content in a cache. */
export interface CacheEntry {
  /** SHA-256 (hex). */
  readonly hash: string;
  readonly kind: 'program' | 'data' | 'unknown';
  readonly bytes: number;
  /** When a node last read or wrote it. */
  readonly usedAt: Date;
}

export interface CacheOptions {
  /** The most bytes that it holds; default 10 GiB. Content larger than that isn't kept. */
  readonly quotaBytes?: number | undefined;
  /** A folder that is looked through as well, whatever its files are called; nothing is written there. */
  readonly extra?: string | undefined;
}

/**
 * Content in a folder. What is read is proved by its hash; a damaged file counts as missing. A disk that refuses costs the next
 * download, no more.
 */
export function diskStore(
  folder: string,
  { quotaBytes = DEFAULT_QUOTA_BYTES, extra }: CacheOptions = {},
): ContentStore {
  return {
    async get(hash, bytes) {
      if (!NAME.test(hash)) return undefined;
      const path = join(folder, hash);
      const own = await read(path, hash, bytes);
      if (own === undefined) return extra === undefined ? undefined : find(extra, hash, bytes);
      // The time of the last use, which file systems themselves often don't keep.
      const now = new Date();
      await utimes(path, now, now).catch(() => {});
      return own;
    },
    async put(hash, bytes) {
      if (!NAME.test(hash) || bytes.length > quotaBytes) return;
      const temporary = join(folder, `${hash}.${randomBytes(4).toString('hex')}.tmp`);
      try {
        await makePrivate(folder);
        // A damaged file, which takes no room from others.
        await rm(join(folder, hash), { force: true });
        await evict(folder, quotaBytes - bytes.length);
        await writeLasting(temporary, bytes, OWNER_FILE);
        await rename(temporary, join(folder, hash));
        // Another process may have written at the same time.
        await evict(folder, quotaBytes);
      } catch {
        await rm(temporary, { force: true }).catch(() => {});
      }
    },
  };
}

/** What a cache holds, the most recently used first; nothing where there is no such folder. Throws where it can't be read. */
export async function listCache(folder: string): Promise<CacheEntry[]> {
  const entries: CacheEntry[] = [];
  for (const { name, bytes, usedAt } of await filesIn(folder)) {
    if (NAME.test(name)) entries.push({ hash: name, kind: await kindOf(join(folder, name)), bytes, usedAt });
  }
  return entries.sort((a, b) => b.usedAt.getTime() - a.usedAt.getTime() || (a.hash < b.hash ? -1 : 1));
}

/** Removes what a cache holds, and no other file. Gives how much that was. Throws where the disk refuses. */
export async function clearCache(folder: string): Promise<{ files: number; bytes: number }> {
  const found = await filesIn(folder);
  for (const { name } of found) await rm(join(folder, name), { force: true });
  return { files: found.length, bytes: sum(found) };
}

interface CacheFile {
  readonly name: string;
  readonly bytes: number;
  readonly usedAt: Date;
}

/** Files that are the cache's own. */
async function filesIn(folder: string): Promise<CacheFile[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const own = names.filter((name) => NAME.test(name) || PARTIAL.test(name));
  const files = await Promise.all(
    own.map(async (name) => {
      // Another process may have removed it.
      const found = await stat(join(folder, name)).catch(() => undefined);
      return found?.isFile() ? { name, bytes: found.size, usedAt: found.mtime } : undefined;
    }),
  );
  return files.filter((file) => file !== undefined);
}

const sum = (files: readonly CacheFile[]): number => files.reduce((total, { bytes }) => total + bytes, 0);

/** Removes the least recently used files until the others have at most `bytes`, and what died writers left behind. */
async function evict(folder: string, bytes: number): Promise<void> {
  const isAbandoned = ({ name, usedAt }: CacheFile): boolean =>
    PARTIAL.test(name) && Date.now() - usedAt.getTime() > ABANDONED;
  const files = await filesIn(folder);
  const abandoned = files.filter(isAbandoned);
  for (const { name } of abandoned) await rm(join(folder, name), { force: true });
  let total = sum(files) - sum(abandoned);
  const oldest = files
    .filter(({ name }) => NAME.test(name))
    .sort((a, b) => a.usedAt.getTime() - b.usedAt.getTime());
  for (const { name, bytes: size } of oldest) {
    if (total <= bytes) return;
    await rm(join(folder, name), { force: true });
    total -= size;
  }
}

/** Makes the folder for its owner alone. One of somebody's choice that is there already keeps its rights; files have their own. */
async function makePrivate(folder: string): Promise<void> {
  if (makeFolder(folder, OWNER_FOLDER) === undefined && folder === defaultCache()) {
    await chmod(folder, OWNER_FOLDER);
  }
}

async function kindOf(path: string): Promise<CacheEntry['kind']> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    const magic = buffer.toString('latin1', 0, bytesRead);
    return magic === BUNDLE_MAGIC ? 'program' : magic === DATA_MAGIC ? 'data' : 'unknown';
  } finally {
    await file.close();
  }
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function read(path: string, hash: string, size: number): Promise<Uint8Array | undefined> {
  try {
    if ((await stat(path)).size !== size) return undefined;
    const bytes = await readFile(path);
    return hashOf(bytes) === hash ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** Of all files only those of the right size are read. */
async function find(folder: string, hash: string, size: number): Promise<Uint8Array | undefined> {
  for (const name of await readdir(folder).catch(() => [])) {
    const found = await read(join(folder, name), hash, size);
    if (found) return found;
  }
  return undefined;
}
