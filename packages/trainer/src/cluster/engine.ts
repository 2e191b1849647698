/** What computes on a node: the units of one run, on a pool of threads. Knows numbers of batches and shards, no sockets. */
import { seedWords } from '@lockstep/autograd';
import { type BatchPlace, Sampler } from '@lockstep/data';
import { ELEMENT_BYTES, type KernelChoice, resolveVariant } from '@lockstep/kernels';
import {
  type BatchShards,
  type Bucket,
  batchShards,
  type NodeWork,
  type ShardRange,
  treeNodes,
  type UnitListener,
} from '@lockstep/sync';
import { SharedHeap, WorkerPool } from '@lockstep/workers';
import { markPrograms, Profiler } from '../profile.ts';
import { RECORD_WORDS } from '../programs.ts';
import { type Bundle, batchSizes } from './bundle.ts';
import type { DataColumn } from './dataImage.ts';
import { NodeProfile } from './profile.ts';
import { sendingOrder } from './stages.ts';
import { UnitBook, type UnitPlan, unitKey, WORDS } from './unitBook.ts';
import { modelBuckets, type UnitVector, unitVector } from './vectors.ts';

export interface EngineOptions {
  readonly bundle: Bundle;
  readonly data: readonly DataColumn[];
  readonly workers: number;
  readonly kernels: KernelChoice;
}

const LINE_BYTES = 64;
const RING = 64;

export class NodeEngine implements NodeWork {
  readonly kernels: string;
  readonly workers: number;
  readonly vector: UnitVector;
  readonly unitBuckets: readonly Bucket[];
  readonly modelBuckets: readonly Bucket[];
  readonly order: readonly number[];
  readonly head: number;
  readonly sampler: Sampler;
  readonly #bundle: Bundle;
  readonly #heap = new SharedHeap();
  readonly #pool: WorkerPool;
  readonly #index: Int32Array;
  /** By parity. */
  readonly #orders = [-1, -1];
  /** Two models: one is computed with while the next comes in. */
  readonly #models: readonly { readonly address: number; readonly values: Float32Array }[];
  #current = 0;
  readonly #free: number[] = [];
  readonly #plans = new Map<string, UnitPlan>();
  readonly profile = new NodeProfile();
  readonly #profiler: Profiler;
  /** By rows of a shard: the block of shard `lo` is a line at `lo`. */
  readonly #blocks = new Map<number, number>();
  readonly #seed: readonly [number, number];

  /** Throws an Error where data and programs do not fit, or the kernels are not to be had. */
  static async start(options: EngineOptions): Promise<NodeEngine> {
    const engine = new NodeEngine(options);
    try {
      await engine.#pool.start();
    } catch (error) {
      await engine.close();
      throw error;
    }
    return engine;
  }

