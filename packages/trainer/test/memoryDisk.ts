/**
 * A folder in memory that forgets what a disk may forget: file contents until the file is synced, entries (create,
 * rename, remove) until the folder is. It can stop the process before, or in the middle of, any operation, or refuse one.
 */
import type { FileWriter, Folder } from '../src/files/checkpoint/folder.ts';

/** Numbers from 0 to 1 by mulberry32. */
export const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

class Inode {
  /** As a reader sees it now, and as much as lasts. */
  bytes: Uint8Array = new Uint8Array(0);
  synced: Uint8Array = new Uint8Array(0);
}

type Entries = Map<string, Inode>;
type Change = (entries: Entries) => void;

/** What a crash leaves of names and of contents that were not synced. */
export const AFTERMATHS = ['nothing', 'everything', 'names', 'contents', 'some'] as const;
export type Aftermath = (typeof AFTERMATHS)[number];

export class Stopped extends Error {}

export class MemoryDisk implements Folder {
  /** Operations so far. */
  operations = 0;
  /** The operation (from 0) before which, or with `.5` in the middle of which, the process stops. */
  stopAt = Number.POSITIVE_INFINITY;
  /** Whether an operation is refused, as by a full disk. */
  refuses: (operation: number) => boolean = () => false;
  /** Says that it has synced, and has not. */
  lies = false;
  #stopped = false;
  readonly #lasting: Entries;
  readonly #entries: Entries;
  /** Since the folder was synced. */
  #changes: Change[] = [];

  constructor(files: Entries = new Map()) {
    this.#lasting = new Map(files);
    this.#entries = new Map(files);
  }

  get files(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#entries].map(([name, { bytes }]) => [name, bytes]));
  }

  /** Replaces a file's contents, or (undefined) removes it, lastingly. */
  put(name: string, bytes: Uint8Array | undefined): void {
    const inode = new Inode();
    if (bytes) inode.bytes = inode.synced = bytes;
    for (const entries of [this.#lasting, this.#entries]) {
      if (bytes) entries.set(name, inode);
      else entries.delete(name);
    }
  }

  /** The disk that the next process finds. */
  crash(aftermath: Aftermath, next: () => number): MemoryDisk {
    const all = aftermath === 'everything';
    const names: Entries = all || aftermath === 'names' ? this.#entries : new Map(this.#lasting);
    if (aftermath === 'some') for (const change of this.#changes) if (next() < 0.5) change(names);
    const left = [...names].map(([name, { bytes, synced }]): [string, Inode] => {
      const inode = new Inode();
      const kept = aftermath === 'some' ? Math.round(next() * (bytes.length - synced.length)) : 0;
      inode.bytes = all || aftermath === 'contents' ? bytes : bytes.slice(0, synced.length + kept);
      // Space that was given to the file and not yet filled.
      if (kept > 0 && next() < 0.5) inode.bytes.fill(0, synced.length + Math.floor(kept / 2));
      inode.synced = inode.bytes;
      return [name, inode];
    });
    return new MemoryDisk(new Map(left));
  }

  /** Every operation goes through here; `half` does half of it. */
  #operate<T>(whole: () => T, half: () => void = () => {}): T {
    const operation = this.operations++;
    if (operation === this.stopAt - 0.5 && !this.#stopped) half();
    this.#stopped ||= operation >= this.stopAt - 0.5;
    if (this.#stopped) throw new Stopped(`stopped at operation ${operation}`);
    if (this.refuses(operation)) {
      half();
      throw new Error('ENOSPC: no space left on device');
    }
    return whole();
  }

  #change(change: Change): void {
    change(this.#entries);
    this.#changes.push(change);
  }

  async make(): Promise<void> {
    this.#operate(() => {});
  }

  async list(): Promise<string[]> {
    return [...this.#entries.keys()];
  }

  async read(name: string): Promise<Uint8Array> {
    const inode = this.#entries.get(name);
    if (!inode) throw new Error(`ENOENT: no such file ${name}`);
    return inode.bytes;
  }

  async create(name: string): Promise<FileWriter> {
    const inode = new Inode();
    this.#operate(() => this.#change((entries) => entries.set(name, inode)));
    const write = (bytes: Uint8Array): void => {
      inode.bytes = Buffer.concat([inode.bytes, bytes]);
    };
    return {
      write: async (bytes) =>
        this.#operate(
          () => write(bytes),
          () => write(bytes.subarray(0, bytes.length >> 1)),
        ),
      sync: async () =>
        this.#operate(() => {
          if (!this.lies) inode.synced = inode.bytes;
        }),
      close: async () => this.#operate(() => {}),
    };
  }

  async rename(from: string, to: string): Promise<void> {
    this.#operate(() =>
      this.#change((entries) => {
        const inode = entries.get(from);
        if (!inode) return;
        entries.delete(from);
        entries.set(to, inode);
      }),
    );
  }

  async remove(name: string): Promise<void> {
    this.#operate(() => this.#change((entries) => entries.delete(name)));
  }

  async sync(): Promise<void> {
    this.#operate(() => {
      if (this.lies) return;
      for (const change of this.#changes) change(this.#lasting);
      this.#changes = [];
    });
  }
}
