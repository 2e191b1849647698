/** The folder of a run: one process at a time writes there, and a process that died is no hindrance to the next. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { DataError } from '@lockstep/data';
import { ConfigError } from '@lockstep/nn';

const LOCK = 'lock';
/** Instead of a beginning. */
const ENDED = 'ended';
/** Milliseconds that a process may take to write what its lock says. */
const WRITING = 5000;

/** A process, told from all that had or will have its number. */
interface Owner {
  readonly pid: number;
  readonly host: string;
  /** When the process began, in what its system counts; empty where that cannot be known. */
  readonly since: string;
}

export class RunFolder {
  readonly path: string;
  readonly #made: string | undefined;
  readonly #lock: string;

  /**
   * Makes the folder and locks it. Throws DataError (DATA_UNREADABLE) where nothing can be written, ConfigError where
   * another run has it.
   */
  constructor(folder: string) {
    this.path = resolve(folder);
    this.#lock = join(this.path, LOCK);
    try {
      this.#made = makeFolder(this.path);
      takeLock(this.#lock);
    } catch (error) {
      throw error instanceof ConfigError ? error : cannotWrite(this.path, error);
    }
  }

  /** Unlocks it. It stays, unless it was made here and nothing is in it. */
  close(): void {
    try {
      rmSync(this.#lock, { force: true });
      if (this.#made === undefined) return;
      for (let at = this.path; at.length >= this.#made.length; at = dirname(at)) rmdirSync(at);
    } catch {
      // A lock that stays is seen to be that of a process that is gone; a folder that is not empty stays.
    }
  }
}

/** Whoever creates the file has the lock. One that was left behind is moved away first: only one process can do that. */
function takeLock(path: string): void {
  for (;;) {
    const file = create(path);
    if (file !== undefined) {
      write(file, path);
      return;
    }
    const held = read(path);
    if (held === undefined) continue;
    const owner = parse(held);
    if (owner === undefined ? isFresh(path) : isAlive(owner)) throw inUse(path, owner);
    const aside = `${path}.${process.pid}`;
    try {
      renameSync(path, aside);
    } catch {
      continue;
    }
    // Somebody may have been quicker, and it is theirs that was moved.
    if (read(aside) !== held) renameSync(aside, path);
    else rmSync(aside, { force: true });
  }
}

function create(path: string): number | undefined {
  try {
    return openSync(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  }
}

function write(file: number, path: string): void {
  try {
    writeSync(file, `${JSON.stringify(describe(process.pid))}\n`);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Undefined: nobody has written it, or not all of it. */
function parse(text: string): Owner | undefined {
  try {
    const { pid, host, since } = JSON.parse(text) as Partial<Owner>;
    const isWhole = Number.isSafeInteger(pid) && typeof host === 'string' && typeof since === 'string';
    return isWhole ? { pid: pid!, host, since } : undefined;
  } catch {
    return undefined;
  }
}

const isFresh = (path: string): boolean => {
  const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: 0 };
  return Math.abs(Date.now() - mtimeMs) < WRITING;
};

/** Of another machine nothing can be known: then it is taken to be. */
function isAlive({ pid, host, since }: Owner): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Of other users' processes it is known that they are there.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const now = describe(pid).since;
  return now !== ENDED && (now === since || now === '' || since === '');
}

/** On Linux a process is told from earlier and later ones of its number; what has ended and is not yet buried is gone. */
function describe(pid: number): Owner {
  const host = hostname();
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, began] = [fields[0], fields[19]];
    return { pid, host, since: state === 'Z' || state === 'X' ? ENDED : `${boot} ${began}` };
  } catch {
    return { pid, host, since: '' };
  }
}

function inUse(path: string, owner: Owner | undefined): ConfigError {
  const who =
    owner === undefined
      ? 'another process'
      : owner.host !== hostname()
        ? `process ${owner.pid} on ${owner.host}`
        : owner.pid === process.pid
          ? 'another run of this process'
          : `process ${owner.pid}`;
  const unless = owner && owner.host !== hostname() ? `; if it is gone, remove ${path}` : '';
  return new ConfigError(
    'out',
    `${who} is writing to ${dirname(path)}; wait for it, end it, or give another folder${unless}`,
  );
}

/** Gives the topmost folder that had to be made, and nobody else made meanwhile. (Node's own `recursive` never returns where /proc says no.) `mode`: of those that are made. */
export function makeFolder(folder: string, mode = 0o777): string | undefined {
  if (existsSync(folder)) return undefined;
  const made = makeFolder(dirname(folder), mode);
  try {
    mkdirSync(folder, { mode });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return made;
    throw error;
  }
  return made ?? folder;
}

/** A file in place of one of that name: on the disk when this settles. Rejects where the disk refuses. */
export async function writeLasting(path: string, content: Uint8Array | string, mode = 0o666): Promise<void> {
  const file = await open(path, 'w', mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

export function cannotWrite(path: string, error: unknown): DataError {
  const reason = error instanceof Error ? error.message : String(error);
  return new DataError('DATA_UNREADABLE', `out: cannot write to ${path} (${reason}); give another folder`, {
    cause: error,
  });
}
