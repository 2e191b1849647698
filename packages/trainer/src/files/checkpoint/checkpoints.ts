/** A run's checkpoints: when one is due, writing it while training goes on, and finding the one to go on from. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { DataError, encodeSafetensors } from '@lockstep/data';
import { ConfigError } from '@lockstep/nn';
import type { SkippedCheckpoint, TrainingEvent } from '../../run/events.ts';
import type { ExecutorState } from '../../run/executor.ts';
import type { CheckpointSink, Progress } from '../../run/loop.ts';
import type { EventsMark } from '../output.ts';
import { cannotWrite } from '../runFolder.ts';
import { definitionHash, differences, type RunDefinition } from './fingerprint.ts';
import { diskFolder, type Folder } from './folder.ts';
import type { Manifest } from './manifest.ts';
import { type Checkpoint, CheckpointStore, type NewCheckpoint } from './store.ts';
import { fromTensors, lengthsOf, type TensorLayout, toTensors } from './tensors.ts';

/** How often a checkpoint is written: after so many optimizer steps, or so much time. */
export type CheckpointInterval = { readonly steps: number } | { readonly seconds: number };

const DEFAULT_INTERVAL: CheckpointInterval = { seconds: 30 };

/** Below the folder of a run. */
export const CHECKPOINTS = 'checkpoints';

export interface CheckpointsOptions {
  /** The folder of the run, for messages and, without `folder`, for the checkpoints in it. */
  readonly out: string;
  readonly folder?: Folder;
  readonly every?: CheckpointInterval | undefined;
  readonly layout: TensorLayout;
  /** Asked once, when it is first needed. */
  readonly definition: () => RunDefinition;
  /** How far the events of the run are. */
  readonly mark: () => EventsMark | undefined;
  /** Batches that the run may have to go back to: the newest checkpoint before each stays. See Note [Rewinding]. */
  readonly doubts?: () => readonly number[];
  readonly emit: (event: TrainingEvent) => void;
  /** Milliseconds; default: of this process. */
  readonly clock?: (() => number) | undefined;
}

export class Checkpoints implements CheckpointSink {
  readonly #options: CheckpointsOptions;
  readonly #store: CheckpointStore;
  readonly #every: CheckpointInterval;
  readonly #clock: () => number;
  #definition: RunDefinition | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** Snapshots that are being written or wait for it. */
  #open = 0;
  #lastStep = 0;
  #skipped: readonly SkippedCheckpoint[] = [];
  #lastTime: number;

  constructor(options: CheckpointsOptions) {
    this.#options = options;
    this.#every = options.every ?? DEFAULT_INTERVAL;
    this.#clock = options.clock ?? (() => performance.now());
    this.#lastTime = this.#clock();
    this.#store = new CheckpointStore(options.folder ?? diskFolder(join(options.out, CHECKPOINTS)));
  }

