/** The forward pass alone: compiled for so many rows, and run by a pool on rows that pass through. */
import {
  formatShape,
  formatSpec,
  type InputNode,
  type Samples,
  seedWords,
  sizeOf,
  type Tensor,
  Trace,
  withTrace,
  withTraining,
} from '@lockstep/autograd';
import { type CompiledProgram, compile, type InputBinding } from '@lockstep/compiler';
import { type Column, type Dataset, rowSize, rowStride } from '@lockstep/data';
import { ELEMENT_BYTES, type KernelVariant } from '@lockstep/kernels';
import { ConfigError } from '@lockstep/nn';
import { type Plan, RECORD, SharedHeap, WorkerPool } from '@lockstep/workers';
import type { Batch, TrainingDefinition } from '../define/definition.ts';
import { type FlatLayout, gather, gatherBuffers } from '../define/layout.ts';
import { checkIndexes } from '../step/checkIndexes.ts';
import { fieldBinding, RECORD_WORDS } from '../step/programs.ts';
import { checkRegions } from '../step/regions.ts';
import { FIRST_STREAM, randomShapes, samplesOf } from '../step/streams.ts';
import { fieldsOf } from '../step/trace.ts';

/** Who computes, with which weights and random numbers. */
interface Machine {
  readonly seed: number;
  readonly layout: FlatLayout;
  readonly workers: number;
  readonly kernels: KernelVariant;
}

export interface ForwardOptions<M, F extends string>
  extends Machine,
    Pick<TrainingDefinition<M, F>, 'predict'> {
  readonly model: M;
}

/** What the model makes of rows: [rows, ...]. */
export interface Output {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** Rows are filled in for one slot while the workers compute the other one. */
const SLOTS = 2;

const UNIT_WORDS = 4;

/** What a program depends on of a data set. */
const faceOf = (columns: Dataset['columns']): string =>
  JSON.stringify(
    Object.entries<Column>(columns).map(([name, { dtype, shape, as, scale, shift, stride }]) => [
      ...[name, dtype, shape, as, scale, shift, stride],
    ]),
  );

/** Threads that run the forward pass on `rows` rows each at a time. */
export class ForwardEngine {
  readonly rows: number;
  readonly #face: string;
  readonly #workers: number;
  readonly #seed: readonly [number, number];
  readonly #heap = new SharedHeap();
  readonly #program: ForwardProgram;
  /** Addresses of the columns and of the output, by slot. */
  readonly #slots: readonly Readonly<Record<string, number>>[];
  readonly #pool: WorkerPool;

  /** `data`: its columns are what the engine takes. Throws ConfigError or OpError where they do not fit the model. */
  static async start<M, F extends string>(
    options: ForwardOptions<M, F>,
    { columns }: Dataset,
    rows: number,
  ): Promise<ForwardEngine> {
    const program = compileForward(options, columns, rows, rows * options.workers);
    const engine = new ForwardEngine(program, options, columns, rows);
    await engine.#pool.start();
    return engine;
  }

