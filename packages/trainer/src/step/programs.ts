/** Compiles what the threads run: units of shards, the optimizer on a slice, the sums of a batch. */
import {
  add,
  type BufferRule,
  div,
  type InputNode,
  mergeBuffer,
  mul,
  sizeOf,
  type Tensor,
} from '@lockstep/autograd';
import { type CompiledProgram, compile, type Guard, type InputBinding, type Place } from '@lockstep/compiler';
import { type Column, type Dataset, rowSize, rowStride } from '@lockstep/data';
import { type Program, sourceKinds } from '@lockstep/kernels';
import { normOfBlocks, type Optimizer, type UpdateGroup } from '@lockstep/nn';
import type { ShardRange } from '@lockstep/sync';
import type { FlatLayout, Stretch } from '../define/layout.ts';
import { at, MemoryProgram } from './memoryProgram.ts';
import { checkRegions } from './regions.ts';
import { clippedGradient, combineUnits, normBlocks, type StepGraph } from './trace.ts';

/**
 * Words of a record: seed (2), batch index, position of the batch, 1 / rows of the step, rows of the batch (as f32), then
 * the optimizer's scalars.
 */
export const RECORD_WORDS = {
  seedLow: 0,
  seedHigh: 1,
  index: 2,
  start: 3,
  scale: 4,
  rows: 5,
  scalars: 6,
} as const;

/** A part of a data set in memory: one region per column, and one of row numbers. */
export interface DataRegions {
  readonly part: Dataset;
  /** Elements of the region `index`. */
  readonly indexes: number;
}

const sourceKind = (column: Column): number => {
  if (column.dtype === 'f32') return sourceKinds.f32;
  if (column.dtype === 'i32') return sourceKinds.i32;
  return column.as === 'i32' ? sourceKinds.u8ToI32 : sourceKinds.u8ToF32;
};

/** How a column gets into a batch: rows picked by the index, from a region of its own. */
export const fieldBinding = (
  name: string,
  column: Column,
  data: DataRegions,
  rows: number,
): InputBinding => ({
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
      dataRows: data.part.length,
      indexCount: data.indexes,
      kind: sourceKind(column),
      scale: column.scale,
      shift: column.shift,
      stride: rowStride(column),
    }),
});

/** A unit's program: `segments` shards of `rows` rows each → regions `sums` and, in training, `gradient` and `statistics`. */
export function compileUnit(
  step: StepGraph,
  layout: FlatLayout,
  data: DataRegions,
  rows: number,
  segments: number,
  guard: Guard | undefined,
): CompiledProgram {
  const offsets = new Map(layout.entries.map((entry) => [entry.parameter, entry.offset]));
  const bufferOffsets = new Map(layout.buffers.map((entry) => [entry.buffer, entry.offset]));
  const bind = (node: InputNode): InputBinding => {
    const parameter = step.parameters.get(node);
    if (parameter) return { kind: 'memory', ...at('weights', offsets.get(parameter)!) };
    const buffer = step.buffers.get(node);
    if (buffer) return { kind: 'memory', ...at('buffers', bufferOffsets.get(buffer)!) };
    return fieldBinding(node.name, data.part.columns[node.name]!, data, rows);
  };
  let sums = 0;
  const sumOffsets = step.sums.map(({ shape }) => {
    sums += sizeOf(shape);
    return sums - sizeOf(shape);
  });
  const outputs = [
    ...step.gradients.map((node, i) => ({ node, place: at('gradient', layout.trained[i]!.offset) })),
    ...step.sums.map((node, i) => ({ node, place: at('sums', sumOffsets[i]) })),
    ...[...step.statistics].map(([buffer, node]) => ({
      node,
      place: at('statistics', bufferOffsets.get(buffer)!),
    })),
  ];
  const compiled = compile({
    segments,
    bind,
    outputs: outputs.map((output) => ({ ...output, reduce: 'tree' as const })),
    ...(guard && { guard }),
  });
  checkRegions(compiled.program, 'unit');
  return compiled;
}

