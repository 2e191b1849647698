/** What a node computes with, in virtual time: one thread that takes units in order, and waits at gates for weights. */
import { EarlyBegin, modelLayout, unitVector } from '@lockstep/cluster';
import type { Bucket, NodeWork, ShardRange, UnitListener } from '@lockstep/sync';
import type { Process } from './clock.ts';
import { type Definition, hashOf, unitResults, usedShards } from './definition.ts';
import type { Random } from './random.ts';

/** A unit in the hands of the thread. */
interface Job {
  readonly step: number;
  readonly unit: ShardRange;
  /** Undefined: the model is whole. */
  readonly base: number | undefined;
  readonly model: Float32Array;
  readonly vector: Float32Array;
  /** Buckets of the vector that are done, in the order of sending. */
  done: number;
  wake: () => void;
}

export interface EngineOptions {
  readonly definition: Definition;
  readonly process: Process;
  readonly random: Random;
  /** Milliseconds that a shard takes now. */
  readonly pace: () => number;
  /** Milliseconds until anything is begun. */
  readonly hang: () => number;
  readonly count: (what: string) => void;
}

export class Engine implements NodeWork {
  readonly unitBuckets: readonly Bucket[];
  readonly modelBuckets: readonly Bucket[];
  readonly order: readonly number[];
  readonly head: number;
  readonly #options: EngineOptions;
  readonly #size: number;
  readonly #models: readonly [Float32Array, Float32Array];
  #current = 0;
  readonly #early: EarlyBegin<Job[]>;
  readonly #arrival: readonly number[];
  #gate = 0;
  readonly #atGate: (() => void)[] = [];
  /** Vectors that are used again. */
  readonly #free: Float32Array[] = [];
  #thread: Promise<void> = Promise.resolve();

  constructor(options: EngineOptions) {
    this.#options = options;
    const { sizes, bucketFloats } = options.definition;
    const vector = unitVector(sizes, bucketFloats);
    const layout = modelLayout(sizes, bucketFloats);
    this.#size = vector.size;
    this.unitBuckets = vector.buckets;
    this.modelBuckets = layout.buckets;
    this.head = vector.buckets.filter(({ from }) => from < vector.gradient).length;
    const all = vector.buckets.map((_, i) => i);
    this.order = [...all.slice(0, this.head), ...all.slice(this.head).reverse()];
    const trained = this.order.slice(this.head).map((bucket) => bucket - this.head);
    this.#arrival = [...layout.buckets.keys()].slice(trained.length).concat(trained);
    const floats = sizes.weights + sizes.buffers;
    this.#models = [new Float32Array(floats), new Float32Array(floats)];
    this.#early = new EarlyBegin<Job[]>({
      arrival: this.#arrival,
      least: 1,
      submit: (step, units, base) => {
        options.count('unit begun early');
        return this.#submit(step, units, this.nextModel, base);
      },
      open: (gate) => {
        this.#gate = gate;
        for (const wake of this.#atGate.splice(0)) wake();
      },
      drop: (jobs) => {
        options.count('unit begun early, dropped');
        for (const job of jobs) void this.#finished(job).then(() => void this.#free.push(job.vector));
      },
    });
  }

  get model(): Float32Array {
    return this.#models[this.#current]!;
  }

  get nextModel(): Float32Array {
    return this.#models[1 - this.#current]!;
  }

  expect(step: number, units: readonly ShardRange[]): void {
    const used = units.length === 0 ? 0 : usedShards(this.#options.definition, step);
    this.#early.expect(step, units.every(({ hi }) => hi <= used) ? units : []);
  }

  arrived(bucket: number): void {
    this.#early.arrived(bucket);
  }

  swapModels(): void {
    this.#current = 1 - this.#current;
    this.#early.swapped();
  }

  async compute(step: number, units: readonly ShardRange[], done: UnitListener): Promise<void> {
    const begun = this.#early.take(step, units);
    if (begun) this.#options.count('unit begun early, used');
    for (const job of begun ?? this.#submit(step, units, this.model)) {
      for (let told = 0; told < this.order.length; ) {
        if (told === job.done) await this.#next(job);
        const buckets = this.order.slice(told, job.done);
        told = job.done;
        const release = told === this.order.length ? () => void this.#free.push(job.vector) : undefined;
        if (buckets.length > 0) done({ unit: job.unit, vector: job.vector }, buckets, release);
      }
    }
  }

  #submit(step: number, units: readonly ShardRange[], model: Float32Array, base?: number): Job[] {
    return units.map((unit) => {
      const vector = this.#free.pop() ?? new Float32Array(this.#size);
      const job: Job = { step, unit, base, model, vector, done: 0, wake: () => {} };
      this.#thread = this.#thread.then(() => this.#run(job));
      return job;
    });
  }

  #next(job: Job): Promise<void> {
    return new Promise((resolve) => {
      job.wake = resolve;
    });
  }

  async #finished(job: Job): Promise<void> {
    while (job.done < this.order.length) await this.#next(job);
  }

  /** Reads the model bucket by bucket, as the gates allow; then the results are done bucket by bucket. */
  async #run(job: Job): Promise<void> {
    const { definition, process, random, pace, hang } = this.#options;
    const { unit, step } = job;
    const ticks = this.#arrival.length + this.order.length;
    const pause = (): Promise<void> =>
      process.sleep(((unit.hi - unit.lo) * pace() * random.between(0.8, 1.2)) / ticks);
    if (hang() > 0) await process.sleep(hang());
    const hashes: number[] = [];
    for (const [i, bucket] of this.#arrival.entries()) {
      while (job.base !== undefined && this.#gate <= job.base + i) {
        await new Promise<void>((resolve) => this.#atGate.push(resolve));
      }
      await pause();
      const { from, to } = this.modelBuckets[bucket]!;
      hashes[bucket] = hashOf(job.model.subarray(from, to), 0);
    }
    const results = unitResults(definition, hashes, step, unit);
    for (const bucket of this.order) {
      await pause();
      const { from, to } = this.unitBuckets[bucket]!;
      job.vector.set(results.subarray(from, to), from);
      job.done++;
      job.wake();
    }
  }
}
