/** Publishes the model bucket by bucket: copies of the weights and buffers, made in memory that is used again. */
import type { Bucket, CoordinatorDriver } from '@lockstep/sync';
import { modelBuckets, type Sizes } from '../wire/vectors.ts';

export interface ModelPublisherOptions {
  readonly sizes: Sizes;
  /** The model as it is now; updates change it in place. */
  readonly current: () => { readonly weights: Float32Array; readonly buffers: Float32Array };
  /** Where it is published. Not asked for before something is. */
  readonly to: () => Pick<CoordinatorDriver, 'publish' | 'keep'>;
}

export class ModelPublisher {
  readonly buckets: readonly Bucket[];
  readonly #options: ModelPublisherOptions;
  /** The first of the buckets: those of the weights that are trained, those of all weights. */
  readonly #trained: number;
  readonly #weights: number;
  /** Buckets that nobody needs, by length. */
  readonly #free = new Map<number, Float32Array[]>();

  constructor(options: ModelPublisherOptions) {
    const { sizes } = options;
    this.#options = options;
    this.buckets = modelBuckets(sizes);
    const below = (limit: number): number => this.buckets.filter(({ from }) => from < limit).length;
    this.#trained = below(sizes.trained);
    this.#weights = below(sizes.weights);
  }

  /** The whole model, as it is now. */
  copies(): Float32Array[] {
    return this.buckets.map((_, i) => this.#copyOf(i));
  }

  /** Weights of a bucket are new, in the model before `step`. */
  trained(step: number, bucket: number): void {
    this.#options.to().publish(step, bucket, this.#copyOf(bucket));
  }

  /** The buffers are new. Weights that are not trained never change. */
  others(step: number): void {
    const to = this.#options.to();
    to.keep(step, this.#trained, this.#weights);
    for (let i = this.#weights; i < this.buckets.length; i++) to.publish(step, i, this.#copyOf(i));
  }

  /** No weights are new. */
  kept(step: number): void {
    this.#options.to().keep(step, 0, this.#trained);
  }

  /** Nobody holds on to these copies any more. */
  release(copies: readonly Float32Array[]): void {
    for (const values of copies) {
      const free = this.#free.get(values.length);
      if (free) free.push(values);
      else this.#free.set(values.length, [values]);
    }
  }

  /** The weights of a whole model that was published. */
  weightsOf(model: readonly Float32Array[]): Float32Array {
    const weights = new Float32Array(this.#options.sizes.weights);
    for (const [i, values] of model.entries()) {
      const { from } = this.buckets[i]!;
      if (from < weights.length) weights.set(values, from);
    }
    return weights;
  }

  /** What is published stays as it is, while the next update goes on. */
  #copyOf(bucket: number): Float32Array {
    const { from, to } = this.buckets[bucket]!;
    const { weights, buffers } = this.#options.current();
    const values =
      from < weights.length
        ? weights.subarray(from, to)
        : buffers.subarray(from - weights.length, to - weights.length);
    const copy = this.#free.get(values.length)?.pop() ?? new Float32Array(values.length);
    copy.set(values);
    return copy;
  }
}
