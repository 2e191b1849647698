/** Trained models at work: the forward pass alone, compiled, on all workers. */
import { Tensor, withRandom } from '@lockstep/autograd';
import { type ArrayLike, arrays, type Dataset } from '@lockstep/data';
import { ConfigError, loadState, namedBuffers, namedParameters, type StateEntry } from '@lockstep/nn';
import { resolveDefinition, type TrainingDefinition } from '../define/definition.ts';
import { flatLayout } from '../define/layout.ts';
import { INITIAL_WEIGHTS } from '../define/prepare.ts';
import { readWeights } from '../files/weights.ts';
import { resolveKernels, resolveWorkers, type ThreadOptions } from '../local/threads.ts';
import { ForwardEngine, type ForwardOptions, type Output } from './forward.ts';

export interface LoadOptions extends ThreadOptions {
  /** Weights by name, or the path of a safetensors file with them. */
  readonly weights: ReadonlyMap<string, StateEntry> | string;
  /** Rows that a worker takes at once, at least 1. Changes memory and speed alone. Default 256. */
  readonly rows?: number;
}

/** The model's output, one row per row of the input. */
export interface Prediction extends Output {
  readonly workers: number;
  readonly kernels: string;
  readonly seconds: number;
}

/**
 * What to predict from: a data set, or a batch: arrays or tensors by the names of its columns, as the model sees them. Targets
 * may be left out.
 */
export type Rows<F extends string> = Dataset | { readonly [K in F]?: ArrayLike | Tensor };

/** A trained model with threads of its own, which stay until `close`. */
export interface LoadedModel<F extends string> extends AsyncDisposable {
  /**
   * The model's output (or what `definition.predict` makes of it) for all rows; dropout is off, and batch norm takes its
   * running statistics. Each row is computed for itself; random numbers are keyed by the definition's seed and the row's place
   * among those of this call. Throws ConfigError, DataError or OpError where the rows do not
   * fit the model.
   */
  predict(rows: Rows<F>): Promise<Prediction>;
  close(): Promise<void>;
}

/** Makes the model of a definition with trained weights ready to predict. Throws ConfigError or DataError. */
export async function loadModel<M, F extends string>(
  given: TrainingDefinition<M, F>,
  { weights, rows = 256, ...options }: LoadOptions,
): Promise<LoadedModel<F>> {
  const workers = resolveWorkers(options.workers);
  const kernels = resolveKernels(options.kernels);
  if (!Number.isInteger(rows) || rows < 1) {
    throw new ConfigError('predict', `got rows = ${rows}, expected an integer of at least 1`);
  }
  const definition = resolveDefinition(given);
  const model = withRandom({ seed: definition.seed, shard: INITIAL_WEIGHTS }, definition.model);
  loadState(model, typeof weights === 'string' ? readWeights(weights) : weights);
  const layout = flatLayout(namedParameters(model), definition.optimizer, namedBuffers(model));
  return new Predictor({ ...definition, model, layout, workers, kernels }, rows);
}

export interface PredictOptions<F extends string = string> extends LoadOptions {
  /** What to predict from. */
  readonly data: Rows<F>;
}

/** `loadModel`, one `predict`, and `close`. */
export async function predict<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  { data, ...options }: PredictOptions<F>,
): Promise<Prediction> {
  const model = await loadModel(definition, options);
  try {
    return await model.predict(data);
  } finally {
    await model.close();
  }
}

const isDataset = (rows: Rows<string>): rows is Dataset => 'columns' in rows && 'length' in rows;

/** Throws ConfigError or DataError on what are no rows. */
function datasetOf(rows: Rows<string>): Dataset {
  if (typeof rows !== 'object' || rows === null || Array.isArray(rows) || rows instanceof Tensor) {
    throw new ConfigError(
      'predict',
      'got no columns, expected a data set, or arrays by the names of its columns: { x: [[1, 2], [3, 4]] }',
    );
  }
  if (isDataset(rows)) return rows;
  const columns = Object.entries(rows).map(([name, value]): [string, ArrayLike] => [
    name,
    value instanceof Tensor ? { data: value.data(), shape: value.shape } : (value as ArrayLike),
  ]);
  return arrays(Object.fromEntries(columns));
}

class Predictor<M, F extends string> implements LoadedModel<F> {
  readonly #options: ForwardOptions<M, F>;
  readonly #most: number;
  #engine: ForwardEngine | undefined;
  /** Calls wait for each other. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: ForwardOptions<M, F>, most: number) {
    this.#options = options;
    this.#most = most;
  }

  predict(rows: Rows<F>): Promise<Prediction> {
    const began = performance.now();
    const run = async (): Promise<Prediction> => {
      if (this.#closed) throw new ConfigError('predict', 'the model was closed; load it again');
      const data = datasetOf(rows);
      const engine = await this.#engineFor(data);
      const output = await engine.run(data);
      const { workers, kernels } = this.#options;
      return { ...output, workers, kernels, seconds: (performance.now() - began) / 1000 };
    };
    const result = this.#last.then(run);
    this.#last = result.catch(() => {});
    return result;
  }

  /** The engine that is there, unless the rows are of another kind or many more than it takes at once. */
  async #engineFor(data: Dataset): Promise<ForwardEngine> {
    const share = 2 ** Math.ceil(Math.log2(data.length / this.#options.workers));
    const wanted = Math.max(1, Math.min(this.#most, share));
    if (this.#engine?.takes(data) && this.#engine.rows >= wanted) return this.#engine;
    await this.#engine?.close();
    this.#engine = undefined;
    this.#engine = await ForwardEngine.start(this.#options, data, wanted);
    return this.#engine;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
    await this.#engine?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
