/** What a run leaves in a folder: weights.safetensors, metrics.jsonl and run.json. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { contentHash, type Dataset, writeSafetensors, writeWhole } from '@lockstep/data';
import type { StateEntry } from '@lockstep/nn';
import { type ColumnRecords, columnRecords } from '../define/columns.ts';
import { weightsDigest } from '../define/digest.ts';
import type { Prepared } from '../define/prepare.ts';
import { version } from '../define/version.ts';
import type { DoneEvent, TrainingEvent } from '../run/events.ts';
import { cannotWrite } from './runFolder.ts';

export const OUTPUT_FILES = {
  weights: 'weights.safetensors',
  metrics: 'metrics.jsonl',
  run: 'run.json',
  /** The events of a run that failed, or was left. */
  unfinished: 'unfinished.jsonl',
} as const;

/** The events up to some moment: so many bytes of metrics.jsonl, and their SHA-256. */
export interface EventsMark {
  readonly bytes: number;
  readonly sha256: string;
}

/** Events are written in pieces of about this many characters, so that short steps do not wait for the disk. */
const PIECE = 1 << 16;

/**
 * The folder of one run. Files appear whole or not at all, under their names only when the run is done; files of an
 * earlier run in the same folder stay until then.
 */
export class RunOutput {
  readonly folder: string;
  readonly #events: string;
  #file: number | undefined;
  /** Not yet written, and the size at which it will be. */
  #waiting: Buffer = Buffer.alloc(0);
  #text = '';
  #piece = PIECE;
  /** Of what was written. */
  #bytes = 0;
  #hash = createHash('sha256');

  /**
   * In a folder that is there. Where `events` are given, those that an earlier process wrote up to then are kept, if they are
   * still there. Throws DataError (DATA_UNREADABLE) when nothing can be written there.
   */
  constructor(folder: string, events?: EventsMark) {
    this.folder = resolve(folder);
    this.#events = join(this.folder, `${OUTPUT_FILES.metrics}.part`);
    try {
      const kept = events !== undefined && this.#keep(events);
      this.#file = openSync(this.#events, kept ? 'a' : 'w');
    } catch (error) {
      throw cannotWrite(this.folder, error);
    }
  }

