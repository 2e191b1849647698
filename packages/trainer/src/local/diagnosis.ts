/** Finds out where a number left the range of f32: runs the step again, shard by shard and op by op. */
import { type Tensor, withObserver, withRandom } from '@lockstep/autograd';
import type { Sampler } from '@lockstep/data';
import { batchShards, firstRow, shardRows } from '@lockstep/sync';
import { TrainingError } from '../define/errors.ts';
import { scatter } from '../define/layout.ts';
import type { Prepared } from '../define/prepare.ts';
import type { BatchJob } from '../run/executor.ts';
import { shardStep } from '../step/trace.ts';
import { batchOf } from './eagerExecutor.ts';

const isFiniteTensor = (tensor: Tensor): boolean => tensor.data().every((x) => Number.isFinite(x));

/** The first op that made something infinite or NaN of finite numbers. */
class Culprit extends Error {
  readonly op: string;
  readonly what: string;

  constructor(op: string, output: Tensor) {
    const values = output.data();
    const at = values.findIndex((x) => !Number.isFinite(x));
    super(op);
    this.op = op;
    this.what = `${values[at]} at element ${at} of [${output.shape.join(', ')}]`;
  }
}

const WAY_OUT =
  'Lower the learning rate, clip the gradient (clipNorm), scale the data, or use a form that cannot overflow ' +
  '(crossEntropy or logSoftmax instead of log(softmax(x)))';

/** What to look for: a batch, and the optimizer step that it belongs to. */
type Suspect = Pick<BatchJob, 'step' | 'index' | 'epoch' | 'start' | 'rows'>;

/**
 * Throws a TrainingError that names step, op and shard. `weights`: as they were before the batch whose update was
 * refused.
 */
export function explainNonFinite<M, F extends string>(
  prepared: Prepared<M, F>,
  weights: Float32Array,
  sampler: Sampler,
  job: Suspect,
): never {
  const found = findNonFinite(prepared, weights, sampler, job);
  if (found) throw found;
  const { used } = batchShards(job.rows, prepared.definition.shards);
  throw new TrainingError(
    `step ${job.step} (epoch ${job.epoch + 1}): the sum over ${used} shards, or the optimizer's update, left the range of f32. ${WAY_OUT}`,
  );
}

/** Why a shard of a batch gives a number that is not finite; undefined: none of them does. */
export function findNonFinite<M, F extends string>(
  { definition, data, model, layout }: Prepared<M, F>,
  weights: Float32Array,
  sampler: Sampler,
  job: Suspect,
): TrainingError | undefined {
  scatter(layout, weights);
  const order = sampler.permutation(job.epoch);
  const shards = batchShards(job.rows, definition.shards);
  const { used } = shards;
  for (let shard = 0; shard < used; shard++) {
    const from = job.start + firstRow(shards, shard);
    const size = shardRows(shards, shard);
    const batch = batchOf(data, order.subarray(from, from + size));
    const watch = (label: string, inputs: readonly Tensor[], output: Tensor): void => {
      if (!isFiniteTensor(output) && inputs.every(isFiniteTensor)) throw new Culprit(label, output);
    };
    try {
      withRandom({ seed: definition.seed, step: job.index, shard }, () =>
        withObserver(watch, () => shardStep(definition, model, layout, batch, size, true)),
      );
    } catch (error) {
      if (!(error instanceof Culprit)) throw error;
      return new TrainingError(
        `step ${job.step} (epoch ${job.epoch + 1}): ${error.op} gave ${error.what}, in shard ${shard} of ${used}, from finite ` +
          `numbers. ${WAY_OUT}`,
      );
    }
  }
  return undefined;
}
