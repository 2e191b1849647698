import type { FileWriter, Folder } from '@lockstep/trainer';
import type { Process } from './clock.ts';
import type { Random } from './random.ts';

/** The bytes of a file as a reader sees them, and as much as lasts. */
interface Inode {
  bytes: Uint8Array;
  lasting: Uint8Array;
}

type Entries = Map<string, Inode>;

/**
 * A folder of the simulated disk that loses what was not synced. Changes of names (create, rename, remove) reach the disk in
 * order, at the latest with `sync` of the folder; a crash keeps some first part of those since. Of bytes that were not synced it
 * keeps some, or none. Without a crash of the host, what a process wrote stays.
 */
export class Disk {
  #names: Entries = new Map();
  /** The folder after each change of names since it was synced; the first is what is safe. */
  #history: Entries[] = [new Map()];
  /** Writes fail until then: the disk is full. */
  fullUntil = 0;

  get files(): string[] {
    return [...this.#names.keys()];
  }

  /** Bits rot: false where there is no such file. */
  damage(name: string, random: Random): boolean {
    const inode = this.#names.get(name);
    if (inode === undefined || inode.bytes.length === 0) return false;
    inode.bytes = inode.bytes.slice();
    inode.bytes[random.integer(0, inode.bytes.length - 1)]! ^= 1 << random.integer(0, 7);
    inode.lasting = inode.bytes;
    return true;
  }

  /** The power is gone, and comes back. */
  crash(random: Random): void {
    this.#names = new Map(random.pick(this.#history));
    for (const [name, { bytes, lasting }] of this.#names) {
      const kept = random.pick([
        lasting.length,
        lasting.length,
        random.integer(0, bytes.length),
        bytes.length,
      ]);
      const left = kept <= lasting.length ? lasting : bytes.slice(0, kept);
      this.#names.set(name, { bytes: left, lasting: left });
    }
    this.#history = [new Map(this.#names)];
  }

  #change(change: (names: Entries) => void): void {
    change(this.#names);
    this.#history.push(new Map(this.#names));
  }

  /** The folder as a process has it. Everything takes time; of a process that dies meanwhile, nothing more is done. */
  folder(process: Process, slowest: number, random: Random): Folder {
    const act = async <T>(action: () => T, { refusable = false } = {}): Promise<T> => {
      await process.sleep(random.between(0.02, slowest));
      if (refusable && process.now() < this.fullUntil) throw new Error('ENOSPC: no space left on device');
      return action();
    };
    return {
      make: async () => {},
      list: async () => this.files,
      read: async (name) => {
        const inode = this.#names.get(name);
        if (inode === undefined) throw new Error(`ENOENT: no such file ${name}`);
        return inode.bytes.slice();
      },
      create: async (name): Promise<FileWriter> => {
        const inode: Inode = { bytes: new Uint8Array(0), lasting: new Uint8Array(0) };
        await act(() => this.#change((names) => names.set(name, inode)), { refusable: true });
        return {
          // What is written is read when the disk comes to it.
          write: (bytes) =>
            act(
              () => {
                inode.bytes = Buffer.concat([inode.bytes, bytes]);
              },
              { refusable: true },
            ),
          sync: () =>
            act(() => {
              inode.lasting = inode.bytes;
            }),
          close: async () => {},
        };
      },
      rename: (from, to) =>
        act(() => {
          const inode = this.#names.get(from);
          if (inode === undefined) throw new Error(`ENOENT: no such file ${from}`);
          this.#change((names) => {
            names.delete(from);
            names.set(to, inode);
          });
        }),
      remove: (name) => act(() => this.#change((names) => void names.delete(name))),
      sync: () =>
        act(() => {
          this.#history = [new Map(this.#names)];
        }),
    };
  }
}
