/** The oracle: one worker that takes one batch after the other, in one process in which nothing goes wrong. */

import { modelLayout, unitVector } from '@lockstep/cluster';
import {
  type BatchJob,
  type Executor,
  type ExecutorState,
  Loop,
  type LoopOutcome,
  type Progress,
  type Sums,
  type TrainingEvent,
} from '@lockstep/trainer';
import { type Definition, hashOf, unitResults, usedShards, validationSums } from './definition.ts';
import { Weights } from './updater.ts';

/** What must come of a run, whoever dies. */
export interface Truth {
  /** By batch: the sums over all shards, as one unit's vector. */
  readonly sums: readonly Float32Array[];
  /** By optimizer step: what a checkpoint of it must hold. */
  readonly progress: ReadonlyMap<number, Progress>;
  /** Of steps and epochs, by `type number`. */
  readonly events: ReadonlyMap<string, TrainingEvent>;
  readonly outcome: LoopOutcome;
  /** In the end. */
  readonly weights: Float32Array;
}

class SerialExecutor implements Executor {
  readonly kernels = 'serial';
  readonly workers = 1;
  readonly ahead = 1;
  readonly sums: Float32Array[] = [];
  readonly #definition: Definition;
  readonly #weights: Weights;
  #jobs: BatchJob[] = [];

  constructor(definition: Definition) {
    this.#definition = definition;
    this.#weights = new Weights(definition);
  }

  setOrder(): void {}

  submit(job: BatchJob): void {
    this.#jobs.push(job);
  }

  async drain(): Promise<Sums[]> {
    return this.#jobs.splice(0).map((job) => this.#train(job));
  }

  #train(job: BatchJob): Sums {
    const definition = this.#definition;
    const { statistics, gradient, size } = unitVector(definition.sizes);
    const { buckets } = modelLayout(definition.sizes, definition.bucketFloats);
    const { all } = this.#weights;
    const model = buckets.map(({ from, to }) => hashOf(all.subarray(from, to), 0));
    const all_ = { lo: 0, hi: usedShards(definition, job.index) };
    const vector = unitResults(definition, model, job.index, all_);
    this.sums.push(vector);
    this.#weights.merge(vector.subarray(statistics, gradient));
    this.#weights.applyAll(vector.subarray(gradient, size), job);
    return vector.slice(0, definition.sizes.values);
  }

  refused(): undefined {
    return undefined;
  }

  async validate(): Promise<Sums> {
    return validationSums(this.#definition, this.#weights.weights, this.#weights.buffers);
  }

  weights(): Float32Array {
    return this.#weights.all;
  }

  setWeights(weights: Float32Array): void {
    this.#weights.all = weights;
  }

  state(): ExecutorState {
    return new Map([...this.#weights.state].map(([name, vector]) => [name, vector.slice()]));
  }

  setState(): void {
    throw new Error('the serial worker never resumes');
  }

  async close(): Promise<void> {}
}

export async function serial(definition: Definition): Promise<Truth> {
  const executor = new SerialExecutor(definition);
  const progress = new Map<number, Progress>();
  const events = new Map<string, TrainingEvent>();
  const loop = new Loop(definition.input, executor, {
    emit: (event) => events.set(eventKey(event), event),
    checkpoints: { due: () => true, save: (at) => void progress.set(at.step, at) },
    clock: () => 0,
    explain: () => {
      throw new Error('nothing is refused');
    },
  });
  const outcome = await loop.run();
  return { sums: executor.sums, progress, events, outcome, weights: executor.weights() };
}

export const eventKey = (event: TrainingEvent): string => {
  if (event.type === 'step') return `step ${event.step}`;
  return event.type === 'epoch' ? `epoch ${event.epoch}` : event.type;
};
