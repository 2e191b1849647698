/**
 * Generations of checkpoints in a folder. Each is two files, tensors and manifest; it exists from the instant in which
 * its manifest has its name.
 *
 * Note [Old or new]: Both files are written under other names and flushed, tensors first, then the manifest with their digest.
 * Then each is renamed, in this order, and the folder is flushed before the next thing is done. So a crash leaves a manifest only
 * with all of its tensors; and tensors without any trace of their manifest only where it was lost later. No name is used twice, and older generations go only when two newer ones last. Whatever a disk does beyond
 * that, the digests find.
 */
import { createHash } from 'node:crypto';
import { encodeSafetensors, readSafetensors, type StoredTensor, type TensorToStore } from '@lockstep/data';
import type { Folder } from './folder.ts';
import { decodeManifest, encodeManifest, type FileProof, type Manifest, sha256 } from './manifest.ts';

export interface Checkpoint {
  /** File name of the manifest. */
  readonly name: string;
  readonly manifest: Manifest;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

export interface DamagedCheckpoint {
  readonly name: string;
  readonly reason: string;
}

export type NewCheckpoint = {
  readonly manifest: Omit<Manifest, 'sequence' | 'tensors'>;
  readonly tensors: Iterable<readonly [string, TensorToStore]>;
};

export interface SavedCheckpoint {
  /** File name of the manifest. */
  readonly name: string;
  /** Of both files. */
  readonly bytes: number;
  /** SHA-256 (hex) of the tensors. */
  readonly sha256: string;
}

/** Generations that stay. */
const KEPT = 2;
/** Older ones that stay because the run may have to go back to them. */
const MAX_DOUBTED = 8;
/** Bytes between two chances for other work of the process. */
const PIECE = 1 << 20;

const manifestName = (sequence: number): string => `checkpoint-${String(sequence).padStart(6, '0')}.json`;
const tensorsName = (sequence: number): string => manifestName(sequence).replace('.json', '.safetensors');
const PARTIAL = '.part';
const NAME = /^checkpoint-(\d{6,15})\.(json|safetensors)(\.part)?$/;

export class CheckpointStore {
  readonly #folder: Folder;
  /** What the next generation is called; undefined before the folder has been looked at. */
  #next: number | undefined;
  /** Proved whole, or found damaged: the latter are left alone. */
  readonly #whole = new Set<number>();
  readonly #damaged = new Set<number>();

  constructor(folder: Folder) {
    this.#folder = folder;
  }

