/** Lays out a run's memory, compiles its programs and says which worker runs what: the pool's plans. */

import type { IndexLimit } from '@lockstep/compiler';
import type { Column, Dataset } from '@lockstep/data';
import { ELEMENT_BYTES, type Program } from '@lockstep/kernels';
import { ConfigError, type UpdateGroup } from '@lockstep/nn';
import { assign, batchShards, type ShardRange, units } from '@lockstep/sync';
import {
  type Plan,
  type PoolProgram,
  type PoolTask,
  RECORD,
  RESULT,
  type SharedHeap,
  tickOffset,
} from '@lockstep/workers';
import type { ResolvedDefinition } from './definition.ts';
import type { BatchJob } from './executor.ts';
import {
  bufferStretches,
  type FlatLayout,
  gather,
  gatherBuffers,
  joined,
  NORM_BLOCK,
  overlap,
  type Stretch,
  slices,
} from './flat.ts';
import { countSums } from './metrics.ts';
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

interface BookOptions<M, F extends string> {
  readonly definition: ResolvedDefinition<M, F>;
  readonly model: M;
  readonly layout: FlatLayout;
  readonly data: Dataset<F>;
  readonly workers: number;
  readonly coalesce: boolean;
}

/** Shards that one program runs: a node of the shard tree, all of the same number of rows. */
interface Unit extends ShardRange {
  readonly worker: number;
  readonly rows: number;
}

/** Addresses of a unit's own memory. */
interface UnitSlot {
  readonly gradient: number;
  readonly sums: number;
  readonly statistics: number;
}

/** A program before memory is placed: region names still have to be bound. */
interface PendingTask {
  readonly program: number;
  readonly bind: Readonly<Record<string, number>>;
  readonly worker: number;
}

