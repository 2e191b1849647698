/** Compiles what the threads run: units of shards, the optimizer on a slice, the sums of a batch. */
import { add, type GraphNode, type InputNode, mul, type Tensor, Trace, withTrace } from '@lockstep/autograd';
import {
  type CompiledProgram,
  type CompileOptions,
  compile,
  type Guard,
  type InputBinding,
  type Place,
} from '@lockstep/compiler';
import { type Column, rowSize } from '@lockstep/data';
import { ELEMENT_BYTES, type Program, sourceKinds } from '@lockstep/kernels';
import type { Optimizer } from '@lockstep/nn';
import type { ShardRange } from '@lockstep/sync';
import type { FlatLayout } from './flat.ts';
import { combineUnits, normBlocks, type StepGraph, updateStep } from './step.ts';

/** Words of a record: seed (2), batch index, position of the batch, 1 / rows, then the optimizer's scalars. */
export const RECORD_WORDS = { seedLow: 0, seedHigh: 1, index: 2, start: 3, scale: 4, scalars: 5 } as const;

const at = (region: string, element = 0): Place => ({ region, offset: element * ELEMENT_BYTES });

/** A data set in memory: one region per column, and one of row numbers. */
export interface DataRegions {
  /** Rows of each column. */
  readonly rows: number;
  /** Elements of the region `index`. */
  readonly indexes: number;
}

const sourceKind = (column: Column): number => {
  if (column.dtype === 'f32') return sourceKinds.f32;
  if (column.dtype === 'i32') return sourceKinds.i32;
  return column.as === 'i32' ? sourceKinds.u8ToI32 : sourceKinds.u8ToF32;
};

const fieldBinding = (name: string, column: Column, data: DataRegions, rows: number): InputBinding => ({
  kind: 'field',
  emit: (emit, region, target, segments) =>
    emit.call('gatherRows', {
      out: target,
      data: region(`data ${name}`),
      index: region('index'),
      record: emit.record,
      unit: emit.unit,
      rows: rows * segments,
      width: rowSize(column.shape),
      dataRows: data.rows,
      indexCount: data.indexes,
      kind: sourceKind(column),
      scale: column.scale,
      shift: column.shift,
    }),
});

/** A unit's program: `segments` shards of `rows` rows each → regions `sums` and, in training, `gradient`. */
export function compileUnit(
  step: StepGraph,
  layout: FlatLayout,
  data: DataRegions,
  rows: number,
  segments: number,
  guard: Guard | undefined,
): CompiledProgram {
  const offsets = new Map(layout.entries.map((entry) => [entry.parameter, entry.offset]));
  const bind = (node: InputNode): InputBinding => {
    const parameter = step.parameters.get(node);
    if (parameter) return { kind: 'memory', ...at('weights', offsets.get(parameter)!) };
    return fieldBinding(node.name, step.fields.get(node)!, data, rows);
  };
  const outputs = [
    ...step.gradients.map((node, i) => ({ node, place: at('gradient', layout.entries[i]!.offset) })),
    ...step.sums.map((node, i) => ({ node, place: at('sums', i) })),
  ];
  return compile({
    segments,
    bind,
    outputs: outputs.map((output) => ({ ...output, reduce: 'tree' as const })),
    ...(guard && { guard }),
  });
}

/** Traces a function of inputs that lie in memory, and compiles it. */
class MemoryProgram {
  readonly #trace = new Trace();
  readonly #places = new Map<GraphNode, Place>();

  input(place: Place, size: number): Tensor {
    const tensor = this.#trace.input('scalar', place.region, { shape: [size], dtype: 'f32' });
    this.#places.set(this.#trace.nodeOf(tensor), place);
    return tensor;
  }

  compile(
    body: () => readonly (readonly [Tensor, Place])[],
    options: Partial<Pick<CompileOptions, 'journal' | 'guard'>> = {},
  ): Program {
    const outputs = withTrace(this.#trace, body).map(([tensor, place]) => ({
      node: this.#trace.nodeOf(tensor),
      place,
      reduce: 'none' as const,
    }));
    const bind = (node: InputNode): InputBinding => ({ kind: 'memory', ...this.#places.get(node)! });
    return compile({ segments: 1, outputs, bind, ...options }).program;
  }
}

