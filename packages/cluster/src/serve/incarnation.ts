/** How often a coordinator of a run was started: what one of them said, another one must not be taken for. */

import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DataError } from '@lockstep/data';
import { writeLasting } from '@lockstep/trainer';

const FILE = 'incarnation';

/**
 * The number of this start. With a folder it is one more than that of the start before, and on the disk before anyone
 * hears it; without, nothing is ever resumed and the time of day does. Throws DataError where the disk does not take it.
 */
export async function nextIncarnation(folder: string | undefined): Promise<number> {
  if (folder === undefined) return Math.floor(Date.now() / 1000);
  const path = join(folder, FILE);
  try {
    await mkdir(folder, { recursive: true });
    const before = Number(await readFile(path, 'utf8').catch(() => '0'));
    const next = (Number.isSafeInteger(before) && before >= 0 ? before : 0) + 1;
    const temporary = `${path}.tmp`;
    await writeLasting(temporary, `${next}\n`);
    await rename(temporary, path);
    await syncFolder(dirname(path));
    return next;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DataError('DATA_UNREADABLE', `out: cannot write ${path} (${reason}); give another folder`);
  }
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  await folder.sync().finally(() => folder.close());
}