/** Refuses a data set in which a column that indexes something is out of range. Throws ConfigError. */
export function checkIndexes(limits: readonly IndexLimit[], data: Dataset): void {
  for (const part of data.validation ? [data, data.validation] : [data]) {
    for (const { field, op, limit } of limits) {
      const { data: values, shape } = part.columns[field]!;
      const width = shape.reduce((product, n) => product * n, 1);
      const bad = values.findIndex((value) => !(value >= 0 && value < limit));
      if (bad === -1) continue;
      throw new ConfigError(
        `data set ${part.name}`,
        `column ${field} has ${values[bad]} in row ${Math.floor(bad / width)}, expected 0 to ${limit - 1}, because ${op} has ` +
          `${limit} classes; give the model ${Math.max(limit, values[bad]! + 1)} outputs or mend the data`,
      );
    }
  }
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
  /** Loss and metrics. */
  readonly values: number;
  readonly trainRows: number;
  /** Two orders of the training rows, then the validation rows. */
  readonly index: Int32Array;
  readonly weights: Float32Array;
  readonly #buffers: Float32Array;
  /** What outlives a step, by region: what a checkpoint holds. */
  readonly state: ReadonlyMap<string, Float32Array>;
  readonly #options: BookOptions<M, F>;
  readonly #heap: SharedHeap;
  readonly #tickOffset: number;
  readonly #planIndex = new Map<string, number>();
  readonly #programIndex = new Map<string, number>();
  readonly #traces = new Map<string, StepGraph>();
  readonly #common: Record<string, number>;
  readonly #slices: readonly Stretch[];
  /** Of each worker's slice. */
  readonly #pieces: readonly (readonly Piece[])[];
  readonly #journalsPerWorker: number;
  readonly #unitSlots: UnitSlot[] = [];
  /** Per worker: the journal of the total, then those of its slice's measures and of its pieces. Then those of the buffers. */
  readonly #journals: Int32Array;
  /** Words from one unit's sums to the next. */
  readonly #sumsStride: number;
  readonly #halt: Int32Array;
  readonly #constants = new Map<number, number>();
  readonly #indexes: number;
  /** Where the columns of the validation part are. */
  readonly #validationData: Readonly<Record<string, number>>;

  constructor(options: BookOptions<M, F>, heap: SharedHeap, recordWords: number) {
    const { definition, layout, data, workers } = options;
    this.#options = options;
    this.#heap = heap;
    this.#tickOffset = tickOffset(recordWords);
    this.values = countSums(definition.metrics);
    this.trainRows = data.length;
    this.#slices = slices(layout.trainedSize, workers);
    this.#pieces = this.#slices.map((slice) =>
      layout.updates.flatMap((stretches, group) =>
        stretches.flatMap((whole) => overlap(slice, whole).map((part) => ({ ...part, group, whole }))),
      ),
    );
    this.#journalsPerWorker = 1 + 2 * Math.max(...this.#pieces.map(({ length }) => length));

    const validationRows = data.validation?.length ?? 0;
    const indexes = 2 * data.length + validationRows;
    this.#indexes = indexes;
    this.#validationData = data.validation ? this.#placeData(data.validation) : {};
    const journals = this.#journalsPerWorker * workers + layout.buffers.length;
    this.#sumsStride = Math.ceil(this.values / LINE_WORDS) * LINE_WORDS;
    const vector = (size = layout.trainedSize): number => heap.allocate(size * ELEMENT_BYTES);
    const squares = (): number => heap.allocate(Math.ceil(layout.trainedSize / NORM_BLOCK) * ELEMENT_BYTES);
    const slotSize = (slot: string): number =>
      slot === optimizer.average ? layout.size : layout.trainedSize;
    const { optimizer } = definition;
    this.#common = {
      record: RECORD,
      result: RESULT,
      halt: heap.allocate(ELEMENT_BYTES),
      journals: heap.allocate(journals * LINE_WORDS * ELEMENT_BYTES),
      'all sums': heap.allocate(definition.shards * this.#sumsStride * ELEMENT_BYTES),
      weights: vector(layout.size),
      buffers: vector(layout.bufferSize),
      index: heap.allocate(indexes * ELEMENT_BYTES),
      squares: squares(),
      ...Object.fromEntries(optimizer.slots.map((slot) => [`slot ${slot}`, vector(slotSize(slot))])),
      ...this.#placeData(data),
      ...(this.#needsTotal ? { total: vector() } : {}),
      ...(optimizer.groups.some(({ layer }) => layer)
        ? { measured: vector(), 'weight squares': squares(), 'measured squares': squares() }
        : {}),
    };
    this.#journals = heap.i32(this.#common.journals!, journals * LINE_WORDS);
    this.#halt = heap.i32(this.#common.halt!, 1);
    this.weights = heap.f32(this.#common.weights!, layout.size);
    gather(layout, this.weights);
    const buffers = heap.f32(this.#common.buffers!, layout.bufferSize);
    buffers.set(gatherBuffers(layout));
    this.#buffers = buffers;
    this.state = new Map([
      ['weights', this.weights],
      ...(layout.bufferSize > 0 ? [['buffers', buffers] as const] : []),
      ...optimizer.slots.map((slot) => {
        const name = `slot ${slot}`;
        return [name, heap.f32(this.#common[name]!, slotSize(slot))] as const;
      }),
    ] as const);
    this.kept.set(this.weights);
    this.index = heap.i32(this.#common.index!, indexes);
    for (let row = 0; row < validationRows; row++) this.index[2 * data.length + row] = row;
    this.#write();
  }

  /** The weights that validation takes and that are kept: their average, where there is one. */
  get kept(): Float32Array {
    const { average } = this.#options.definition.optimizer;
    return average === undefined ? this.weights : this.state.get(`slot ${average}`)!;
  }

  /** The kept weights, then the buffers. */
  get model(): Float32Array {
    return joined(this.kept, this.#buffers);
  }

  set model(all: Float32Array) {
    const weights = all.subarray(0, this.weights.length);
    this.weights.set(weights);
    this.kept.set(weights);
    this.#buffers.set(all.subarray(weights.length));
  }

  planOf(key: string): number {
    const index = this.#planIndex.get(key);
    if (index === undefined) throw new Error(`no plan for ${key}`);
    return index;
  }

  get #keptAddress(): number {
    const { average } = this.#options.definition.optimizer;
    return this.#common[average === undefined ? 'weights' : `slot ${average}`]!;
  }

  get #needsTotal(): boolean {
    const { accumulate, optimizer } = this.#options.definition;
    return accumulate > 1 || optimizer.clipNorm !== undefined;
  }

  /** The columns of a part of the data set, each in a region `data NAME`. */
  #placeData(part: Dataset): Record<string, number> {
    return Object.fromEntries(
      Object.entries<Column>(part.columns).map(([name, { data }]) => {
        const address = this.#heap.allocate(data.byteLength);
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        this.#heap.u8(address, data.byteLength).set(bytes);
        return [`data ${name}`, address];
      }),
    );
  }

  /** Every kind of batch that the run can meet. */
  #write(): void {
    const { definition, data } = this.#options;
    const { batch, accumulate, dropLast } = definition;
    const sizes = (length: number, keepLast: boolean): number[] => {
      const last = length % batch;
      return [...(length >= batch ? [batch] : []), ...(keepLast && last > 0 ? [last] : [])];
    };
    const pending: { name: string; phases: PendingTask[][] }[] = [];
    const add = (rows: number, purpose: Purpose, mode: BatchJob['accumulate']): void => {
      const key = planKey(rows, purpose, mode);
      this.#planIndex.set(key, pending.length);
      pending.push({ name: `${purpose} ${rows} rows`, phases: this.#phases(rows, purpose, mode) });
    };
    for (const rows of sizes(data.length, !dropLast)) {
      add(rows, 'update', 'first');
      if (accumulate > 1) {
        add(rows, 'update', 'next');
        add(rows, 'accumulate', 'first');
        add(rows, 'accumulate', 'next');
      }
    }
    for (const rows of sizes(data.validation?.length ?? 0, true)) add(rows, 'validate', 'first');
    this.#place(pending);
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
    const { definition, layout, workers } = this.#options;
    const parts = this.#units(rows);
    const training = purpose !== 'validate';
    const bySlot = (name: keyof UnitSlot, offset = 0): Record<string, number> =>
      Object.fromEntries(parts.map((_, i) => [`${name} ${i}`, this.#slot(i)[name] + offset]));
    const rowsPerShard = batchShards(rows, definition.shards).rowsPerShard;
    const compute = parts.map((unit, i): PendingTask => {
      const block = this.#heap.allocate(8);
      this.#heap.u32(block, 2).set([unit.lo, unit.lo * rowsPerShard]);
      return {
        program: this.#unitProgram(unit.rows, unit.hi - unit.lo, training),
        worker: unit.worker,
        bind: {
          unit: block,
          gradient: this.#slot(i).gradient,
          sums: this.#slot(i).sums,
          statistics: this.#slot(i).statistics,
          ...(!training && { ...this.#validationData, weights: this.#keptAddress }),
        },
      };
    });
    const ranges = parts.map(({ lo, hi }) => ({ lo, hi }));
    const batch = { parts: ranges, stride: this.#sumsStride, tickOffset: this.#tickOffset };
    const tree = ranges.map(({ lo, hi }) => `${lo}-${hi}`).join(' ');
    const result: PendingTask = {
      program: this.#program(`result ${tree}`, () => compileResult(this.values, ranges)),
      worker: 0,
      bind: bySlot('sums'),
    };
    if (!training) return [compute, [result]];
    const { statistics } = this.#trace(rowsPerShard, true);
    const follow = bufferStretches(layout, (buffer) => statistics.has(buffer)).map(
      ({ from, to, rule }, i): PendingTask => {
        const name = `buffers ${rule.keep} ${rule.add} ${to - from} ${tree}`;
        const bytes = from * ELEMENT_BYTES;
        return {
          program: this.#program(name, () => compileBuffers(rule, to - from, batch)),
          worker: 0,
          bind: {
            ...bySlot('statistics', bytes),
            buffers: this.#common.buffers! + bytes,
            journal: this.#journal(workers, i),
          },
        };
      },
    );
    const told = [result, ...follow];

    const { optimizer } = definition;
    const clips = optimizer.clipNorm !== undefined;
    const viaTotal = purpose === 'accumulate' || mode === 'next' || clips;
    const scaled = purpose === 'update';
    const vectors = ['weights', 'total', 'measured', ...optimizer.slots.map((slot) => `slot ${slot}`)];
    const bindFrom = (from: number): Record<string, number> => {
      const bytes = from * ELEMENT_BYTES;
      const known = vectors.filter((name) => name in this.#common);
      const shifted = known.map((name) => [name, this.#common[name]! + bytes]);
      return { ...Object.fromEntries(shifted), ...bySlot('gradient', bytes) };
    };
    /** The blocks' sums of squares of a part of a vector → the region `to`. */
    const norm = (vector: string, to: string, { from, to: end }: Stretch, worker: number): PendingTask => ({
      program: this.#program(`norm ${end - from}`, () => compileNorm(end - from)),
      worker,
      bind: {
        vector: this.#common[vector]! + from * ELEMENT_BYTES,
        'vector squares': this.#common[to]! + (from / NORM_BLOCK) * ELEMENT_BYTES,
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
    if (purpose === 'accumulate') return [compute, [...told, ...reduce]];

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
        this.#common[name]! + (piece.whole.from / NORM_BLOCK) * ELEMENT_BYTES,
      ];
      const bind = Object.fromEntries([squares('weight squares'), squares('measured squares')]);
      return [{ ...made, bind: { ...made.bind, ...bind } }];
    });
    const phases = viaTotal ? [compute, [...told, ...reduce], update] : [compute, [...told, ...update]];
    return apply.length > 0 ? [...phases, apply] : phases;
  }

  #journal(worker: number, which: number): number {
    const index = this.#journalsPerWorker * worker + which;
    return this.#common.journals! + index * LINE_WORDS * ELEMENT_BYTES;
  }

  /** The tick whose update did not go through, because a number was not finite; 0: none. Later ticks did nothing. */
  refusedTick(lastTick: number): number {
    const halt = Atomics.load(this.#halt, 0);
    if (halt !== 0) return halt;
    // Not yet seen by a guard: the last tick.
    for (let i = 2; i < this.#journals.length; i += LINE_WORDS) if (this.#journals[i] !== 0) return lastTick;
    return 0;
  }

  #slot(index: number): UnitSlot {
    const { trainedSize, bufferSize } = this.#options.layout;
    this.#unitSlots[index] ??= {
      gradient: this.#heap.allocate(trainedSize * ELEMENT_BYTES),
      statistics: this.#heap.allocate(bufferSize * ELEMENT_BYTES),
      sums: this.#common['all sums']! + index * this.#sumsStride * ELEMENT_BYTES,
    };
    return this.#unitSlots[index];
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
      const guard = training ? refusalGuard(this.#tickOffset, this.#journals.length / LINE_WORDS) : undefined;
      const compiled = compileUnit(
        step,
        this.#options.layout,
        { part, indexes: this.#indexes },
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
  #place(pending: readonly { name: string; phases: readonly (readonly PendingTask[])[] }[]): void {
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
        ...this.#common,
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
        return address ?? this.#common.weights!;
      });
      return { program, bases };
    };
    for (const { name, phases } of pending) {
      const byWorker = phases.map((tasks) =>
        Array.from({ length: workers }, (_, worker) => tasks.filter((t) => t.worker === worker).map(task)),
      );
      this.plans.push({ name, phases: byWorker });
    }
  }
}
