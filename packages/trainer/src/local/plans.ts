/** Compiles a run's programs and says which worker runs what: the pool's plans. */

import type { Dataset } from '@lockstep/data';
import { ELEMENT_BYTES, type Program } from '@lockstep/kernels';
import type { UpdateGroup } from '@lockstep/nn';
import { batchShards, firstRow, type ShardRange, shardRows } from '@lockstep/sync';
import { type Plan, type PoolProgram, type SharedHeap, tickOffset } from '@lockstep/workers';
import type { ResolvedDefinition } from '../define/definition.ts';
import {
  bufferStretches,
  type FlatLayout,
  NORM_BLOCK,
  overlap,
  type Stretch,
  slices,
} from '../define/layout.ts';
import type { BatchJob } from '../run/executor.ts';
import {
  compileApply,
  compileBuffers,
  compileMeasure,
  compileNorm,
  compileResult,
  compileTotal,
  compileUpdate,
  type GroupSlice,
  LINE_WORDS,
} from '../step/programs.ts';
import { batchUnits } from '../step/units.ts';
import { RunMemory } from './memory.ts';
import { type PendingPlan, type PendingTask, Placement } from './placement.ts';
import { ProgramBook } from './programCache.ts';

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

/** A part of a worker's slice that one program updates. */
interface Piece extends Stretch {
  /** The optimizer's group, counted from 0. */
  readonly group: number;
  /** All that is updated at once, of which this is the worker's part. */
  readonly whole: Stretch;
}

export class PlanBook<M, F extends string> {
  readonly plans: Plan[] = [];
  /** Plans that the main thread runs itself: those of batches that come in buckets. */
  readonly direct: Plan[] = [];
  readonly memory: RunMemory<M, F>;
  readonly #options: BookOptions<M, F>;
  readonly #heap: SharedHeap;
  readonly #tickOffset: number;
  readonly #planIndex = new Map<string, number>();
  readonly #directIndex = new Map<string, number>();
  readonly #slices: readonly Stretch[];
  /** Of each worker's slice. */
  readonly #pieces: readonly (readonly Piece[])[];
  readonly #journalsPerWorker: number;
  readonly #book: ProgramBook<M, F>;

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
    this.#book = new ProgramBook({ ...options, heap, memory: this.memory, tickOffset: this.#tickOffset });
    this.#write();
  }

  get programs(): readonly PoolProgram[] {
    return this.#book.programs;
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
    const placement = new Placement({
      heap: this.#heap,
      workers: this.#options.workers,
      programs: this.programs,
      constants: this.#book.constants,
      common: this.memory.common,
    });
    for (const plan of direct) this.direct.push(placement.direct(plan));
    for (const plan of pending) this.plans.push(placement.pooled(plan));
  }

  #phases(rows: number, purpose: Purpose, mode: BatchJob['accumulate']): PendingTask[][] {
    const { definition, layout, external } = this.#options;
    const training = purpose !== 'validate';
    const computes = !(training && external !== undefined);
    const parts = computes ? batchUnits(rows, this.#options) : [{ lo: 0, hi: 1, worker: 0, rows }];
    const shards = batchShards(rows, definition.shards);
    const compute = (computes ? parts : []).map((unit, i): PendingTask => {
      const block = this.#heap.allocate(8);
      this.#heap.u32(block, 2).set([unit.lo, firstRow(shards, unit.lo)]);
      return {
        program: this.#book.unit(unit.rows, unit.hi - unit.lo, training),
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
      program: this.#book.program(`norm ${end - from}`, () => compileNorm(end - from)),
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
        program: this.#book.program(`total ${mode} ${size} ${scaled} ${tree}`, () =>
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
            program: this.#book.program(
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
      program: this.#book.program(`result ${tree}`, () => compileResult(memory.values, ranges)),
      worker: 0,
      bind: bySlot('sums'),
    };
    /** Running statistics. */
    const follow = (): PendingTask[] => {
      const { statistics } = this.#book.trace(shardRows(batchShards(rows, definition.shards), 0), true);
      return bufferStretches(layout, (buffer) => statistics.has(buffer)).map(({ from, to, rule }, i) => {
        const name = `buffers ${rule.keep} ${rule.add} ${to - from} ${tree}`;
        const bytes = from * ELEMENT_BYTES;
        const bind = {
          ...bySlot('statistics', bytes),
          buffers: memory.common.buffers! + bytes,
          journal: this.#journal(workers, i),
        };
        return {
          program: this.#book.program(name, () => compileBuffers(rule, to - from, batch)),
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
            program: this.#book.program(name, () => compileUpdate(slice, 'units', batch)),
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
}
