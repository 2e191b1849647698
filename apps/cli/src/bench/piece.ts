/** One piece of a measurement: training for some seconds, its time split into parts. */
import type { KernelVariant } from '@lockstep/kernels';
import { type Prepared, type ProfiledBatch, SplitTotals } from '@lockstep/trainer';
import { type TrainingDefinition, train } from 'lockstep';
import { ConfigFileError } from '../failure.ts';

/** Part of a piece that is not counted: code gets compiled, caches get warm. */
const WARM_UP = 0.25;
const LEAST_BATCHES = 3;

export interface PieceOptions {
  readonly workers: number;
  readonly kernels: KernelVariant;
  /** Its warm-up included. */
  readonly seconds: number;
  readonly execution?: 'coalesced' | 'separate';
}

/** Training without end, on full batches, with nothing in between; batch and shards multiplied. Throws ConfigFileError. */
export function endless<M, F extends string>(
  { definition, data }: Prepared<M, F>,
  times: number,
): TrainingDefinition<M, F> {
  const { epochs: _, earlyStopping: __, ...rest } = definition;
  const [batch, shards] = [definition.batch * times, definition.shards * times];
  if (!Number.isInteger(batch) || !Number.isInteger(shards) || batch > data.length) {
    throw new ConfigFileError(
      `bench: ${times} times the batch of ${definition.batch} rows in ${definition.shards} shards, for more workers, does ` +
        `not go with ${data.length} rows of data; use --strong, other --workers or a smaller --batch`,
    );
  }
  const { validation: ___, ...training } = data;
  return {
    ...rest,
    batch,
    shards,
    steps: Number.MAX_SAFE_INTEGER,
    validation: 0,
    dropLast: true,
    data: () => training,
  };
}

/** Trains for so long; `onBatch` gets what is counted. Throws what training throws, and the reason of an aborted signal. */
export async function trainFor<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  { seconds, ...options }: PieceOptions,
  signal: AbortSignal,
  onBatch: (batch: ProfiledBatch) => void,
): Promise<SplitTotals> {
  signal.throwIfAborted();
  const enough = new AbortController();
  const totals = new SplitTotals();
  let seen = 0;
  let began = 0;
  const take = (batch: ProfiledBatch): void => {
    if (enough.signal.aborted) return;
    if (seen++ === 0) began = batch.moments[0]![0]!;
    const elapsed = (batch.moments[0]!.at(-1)! - began) / 1000;
    if (elapsed < WARM_UP * seconds || seen <= LEAST_BATCHES) return;
    totals.add(batch);
    onBatch(batch);
    if (elapsed >= seconds && totals.batches >= LEAST_BATCHES) enough.abort();
  };
  await train(definition, {
    ...options,
    profile: { depth: 'parts', onBatch: take },
    signal: AbortSignal.any([signal, enough.signal]),
  });
  signal.throwIfAborted();
  return totals;
}