  /**
   * The newest whole generation of those that are wanted, and the damaged ones that are newer. Throws only where the folder
   * cannot be read.
   */
  async newest(
    isWanted: (manifest: Manifest) => boolean = () => true,
  ): Promise<{ checkpoint?: Checkpoint; damaged: DamagedCheckpoint[] }> {
    const damaged: DamagedCheckpoint[] = [];
    for (const sequence of (await this.#sequences()).reverse()) {
      try {
        const manifest = await this.#manifest(sequence);
        if (isWanted(manifest)) return { checkpoint: await this.#load(sequence), damaged };
      } catch (error) {
        this.#damaged.add(sequence);
        damaged.push({ name: manifestName(sequence), reason: messageOf(error) });
      }
    }
    return { damaged };
  }

  /** The newest whole one, of those that are wanted, whose next batch is this one or one before it. Later ones are deleted, lastingly. */
  async back(batch: number, isWanted: (manifest: Manifest) => boolean): Promise<Checkpoint | undefined> {
    for (const sequence of (await this.#sequences()).reverse()) {
      const manifest = await this.#manifest(sequence).catch(() => undefined);
      if (manifest && manifest.index > batch) await this.#remove(sequence);
    }
    const { checkpoint } = await this.newest(isWanted);
    return checkpoint;
  }

  /**
   * Writes a generation, lastingly; older ones go, but for the newest before each of the batches in `doubts`. Throws where
   * the disk refuses: what was there before is still.
   */
  async save({ manifest, tensors }: NewCheckpoint, doubts?: readonly number[]): Promise<SavedCheckpoint> {
    this.#next ??= await this.#prepare();
    const sequence = this.#next++;
    try {
      const proof = await this.#write(tensorsName(sequence), encodeSafetensors(tensors));
      const page = encodeManifest({ sequence, ...manifest, tensors: proof });
      const { bytes } = await this.#write(manifestName(sequence), [page]);
      for (const name of [tensorsName(sequence), manifestName(sequence)]) await this.#name(name);
      this.#whole.add(sequence);
      // The new one lasts, whatever becomes of the old ones.
      await this.#prune(doubts).catch(() => {});
      return { name: manifestName(sequence), bytes: bytes + proof.bytes, sha256: proof.sha256 };
    } catch (error) {
      for (const name of [manifestName(sequence), tensorsName(sequence)]) {
        for (const each of [name, name + PARTIAL]) await this.#folder.remove(each).catch(() => {});
      }
      throw error;
    }
  }

  /** Of the manifests, in order. */
  async #sequences(): Promise<number[]> {
    const names = (await this.#folder.list()).map((name) => NAME.exec(name));
    return names
      .flatMap((match) => (match?.[2] === 'json' && !match[3] ? [Number(match[1])] : []))
      .sort((a, b) => a - b);
  }

  /**
   * Generations newer than this one whose manifest was lost: their tensors are there, and nobody was writing it. Throws only
   * where the folder cannot be read.
   */
  async lostManifests(newerThan: number): Promise<DamagedCheckpoint[]> {
    const names = new Set(await this.#folder.list());
    const sequences = [...names].flatMap((name) => {
      const [, digits, kind, partial] = NAME.exec(name) ?? [];
      return kind === 'safetensors' && !partial && Number(digits) > newerThan ? [Number(digits)] : [];
    });
    return sequences
      .sort((a, b) => b - a)
      .map(manifestName)
      .filter((name) => !names.has(name) && !names.has(name + PARTIAL))
      .map((name) => ({ name, reason: 'it is missing, but its tensors are there' }));
  }

  /** Of the generations whose manifest is whole, oldest first. Throws only where the folder cannot be read. */
  async manifests(): Promise<Manifest[]> {
    const found: Manifest[] = [];
    for (const sequence of await this.#sequences()) {
      const manifest = await this.#manifest(sequence).catch(() => undefined);
      if (manifest) found.push(manifest);
    }
    return found;
  }

  /** Throws when anything about it is wrong. */
  async #manifest(sequence: number): Promise<Manifest> {
    const manifest = decodeManifest(await this.#folder.read(manifestName(sequence)));
    if (manifest.sequence !== sequence) throw new Error(`it is number ${manifest.sequence}, renamed`);
    return manifest;
  }

  /** Throws when anything about it is wrong. */
  async #load(sequence: number): Promise<Checkpoint> {
    try {
      const name = manifestName(sequence);
      const manifest = await this.#manifest(sequence);
      const bytes = await this.#folder.read(tensorsName(sequence));
      const { bytes: length, sha256: digest } = manifest.tensors;
      if (bytes.length !== length) {
        throw new Error(`${tensorsName(sequence)} has ${bytes.length} bytes, expected ${length}`);
      }
      if (sha256(bytes) !== digest)
        throw new Error(`${tensorsName(sequence)} has another SHA-256 than expected`);
      const tensors = readSafetensors(bytes);
      this.#whole.add(sequence);
      return { name, manifest, tensors };
    } catch (error) {
      this.#damaged.add(sequence);
      throw error;
    }
  }

  /** Clears what writers left that died. */
  async #prepare(): Promise<number> {
    await this.#folder.make();
    const generations = new Set(await this.#sequences());
    let last = 0;
    for (const name of await this.#folder.list()) {
      const [, digits, , partial] = NAME.exec(name) ?? [];
      if (digits === undefined) continue;
      last = Math.max(last, Number(digits));
      if (partial || !generations.has(Number(digits))) await this.#folder.remove(name);
    }
    return last + 1;
  }

  /** Lasting when it returns, under another name. */
  async #write(name: string, chunks: readonly Uint8Array[]): Promise<FileProof> {
    const hash = createHash('sha256');
    let bytes = 0;
    const file = await this.#folder.create(name + PARTIAL);
    try {
      for (const chunk of chunks) {
        for (let at = 0; at < chunk.length; at += PIECE) {
          const piece = chunk.subarray(at, at + PIECE);
          hash.update(piece);
          bytes += piece.length;
          await file.write(piece);
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    return { bytes, sha256: hash.digest('hex') };
  }

  /** Gives what was written its name, lastingly. */
  async #name(name: string): Promise<void> {
    await this.#folder.rename(name + PARTIAL, name);
    await this.#folder.sync();
  }

  /** Removes whole generations but the last and those in doubt; the unknown are looked at first, the damaged stay. */
  async #prune(doubts: readonly number[] = []): Promise<void> {
    const needed = doubts.length === 0 ? new Set() : await this.#before(doubts);
    const newer: number[] = [];
    for (const sequence of (await this.#sequences()).reverse()) {
      if (!this.#whole.has(sequence)) {
        if (this.#damaged.has(sequence)) continue;
        if (!(await this.#load(sequence).catch(() => undefined))) continue;
      }
      if (newer.push(sequence) <= KEPT || needed.has(sequence)) continue;
      await this.#remove(sequence);
    }
  }

  async #remove(sequence: number): Promise<void> {
    this.#whole.delete(sequence);
    await this.#folder.remove(manifestName(sequence));
    // Without it, a crash may leave a manifest without tensors, which looks like damage.
    await this.#folder.sync();
    await this.#folder.remove(tensorsName(sequence));
  }

  /** For each of these batches the newest generation before it, as far as `MAX_DOUBTED` allow: the oldest serve all. */
  async #before(batches: readonly number[]): Promise<Set<number>> {
    const manifests = (await this.manifests()).filter(({ sequence }) => !this.#damaged.has(sequence));
    const needed = new Set<number>();
    for (const batch of [...batches].sort((a, b) => a - b)) {
      const found = manifests.findLast(({ index }) => index <= batch);
      if (found && needed.size < MAX_DOUBTED) needed.add(found.sequence);
    }
    return needed;
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