  private constructor(
    forward: ForwardProgram,
    { workers, kernels, layout, seed }: Machine,
    columns: Dataset['columns'],
    rows: number,
  ) {
    this.rows = rows;
    this.#workers = workers;
    this.#seed = seedWords(seed);
    this.#face = faceOf(columns);
    this.#program = forward;
    const heap = this.#heap;
    const { program, constants } = forward;
    const place = (values: Float32Array | Int32Array | Uint8Array): number => {
      const address = heap.allocate(values.byteLength);
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      heap.u8(address, values.byteLength).set(bytes);
      return address;
    };
    const common = {
      record: RECORD,
      weights: place(gather(layout)),
      buffers: place(gatherBuffers(layout)),
      constants: place(constants),
      index: place(Int32Array.from({ length: rows * workers }, (_, row) => row)),
    };
    const bytesOf = (region: string): number =>
      program.regions.find(({ name }) => name === region)?.bytes ?? 0;
    const own = Array.from({ length: workers }, () => ({
      arena: heap.allocate(bytesOf('arena')),
      scratch: heap.allocate(bytesOf('scratch')),
    }));
    this.#slots = Array.from({ length: SLOTS }, () => ({
      // For each worker: the row that it begins with, among all and within the slot; zeros for what belongs to no row.
      units: heap.allocate(workers * UNIT_WORDS * ELEMENT_BYTES),
      ...Object.fromEntries(
        Object.entries<Column>(columns).map(([name, column]) => {
          const values = (rows * workers - 1) * rowStride(column) + rowSize(column.shape);
          return [`data ${name}`, heap.allocate(values * column.data.BYTES_PER_ELEMENT)];
        }),
      ),
      prediction: heap.allocate(rows * workers * this.#rowBytes),
    }));
    const task = (slot: number, worker: number) => {
      const { prediction, units, ...data } = this.#slots[slot]!;
      const addresses: Readonly<Record<string, number>> = {
        ...{ ...common, ...data, ...own[worker] },
        unit: units! + worker * UNIT_WORDS * ELEMENT_BYTES,
        prediction: prediction! + worker * rows * this.#rowBytes,
      };
      return { program: 0, bases: program.regions.map(({ name }) => addresses[name] ?? common.weights) };
    };
    // By slot, and by how many workers have rows.
    const plans: Plan[] = this.#slots.flatMap((_, slot) =>
      own.map((_, last) => ({
        name: `predict, slot ${slot}, ${last + 1} workers`,
        phases: [own.map((_, worker) => (worker <= last ? [task(slot, worker)] : []))],
      })),
    );
    this.#pool = new WorkerPool({
      ...{ heap, workers, kernels, plans },
      programs: [{ name: 'forward', program }],
      recordWords: RECORD_WORDS.scalars,
      resultWords: 1,
    });
  }

  get #rowBytes(): number {
    return sizeOf(this.#program.shape.slice(1)) * ELEMENT_BYTES;
  }

  /** Whether it takes rows of these columns. */
  takes({ columns }: Dataset): boolean {
    return faceOf(columns) === this.#face;
  }

  /** The model's output for each row. Throws ConfigError on indexes out of range. */
  async run(data: Dataset): Promise<Output> {
    const { shape, dtype, indexLimits } = this.#program;
    checkIndexes(indexLimits, data);
    const rowShape = shape.slice(1);
    const width = sizeOf(rowShape);
    const output =
      dtype === 'f32' ? new Float32Array(data.length * width) : new Int32Array(data.length * width);
    const piece = this.rows * this.#workers;
    const underWay: { tick: number; start: number; slot: number }[] = [];
    const collect = async (): Promise<void> => {
      const { tick, start, slot } = underWay.shift()!;
      await this.#pool.wait(tick);
      const count = Math.min(piece, data.length - start) * width;
      const address = this.#slots[slot]!.prediction!;
      output.set(
        dtype === 'f32' ? this.#heap.f32(address, count) : this.#heap.i32(address, count),
        start * width,
      );
    };
    for (let start = 0; start < data.length; start += piece) {
      if (underWay.length === SLOTS) await collect();
      const slot = (start / piece) % SLOTS;
      const end = Math.min(start + piece, data.length);
      this.#fill(slot, data, start, end);
      const busy = Math.ceil((end - start) / this.rows);
      const tick = this.#pool.submit(slot * this.#workers + busy - 1, ({ u32 }) => {
        [u32[RECORD_WORDS.seedLow], u32[RECORD_WORDS.seedHigh]] = this.#seed;
        u32[RECORD_WORDS.index] = 0;
        u32[RECORD_WORDS.start] = 0;
      });
      underWay.push({ tick, start, slot });
    }
    while (underWay.length > 0) await collect();
    return { shape: [data.length, ...rowShape], data: output };
  }

  /** Puts rows into a slot. What is left there of earlier ones behind them is computed, too, and thrown away. */
  #fill(slot: number, { columns }: Dataset, start: number, end: number): void {
    for (const [name, column] of Object.entries<Column>(columns)) {
      const stride = rowStride(column);
      const part = column.data.subarray(start * stride, (end - 1) * stride + rowSize(column.shape));
      const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
      this.#heap.u8(this.#slots[slot]![`data ${name}`]!, bytes.length).set(bytes);
    }
    const units = this.#heap.u32(this.#slots[slot]!.units!, this.#workers * UNIT_WORDS);
    for (let worker = 0; worker < this.#workers; worker++) {
      units.set([start + worker * this.rows, worker * this.rows, 0, 0], worker * UNIT_WORDS);
    }
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

