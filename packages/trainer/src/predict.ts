/** predict(): the forward pass alone, of all rows of a data set, on all workers. */
import {
  formatShape,
  formatSpec,
  type InputNode,
  sizeOf,
  Trace,
  withSeed,
  withTrace,
  withTraining,
} from '@lockstep/autograd';
import { compile, type InputBinding } from '@lockstep/compiler';
import type { Column, Dataset } from '@lockstep/data';
import { ELEMENT_BYTES } from '@lockstep/kernels';
import { ConfigError, loadState, namedBuffers, namedParameters, type StateEntry } from '@lockstep/nn';
import { type PoolTask, RECORD, SharedHeap, WorkerPool } from '@lockstep/workers';
import { checkIndexes } from './checkIndexes.ts';
import { type Batch, resolveDefinition, type TrainingDefinition } from './definition.ts';
import { readWeights } from './evaluate.ts';
import { flatLayout, gather, gatherBuffers } from './flat.ts';
import { INITIAL_WEIGHTS, type Prepared } from './prepare.ts';
import { fieldBinding, RECORD_WORDS } from './programs.ts';
import { resolveKernels, resolveWorkers, type TrainOptions } from './train.ts';

export interface PredictOptions extends Pick<TrainOptions, 'workers' | 'kernels'> {
  /** Weights by name, or the path of a safetensors file with them. */
  readonly weights: ReadonlyMap<string, StateEntry> | string;
  /** What to predict from: the columns that the forward pass asks for; targets may be left out. */
  readonly data: Dataset;
  /** Rows that run as one, at least 1. Changes memory and speed alone. Default 256. */
  readonly rows?: number;
}

/** One row per row of the data. */
export interface Prediction {
  /** [rows, ...] */
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
  readonly workers: number;
  readonly kernels: string;
  readonly seconds: number;
}

/**
 * The model's output (or what `definition.predict` makes of it) for all rows, compiled forward only; dropout is off and
 * batch norm takes its running statistics. Throws ConfigError, DataError or OpError where weights, model and data do not fit.
 */