const unitGradients = (program: MemoryProgram, parts: readonly ShardRange[], size: number): Tensor[] =>
  parts.map((_, unit) => program.input(at(`gradient ${unit}`), size));

/** Words from one journal, or one unit's sums, to the next: a cache line, as different threads write them. */
export const LINE_WORDS = 16;

const tickAt = (tickOffset: number): Place => ({ region: 'record', offset: tickOffset });

/** Journaled, and only while all units' losses are finite. */
const guarded = (tickOffset: number, units: number, stride: number) => ({
  journal: { state: at('journal'), tick: tickAt(tickOffset) },
  guard: {
    kind: 'finite',
    halt: at('halt'),
    tick: tickAt(tickOffset),
    values: at('all sums'),
    count: units,
    stride,
  } as const,
});

/** Lets a tick begin only if no journal has refused a tile in the one before. */
export const refusalGuard = (tickOffset: number, journals: number): Guard => ({
  kind: 'zero',
  halt: at('halt'),
  tick: tickAt(tickOffset),
  // The third word of a journal.
  values: at('journals', 2),
  count: journals,
  stride: LINE_WORDS,
});

/** What the guard of an update needs to know of a batch. */
export interface BatchUnits {
  readonly parts: readonly ShardRange[];
  /** Words from one unit's sums to the next. */
  readonly stride: number;
  /** Of the tick in a record, in bytes. */
  readonly tickOffset: number;
}

/**
 * The optimizer on a slice of `size` elements: regions `weights`, `slot NAME`, and the gradient: that of the units,
 * added by the tree and scaled here, or the region `total`, where that has been done.
 */
export function compileUpdate(
  optimizer: Optimizer,
  size: number,
  source: 'units' | 'total',
  { parts, stride, tickOffset }: BatchUnits,
  blocks: number,
): Program {
  const program = new MemoryProgram();
  const weight = program.input(at('weights'), size);
  const slots = Object.fromEntries(
    optimizer.slots.map((slot) => [slot, program.input(at(`slot ${slot}`), size)]),
  );
  const scalar = (word: number): Tensor => program.input(at('record', word), 1);
  const scalars = Object.fromEntries(
    optimizer.scalars.map((name, i) => [name, scalar(RECORD_WORDS.scalars + i)]),
  );
  const total = source === 'total' ? program.input(at('total'), size) : undefined;
  const units = source === 'units' ? unitGradients(program, parts, size) : [];
  const scale = scalar(RECORD_WORDS.scale);
  const squares = optimizer.clipNorm === undefined ? undefined : program.input(at('squares'), blocks);
  return program.compile(
    () => {
      const gradient = total ?? mul(combineUnits(units, parts), scale);
      const updated = updateStep(optimizer, { weight, gradient, slots, scalars, squares });
      return [
        [updated.weight, at('weights')],
        ...optimizer.slots.map((slot) => [updated.slots[slot]!, at(`slot ${slot}`)] as const),
      ];
    },
    guarded(tickOffset, parts.length, stride),
  );
}

/** Adds up the units' gradients of a slice into the region `total`: `first` replaces it, `next` adds to it (journaled). */
export function compileTotal(
  mode: 'first' | 'next',
  size: number,
  { parts, stride, tickOffset }: BatchUnits,
  scaled: boolean,
): Program {
  const program = new MemoryProgram();
  const units = unitGradients(program, parts, size);
  const before = mode === 'next' ? program.input(at('total'), size) : undefined;
  const scale = program.input(at('record', RECORD_WORDS.scale), 1);
  return program.compile(
    () => {
      const sum = combineUnits(units, parts);
      const total = before ? add(before, sum) : sum;
      return [[scaled ? mul(total, scale) : total, at('total')]];
    },
    guarded(tickOffset, parts.length, stride),
  );
}

/** Sums of squares of the blocks of the region `total` → `squares`. */
export function compileNorm(size: number): Program {
  const program = new MemoryProgram();
  const total = program.input(at('total'), size);
  return program.compile(() => [[normBlocks(total), at('squares')]]);
}

/** Adds up the units' sums (loss and metrics) by the tree → region `result`. */
export function compileResult(values: number, parts: readonly ShardRange[]): Program {
  const program = new MemoryProgram();
  const units = parts.map((_, unit) => program.input(at(`sums ${unit}`), values));
  return program.compile(() => [[combineUnits(units, parts), at('result')]]);
}
