/** `lockstep cache`: what nodes keep on this machine. */
import { type CacheEntry, clearCache, DEFAULT_QUOTA_BYTES, defaultCache, listCache } from '@lockstep/cluster';
import { ConfigFileError, ExitCode } from '../common/failure.ts';
import { bytes, plural, table } from '../report/text.ts';

export interface CacheFlags {
  readonly cache?: string;
  readonly json?: boolean;
}

/** Lists what is there, or removes it. Gives the exit code. Throws a ConfigFileError where the folder can't be read or emptied. */
export async function cacheCommand(action: 'list' | 'clear', flags: CacheFlags): Promise<number> {
  const { cache: folder = defaultCache(), json = false } = flags;
  const lines = action === 'list' ? await list(folder, json) : await clear(folder, json);
  process.stdout.write(`${lines.join('\n')}\n`);
  return ExitCode.done;
}

async function list(folder: string, json: boolean): Promise<string[]> {
  const entries = await listCache(folder).catch((error: unknown) => cannot('read', folder, error));
  const total = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  if (json) return [JSON.stringify({ type: 'cache', folder, bytes: total, entries })];
  const summary = `${folder}: ${plural(entries.length, 'file')}, ${bytes(total)} (join keeps ${bytes(DEFAULT_QUOTA_BYTES)} unless --cache-quota says otherwise)`;
  return entries.length === 0
    ? [`${folder}: empty`]
    : [...table([['kind', 'size', 'last used', 'SHA-256'], ...entries.map(row)], [1], 120), summary];
}

const row = ({ kind, bytes: size, usedAt, hash }: CacheEntry): string[] => [
  kind,
  bytes(size),
  usedAt.toISOString().slice(0, 16).replace('T', ' '),
  hash,
];

async function clear(folder: string, json: boolean): Promise<string[]> {
  const removed = await clearCache(folder).catch((error: unknown) => cannot('empty', folder, error));
  if (json) return [JSON.stringify({ type: 'cacheCleared', folder, ...removed })];
  return [`${folder}: ${plural(removed.files, 'file')} removed, ${bytes(removed.bytes)}`];
}

function cannot(what: string, folder: string, error: unknown): never {
  const reason = error instanceof Error ? error.message : String(error);
  throw new ConfigFileError(`cache: cannot ${what} ${folder} (${reason}); give another folder with --cache`);
}
