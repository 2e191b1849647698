/** What computes on a node: the units of one run, on a pool of threads. Knows numbers of batches and shards, no sockets. */
import { seedWords } from '@lockstep/autograd';
import { type BatchPlace, Sampler } from '@lockstep/data';
import { ELEMENT_BYTES, type KernelChoice, resolveVariant } from '@lockstep/kernels';
import {
  assign,
  type BatchShards,
  type Bucket,
  batchShards,
  type NodeWork,
  type ShardRange,
  treeNodes,
  type UnitListener,
  units,
} from '@lockstep/sync';
import {
  type Plan,
  type Pointer,
  type PoolProgram,
  type PoolTask,
  RECORD,
  SharedHeap,
  WorkerPool,
} from '@lockstep/workers';
import { slices } from '../flat.ts';
import { compileCombine, RECORD_WORDS } from '../programs.ts';
import { type Bundle, batchSizes } from './bundle.ts';
import type { DataColumn } from './dataImage.ts';
import { type Stage, stagesOf } from './stages.ts';
import { modelBuckets, type UnitVector, unitVector } from './vectors.ts';

export interface EngineOptions {
  readonly bundle: Bundle;
  readonly data: readonly DataColumn[];
  readonly workers: number;
  readonly kernels: KernelChoice;
}

/** After the words that all units' programs read: where the model and the unit's results are, then the units' blocks. */
const WORDS = {
  weights: RECORD_WORDS.scalars,
  buffers: RECORD_WORDS.scalars + 1,
  sums: RECORD_WORDS.scalars + 2,
  statistics: RECORD_WORDS.scalars + 3,
  gradient: RECORD_WORDS.scalars + 4,
  parts: RECORD_WORDS.scalars + 5,
} as const;

const LINE_BYTES = 64;
const RING = 64;

/** Shards that one program runs, counted from the first of the unit. */
interface Part extends ShardRange {
  readonly worker: number;
  readonly rows: number;
}

interface UnitPlan {
  readonly plan: number;
  readonly parts: readonly Part[];
  readonly stages: readonly (readonly number[])[];
  /** Who passes them. */
  readonly worker: number;
}

