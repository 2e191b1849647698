import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { DataError, type DataErrorCode } from '../src/common/errors.ts';

/** A folder that is removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-data-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a file and gives its path. */
export function put(folder: string, name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** Expects a DataError with the code, and with every text in its message. */
export function expectProblem(error: unknown, code: DataErrorCode, ...texts: readonly string[]): void {
  expect(error).toBeInstanceOf(DataError);
  const problem = error as DataError;
  expect(problem).toMatchObject({ code });
  for (const text of texts) expect(problem.message).toContain(text);
}

/** What a call throws. */
export function thrown(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error('expected the call to throw');
}

/** Files in a folder, for "nothing half-written". */
export const filesIn = (folder: string): string[] => readdirSync(folder).sort();

/** A plain IDX file: bytes of the given shape. */
export function idxBytes(shape: readonly number[], data: ArrayLike<number>, type = 0x08): Uint8Array {
  const head = new DataView(new ArrayBuffer(4 + 4 * shape.length));
  head.setUint32(0, (type << 8) | shape.length);
  shape.forEach((extent, i) => {
    head.setUint32(4 + 4 * i, extent);
  });
  return Buffer.concat([new Uint8Array(head.buffer), Uint8Array.from(data)]);
}
