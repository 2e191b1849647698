/** evaluate(): loss and metrics of trained weights on the validation part. */
import { ConfigError, parametersOf, type StateEntry } from '@lockstep/nn';
import type { TrainingDefinition } from './define/definition.ts';
import { weightsDigest } from './define/digest.ts';
import { prepare } from './define/prepare.ts';
import { readWeights } from './files/weights.ts';
import { resolveKernels, resolveWorkers } from './local/threads.ts';
import { type Metrics, readSums, type Tables } from './step/metrics.ts';
import { startExecutor, type TrainOptions } from './train.ts';

export interface EvaluateOptions extends Pick<TrainOptions, 'workers' | 'kernels' | 'execution' | 'dataDir'> {
  /** Weights by name, or the path of a safetensors file with them. */
  readonly weights: ReadonlyMap<string, StateEntry> | string;
}

export interface EvaluateResult {
  readonly name: string;
  readonly data: string;
  /** Means over the rows of the validation part. */
  readonly loss: number;
  readonly metrics: Metrics;
  /** Of metrics that have one, such as a confusion matrix. */
  readonly tables?: Tables;
  readonly rows: number;
  readonly weightsDigest: string;
  readonly workers: number;
  readonly kernels: string;
  readonly seconds: number;
}

/**
 * Measures weights on the validation part of the definition's data, as `train` does after an epoch: same bits, whatever
 * the workers and kernels. Throws ConfigError, DataError or OpError where weights, model and data do not fit.
 */
export async function evaluate<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: EvaluateOptions,
): Promise<EvaluateResult> {
  const began = performance.now();
  resolveWorkers(options.workers);
  resolveKernels(options.kernels);
  const { weights, dataDir } = options;
  const initialWeights = typeof weights === 'string' ? readWeights(weights) : weights;
  const prepared = await prepare(definition, { initialWeights, dataDir });
  const { name, metrics } = prepared.definition;
  const rows = prepared.data.validation?.length;
  if (rows === undefined) {
    throw new ConfigError(
      'evaluate',
      `the data set ${prepared.data.name} has no validation part; set validation to a fraction of the rows`,
    );
  }
  const executor = await startExecutor(prepared, options);
  try {
    const found = readSums(metrics, await executor.validate(), rows);
    return {
      name,
      data: prepared.data.name,
      loss: found.loss,
      metrics: found.metrics,
      ...(found.tables && { tables: found.tables }),
      rows,
      weightsDigest: weightsDigest(parametersOf(prepared.model)),
      workers: executor.workers,
      kernels: executor.kernels,
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    await executor.close();
  }
}
