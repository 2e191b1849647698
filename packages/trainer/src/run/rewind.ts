/**
 * Note [Rewinding]: what a node contributed to a run can turn out to be wrong when the batch has long been applied. Then the
 * run goes back to a state from before, as a resumed one does, in the same process: newer checkpoints are deleted first (they
 * are of wrong weights, and a crash must not bring them back), then metrics.jsonl is cut, then training goes on from there.
 */
import { TrainingError } from '../define/errors.ts';
import type { Checkpoints } from '../files/checkpoint/checkpoints.ts';
import type { EventsMark, RunOutput } from '../files/output.ts';
import type { TrainingEvent } from './events.ts';
import type { ExecutorState } from './executor.ts';
import type { Progress } from './loop.ts';

/** Thrown by an executor's `drain`: batches from this one on are not to be trusted. */
export class Rewind extends Error {
  override readonly name = 'Rewind';
  /** Counted over the run, from 0. */
  readonly batch: number;
  /** What is reported of it, where these optimizer steps stay. */
  readonly events: (kept: number) => readonly TrainingEvent[];

  constructor(batch: number, events: (kept: number) => readonly TrainingEvent[]) {
    super(`batches from ${batch} on are computed again`);
    this.batch = batch;
    this.events = events;
  }
}

export interface RewinderOptions {
  readonly checkpoints: Checkpoints | undefined;
  readonly output: RunOutput | undefined;
  /** Names and lengths of the state. */
  readonly state: () => ExecutorState;
  readonly emit: (event: TrainingEvent) => void;
}

/** Where a run was when this process took it up, for when there is no checkpoint to go back to. */
interface Start {
  readonly progress: Progress;
  readonly events: EventsMark | undefined;
}

export class Rewinder {
  readonly #options: RewinderOptions;
  #start: Start | undefined;

  constructor(options: RewinderOptions) {
    this.#options = options;
  }

  /** Keeps the state that training begins with: in a checkpoint where there can be one, else in memory. */
  begin(from: Progress | undefined): void {
    const { checkpoints, output, state } = this.#options;
    const progress = from ?? beginning(state());
    if (checkpoints) {
      if (!from) checkpoints.save(progress);
    } else this.#start = { progress, events: output?.mark() };
  }

  /** Gives what the loop goes on from. Throws TrainingError where there is nothing left. */
  async back({ batch, events: report }: Rewind): Promise<Progress> {
    const { emit } = this.#options;
    const { progress, events } = (await this.#find(batch)) ?? this.#start ?? lost(batch);
    this.#options.output?.rewind(events);
    for (const event of report(progress.step)) emit(event);
    return progress;
  }

  async #find(batch: number): Promise<Start | undefined> {
    const { checkpoints, state } = this.#options;
    const found = await checkpoints?.back(batch);
    return (
      checkpoints && found && { progress: checkpoints.restore(found, state()), events: found.manifest.events }
    );
  }
}

function lost(batch: number): never {
  throw new TrainingError(
    `batches from ${batch} on have to be computed again, and no checkpoint from before is left; start the run again`,
  );
}

const beginning = (state: ExecutorState): Progress => ({
  ...{ step: 0, epoch: 0, batch: 0, index: 0, rows: 0, sums: [], finished: false },
  state,
});
