import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { DataError } from './errors.ts';

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/** The bytes of a file. @throws DataError when it is not there or cannot be read; `who` is the caller's name. */
export function readBytes(who: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') {
      throw new DataError('DATA_MISSING', `${who}: no file ${path}. Check the path.`, { cause: error });
    }
    throw new DataError('DATA_UNREADABLE', `${who}: cannot read ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Unpacks gzip when the bytes begin like gzip, else gives them back. */
export function gunzipIfPacked(who: string, path: string, bytes: Uint8Array): Uint8Array {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes);
  } catch (error) {
    const cut = codeOf(error) === 'Z_BUF_ERROR';
    throw new DataError(
      cut ? 'DATA_TRUNCATED' : 'DATA_CORRUPT',
      `${who}: ${path} is a ${cut ? 'truncated' : 'damaged'} gzip file (${messageOf(error)}). Fetch it again.`,
      { cause: error },
    );
  }
}

/** A name beside `path` for a file in the making: renamed when complete, so that nobody sees half of it. */
export const temporaryBeside = (path: string): string => `${path}.${randomBytes(6).toString('hex')}.part`;

/**
 * Writes a file whole or not at all: a temporary file beside it, flushed to the disk, then renamed. The folder is made
 * when missing.
 */
export function writeWhole(who: string, path: string, chunks: Iterable<Uint8Array>): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const temporary = temporaryBeside(path);
    const file = openSync(temporary, 'wx');
    try {
      writeAll(file, chunks);
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  } catch (error) {
    throw new DataError('DATA_UNREADABLE', `${who}: cannot write ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  flushFolder(dirname(path));
}

/** Writes and flushes to the disk, then closes. */
function writeAll(file: number, chunks: Iterable<Uint8Array>): void {
  try {
    for (const chunk of chunks) {
      // A single write may be short (above 2 GiB, or on a full disk before it fails).
      for (let done = 0; done < chunk.length; ) done += writeSync(file, chunk, done, chunk.length - done);
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Makes a rename last through a power cut; not every platform can, and the file is whole in any case. */
function flushFolder(folder: string): void {
  try {
    const handle = openSync(folder, 'r');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  } catch {
    // Windows refuses to open folders.
  }
}
