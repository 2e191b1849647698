/** What a node was sent, on its disk: under its SHA-256, so that nothing is sent twice. */

import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { makeFolder, writeLasting } from '@lockstep/trainer';
import type { ContentStore } from './node.ts';

/** Where content is kept unless another folder is given. */
export const defaultCache = (): string =>
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'lockstep');

const NAME = /^[0-9a-f]{64}$/;

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * Content in a folder. What is read is proved by its hash; a damaged file is as none. A disk that refuses costs the next
 * download, no more. `extra`: a folder that is looked through first, whatever its files are called; nothing is written there.
 */
export function diskStore(folder: string, extra?: string): ContentStore {
  return {
    async get(hash, bytes) {
      if (!NAME.test(hash)) return undefined;
      const own = await read(join(folder, hash), hash, bytes);
      return own ?? (extra === undefined ? undefined : find(extra, hash, bytes));
    },
    async put(hash, bytes) {
      if (!NAME.test(hash)) return;
      const temporary = join(folder, `${hash}.${randomBytes(4).toString('hex')}.tmp`);
      try {
        makeFolder(folder);
        await writeLasting(temporary, bytes);
        await rename(temporary, join(folder, hash));
      } catch {
        await rm(temporary, { force: true }).catch(() => {});
      }
    },
  };
}

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
