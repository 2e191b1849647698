/** What the coordinator's pool does in a cluster: updates the weights, validates; here in virtual time. */
import type { ClusterParts } from '@lockstep/cluster';
import type { BatchJob, ExecutorState, Sums } from '@lockstep/trainer';
import { type Definition, initialWeights, validationSums } from './definition.ts';

/** All that later steps depend on. */
export class Weights {
  readonly weights: Float32Array;
  readonly buffers: Float32Array;
  /** Of the optimizer. */
  readonly momentum: Float32Array;
  readonly #accumulated: Float32Array;

  constructor(definition: Definition) {
    const { buffers, trained } = definition.sizes;
    this.weights = initialWeights(definition);
    this.buffers = new Float32Array(buffers);
    this.momentum = new Float32Array(trained);
    this.#accumulated = new Float32Array(trained);
  }

  /** Running statistics. */
  merge(statistics: Float32Array): void {
    for (let i = 0; i < this.buffers.length; i++) {
      this.buffers[i] = Math.fround(this.buffers[i]! * 0.75) + Math.fround(statistics[i]! * 0.25);
    }
  }

  /** The optimizer on the elements [from, to). */
  apply(gradient: Float32Array, { update }: BatchJob, from: number, to: number): void {
    const scale = Math.fround(1 / update!.rows);
    const [learningRate] = update!.scalars;
    for (let i = from; i < to; i++) {
      this.momentum[i] = Math.fround(this.momentum[i]! * 0.5) + Math.fround(gradient[i]! * scale);
      this.weights[i] = this.weights[i]! - Math.fround(this.momentum[i]! * learningRate!);
    }
  }

  /** A batch at once: what was accumulated counts, too. */
  applyAll(gradient: Float32Array, job: BatchJob): void {
    for (const [i, value] of gradient.entries()) {
      this.#accumulated[i] = job.accumulate === 'first' ? value : this.#accumulated[i]! + value;
    }
    if (job.update) this.apply(this.#accumulated, job, 0, this.#accumulated.length);
  }

  get state(): ExecutorState {
    const { weights, momentum, buffers } = this;
    return new Map(Object.entries({ weights, 'slot momentum': momentum, buffers }));
  }

  /** Weights, then buffers. */
  get all(): Float32Array {
    const all = new Float32Array(this.weights.length + this.buffers.length);
    all.set(this.weights);
    all.set(this.buffers, this.weights.length);
    return all;
  }

  set all(all: Float32Array) {
    this.weights.set(all.subarray(0, this.weights.length));
    this.buffers.set(all.subarray(this.weights.length));
  }
}

/** Hears what goes into the weights. */
export interface UpdateListener {
  /** The sums of a batch over all shards, in the places where the optimizer reads them, before it does. */
  applied(job: BatchJob, what: 'head' | 'gradient', values: Float32Array, from: number): void;
}

type Inner = ClusterParts['inner'];

export class Updater implements Inner {
  readonly kernels = 'simulated';
  readonly given: Inner['given'];
  readonly hasBuckets: boolean;
  readonly #definition: Definition;
  readonly #weights: Weights;
  readonly #listener: UpdateListener;
  /** Settles after about the time that it is given. */
  readonly #work: () => Promise<void>;
  #submitted: BatchJob | undefined;

  constructor(definition: Definition, listener: UpdateListener, work: () => Promise<void>) {
    const { values, buffers, trained } = definition.sizes;
    this.#definition = definition;
    this.#weights = new Weights(definition);
    this.#listener = listener;
    this.#work = work;
    this.hasBuckets = !definition.isWhole;
    this.given = {
      sums: new Float32Array(values),
      statistics: new Float32Array(buffers),
      gradient: new Float32Array(trained),
    };
  }

  get current(): Inner['current'] {
    return this.#weights;
  }

  begin(job: BatchJob): Sums {
    const { sums, statistics } = this.given;
    this.#listener.applied(job, 'head', sums, 0);
    this.#listener.applied(job, 'head', statistics, sums.length);
    this.#weights.merge(statistics);
    return sums.slice();
  }

  update(job: BatchJob, bucket: number): void {
    const { bucketFloats } = this.#definition;
    const { gradient } = this.given;
    const from = bucket * bucketFloats;
    const to = Math.min(from + bucketFloats, gradient.length);
    this.#listener.applied(job, 'gradient', gradient.subarray(from, to), from);
    this.#weights.apply(gradient, job, from, to);
  }

  submit(job: BatchJob): void {
    this.#submitted = job;
  }

  /** Threads read what they were given when they come to it. */
  async drain(): Promise<Sums[]> {
    const job = this.#submitted;
    if (job === undefined) return [];
    await this.#work();
    this.#submitted = undefined;
    const sums = this.begin(job);
    this.#listener.applied(job, 'gradient', this.given.gradient, 0);
    this.#weights.applyAll(this.given.gradient, job);
    return [sums];
  }

  refused(): undefined {
    return undefined;
  }

  /** Uses the place of a batch's sums. */
  async validate(): Promise<Sums> {
    this.given.sums.set(validationSums(this.#definition, this.#weights.weights, this.#weights.buffers));
    await this.#work();
    return this.given.sums.slice();
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

  setState(state: ExecutorState): void {
    for (const [name, vector] of this.#weights.state) vector.set(state.get(name)!);
  }

  async close(): Promise<void> {}
}
