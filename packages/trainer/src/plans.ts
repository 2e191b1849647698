/** Compiles a run's programs and says which worker runs what: the pool's plans. */

import type { Dataset } from '@lockstep/data';
import { ELEMENT_BYTES, type Program } from '@lockstep/kernels';
import type { UpdateGroup } from '@lockstep/nn';
import { assign, batchShards, type ShardRange, units } from '@lockstep/sync';
import { type Plan, type PoolProgram, type PoolTask, type SharedHeap, tickOffset } from '@lockstep/workers';
import { checkIndexes } from './checkIndexes.ts';
import type { ResolvedDefinition } from './definition.ts';
import type { BatchJob } from './executor.ts';
import { bufferStretches, type FlatLayout, NORM_BLOCK, overlap, type Stretch, slices } from './flat.ts';
import { RunMemory } from './memory.ts';
import {
  compileApply,
  compileBuffers,
  compileMeasure,
  compileNorm,
  compileResult,
  compileTotal,
  compileUnit,
  compileUpdate,
  type GroupSlice,
  LINE_WORDS,
  refusalGuard,
} from './programs.ts';
import { type StepGraph, traceStep } from './step.ts';

/** What becomes of a batch. */
type Purpose = 'update' | 'accumulate' | 'validate';

export const planKey = (rows: number, purpose: Purpose, accumulate: BatchJob['accumulate']): string =>
  `${rows} ${purpose} ${accumulate}`;

/** Plans of a batch that comes in buckets. */
export const headKey = (rows: number): string => `sums of ${rows} rows`;
export const bucketKey = (bucket: number): string => `update of bucket ${bucket}`;

interface BookOptions<M, F extends string> {
  readonly definition: ResolvedDefinition<M, F>;
  readonly model: M;
  readonly layout: FlatLayout;
  readonly data: Dataset<F>;
  readonly workers: number;
  readonly coalesce: boolean;
  /**
   * Training batches come added up from elsewhere, in slot 0: nothing is computed but the updates. Where these need to
   * know nothing of the whole gradient, they go bucket by bucket of it.
   */
  readonly external?: { readonly buckets: readonly Stretch[] } | undefined;
}

/** Shards that one program runs: a node of the shard tree, all of the same number of rows. */
interface Unit extends ShardRange {
  readonly worker: number;
  readonly rows: number;
}

/** A program before memory is placed: region names still have to be bound. */
interface PendingTask {
  readonly program: number;
  readonly bind: Readonly<Record<string, number>>;
  readonly worker: number;
}

interface PendingPlan {
  readonly name: string;
  readonly phases: readonly (readonly PendingTask[])[];
}

/** A part of a worker's slice that one program updates. */
interface Piece extends Stretch {
  /** The optimizer's group, counted from 0. */
  readonly group: number;
  /** All that is updated at once, of which this is the worker's part. */
  readonly whole: Stretch;
}

export class PlanBook<M, F extends string> {
  readonly programs: PoolProgram[] = [];
  readonly plans: Plan[] = [];
  /** Plans that the main thread runs itself: those of batches that come in buckets. */
  readonly direct: Plan[] = [];
  readonly memory: RunMemory<M, F>;
  readonly #options: BookOptions<M, F>;
  readonly #heap: SharedHeap;
  readonly #tickOffset: number;
  readonly #planIndex = new Map<string, number>();
  readonly #directIndex = new Map<string, number>();
  readonly #programIndex = new Map<string, number>();
  readonly #traces = new Map<string, StepGraph>();
  readonly #slices: readonly Stretch[];
  /** Of each worker's slice. */
  readonly #pieces: readonly (readonly Piece[])[];
  readonly #journalsPerWorker: number;
  readonly #constants = new Map<number, number>();