export class NodeEngine implements NodeWork {
  readonly kernels: string;
  readonly workers: number;
  readonly vector: UnitVector;
  readonly unitBuckets: readonly Bucket[];
  readonly modelBuckets: readonly Bucket[];
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
    this.#pool = new WorkerPool({
      heap,
      workers,
      kernels: resolveVariant(kernels),
      programs: book.programs,
      plans: book.plans,
      recordWords: WORDS.parts + most,
      resultWords: 0,
      watch: true,
      ring: RING,
    });
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
    for (const { unit, tick, address, stages, worker } of started) {
      const vector = this.#heap.f32(address, this.vector.size);
      for (const [i, buckets] of stages.entries()) {
        const isLast = i + 1 === stages.length;
        if (isLast) await this.#pool.wait(tick);
        else await this.#pool.waitMark(tick, worker, i + 1);
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
    return { tick, address, stages: found.stages, worker: found.worker };
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

/** Units of one key run by one plan. */
const unitKey = ({ rowsPerShard, used, lastRows }: BatchShards, { lo, hi }: ShardRange): string =>
  `${hi - lo} × ${rowsPerShard}${hi === used && lastRows !== rowsPerShard ? `, the last ${lastRows}` : ''}`;

function placeData(heap: SharedHeap, data: readonly DataColumn[]): Record<string, number> {
  return Object.fromEntries(
    data.map(({ name, bytes }) => {
      const address = heap.allocate(bytes.byteLength);
      heap.u8(address, bytes.byteLength).set(bytes);
      return [`data ${name}`, address];
    }),
  );
}

/** Programs and plans of a node. */
class UnitBook {
  readonly programs: PoolProgram[] = [];
  readonly plans: Plan[] = [];
  readonly #bundle: Bundle;
  readonly #heap: SharedHeap;
  readonly #vector: UnitVector;
  readonly #workers: number;
  readonly #common: Readonly<Record<string, number | Pointer>>;
  readonly #own: readonly Readonly<Record<string, number>>[];
  readonly #constants: readonly number[];
  /** By program. */
  readonly #stages: readonly (readonly Stage[])[];
  readonly #combines = new Map<string, number>();
  /** Vectors of parts, where a unit has more than one. */
  readonly #slots: number[] = [];

  constructor(bundle: Bundle, heap: SharedHeap, placed: Readonly<Record<string, number>>, workers: number) {
    this.#bundle = bundle;
    this.#heap = heap;
    this.#workers = workers;
    this.#vector = unitVector(bundle.sizes);
    const { programs } = bundle;
    this.#stages = programs.map(({ program }) => stagesOf(program, this.#vector));
    this.programs = programs.map(({ rows, segments, program }, i) => ({
      name: `train ${segments} × ${rows} rows`,
      program,
      marks: this.#stages[i]!.slice(0, -1).map(({ end }) => end),
    }));
    this.#common = {
      ...placed,
      record: RECORD,
      weights: { pointer: WORDS.weights },
      buffers: { pointer: WORDS.buffers },
    };
    const largest = (name: string): number =>
      Math.max(0, ...programs.map(({ program }) => bytesOf(program.regions, name)));
    this.#own = Array.from({ length: workers }, () => ({
      arena: heap.allocate(largest('arena')),
      // Programs that add up parts are compiled here and need little of it.
      scratch: heap.allocate(Math.max(largest('scratch'), COMBINE_SCRATCH)),
    }));
    this.#constants = programs.map(({ constants }) => {
      const address = heap.allocate(constants.byteLength);
      heap.u8(address, constants.byteLength).set(constants);
      return address;
    });
    checkRegions(bundle, this.#vector, heap, placed);
  }

  plan(key: string, shards: BatchShards, unit: ShardRange): UnitPlan {
    const parts = this.#parts(shards, unit);
    const compute = parts.map((part, i) => ({ worker: part.worker, task: this.#unitTask(part, i, parts) }));
    const phases = [compute];
    if (parts.length > 1) phases.push(this.#combine(parts));
    const byWorker = phases.map((tasks) =>
      Array.from({ length: this.#workers }, (_, worker) =>
        tasks.filter((each) => each.worker === worker).map(({ task }) => task),
      ),
    );
    const plan = this.plans.push({ name: key, phases: byWorker }) - 1;
    const [first] = compute;
    // Parts are added up after the barrier: then all buckets are done at once.
    const all = [this.#vector.buckets.map((_, i) => i)];
    const stages = parts.length > 1 ? all : this.#stages[first!.task.program]!.map(({ buckets }) => buckets);
    return { plan, parts, stages, worker: first!.worker };
  }

  /** In order; a short last shard has a program of its own. */
  #parts({ rowsPerShard, used, lastRows }: BatchShards, { lo: first, hi: end }: ShardRange): Part[] {
    const size = end - first;
    const even = end === used && lastRows !== rowsPerShard ? size - 1 : size;
    return assign(size, this.#workers).flatMap(({ lo, hi }, worker) => {
      const full = units(Math.min(lo, even), Math.min(hi, even), size);
      const short = hi > even && lo < hi ? [{ lo: even, hi: size, worker, rows: lastRows }] : [];
      return [...full.map((range) => ({ ...range, worker, rows: rowsPerShard })), ...short];
    });
  }

  #unitTask({ lo, hi, rows, worker }: Part, index: number, { length: parts }: readonly Part[]): PoolTask {
    const program = this.#bundle.programs.findIndex(
      (each) => each.rows === rows && each.segments === hi - lo,
    );
    const { regions } = this.programs[program]?.program ?? {};
    if (regions === undefined) throw new Error(`program bundle: no program for ${hi - lo} × ${rows} rows`);
    const slot = parts > 1 ? this.#slot(index) : undefined;
    const result = (name: 'sums' | 'statistics' | 'gradient'): number | Pointer =>
      slot === undefined
        ? { pointer: WORDS[name] }
        : slot + (name === 'sums' ? 0 : this.#vector[name]) * ELEMENT_BYTES;
    const places: Readonly<Record<string, number | Pointer>> = {
      ...this.#common,
      ...this.#own[worker],
      constants: this.#constants[program]!,
      unit: { pointer: WORDS.parts + index },
      sums: result('sums'),
      statistics: result('statistics'),
      gradient: result('gradient'),
    };
    return { program, bases: regions.map(({ name }) => places[name]!) };
  }

  /** Adds up the parts' vectors by the shard tree, each worker a slice of them. */
  #combine(parts: readonly Part[]): { worker: number; task: PoolTask }[] {
    const ranges = parts.map(({ lo, hi }) => ({ lo, hi }));
    const tree = ranges.map(({ lo, hi }) => `${lo}-${hi}`).join(' ');
    return slices(this.#vector.size, this.#workers).flatMap((slice, worker) => {
      if (slice.from === slice.to) return [];
      const name = `add ${tree} from ${slice.from} to ${slice.to}`;
      let program = this.#combines.get(name);
      if (program === undefined) {
        program = this.programs.push({ name, program: compileCombine(ranges, slice) }) - 1;
        this.#combines.set(name, program);
      }
      const places: Readonly<Record<string, number | Pointer>> = {
        ...Object.fromEntries(parts.map((_, i) => [`unit ${i}`, this.#slot(i)])),
        ...this.#own[worker],
        record: RECORD,
        vector: { pointer: WORDS.sums },
      };
      const bases = this.programs[program]!.program.regions.map(({ name }) => places[name] ?? this.#slot(0));
      return [{ worker, task: { program, bases } }];
    });
  }

  #slot(index: number): number {
    this.#slots[index] ??= this.#heap.allocate(this.#vector.size * ELEMENT_BYTES);
    return this.#slots[index];
  }
}

const COMBINE_SCRATCH = 1 << 16;

const bytesOf = (regions: readonly { readonly name: string; readonly bytes: number }[], name: string) =>
  regions.find((region) => region.name === name)?.bytes ?? 0;

/** A program was validated against its regions: here these are held against the memory that they get. */
function checkRegions(
  { programs, sizes }: Bundle,
  vector: UnitVector,
  heap: SharedHeap,
  placed: Readonly<Record<string, number>>,
): void {
  const floats: Readonly<Record<string, number>> = {
    record: WORDS.parts,
    unit: 2,
    weights: sizes.weights,
    buffers: sizes.buffers,
    sums: vector.statistics,
    statistics: sizes.buffers,
    gradient: sizes.trained,
  };
  const places = Object.values(placed).sort((a, b) => a - b);
  for (const { program, constants } of programs) {
    for (const { name, bytes } of program.regions) {
      const at = placed[name];
      const room =
        name === 'constants'
          ? constants.byteLength
          : name === 'arena' || name === 'scratch'
            ? bytes
            : at !== undefined
              ? (places.find((next) => next > at) ?? heap.used) - at
              : (floats[name] ?? -1 / ELEMENT_BYTES) * ELEMENT_BYTES;
      if (bytes <= room) continue;
      throw new Error(
        `program bundle: region ${name} has ${bytes} bytes, expected at most ${Math.max(0, room)}`,
      );
    }
  }
}