interface ForwardProgram extends CompiledProgram {
  /** Of the output: [rows, ...]. */
  readonly shape: readonly number[];
  readonly dtype: string;
}

interface ForwardTrace {
  readonly trace: Trace;
  readonly output: Tensor;
}

/** The forward pass of `rows` rows as a graph. See Note [Random numbers] for the second and the third trace. */
function traceForward<M, F extends string>(
  options: ForwardOptions<M, F>,
  columns: Dataset['columns'],
  rows: number,
): ForwardTrace {
  const found = traceRows(options, columns, rows, new Map());
  const shapes = randomShapes(found.trace);
  if (shapes.size === 0) return found;
  const oneMore = randomShapes(traceRows(options, columns, rows + 1, new Map()).trace);
  return traceRows(options, columns, rows, samplesOf(shapes, oneMore, rows));
}

function traceRows<M, F extends string>(
  { model, predict }: ForwardOptions<M, F>,
  columns: Dataset['columns'],
  rows: number,
  samples: ReadonlyMap<number, Samples>,
): ForwardTrace {
  const trace = new Trace();
  trace.nextStream = FIRST_STREAM.prediction;
  for (const [stream, value] of samples) trace.samples.set(stream, value);
  const fields = Object.entries<Column>(columns).map(([name, { shape, as }]) => {
    return [name, trace.input('field', name, { shape: [rows, ...shape], dtype: as })] as const;
  });
  const batch = fieldsOf(Object.fromEntries(fields) as Batch<F>);
  const output = withTrace(trace, () =>
    withTraining(false, () => {
      if (predict) return predict(model, batch);
      if (typeof model === 'function') return model(fields[0]![1]);
      throw new ConfigError(
        'predict',
        'the model is not a function; say what to compute in definition.predict',
      );
    }),
  );
  if (output?.shape?.[0] !== rows) {
    const got = output?.shape ? formatSpec(output) : String(output);
    const given = fields.map(([name]) => `${name} ${formatShape(columns[name]!.shape)}`).join(', ');
    throw new ConfigError(
      'predict',
      `the forward pass gave ${got} for ${rows} rows of ${given}; expected one row for each; say what to compute in ` +
        'definition.predict',
    );
  }
  return { trace, output };
}

/** The forward pass of `rows` rows out of `dataRows` that lie in memory. */
function compileForward<M, F extends string>(
  options: ForwardOptions<M, F>,
  columns: Dataset['columns'],
  rows: number,
  dataRows: number,
): ForwardProgram {
  const { layout } = options;
  const { trace, output } = traceForward(options, columns, rows);
  const places = new Map<unknown, { region: string; element: number }>([
    ...layout.entries.map(
      ({ parameter, offset }) =>
        [trace.parameters.get(parameter), { region: 'weights', element: offset }] as const,
    ),
    ...layout.buffers.map(
      ({ buffer, offset }) => [trace.buffers.get(buffer), { region: 'buffers', element: offset }] as const,
    ),
  ]);
  const part: Dataset = { name: 'rows', length: dataRows, columns };
  const bind = (node: InputNode): InputBinding => {
    const found = places.get(node);
    if (found) return { kind: 'memory', region: found.region, offset: found.element * ELEMENT_BYTES };
    const column = columns[node.name];
    if (node.input === 'field' && column) {
      return fieldBinding(node.name, column, { part, indexes: dataRows }, rows);
    }
    throw new ConfigError('predict', `the forward pass uses ${node.label}, which isn't part of the model`);
  };
  const compiled = compile({
    segments: 1,
    bind,
    outputs: [{ node: trace.nodeOf(output), place: { region: 'prediction', offset: 0 }, reduce: 'none' }],
  });
  checkRegions(compiled.program, 'unit');
  return { ...compiled, shape: output.shape, dtype: output.dtype };
}