  constructor(options: BookOptions<M, F>, heap: SharedHeap, recordWords: number) {
    const { layout, workers, external } = options;
    this.#options = options;
    this.#heap = heap;
    this.#tickOffset = tickOffset(recordWords);
    this.#slices = slices(layout.trainedSize, workers);
    this.#pieces = this.#slices.map((slice) =>
      layout.updates.flatMap((stretches, group) =>
        stretches.flatMap((whole) => overlap(slice, whole).map((part) => ({ ...part, group, whole }))),
      ),
    );
    const pieces = Math.max(...this.#pieces.map(({ length }) => length));
    this.#journalsPerWorker = 1 + 2 * Math.max(pieces, external ? layout.updates.length : 0);
    this.memory = new RunMemory(options, heap, this.#journalsPerWorker * workers + layout.buffers.length);
    this.#write();
  }

  planOf(key: string): number {
    const index = this.#planIndex.get(key);
    if (index === undefined) throw new Error(`no plan for ${key}`);
    return index;
  }

  /** Whether updates can go bucket by bucket. */
  get hasBuckets(): boolean {
    return this.#directIndex.has(bucketKey(0));
  }

  directOf(key: string): number {
    return this.#directIndex.get(key)!;
  }

  /** Every kind of batch that the run can meet. */
  #write(): void {
    const { definition, data, external } = this.#options;
    const { batch, accumulate, dropLast } = definition;
    const sizes = (length: number, keepLast: boolean): number[] => {
      const last = length % batch;
      return [...(length >= batch ? [batch] : []), ...(keepLast && last > 0 ? [last] : [])];
    };
    const pending: PendingPlan[] = [];
    const direct: PendingPlan[] = [];
    const add = (rows: number, purpose: Purpose, mode: BatchJob['accumulate']): void => {
      const key = planKey(rows, purpose, mode);
      this.#planIndex.set(key, pending.length);
      pending.push({ name: `${purpose} ${rows} rows`, phases: this.#phases(rows, purpose, mode) });
    };
    if (external && this.#isElementwise) {
      for (const [i, rows] of sizes(data.length, !dropLast).entries())
        direct.push(...this.#bucketPhases(rows, i === 0 ? external.buckets : []));
      for (const [i, { name }] of direct.entries()) this.#directIndex.set(name, i);
    }
    for (const rows of sizes(data.length, !dropLast)) {
      add(rows, 'update', 'first');
      if (accumulate > 1) {
        add(rows, 'update', 'next');
        add(rows, 'accumulate', 'first');
        add(rows, 'accumulate', 'next');
      }
    }
    for (const rows of sizes(data.validation?.length ?? 0, true)) add(rows, 'validate', 'first');
    this.#place(pending, direct);
  }

  /** The units of a batch, in order of shards. */
  #units(rows: number): Unit[] {
    const { definition, workers, coalesce } = this.#options;
    const { rowsPerShard, used, lastRows } = batchShards(rows, definition.shards);
    // A short last shard has a program of its own.
    const even = lastRows === rowsPerShard ? used : used - 1;
    return assign(used, workers).flatMap(({ lo, hi }, worker) => {
      const full = coalesce
        ? units(Math.min(lo, even), Math.min(hi, even), used)
        : Array.from({ length: Math.max(0, Math.min(hi, even) - lo) }, (_, i) => ({
            lo: lo + i,
            hi: lo + i + 1,
          }));
      const short = hi > even && lo < hi ? [{ lo: even, hi: even + 1, worker, rows: lastRows }] : [];
      return [...full.map((range) => ({ ...range, worker, rows: rowsPerShard })), ...short];
    });
  }

  #phases(rows: number, purpose: Purpose, mode: BatchJob['accumulate']): PendingTask[][] {
    const { definition, layout, external } = this.#options;
    const training = purpose !== 'validate';
    const computes = !(training && external !== undefined);
    const parts = computes ? this.#units(rows) : [{ lo: 0, hi: 1, worker: 0, rows }];
    const rowsPerShard = batchShards(rows, definition.shards).rowsPerShard;
    const compute = (computes ? parts : []).map((unit, i): PendingTask => {
      const block = this.#heap.allocate(8);
      this.#heap.u32(block, 2).set([unit.lo, unit.lo * rowsPerShard]);
      return {
        program: this.#unitProgram(unit.rows, unit.hi - unit.lo, training),
        worker: unit.worker,
        bind: {
          unit: block,
          gradient: this.memory.slot(i).gradient,
          sums: this.memory.slot(i).sums,
          statistics: this.memory.slot(i).statistics,
          ...(!training && { ...this.memory.validationData, weights: this.memory.keptAddress }),
        },
      };
    });
    const { batch, tree, result, follow, bindFrom } = this.#onUnits(rows, parts);
    if (!training) return [compute, [result]];
    const told = [result, ...follow()];

    const { optimizer } = definition;
    const clips = optimizer.clipNorm !== undefined;
    const viaTotal = purpose === 'accumulate' || mode === 'next' || clips;
    const scaled = purpose === 'update';
    /** The blocks' sums of squares of a part of a vector → the region `to`. */
    const norm = (vector: string, to: string, { from, to: end }: Stretch, worker: number): PendingTask => ({
      program: this.#program(`norm ${end - from}`, () => compileNorm(end - from)),
      worker,
      bind: {
        vector: this.memory.common[vector]! + from * ELEMENT_BYTES,
        'vector squares': this.memory.common[to]! + (from / NORM_BLOCK) * ELEMENT_BYTES,
      },
    });
    const reduce = this.#slices.flatMap((slice, worker) => {
      const size = slice.to - slice.from;
      if (size === 0) return [];
      const total: PendingTask = {
        program: this.#program(`total ${mode} ${size} ${scaled} ${tree}`, () =>
          compileTotal(mode, size, batch, scaled),
        ),
        worker,
        bind: { ...bindFrom(slice.from), journal: this.#journal(worker, 0) },
      };
      return clips && purpose === 'update' ? [total, norm('total', 'squares', slice, worker)] : [total];
    });
    const begun = computes ? [compute] : [];
    if (purpose === 'accumulate') return [...begun, [...told, ...reduce]];