  due(step: number): boolean {
    // A disk that is slower than the interval gets fewer checkpoints, not a queue of them.
    if (this.#open > 0 || step === this.#lastStep) return false;
    if ('seconds' in this.#every) return this.#clock() - this.#lastTime >= 1000 * this.#every.seconds;
    const { steps } = this.#every;
    return Math.floor(step / steps) > Math.floor(this.#lastStep / steps);
  }

  /** Begins to write; what it is given must not change any more. `isQuiet`: reported only if the disk refuses. */
  save(progress: Progress, { isQuiet = false } = {}): void {
    const mark = this.#options.mark();
    this.#lastStep = progress.step;
    this.#lastTime = this.#clock();
    this.#open++;
    this.#writing = this.#writing
      .then(() => this.#write(progress, mark, isQuiet))
      .finally(() => this.#open--);
    // Told by finish().
    this.#writing.catch(() => {});
  }

  /** Waits until all is written. Throws what listeners to the events threw. */
  finish(): Promise<void> {
    return this.#writing;
  }

  /** A disk that refuses is told and no more: training is worth more than a checkpoint. */
  async #write(progress: Progress, events: EventsMark | undefined, isQuiet: boolean): Promise<void> {
    const { emit } = this.#options;
    const began = this.#clock();
    const { step } = progress;
    const saved = await this.#store
      .save(this.#toCheckpoint(progress, events), this.#options.doubts?.())
      .catch((error: unknown) => ({ reason: error instanceof Error ? error.message : String(error) }));
    if ('reason' in saved) emit({ type: 'checkpointFailed', step, ...saved });
    else if (!isQuiet) {
      const seconds = (this.#clock() - began) / 1000;
      const { name, bytes, sha256 } = saved;
      emit({ type: 'checkpoint', step, file: `${CHECKPOINTS}/${name}`, bytes, sha256, seconds });
    }
  }

  #toCheckpoint(whole: Progress, events: EventsMark | undefined): NewCheckpoint {
    const { state: _, best, ...progress } = whole;
    this.#definition ??= this.#options.definition();
    return {
      manifest: {
        ...progress,
        best: best && { value: best.value, epoch: best.epoch },
        events,
        definitionHash: definitionHash(this.#definition),
        definition: this.#definition,
      },
      tensors: tensorsOf(this.#options.layout, whole),
    };
  }

  /** Newer ones that `find` couldn't use. */
  get skipped(): readonly SkippedCheckpoint[] {
    return this.#skipped;
  }

  /**
   * The newest whole checkpoint, if there is one. Damaged ones are reported and left alone. Throws ConfigError where it is of
   * another definition, DataError where there are checkpoints and none is whole.
   */
  async find(): Promise<Checkpoint | undefined> {
    const { out, emit } = this.#options;
    const { checkpoint, damaged, lost } = await this.#look().catch((error: Error) => {
      throw new DataError(
        'DATA_UNREADABLE',
        `resume: cannot read ${join(out, CHECKPOINTS)}: ${error.message}`,
      );
    });
    this.#skipped = [...damaged, ...lost]
      .sort((a, b) => (a.name < b.name ? 1 : -1))
      .map(({ name, reason }) => ({ file: `${CHECKPOINTS}/${name}`, reason }));
    for (const each of this.#skipped) emit({ type: 'checkpointDamaged', ...each });
    if (!checkpoint) {
      const [first] = damaged;
      if (!first) return undefined;
      throw new DataError(
        'DATA_CORRUPT',
        `resume: none of the checkpoints in ${join(out, CHECKPOINTS)} is whole (${first.name}: ${first.reason}). Start ` +
          'without resume, or copy them again',
      );
    }
    this.#definition ??= this.#options.definition();
    const changed = differences(checkpoint.manifest.definition, this.#definition);
    if (changed !== undefined) {
      throw new ConfigError(
        'resume',
        `${join(out, CHECKPOINTS, checkpoint.name)} is of another definition: ${changed}. Give what it was begun with, or ` +
          'another folder (out) for a new run',
      );
    }
    this.#lastStep = checkpoint.manifest.step;
    return checkpoint;
  }

  /**
   * The newest whole checkpoint before a batch, or right before it; those of later ones are deleted. Undefined: there is none.
   * Throws DataError where the disk doesn't take that.
   */
  async back(batch: number): Promise<Checkpoint | undefined> {
    await this.#writing;
    const { out } = this.#options;
    this.#definition ??= this.#options.definition();
    const own = definitionHash(this.#definition);
    const isOwn = (manifest: Manifest): boolean => manifest.definitionHash === own;
    const found = await this.#store.back(batch, isOwn).catch((error: Error) => {
      throw cannotWrite(join(out, CHECKPOINTS), error);
    });
    this.#lastStep = found?.manifest.step ?? 0;
    this.#lastTime = this.#clock();
    return found;
  }

  async #look() {
    const { checkpoint, damaged } = await this.#store.newest();
    return { checkpoint, damaged, lost: await this.#store.lostManifests(checkpoint?.manifest.sequence ?? 0) };
  }

  /** What the loop goes on from. `state`: of the names and lengths that are needed. Throws DataError. */
  restore(checkpoint: Checkpoint, state: ExecutorState): Progress {
    const { layout, out } = this.#options;
    return progressOf(`resume: ${join(out, CHECKPOINTS, checkpoint.name)}`, layout, checkpoint, state);
  }
}

/** What the loop goes on from. `state`: of the names and lengths that are needed. Throws DataError that begins with `who`. */
export function progressOf(
  who: string,
  layout: TensorLayout,
  { manifest, tensors }: Checkpoint,
  state: ExecutorState,
): Progress {
  const expected = lengthsOf(state);
  const { best, ...progress } = manifest;
  if (best) expected.set('best', layout.size + layout.bufferSize);
  const vectors = fromTensors(who, layout, expected, tensors);
  return {
    ...progress,
    best: best && { ...best, weights: vectors.get('best')! },
    state: new Map([...state.keys()].map((key) => [key, vectors.get(key)!])),
  };
}

const tensorsOf = (layout: TensorLayout, { state, best }: Progress): NewCheckpoint['tensors'] =>
  toTensors(layout, best ? new Map([...state, ['best', best.weights]]) : state);

/** SHA-256 of the tensors that a checkpoint of this progress has. */
export function stateDigest(layout: TensorLayout, progress: Progress): string {
  const hash = createHash('sha256');
  for (const chunk of encodeSafetensors(tensorsOf(layout, progress))) hash.update(chunk);
  return hash.digest('hex');
}
