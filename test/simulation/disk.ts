import type { DiskAction } from '@lockstep/sync';
import type { Random } from './random.ts';

/** The bytes of a file: what was written, and whether it would be there after a crash. */
interface Inode<T> {
  data: T | undefined;
  synced: boolean;
}

/**
 * A folder that loses what was not synced. Changes of names (creating, renaming, removing) reach the disk in order,
 * at the latest with `syncFolder`; a crash keeps some first part of those since. A file that was not synced is whole,
 * torn or empty after a crash.
 */
export class Disk<T> {
  #names = new Map<string, Inode<T>>();
  /** The folder after each change of names since the last sync; the first is what is safe. */
  #history: Map<string, Inode<T>>[] = [new Map()];
  /** Writes fail until then: the disk is full. */
  fullUntil = 0;

  get files(): string[] {
    return [...this.#names.keys()];
  }

  /** What a file holds; undefined when it is not there, or when it is damaged (which a reader sees by its checksum). */
  read(file: string): T | undefined {
    return this.#names.get(file)?.data;
  }

  isDamaged(file: string): boolean {
    const inode = this.#names.get(file);
    return inode !== undefined && inode.data === undefined;
  }

  /** Does one action; false when the disk refuses. */
  act(action: DiskAction, data: T, now: number): boolean {
    switch (action.do) {
      case 'write':
        if (now < this.fullUntil) return false;
        this.#names.set(action.file, { data, synced: false });
        break;
      case 'sync': {
        if (now < this.fullUntil) return false;
        const inode = this.#names.get(action.file);
        if (inode === undefined) throw new Error(`sync of ${action.file}, which is not there`);
        inode.synced = true;
        return true;
      }
      case 'rename': {
        const inode = this.#names.get(action.from);
        if (inode === undefined) throw new Error(`rename of ${action.from}, which is not there`);
        this.#names.delete(action.from);
        this.#names.set(action.to, inode);
        break;
      }
      case 'remove':
        this.#names.delete(action.file);
        break;
      case 'syncFolder':
        this.#history = [new Map(this.#names)];
        return true;
    }
    this.#history.push(new Map(this.#names));
    return true;
  }

  /** Bits rot, and the checksum will show it. */
  damage(file: string): void {
    const inode = this.#names.get(file);
    if (inode !== undefined) inode.data = undefined;
  }

  /** The power is gone, and comes back. */
  crash(random: Random): void {
    this.#names = new Map(random.pick(this.#history));
    for (const [file, inode] of this.#names) {
      const data = inode.synced || random.chance(1 / 3) ? inode.data : undefined;
      this.#names.set(file, { data, synced: true });
    }
    this.#history = [new Map(this.#names)];
  }
}