export async function predict<M, F extends string>(
  given: TrainingDefinition<M, F>,
  options: PredictOptions,
): Promise<Prediction> {
  const began = performance.now();
  const workers = resolveWorkers(options.workers);
  const kernels = resolveKernels(options.kernels);
  const { data, rows = 256 } = options;
  if (!Number.isInteger(rows) || rows < 1) {
    throw new ConfigError('predict', `got rows = ${rows}, expected an integer of at least 1`);
  }
  const definition = resolveDefinition(given);
  const model = withSeed(definition.seed, definition.model, 0, INITIAL_WEIGHTS);
  loadState(model, typeof options.weights === 'string' ? readWeights(options.weights) : options.weights);
  const layout = flatLayout(namedParameters(model), definition.optimizer, namedBuffers(model));
  const heap = new SharedHeap();
  const common = placeInputs(heap, { layout, data });

  const first = compilePiece({ ...definition, model, layout, data, rows: Math.min(rows, data.length) });
  const rest = data.length % rows;
  const last =
    data.length > rows && rest > 0 ? compilePiece({ ...definition, model, layout, data, rows: rest }) : first;
  const rowShape = first.output.shape.slice(1);
  const output = heap.allocate(data.length * sizeOf(rowShape) * ELEMENT_BYTES);
  const own = Array.from({ length: workers }, () => ({
    arena: heap.allocate(Math.max(first.bytes('arena'), last.bytes('arena'))),
    scratch: heap.allocate(Math.max(first.bytes('scratch'), last.bytes('scratch'))),
  }));
  const constants = [first, last].map((piece) => {
    const address = heap.allocate(piece.constants.byteLength);
    heap.u8(address, piece.constants.byteLength).set(piece.constants);
    return address;
  });
  const task = (start: number, worker: number): PoolTask => {
    const which = start + rows > data.length ? 1 : 0;
    const unit = heap.allocate(2 * ELEMENT_BYTES);
    heap.u32(unit, 2).set([0, start]);
    const addresses: Record<string, number> = {
      ...common,
      ...own[worker],
      record: RECORD,
      unit,
      constants: constants[which]!,
      prediction: output + start * sizeOf(rowShape) * ELEMENT_BYTES,
    };
    const { regions } = [first, last][which]!.program;
    return { program: which, bases: regions.map(({ name }) => addresses[name] ?? unit) };
  };
  const plans = Array.from({ length: Math.ceil(data.length / (rows * workers)) }, (_, i) => ({
    name: `predict ${i}`,
    phases: [
      Array.from({ length: workers }, (_, worker) => {
        const start = (i * workers + worker) * rows;
        return start < data.length ? [task(start, worker)] : [];
      }),
    ],
  }));
  const programs = [first, last].map(({ program }, i) => ({
    name: i === 0 ? 'forward' : 'forward, the rest',
    program,
  }));
  const pool = new WorkerPool({
    heap,
    workers,
    kernels,
    programs,
    plans,
    recordWords: RECORD_WORDS.scalars,
    resultWords: 1,
  });
  try {
    await pool.start();
    for (let i = 0; i < plans.length; i++) {
      const tick = pool.submit(i, ({ u32 }) => {
        u32.fill(0);
      });
      if (i % 32 === 31 || i === plans.length - 1) await pool.wait(tick);
    }
    const size = data.length * sizeOf(rowShape);
    const values = first.output.dtype === 'f32' ? heap.f32(output, size) : heap.i32(output, size);
    return {
      shape: [data.length, ...rowShape],
      data: values.slice(),
      workers,
      kernels,
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    await pool.close();
  }
}

type Layout = Prepared<unknown, string>['layout'];

/** Columns, weights and buffers in memory, by region. */
function placeInputs(
  heap: SharedHeap,
  { layout, data }: { layout: Layout; data: Dataset },
): Record<string, number> {
  const place = (values: ArrayBufferView): number => {
    const address = heap.allocate(values.byteLength);
    heap
      .u8(address, values.byteLength)
      .set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return address;
  };
  const columns = Object.entries<Column>(data.columns).map(([name, column]) => [
    `data ${name}`,
    place(column.data),
  ]);
  return {
    ...(Object.fromEntries(columns) as Record<string, number>),
    index: place(Int32Array.from({ length: data.length }, (_, row) => row)),
    weights: place(gather(layout)),
    buffers: place(gatherBuffers(layout)),
  };
}

interface PieceOptions<M, F extends string> extends Pick<TrainingDefinition<M, F>, 'predict'> {
  readonly layout: Layout;
  readonly data: Dataset;
  readonly rows: number;
}

/** The forward pass of so many rows. */
function compilePiece<M, F extends string>(options: PieceOptions<M, F> & { readonly model: unknown }) {
  const { layout, data, rows, predict: forward } = options;
  const model = options.model as M;
  const trace = new Trace();
  const names = Object.keys(data.columns);
  const fields = names.map((name) => {
    const column = data.columns[name]!;
    return [name, trace.input('field', name, { shape: [rows, ...column.shape], dtype: column.as })] as const;
  });
  const batch = Object.fromEntries(fields) as Batch<F>;
  const output = withTrace(trace, () =>
    withTraining(false, () => {
      if (forward) return forward(model, batch);
      if (typeof model === 'function') return model(fields[0]![1]);
      throw new ConfigError('predict', 'the model is no function; say what to compute in definition.predict');
    }),
  );
  if (output?.shape?.[0] !== rows) {
    const got = output?.shape ? formatSpec(output) : String(output);
    throw new ConfigError(
      'predict',
      `the forward pass gave ${got} for ${rows} rows of ${names.map((name) => `${name} ${formatShape(data.columns[name]!.shape)}`).join(', ')}; ` +
        'expected one row for each; say what to compute in definition.predict',
    );
  }
  const places = new Map<unknown, { region: string; element: number }>([
    ...layout.entries.map(
      ({ parameter, offset }) =>
        [trace.parameters.get(parameter), { region: 'weights', element: offset }] as const,
    ),
    ...layout.buffers.map(
      ({ buffer, offset }) => [trace.buffers.get(buffer), { region: 'buffers', element: offset }] as const,
    ),
  ]);
  const bind = (node: InputNode): InputBinding => {
    const found = places.get(node);
    if (found) return { kind: 'memory', region: found.region, offset: found.element * ELEMENT_BYTES };
    const column = data.columns[node.name];
    if (node.input === 'field' && column) {
      return fieldBinding(node.name, column, { part: data, indexes: data.length }, rows);
    }
    throw new ConfigError('predict', `the forward pass uses ${node.label}, which is no part of the model`);
  };
  const compiled = compile({
    segments: 1,
    bind,
    outputs: [{ node: trace.nodeOf(output), place: { region: 'prediction', offset: 0 }, reduce: 'none' }],
  });
  checkIndexes(compiled.indexLimits, data);
  const bytes = (region: string): number =>
    compiled.program.regions.find(({ name }) => name === region)?.bytes ?? 0;
  return { ...compiled, output, bytes };
}