  /** One more line of metrics.jsonl. A disk that does not take it will be asked again: training goes on. */
  event(event: TrainingEvent): void {
    this.#text += `${JSON.stringify(event)}\n`;
    if (this.#text.length < this.#piece) return;
    try {
      this.#flush();
      this.#piece = PIECE;
    } catch {
      this.#piece += this.#text.length;
    }
  }

  /** How far the events are. Undefined while the disk does not take them. */
  mark(): EventsMark | undefined {
    try {
      this.#flush();
      return { bytes: this.#bytes, sha256: this.#hash.copy().digest('hex') };
    } catch {
      return undefined;
    }
  }

  /** Takes back the events after a mark; undefined: all of them. Throws DataError. */
  rewind(mark: EventsMark | undefined): void {
    const { bytes, sha256 } = mark ?? { bytes: 0, sha256: undefined };
    this.#waiting = Buffer.alloc(0);
    this.#text = '';
    try {
      closeSync(this.#file!);
      const hash = createHash('sha256');
      for (const piece of pieces(this.#events, bytes)) hash.update(piece);
      if (sha256 !== undefined && hash.copy().digest('hex') !== sha256) {
        throw new Error('its beginning is not what was written');
      }
      truncateSync(this.#events, bytes);
      this.#file = openSync(this.#events, 'a');
      this.#hash = hash;
      this.#bytes = bytes;
    } catch (error) {
      throw cannotWrite(this.#events, error);
    }
  }

  /** The beginning of the events from whatever file still has it. */
  #keep({ bytes, sha256 }: EventsMark): boolean {
    const files = [
      this.#events,
      ...[OUTPUT_FILES.unfinished, OUTPUT_FILES.metrics].map((name) => join(this.folder, name)),
    ];
    for (const file of files.filter(existsSync)) {
      const hash = createHash('sha256');
      let length = 0;
      for (const piece of pieces(file, bytes)) {
        hash.update(piece);
        length += piece.length;
      }
      if (length < bytes || hash.copy().digest('hex') !== sha256) continue;
      if (file !== this.#events) copyFileSync(file, this.#events);
      truncateSync(this.#events, bytes);
      this.#hash = hash;
      this.#bytes = bytes;
      return true;
    }
    return false;
  }

  /** Everything under its name. Throws DataError where the disk does not take it. */
  finish(weights: ReadonlyMap<string, StateEntry>, run: RunRecord): void {
    const at = (name: string): string => join(this.folder, name);
    writeSafetensors(at(OUTPUT_FILES.weights), weights, {
      format: 'pt',
      lockstep: version,
      digest: run.result.weightsDigest,
    });
    this.#close(OUTPUT_FILES.metrics);
    rmSync(at(OUTPUT_FILES.unfinished), { force: true });
    writeWhole('train', at(OUTPUT_FILES.run), [Buffer.from(`${JSON.stringify(run, undefined, 2)}\n`)]);
  }

  /**
   * After `finish`, nothing. Before: the events stay (as unfinished.jsonl) where there were steps, else no trace of
   * the run does.
   */
  abandon(steps: number): void {
    if (this.#file === undefined) return;
    try {
      if (steps > 0) {
        this.#close(OUTPUT_FILES.unfinished);
        return;
      }
      closeSync(this.#file);
      rmSync(this.#events, { force: true });
    } catch {
      // What made the run fail is the better message.
    }
  }

  #flush(): void {
    try {
      this.#waiting = Buffer.concat([this.#waiting, Buffer.from(this.#text)]);
      this.#text = '';
      while (this.#waiting.length > 0) {
        const written = writeSync(this.#file!, this.#waiting);
        this.#hash.update(this.#waiting.subarray(0, written));
        this.#bytes += written;
        this.#waiting = this.#waiting.subarray(written);
      }
    } catch (error) {
      throw cannotWrite(this.#events, error);
    }
  }

  #close(name: string): void {
    this.#flush();
    closeSync(this.#file!);
    this.#file = undefined;
    renameSync(this.#events, join(this.folder, name));
  }
}

/** The first `bytes` of a file; fewer where it is shorter. */
function* pieces(path: string, bytes: number): Generator<Uint8Array> {
  const file = openSync(path, 'r');
  try {
    const buffer = new Uint8Array(PIECE);
    for (let left = bytes; left > 0; ) {
      const read = readSync(file, buffer, 0, Math.min(PIECE, left), null);
      if (read === 0) return;
      left -= read;
      yield buffer.subarray(0, read);
    }
  } finally {
    closeSync(file);
  }
}

/** What the weights are a function of, as far as it is data. */
export interface DefinitionRecord {
  readonly seed: number;
  readonly batch: number;
  readonly shards: number;
  /** null: until `steps`. */
  readonly epochs: number | null;
  readonly steps: number | null;
  readonly accumulate: number;
  readonly shuffle: boolean;
  readonly dropLast: boolean;
  readonly validation: number;
  readonly earlyStopping: object | null;
  readonly optimizer: object;
  readonly arithmetic: 'strict';
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  readonly data: { readonly rows: number; readonly validationRows: number; readonly contentHash: string };
  /** Digest of the weights that it began with, where they were given. */
  readonly initialWeights: string | null;
}

/** run.json: all that the digest depends on, and what came of it. */
export interface RunRecord {
  readonly name: string;
  readonly versions: { readonly lockstep: string; readonly node: string };
  readonly definition: DefinitionRecord;
  readonly data: { readonly name: string; readonly dir: string | null; readonly columns: ColumnRecords };
  readonly result: Omit<DoneEvent, 'type'>;
}

interface Given {
  readonly dataDir?: string | undefined;
  readonly initialWeights?: ReadonlyMap<string, StateEntry> | undefined;
}

/** Large data take a moment, and are asked for by checkpoints and by run.json. */
function hashOf(data: Dataset): string {
  const hash = hashes.get(data) ?? contentHash(data);
  hashes.set(data, hash);
  return hash;
}
const hashes = new WeakMap<Dataset, string>();

export function definitionRecord<M, F extends string>(
  { definition, data, layout }: Prepared<M, F>,
  given: Given,
): DefinitionRecord {
  const { seed, batch, shards, epochs, accumulate, shuffle, dropLast, validation } = definition;
  return {
    seed,
    batch,
    shards,
    epochs: epochs === Number.MAX_SAFE_INTEGER ? null : epochs,
    steps: definition.steps ?? null,
    accumulate,
    shuffle,
    dropLast,
    validation,
    earlyStopping: definition.earlyStopping ?? null,
    optimizer: definition.optimizer.config,
    arithmetic: 'strict',
    parameters: Object.fromEntries(layout.entries.map(({ name, parameter }) => [name, parameter.shape])),
    data: {
      rows: data.length,
      validationRows: data.validation?.length ?? 0,
      contentHash: hashOf(data),
    },
    initialWeights: given.initialWeights ? weightsDigest(given.initialWeights) : null,
  };
}

export const runRecord = <M, F extends string>(
  prepared: Prepared<M, F>,
  { type: _, ...result }: DoneEvent,
  given: Given,
): RunRecord => ({
  name: prepared.definition.name,
  versions: { lockstep: version, node: process.versions.node },
  definition: definitionRecord(prepared, given),
  data: {
    name: prepared.data.name,
    dir: given.dataDir === undefined ? null : resolve(given.dataDir),
    columns: columnRecords(prepared.data),
  },
  result,
});
