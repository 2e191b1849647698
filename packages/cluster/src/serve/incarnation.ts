/** How often a coordinator of a run was started: what one of them said, another one must not be taken for. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '@lockstep/data';
import { diskFolder, type Folder } from '@lockstep/trainer';

const FILE = 'incarnation';

/**
 * The number of this start. With a folder it is one more than that of the start before, and on the disk before anyone
 * hears it; without, nothing is ever resumed and the time of day does. Throws DataError where the disk does not take it.
 */
export async function nextIncarnation(folder: string | undefined): Promise<number> {
  if (folder === undefined) return Math.floor(Date.now() / 1000);
  try {
    await mkdir(folder, { recursive: true });
    return await countStart(diskFolder(folder));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DataError(
      'DATA_UNREADABLE',
      `out: cannot write ${join(folder, FILE)} (${reason}); give another folder`,
    );
  }
}

/** Counts a start in a folder, lastingly: one more than the number there. Throws where the disk refuses. */
export async function countStart(folder: Folder): Promise<number> {
  const text = await folder.read(FILE).then(
    (bytes) => Buffer.from(bytes).toString('utf8'),
    () => '0',
  );
  const before = Number(text);
  const next = (Number.isSafeInteger(before) && before >= 0 ? before : 0) + 1;
  const temporary = `${FILE}.tmp`;
  const file = await folder.create(temporary);
  try {
    await file.write(Buffer.from(`${next}\n`));
    await file.sync();
  } finally {
    await file.close();
  }
  await folder.rename(temporary, FILE);
  await folder.sync();
  return next;
}