    const blocksOf = ({ from, to }: Stretch): number => Math.ceil((to - from) / NORM_BLOCK);
    const source = viaTotal ? 'total' : 'units';
    const onPieces = (
      make: (
        piece: Piece,
        group: UpdateGroup,
        task: (name: string, make: () => Program, which: 0 | 1) => PendingTask,
        worker: number,
      ) => PendingTask[],
    ): PendingTask[] =>
      this.#pieces.flatMap((pieces, worker) =>
        pieces.flatMap((piece, i) => {
          const task = (name: string, compile: () => Program, which: 0 | 1): PendingTask => ({
            program: this.#program(
              `${name} ${piece.group} ${piece.to - piece.from} ${source} ${tree}`,
              compile,
            ),
            worker,
            bind: { ...bindFrom(piece.from), journal: this.#journal(worker, 1 + 2 * i + which) },
          });
          return make(piece, optimizer.groups[piece.group]!, task, worker);
        }),
      );
    const slice = (piece: Piece, group: UpdateGroup, blocks: number): GroupSlice => ({
      optimizer,
      group,
      size: piece.to - piece.from,
      blocks,
    });
    const all = Math.ceil(layout.trainedSize / NORM_BLOCK);
    const update = onPieces((piece, group, task, worker) => {
      if (!group.layer)
        return [task('update', () => compileUpdate(slice(piece, group, all), source, batch), 0)];
      return [
        task('measure', () => compileMeasure(slice(piece, group, all), source, batch), 0),
        norm('weights', 'weight squares', piece, worker),
        norm('measured', 'measured squares', piece, worker),
      ];
    });
    const apply = onPieces((piece, group, task) => {
      if (!group.layer) return [];
      const blocks = blocksOf(piece.whole);
      const made = task(`apply ${blocks}`, () => compileApply(slice(piece, group, blocks), batch), 1);
      const squares = (name: string): [string, number] => [
        name,
        this.memory.common[name]! + (piece.whole.from / NORM_BLOCK) * ELEMENT_BYTES,
      ];
      const bind = Object.fromEntries([squares('weight squares'), squares('measured squares')]);
      return [{ ...made, bind: { ...made.bind, ...bind } }];
    });
    const phases = viaTotal ? [...begun, [...told, ...reduce], update] : [...begun, [...told, ...update]];
    return apply.length > 0 ? [...phases, apply] : phases;
  }

  /** What the tasks that follow a batch's units have in common. */
  #onUnits(rows: number, parts: readonly ShardRange[]) {
    const { definition, layout, workers } = this.#options;
    const { memory } = this;
    const ranges = parts.map(({ lo, hi }) => ({ lo, hi }));
    const batch = { parts: ranges, stride: memory.sumsStride, tickOffset: this.#tickOffset };
    const tree = ranges.map(({ lo, hi }) => `${lo}-${hi}`).join(' ');
    const bySlot = (name: 'gradient' | 'sums' | 'statistics', offset = 0): Record<string, number> =>
      Object.fromEntries(parts.map((_, i) => [`${name} ${i}`, memory.slot(i)[name] + offset]));
    const result: PendingTask = {
      program: this.#program(`result ${tree}`, () => compileResult(memory.values, ranges)),
      worker: 0,
      bind: bySlot('sums'),
    };
    /** Running statistics. */
    const follow = (): PendingTask[] => {
      const { statistics } = this.#trace(batchShards(rows, definition.shards).rowsPerShard, true);
      return bufferStretches(layout, (buffer) => statistics.has(buffer)).map(({ from, to, rule }, i) => {
        const name = `buffers ${rule.keep} ${rule.add} ${to - from} ${tree}`;
        const bytes = from * ELEMENT_BYTES;
        const bind = {
          ...bySlot('statistics', bytes),
          buffers: memory.common.buffers! + bytes,
          journal: this.#journal(workers, i),
        };
        return {
          program: this.#program(name, () => compileBuffers(rule, to - from, batch)),
          worker: 0,
          bind,
        };
      });
    };
    const slots = definition.optimizer.slots.map((slot) => `slot ${slot}`);
    const vectors = ['weights', 'total', 'measured', ...slots].filter((name) => name in memory.common);
    /** Regions of a slice that begins at an element. */
    const bindFrom = (from: number): Record<string, number> => {
      const bytes = from * ELEMENT_BYTES;
      const shifted = vectors.map((name) => [name, memory.common[name]! + bytes]);
      return { ...Object.fromEntries(shifted), ...bySlot('gradient', bytes) };
    };
    return { batch, tree, result, follow, bindFrom };
  }

  /** Whether each element of the gradient can be applied without a look at the others. */
  get #isElementwise(): boolean {
    const { accumulate, optimizer } = this.#options.definition;
    return (
      accumulate === 1 && optimizer.clipNorm === undefined && optimizer.groups.every(({ layer }) => !layer)
    );
  }

  /** A batch of `external` in pieces: first what is told of it, with the running statistics; then each bucket's update. */
  #bucketPhases(rows: number, buckets: readonly Stretch[]): PendingPlan[] {
    const { definition, layout } = this.#options;
    const { batch, result, follow, bindFrom } = this.#onUnits(rows, [{ lo: 0, hi: 1 }]);
    const { optimizer } = definition;
    const updates = buckets.map((bucket) =>
      optimizer.groups.flatMap((group, i) =>
        layout.updates[i]!.flatMap((whole) => overlap(bucket, whole)).map(({ from, to }): PendingTask => {
          const slice = { optimizer, group, size: to - from, blocks: 0 };
          const name = `update ${i} ${to - from}`;
          return {
            program: this.#program(name, () => compileUpdate(slice, 'units', batch)),
            worker: 0,
            bind: { ...bindFrom(from), journal: this.#journal(0, 1 + i) },
          };
        }),
      ),
    );
    return [
      { name: headKey(rows), phases: [[result, ...follow()]] },
      ...updates.map((tasks, i) => ({ name: bucketKey(i), phases: [tasks] })),
    ];
  }

  #journal(worker: number, which: number): number {
    const index = this.#journalsPerWorker * worker + which;
    return this.memory.common.journals! + index * LINE_WORDS * ELEMENT_BYTES;
  }

  #trace(rows: number, training: boolean): StepGraph {
    const { definition, model, layout, data } = this.#options;
    const key = `${rows} ${training}`;
    const known = this.#traces.get(key);
    if (known) return known;
    const traced = traceStep(definition, model, layout, data, rows, training);
    this.#traces.set(key, traced);
    return traced;
  }

  #unitProgram(rows: number, segments: number, training: boolean): number {
    const name = `${training ? 'train' : 'validate'} ${segments} × ${rows} rows`;
    return this.#program(name, () => {
      const step = this.#trace(rows, training);
      const { data } = this.#options;
      const part = training ? data : data.validation!;
      const guard = training ? refusalGuard(this.#tickOffset, this.memory.journals) : undefined;
      const compiled = compileUnit(
        step,
        this.#options.layout,
        { part, indexes: this.memory.index.length },
        rows,
        segments,
        guard,
      );
      checkIndexes(compiled.indexLimits, this.#options.data);
      const address = this.#heap.allocate(compiled.constants.byteLength);
      this.#heap.u8(address, compiled.constants.byteLength).set(compiled.constants);
      this.#constants.set(this.programs.length, address);
      return compiled.program;
    });
  }

  #program(name: string, make: () => Program): number {
    const known = this.#programIndex.get(name);
    if (known !== undefined) return known;
    const program = make();
    this.#programIndex.set(name, this.programs.length);
    return this.programs.push({ name, program }) - 1;
  }

  /** Gives every worker its own arena and scratch, and binds all regions. */
  #place(pending: readonly PendingPlan[], direct: readonly PendingPlan[]): void {
    const { workers } = this.#options;
    const largest = (name: string): number =>
      Math.max(
        0,
        ...this.programs.map(
          ({ program }) => program.regions.find((region) => region.name === name)?.bytes ?? 0,
        ),
      );
    const own = Array.from({ length: workers }, () => ({
      arena: this.#heap.allocate(largest('arena')),
      scratch: this.#heap.allocate(largest('scratch')),
      'journal scratch': this.#heap.allocate(largest('journal scratch')),
    }));
    const task = ({ program, bind, worker }: PendingTask): PoolTask => {
      const constants = this.#constants.get(program);
      const addresses: Record<string, number> = {
        ...this.memory.common,
        ...own[worker],
        ...(constants === undefined ? {} : { constants }),
        ...bind,
      };
      const { name, program: found } = this.programs[program]!;
      const bases = found.regions.map((region) => {
        const address = addresses[region.name];
        // A region that is declared but never touched may lie anywhere.
        if (address === undefined && region.bytes > 0)
          throw new Error(`${name}: no memory for region ${region.name}`);
        return address ?? this.memory.common.weights!;
      });
      return { program, bases };
    };
    for (const { name, phases } of direct) {
      this.direct.push({ name, phases: phases.map((tasks) => [tasks.map(task)]) });
    }
    for (const { name, phases } of pending) {
      const byWorker = phases.map((tasks) =>
        Array.from({ length: workers }, (_, worker) => tasks.filter((t) => t.worker === worker).map(task)),
      );
      this.plans.push({ name, phases: byWorker });
    }
  }
}