/** A program that never travels, its regions checked. */
const ownProgram = (
  program: MemoryProgram,
  ...[body, options]: Parameters<MemoryProgram['compile']>
): Program => {
  const compiled = program.compile(body, options);
  checkRegions(compiled, 'own');
  return compiled;
};

const unitGradients = (program: MemoryProgram, parts: readonly ShardRange[], size: number): Tensor[] =>
  parts.map((_, unit) => program.input(at(`gradient ${unit}`), size));

/** Words from one journal, or one unit's sums, to the next: a cache line, as different threads write them. */
export const LINE_WORDS = 16;

const tickAt = (tickOffset: number): Place => ({ region: 'record', offset: tickOffset });

/** Journaled, and only while all units' losses are finite. */
const guarded = ({ tickOffset, parts, stride }: BatchUnits) => ({
  journal: { state: at('journal'), tick: tickAt(tickOffset) },
  guard: {
    kind: 'finite',
    halt: at('halt'),
    tick: tickAt(tickOffset),
    values: at('all sums'),
    count: parts.length,
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

/** Where an update takes the gradient from: the units', added by the tree and scaled there, or the region `total`. */
export type GradientSource = 'units' | 'total';

/** One group of an optimizer on a slice of `size` elements, in a run whose gradient has `blocks` blocks. */
export interface GroupSlice {
  readonly optimizer: Optimizer;
  readonly group: UpdateGroup;
  readonly size: number;
  readonly blocks: number;
}

/** Weights, slots and scalars of a slice: regions `weights`, `slot NAME`, `record`. */
function sliceInputs(program: MemoryProgram, { group, size }: GroupSlice) {
  const scalars = group.scalars.map((name, i) => {
    const word = RECORD_WORDS.scalars + group.firstScalar + i;
    return [name, program.input(at('record', word), 1)] as const;
  });
  const slots = group.slots.map((slot) => [slot, program.input(at(`slot ${slot}`), size)] as const);
  return {
    weight: program.input(at('weights'), size),
    slots: Object.fromEntries(slots),
    scalars: Object.fromEntries(scalars),
  };
}

/** Gives the mean gradient of a slice, its norm clipped. To be called while tracing. */
function sliceGradient(
  program: MemoryProgram,
  { optimizer, size, blocks }: GroupSlice,
  source: GradientSource,
  parts: readonly ShardRange[],
): () => Tensor {
  const total = source === 'total' ? program.input(at('total'), size) : undefined;
  const units = source === 'units' ? unitGradients(program, parts, size) : [];
  const scale = program.input(at('record', RECORD_WORDS.scale), 1);
  const { clipNorm } = optimizer;
  const squares = clipNorm === undefined ? undefined : program.input(at('squares'), blocks);
  return () => clippedGradient(total ?? mul(combineUnits(units, parts), scale), squares, clipNorm);
}

const slotOutputs = (slots: Readonly<Record<string, Tensor>>): (readonly [Tensor, Place])[] =>
  Object.entries(slots).map(([slot, value]) => [value, at(`slot ${slot}`)]);

/** An elementwise update of a slice: regions `weights` and `slot NAME`. */
export function compileUpdate(slice: GroupSlice, source: GradientSource, batch: BatchUnits): Program {
  const program = new MemoryProgram();
  const inputs = sliceInputs(program, slice);
  const gradient = sliceGradient(program, slice, source, batch.parts);
  return ownProgram(
    program,
    () => {
      const updated = slice.group.update({ ...inputs, gradient: gradient() });
      return [[updated.weight, at('weights')], ...slotOutputs(updated.slots)];
    },
    guarded(batch),
  );
}

/** The first pass of an update by layers: regions `measured` and some of `slot NAME`. */
export function compileMeasure(slice: GroupSlice, source: GradientSource, batch: BatchUnits): Program {
  const program = new MemoryProgram();
  const inputs = sliceInputs(program, slice);
  const gradient = sliceGradient(program, slice, source, batch.parts);
  return ownProgram(
    program,
    () => {
      const { measured, slots } = slice.group.layer!.measure({ ...inputs, gradient: gradient() });
      return [[measured, at('measured')], ...slotOutputs(slots)];
    },
    guarded(batch),
  );
}

/** The second pass, on a part of one parameter, which has `blocks` blocks: `weight squares` and `measured squares`. */
export function compileApply(slice: GroupSlice, batch: BatchUnits): Program {
  const program = new MemoryProgram();
  const inputs = sliceInputs(program, slice);
  const measured = program.input(at('measured'), slice.size);
  const weightSquares = program.input(at('weight squares'), slice.blocks);
  const measuredSquares = program.input(at('measured squares'), slice.blocks);
  return ownProgram(
    program,
    () => {
      const norms = { weightNorm: normOfBlocks(weightSquares), measuredNorm: normOfBlocks(measuredSquares) };
      const updated = slice.group.layer!.apply({ ...inputs, measured, ...norms });
      return [[updated.weight, at('weights')], ...slotOutputs(updated.slots)];
    },
    guarded(batch),
  );
}

/** Adds up the units' gradients of a slice into the region `total`: `first` replaces it, `next` adds to it (journaled). */
export function compileTotal(
  mode: 'first' | 'next',
  size: number,
  batch: BatchUnits,
  scaled: boolean,
): Program {
  const program = new MemoryProgram();
  const { parts } = batch;
  const units = unitGradients(program, parts, size);
  const before = mode === 'next' ? program.input(at('total'), size) : undefined;
  const scale = program.input(at('record', RECORD_WORDS.scale), 1);
  return ownProgram(
    program,
    () => {
      const sum = combineUnits(units, parts);
      const total = before ? add(before, sum) : sum;
      return [[scaled ? mul(total, scale) : total, at('total')]];
    },
    guarded(batch),
  );
}

/** Sums of squares of the blocks of the region `vector` → `vector squares`. */
export function compileNorm(size: number): Program {
  const program = new MemoryProgram();
  const vector = program.input(at('vector'), size);
  return ownProgram(program, () => [[normBlocks(vector), at('vector squares')]]);
}

/** Adds up the units' sums (loss and metrics) by the tree → region `result`. */
export function compileResult(values: number, parts: readonly ShardRange[]): Program {
  const program = new MemoryProgram();
  const units = parts.map((_, unit) => program.input(at(`sums ${unit}`), values));
  return ownProgram(program, () => [[combineUnits(units, parts), at('result')]]);
}

/**
 * Running statistics of one rule, a stretch of `size` elements: the units' statistics added by the tree, divided by the rows of
 * the batch, and merged into the region `buffers` (journaled).
 */
export function compileBuffers(rule: BufferRule, size: number, batch: BatchUnits): Program {
  const program = new MemoryProgram();
  const before = program.input(at('buffers'), size);
  const units = batch.parts.map((_, unit) => program.input(at(`statistics ${unit}`), size));
  const rows = program.input(at('record', RECORD_WORDS.rows), 1);
  return ownProgram(
    program,
    () => {
      const seen = div(combineUnits(units, batch.parts), rows);
      return [[mergeBuffer(before, seen, rule), at('buffers')]];
    },
    guarded(batch),
  );
}

/** Adds up the vectors of a unit's parts by the tree: regions `unit 0`, `unit 1` … → region `vector`, a slice of each. */
export function compileCombine(parts: readonly ShardRange[], { from, to }: Stretch): Program {
  const program = new MemoryProgram();
  const units = parts.map((_, unit) => program.input(at(`unit ${unit}`, from), to - from));
  return ownProgram(program, () => [[combineUnits(units, parts), at('vector', from)]]);
}
