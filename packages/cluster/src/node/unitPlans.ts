/** Programs and plans of a node: a unit is cut among its workers, whose parts are added up by the shard tree. */

import { ELEMENT_BYTES } from '@lockstep/kernels';
import { assign, type BatchShards, evenRanges, type ShardRange, units } from '@lockstep/sync';
import { compileCombine, RECORD_WORDS, slices } from '@lockstep/trainer';
import {
  type Plan,
  type Pointer,
  type PoolProgram,
  type PoolTask,
  RECORD,
  type SharedHeap,
} from '@lockstep/workers';
import type { Bundle } from '../wire/bundle.ts';
import { arrivalOrder, gatesOf, type Stage, stagesOf } from '../wire/stages.ts';
import { type UnitVector, unitVector } from '../wire/vectors.ts';

/** After the words that all units' programs read: where the model and the unit's results are, then the units' blocks. */
export const WORDS = {
  weights: RECORD_WORDS.scalars,
  buffers: RECORD_WORDS.scalars + 1,
  sums: RECORD_WORDS.scalars + 2,
  statistics: RECORD_WORDS.scalars + 3,
  gradient: RECORD_WORDS.scalars + 4,
  parts: RECORD_WORDS.scalars + 5,
} as const;

/** Shards that one program runs, counted from the first of the unit. */
interface Part extends ShardRange {
  readonly worker: number;
  readonly rows: number;
}

/** How a unit is run. */
export interface UnitPlan {
  readonly plan: number;
  readonly parts: readonly Part[];
  /** Buckets that are done at the first mark, at the second …, at the end. */
  readonly stages: readonly (readonly number[])[];
  /** Who passes them. */
  readonly worker: number;
}

/** Units of one key run by one plan. */
export const unitKey = (shards: BatchShards, unit: ShardRange): string =>
  evenRanges(shards, unit)
    .map(({ lo, hi, rows }) => `${hi - lo} × ${rows}`)
    .join(', ');

export class UnitBook {
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
    const arrival = arrivalOrder(bundle);
    this.programs = programs.map(({ rows, segments, program }, i) => ({
      name: `train ${segments} × ${rows} rows`,
      program,
      gates: gatesOf(program, bundle.sizes, arrival),
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
    checkRooms(bundle, this.#vector, heap, placed);
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

  /** In order; the shards of a part have the same number of rows. */
  #parts(shards: BatchShards, { lo: first, hi: end }: ShardRange): Part[] {
    const size = end - first;
    return assign(size, this.#workers).flatMap(({ lo, hi }, worker) =>
      evenRanges(shards, { lo: first + lo, hi: first + hi }).flatMap(({ rows, ...even }) =>
        units(even.lo - first, even.hi - first, size).map((range) => ({ ...range, worker, rows })),
      ),
    );
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
    // A region that is declared but has no bytes may lie anywhere.
    const bound = new Map(Object.entries(places));
    return { program, bases: regions.map(({ name }) => bound.get(name) ?? this.#own[worker]!.arena!) };
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

/**
 * A program was validated against its regions: here these are held against the memory that they get. What shares a block with
 * others ends where the next begins.
 */
function checkRooms(
  { programs, sizes }: Bundle,
  vector: UnitVector,
  heap: SharedHeap,
  placed: Readonly<Record<string, number>>,
): void {
  const floats = new Map([
    // The words behind are addresses: no program has use for them.
    ['record', RECORD_WORDS.scalars],
    ['unit', 2],
    ['weights', sizes.weights],
    ['buffers', sizes.buffers],
    ['sums', vector.statistics],
    ['statistics', sizes.buffers],
    ['gradient', sizes.trained],
  ]);
  const blocks = new Map(Object.entries(placed));
  const roomOf = (name: string, bytes: number, constants: Uint8Array): number => {
    if (name === 'constants') return constants.byteLength;
    if (name === 'arena' || name === 'scratch') return bytes;
    const at = blocks.get(name);
    return at === undefined ? (floats.get(name) ?? 0) * ELEMENT_BYTES : heap.room(at);
  };
  for (const { program, constants } of programs) {
    for (const { name, bytes } of program.regions) {
      const room = roomOf(name, bytes, constants);
      if (bytes <= room) continue;
      throw new Error(`program bundle: region ${name} has ${bytes} bytes, expected at most ${room}`);
    }
  }
}
