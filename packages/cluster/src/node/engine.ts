/** What computes on a node: the units of one run, on a pool of threads. Knows numbers of batches and shards, no sockets. */

import { seedWords } from '@lockstep/autograd';
import { type BatchPlace, Sampler } from '@lockstep/data';
import { ELEMENT_BYTES, type KernelChoice, resolveVariant } from '@lockstep/kernels';
import {
  type BatchShards,
  type Bucket,
  batchShards,
  firstRow,
  type NodeWork,
  type ShardRange,
  treeNodes,
  type UnitListener,
} from '@lockstep/sync';
import { markPrograms, Profiler, RECORD_WORDS } from '@lockstep/trainer';
import { type RecordView, SharedHeap, WorkerPool } from '@lockstep/workers';
import { type Bundle, batchSizes } from '../wire/bundle.ts';
import type { DataColumn } from '../wire/dataImage.ts';
import { NodeProfile } from '../wire/profile.ts';
import { arrivalOrder, gatesOf, sendingOrder } from '../wire/stages.ts';
import { modelLayout, type UnitVector, unitVector } from '../wire/vectors.ts';
import { EarlyBegin } from './earlyBegin.ts';
import { UnitBook, type UnitPlan, unitKey, WORDS } from './unitPlans.ts';

export interface EngineOptions {
  readonly bundle: Bundle;
  readonly data: readonly DataColumn[];
  readonly workers: number;
  readonly kernels: KernelChoice;
}

const LINE_BYTES = 64;
const blocksKey = ({ rows, larger }: BatchShards): string => `${rows} ${larger}`;
const RING = 64;

/** Units that the pool was given. */
interface Begun {
  readonly batch: number;
  readonly units: readonly {
    readonly unit: ShardRange;
    readonly tick: number;
    readonly rows: number;
    readonly address: number;
    readonly plan: UnitPlan;
  }[];
}

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
  /** Of the batch that was begun last. */
  #epoch = -1;
  /** Two models: one is computed with while the next comes in. */
  readonly #models: readonly { readonly address: number; readonly values: Float32Array }[];
  #current = 0;
  readonly #early: EarlyBegin<Begun>;
  readonly #free: number[] = [];
  readonly #plans = new Map<string, UnitPlan>();
  readonly profile = new NodeProfile();
  readonly #profiler: Profiler;
  /** By rows of the shards: the block of shard `lo` is a line at `lo`. */
  readonly #blocks = new Map<string, number>();
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
    this.modelBuckets = modelLayout(sizes).buckets;
    this.order = sendingOrder(bundle);
    const arrival = arrivalOrder(bundle);
    const gates = bundle.programs.map(({ program }) => gatesOf(program, sizes, arrival)[0]);
    this.#early = new EarlyBegin({
      arrival,
      least: Math.max(1, ...gates.map((first) => first?.needs ?? 0)),
      submit: (batch, list, base) =>
        this.#submit(batch, list, this.#models[1 - this.#current]!.address, base),
      open: (gate) => this.#pool.open(gate),
      drop: (begun) => this.#drop(begun),
    });
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

  get nextModel(): Float32Array {
    return this.#models[1 - this.#current]!.values;
  }

  expect(batch: number, list: readonly ShardRange[]): void {
    // A short batch has fewer shards.
    const shards = batchShards(this.sampler.place(batch).rows, this.#bundle.shards);
    this.#early.expect(batch, list.every((unit) => this.#planOf(shards, unit)) ? list : []);
  }

  arrived(bucket: number): void {
    this.#early.arrived(bucket);
  }

  swapModels(): void {
    this.#current = 1 - this.#current;
    this.#early.swapped();
  }

  #drop({ units }: Begun): void {
    const free = (): void => void this.#free.push(...units.map(({ address }) => address));
    // Threads still write there.
    void this.#pool.wait(units.at(-1)!.tick).then(free, () => {});
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
    const begun =
      this.#early.take(batch, list) ?? this.#submit(batch, list, this.#models[this.#current]!.address);
    for (const {
      unit,
      tick,
      rows,
      address,
      plan: { plan, stages, worker },
    } of begun.units) {
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
    const place = this.sampler.place(batch);
    const last = place.start + place.rows + this.sampler.batch > this.sampler.length;
    // Not where a run went back meanwhile: its batches may need the place.
    if (last) setImmediate(() => this.#epoch === place.epoch && this.#prepareOrder(place.epoch + 1));
  }

  /** `from`: the model comes in while units compute; the pool's gates stood there before. */
  #submit(batch: number, list: readonly ShardRange[], model: number, from?: number): Begun {
    const place = this.sampler.place(batch);
    this.#epoch = place.epoch;
    this.#prepareOrder(place.epoch);
    return { batch, units: list.map((unit) => this.#submitUnit(batch, place, unit, model, from)) };
  }

  /** Undefined where a batch has no such unit. */
  #planOf(shards: BatchShards, unit: ShardRange): UnitPlan | undefined {
    return unit.hi > shards.used ? undefined : this.#plans.get(unitKey(shards, unit));
  }

  #submitUnit(batch: number, place: BatchPlace, unit: ShardRange, model: number, from?: number) {
    const shards = batchShards(place.rows, this.#bundle.shards);
    const plan = this.#planOf(shards, unit);
    if (plan === undefined) {
      throw new RangeError(`batch ${batch}: [${unit.lo}, ${unit.hi}) is not a unit of ${shards.used} shards`);
    }
    const address = this.#free.pop() ?? this.#heap.allocate(this.vector.size * ELEMENT_BYTES);
    const blocks = this.#blocks.get(blocksKey(shards))!;
    this.#pool.isMeasuring = this.profile.wants(batch);
    const write = ({ u32 }: RecordView): void => {
      [u32[RECORD_WORDS.seedLow], u32[RECORD_WORDS.seedHigh]] = this.#seed;
      u32[RECORD_WORDS.index] = batch;
      u32[RECORD_WORDS.start] = (place.epoch % 2) * this.sampler.length + place.start;
      u32[WORDS.weights] = model;
      u32[WORDS.buffers] = model + this.#bundle.sizes.weights * ELEMENT_BYTES;
      u32[WORDS.sums] = address;
      u32[WORDS.statistics] = address + this.vector.statistics * ELEMENT_BYTES;
      u32[WORDS.gradient] = address + this.vector.gradient * ELEMENT_BYTES;
      for (const [i, { lo }] of plan.parts.entries()) {
        u32[WORDS.parts + i] = blocks + (unit.lo + lo) * LINE_BYTES;
      }
    };
    const tick = this.#pool.submit(plan.plan, write, from);
    const rows = firstRow(shards, unit.hi) - firstRow(shards, unit.lo);
    return { unit, tick, rows, address, plan };
  }

  /** Two orders take turns. */
  #prepareOrder(epoch: number): void {
    const parity = epoch % 2;
    if (this.#orders[parity] === epoch) return;
    const { length } = this.sampler;
    this.sampler.permutation(epoch, this.#index.subarray(parity * length, (parity + 1) * length));
    this.#orders[parity] = epoch;
  }

  #placeBlocks(shards: BatchShards): void {
    const key = blocksKey(shards);
    if (this.#blocks.has(key)) return;
    const address = this.#heap.allocate(this.#bundle.shards * LINE_BYTES);
    // Also of shards that this batch does not use: another one of the same key may.
    for (let lo = 0; lo < this.#bundle.shards; lo++) {
      this.#heap.u32(address + lo * LINE_BYTES, 2).set([lo, firstRow(shards, lo)]);
    }
    this.#blocks.set(key, address);
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
