/** A node's models: the one that is computed with, and the next one, which comes in bucket by bucket. */
import { type CoordinatorMessage, floatsOf, type Header, ProtocolError } from '@lockstep/protocol';
import { BucketIndex } from '../reduce/buckets.ts';
import { Inbox } from '../reduce/reducer.ts';
import { wallClock } from './clock.ts';
import type { NodeWork } from './nodeWork.ts';

export interface NodeModelsOptions {
  readonly work: NodeWork;
  /** The first bucket of the model before `step` is here: now it takes the place of an older one. */
  readonly begins: (step: number) => void;
  /** A bucket is here. */
  readonly came: () => void;
  /** The model before `step` is whole, and the one that is computed with. */
  readonly whole: (step: number) => void;
}

export class NodeModels {
  readonly #options: NodeModelsOptions;
  readonly #inbox: Inbox<true>;
  readonly #index: BucketIndex;
  /** The step whose model comes in, or came last, and since when. */
  #arriving = { step: -1, since: 0 };
  #step = -1;
  /** Of the current model and of the next one, by bucket: the step with which it came. */
  readonly #since: [current: number[], next: number[]] = [[], []];

  constructor(options: NodeModelsOptions) {
    const { modelBuckets } = options.work;
    this.#options = options;
    this.#inbox = new Inbox(modelBuckets.length);
    this.#index = new BucketIndex(modelBuckets);
  }

  /** The step of the model that is computed with; -1: there is none. */
  get step(): number {
    return this.#step;
  }

  /** Buckets of the model after `step` that are here. */
  returned(step: number): number {
    return this.#inbox.count(step + 1);
  }

  /** Takes a frame of weights. Throws a ProtocolError where they are none of the model's. */
  take(header: Header, payload: Uint8Array): void {
    const bucket = this.#index.find(header);
    if (bucket === undefined) {
      throw new ProtocolError(
        'BAD_RANGE',
        `no bucket of weights at ${header.offset} of ${header.length} bytes`,
      );
    }
    const { step } = header;
    if (!this.#inbox.wants(step, bucket)) return;
    this.#begin(step);
    this.#options.work.nextModel.set(floatsOf(payload), header.offset);
    this.#since[1][bucket] = step;
    this.#have(step, bucket);
  }

  /** Buckets of the next model are those of this one. Throws a ProtocolError where there are none. */
  keep({ step, from, to }: CoordinatorMessage & { type: 'kept' }): void {
    const { work } = this.#options;
    if (this.#step !== step - 1 || from >= to || to > work.modelBuckets.length) {
      throw new ProtocolError('BAD_RANGE', `there are no weights ${from} to ${to} to keep for step ${step}`);
    }
    const [current, next] = this.#since;
    for (let bucket = from; bucket < to; bucket++) {
      if (!this.#inbox.wants(step, bucket)) continue;
      this.#begin(step);
      if (next[bucket] !== current[bucket]) {
        const place = work.modelBuckets[bucket]!;
        work.nextModel.set(work.model.subarray(place.from, place.to), place.from);
        next[bucket] = current[bucket]!;
      }
      this.#have(step, bucket);
    }
  }

  #begin(step: number): void {
    if (this.#arriving.step === step) return;
    this.#arriving = { step, since: wallClock() };
    this.#options.begins(step);
  }

  #have(step: number, bucket: number): void {
    const { work, came, whole } = this.#options;
    const model = this.#inbox.put(step, bucket, true);
    work.arrived(bucket);
    came();
    if (model === undefined) return;
    work.swapModels();
    this.#since.reverse();
    this.#step = step;
    work.profile?.moved('weights', step, this.#arriving.since, wallClock());
    whole(step);
  }
}