  private constructor({ bundle, data, workers, kernels }: EngineOptions) {
    const { sampler, sizes } = bundle;
    this.#bundle = bundle;
    this.workers = workers;
    this.kernels = resolveVariant(kernels);
    this.vector = unitVector(sizes);
    this.unitBuckets = this.vector.buckets;
    this.modelBuckets = modelBuckets(sizes);
    this.order = sendingOrder(bundle);
    this.head = this.unitBuckets.filter(({ from }) => from < this.vector.gradient).length;
    this.sampler = new Sampler(sampler);
    this.#seed = seedWords(sampler.seed);
    const heap = this.#heap;
    const index = heap.allocate(2 * sampler.length * ELEMENT_BYTES);
    this.#index = heap.i32(index, 2 * sampler.length);
    const model = sizes.weights + sizes.buffers;
    this.#models = [0, 1].map(() => {
      const address = heap.allocate(model * ELEMENT_BYTES);
      return { address, values: heap.f32(address, model) };
    });
    const book = new UnitBook(this.#bundle, heap, { index, ...placeData(heap, data) }, workers);
    let most = 1;
    for (const rows of batchSizes(sampler.length, sampler.batch, sampler.dropLast)) {
      const shards = batchShards(rows, bundle.shards);
      this.#placeBlocks(shards);
      for (const unit of treeNodes(shards.used)) {
        const key = unitKey(shards, unit);
        const known = this.#plans.get(key) ?? book.plan(key, shards, unit);
        most = Math.max(most, known.parts.length);
        this.#plans.set(key, known);
      }
    }
    const programs = markPrograms(book.programs, 'instructions');
    this.#profiler = new Profiler(book.plans, programs, { onBatch: this.profile.add });
    this.#pool = new WorkerPool({
      heap,
      workers,
      kernels: resolveVariant(kernels),
      programs,
      measure: true,
      plans: book.plans,
      recordWords: WORDS.parts + most,
      resultWords: 0,
      watch: true,
      ring: RING,
    });
  }

  get model(): Float32Array {
    return this.#models[this.#current]!.values;
  }

  /** Where the next model is to be put, in floats: never what is computed with. */
  get nextModel(): Float32Array {
    return this.#models[1 - this.#current]!.values;
  }

  /** The next model is whole: from now on it is computed with. */
  swapModels(): void {
    this.#current = 1 - this.#current;
  }

  /** Shards of a batch that have rows. */
  shardsOf(batch: number): number {
    return batchShards(this.sampler.place(batch).rows, this.#bundle.shards).used;
  }

  /**
   * Computes units of a batch on the current model, one after the other; tells each as it is done. Throws a RangeError on a
   * unit that is none, and what the pool throws.
   */
  async compute(batch: number, list: readonly ShardRange[], done: UnitListener): Promise<void> {
    const place = this.sampler.place(batch);
    this.#prepareOrder(place.epoch);
    const model = this.#models[this.#current]!.address;
    const started = list.map((unit) => ({ unit, ...this.#submit(batch, place, unit, model) }));
    for (const { unit, tick, plan, rows, address, stages, worker } of started) {
      const vector = this.#heap.f32(address, this.vector.size);
      for (const [i, buckets] of stages.entries()) {
        const isLast = i + 1 === stages.length;
        if (isLast) await this.#pool.wait(tick);
        else await this.#pool.waitMark(tick, worker, i + 1);
        if (isLast && this.#pool.isMeasured(tick)) {
          const name = `batch ${batch}: shards ${unit.lo} to ${unit.hi - 1}`;
          this.#profiler.batch(this.#pool, tick, plan, rows, name);
        }
        done({ unit, vector }, buckets, isLast ? () => void this.#free.push(address) : undefined);
      }
    }
    const last = place.start + place.rows + this.sampler.batch > this.sampler.length;
    if (last) setImmediate(() => this.#prepareOrder(place.epoch + 1));
  }

  #submit(batch: number, place: BatchPlace, unit: ShardRange, model: number) {
    const shards = batchShards(place.rows, this.#bundle.shards);
    const found = this.#plans.get(unitKey(shards, unit));
    if (unit.hi > shards.used || found === undefined) {
      throw new RangeError(`batch ${batch}: [${unit.lo}, ${unit.hi}) is no unit of ${shards.used} shards`);
    }
    const address = this.#free.pop() ?? this.#heap.allocate(this.vector.size * ELEMENT_BYTES);
    const blocks = this.#blocks.get(shards.rowsPerShard)!;
    this.#pool.isMeasuring = this.profile.wants(batch);
    const tick = this.#pool.submit(found.plan, ({ u32 }) => {
      [u32[RECORD_WORDS.seedLow], u32[RECORD_WORDS.seedHigh]] = this.#seed;
      u32[RECORD_WORDS.index] = batch;
      u32[RECORD_WORDS.start] = (place.epoch % 2) * this.sampler.length + place.start;
      u32[WORDS.weights] = model;
      u32[WORDS.buffers] = model + this.#bundle.sizes.weights * ELEMENT_BYTES;
      u32[WORDS.sums] = address;
      u32[WORDS.statistics] = address + this.vector.statistics * ELEMENT_BYTES;
      u32[WORDS.gradient] = address + this.vector.gradient * ELEMENT_BYTES;
      for (const [i, { lo }] of found.parts.entries()) {
        u32[WORDS.parts + i] = blocks + (unit.lo + lo) * LINE_BYTES;
      }
    });
    const rows = Math.min(place.rows, unit.hi * shards.rowsPerShard) - unit.lo * shards.rowsPerShard;
    return { tick, rows, address, plan: found.plan, stages: found.stages, worker: found.worker };
  }

  /** Two orders take turns. */
  #prepareOrder(epoch: number): void {
    const parity = epoch % 2;
    if (this.#orders[parity] === epoch) return;
    const { length } = this.sampler;
    this.sampler.permutation(epoch, this.#index.subarray(parity * length, (parity + 1) * length));
    this.#orders[parity] = epoch;
  }

  #placeBlocks({ rowsPerShard, used }: BatchShards): void {
    if (this.#blocks.has(rowsPerShard)) return;
    const address = this.#heap.allocate(this.#bundle.shards * LINE_BYTES);
    for (let lo = 0; lo < used; lo++) {
      this.#heap.u32(address + lo * LINE_BYTES, 2).set([lo, lo * rowsPerShard]);
    }
    this.#blocks.set(rowsPerShard, address);
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

function placeData(heap: SharedHeap, data: readonly DataColumn[]): Record<string, number> {
  return Object.fromEntries(
    data.map(({ name, bytes }) => {
      const address = heap.allocate(bytes.byteLength);
      heap.u8(address, bytes.byteLength).set(bytes);
      return [`data ${name}`, address];
    }),
  );
}
