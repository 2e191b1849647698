/** Goes back to a state from before: Note [Rewinding] in `run/rewind.ts`. */
import { TrainingError } from '../../define/errors.ts';
import type { TrainingEvent } from '../../run/events.ts';
import type { ExecutorState } from '../../run/executor.ts';
import type { Progress } from '../../run/loop.ts';
import type { Rewind } from '../../run/rewind.ts';
import type { EventsMark, RunOutput } from '../output.ts';
import type { Checkpoints } from './checkpoints.ts';

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
      if (!from) checkpoints.save(progress, { isQuiet: true });
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
