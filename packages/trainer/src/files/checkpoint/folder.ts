/**
 * The few things that checkpoints ask of a file system, so that tests can put one underneath that loses whatever a
 * crash may lose. Names are plain file names: nothing that was read ever becomes a path.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** A file being written. A crash may lose any part of it until `sync` has returned. */
export interface FileWriter {
  write(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** One folder. A crash may undo what was done to its entries (create, rename, remove) until `sync` has returned. */
export interface Folder {
  /** Makes it, lastingly, unless it is there. */
  make(): Promise<void>;
  /** Names; none where there is no such folder. */
  list(): Promise<string[]>;
  read(name: string): Promise<Uint8Array>;
  /** A new, empty file in place of one of that name. */
  create(name: string): Promise<FileWriter>;
  /** In one instant, in place of a file of the new name. */
  rename(from: string, to: string): Promise<void>;
  /** Does nothing where there is no such file. */
  remove(name: string): Promise<void>;
  sync(): Promise<void>;
}

/** A folder of the disk. */
export function diskFolder(path: string): Folder {
  const at = (name: string): string => join(path, name);
  return {
    async make() {
      try {
        await mkdir(path);
      } catch (error) {
        if (codeOf(error) === 'EEXIST') return;
        throw error;
      }
      // Folders above may be new as well: those of a run are made together.
      for (let above = dirname(path); ; above = dirname(above)) {
        await syncFolder(above).catch(() => {});
        if (above === dirname(above)) return;
      }
    },
    async list() {
      try {
        return await readdir(path);
      } catch (error) {
        if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return [];
        throw error;
      }
    },
    read: (name) => readFile(at(name)),
    async create(name) {
      const file = await open(at(name), 'w');
      return {
        async write(bytes) {
          for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done)).bytesWritten;
        },
        sync: () => file.sync(),
        close: () => file.close(),
      };
    },
    rename: (from, to) => rename(at(from), at(to)),
    remove: (name) => rm(at(name), { force: true }),
    sync: () => syncFolder(path),
  };
}

async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders; there, a rename lasts when the file system says so.
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;
