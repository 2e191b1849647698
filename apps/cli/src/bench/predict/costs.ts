/** Measures what a step costs here: training on one worker, whole and in parts, in rounds that take turns. */
import type { KernelVariant } from '@lockstep/kernels';
import { encodeHeader, FrameDecoder, MAX_CHUNK_BYTES } from '@lockstep/protocol';
import type { Prepared, ProfiledBatch, Split, SplitTotals } from '@lockstep/trainer';
import { cores } from '@lockstep/workers';
import type { TrainingDefinition } from 'lockstep';
import { PeakMeter } from '../peaks.ts';
import { endless, trainFor } from '../piece.ts';
import { type Measured, measured } from '../statistics.ts';
import type { Costs } from './model.ts';
import { threadCosts } from './threads.ts';

export interface CostsPlan {
  readonly kernels: KernelVariant;
  /** An odd number, and seconds for each piece of a round. */
  readonly rounds: number;
  readonly seconds: number;
  /** Numbers of workers to measure whole steps with, beside the costs: what predictions are checked against. */
  readonly check: readonly number[];
}

export interface MeasuredStep {
  readonly workers: number;
  readonly stepMilliseconds: Measured;
}

export interface MeasuredCosts {
  /** Medians of the rounds. */
  readonly costs: Costs;
  readonly byRound: readonly Costs[];
  readonly checks: readonly MeasuredStep[];
}

/** Means of equally many values. */
const JITTER_POINTS = 256;
/** For the peak and for the codec (ms). */
const PATIENCE = 120;

interface Case<M, F extends string> {
  readonly definition: TrainingDefinition<M, F>;
  readonly workers: number;
  readonly execution: 'coalesced' | 'separate';
  readonly onBatch: (batch: ProfiledBatch) => void;
  readonly pieces: SplitTotals[];
}

/** Throws what training throws, ConfigFileError for what cannot be measured, and the reason of an aborted signal. */
export async function measureCosts<M, F extends string>(
  prepared: Prepared<M, F>,
  plan: CostsPlan,
  signal: AbortSignal,
  onPiece: (round: number) => void,
): Promise<MeasuredCosts> {
  const whole = endless(prepared, 1);
  const { batch, shards = 1 } = whole;
  const computeTimes: number[] = [];
  const make = (part: Partial<Case<M, F>>): Case<M, F> => ({
    ...{ definition: whole, workers: 1, execution: 'coalesced', onBatch: () => {}, ...part },
    pieces: [],
  });
  const [first, ...smaller] = unitSizes(shards).map((count) =>
    make({
      definition: { ...whole, batch: Math.ceil(batch / shards) * count, shards: count },
      ...(count === shards && {
        definition: whole,
        onBatch: (each) => computeTimes.push(computeTime(each)),
      }),
    }),
  );
  const separate = make({ execution: 'separate' });
  const checked = plan.check.map((workers) => make({ workers }));
  const cases = [first!, ...smaller, ...(shards > 1 ? [separate] : []), ...checked];
  const most = cores();
  const parameters = prepared.layout.entries.reduce((total, { size }) => total + size, 0);
  const meters = [await PeakMeter.start(1, plan.kernels), await PeakMeter.start(most, plan.kernels)];
  const peaks: number[][] = [[], []];
  try {
    for (let round = 0; round < plan.rounds; round++) {
      onPiece(round);
      // There and back: none is always the first after a pause.
      for (const { definition, workers, execution, onBatch, pieces } of round % 2
        ? cases.toReversed()
        : cases) {
        const options = { workers, execution, kernels: plan.kernels, seconds: plan.seconds };
        pieces.push(await trainFor(definition, options, signal, onBatch));
      }
      for (const [i, meter] of meters.entries()) peaks[i]!.push(await meter.measure(PATIENCE));
    }
  } finally {
    await Promise.all(meters.map((meter) => meter.close()));
  }
  const threads = { workers: most, ...(await threadCosts(most, plan.kernels, parameters)) };
  // What else runs can only slow a peak down.
  const [alone, together] = peaks.map((rounds) => Math.max(...rounds));
  const busy = Math.max(1, (most * alone!) / together!);
  const common = {
    parameters,
    batch,
    shards,
    threads,
    busy,
    jitter: jitterOf(computeTimes),
    ...codecSpeed(),
  };
  const costsFrom = (pick: (rounds: readonly number[]) => number): Costs => {
    const part = ({ pieces }: Case<M, F>, of: (split: Split) => number): number =>
      pick(pieces.map(({ split }) => of(split[0]!)));
    const update = part(first!, (split) => split.update);
    const separated = shards > 1 ? part(separate, (split) => split.update) : update;
    const sum = Math.min(update, Math.max(0, separated - update) / Math.max(1, shards - 1));
    const units = [first!, ...smaller].map((each) => ({
      shards: each.definition.shards ?? 1,
      time: part(each, ({ data, forward, backward }) => data + forward + backward),
    }));
    return {
      ...common,
      ...{ units: units.reverse(), sum, apply: update - sum },
      rest: part(first!, ({ wait, record }) => wait + record),
    };
  };
  const byRound = Array.from({ length: plan.rounds }, (_, round) => costsFrom((values) => values[round]!));
  return {
    costs: costsFrom((rounds) => measured(rounds).median),
    byRound,
    checks: checked.map(({ workers, pieces }) => ({
      workers,
      stepMilliseconds: measured(pieces.map(({ seconds, batches }) => (1000 * seconds) / batches)),
    })),
  };
}

/** All shards, a half, a quarter and one: falling. */
const unitSizes = (shards: number): number[] =>
  [...new Set([shards, shards >> 1, shards >> 2, 1])].filter((count) => count > 0);

function computeTime({ spans, moments }: ProfiledBatch): number {
  const at = moments[0]!;
  return spans[0]!.reduce(
    (sum, { activity }, i) =>
      activity === 'data' || activity === 'forward' || activity === 'backward'
        ? sum + at[i + 1]! - at[i]!
        : sum,
    0,
  );
}

/** Means of equally many of the values, over the mean of all; rising. */
export function jitterOf(values: readonly number[]): number[] {
  const sorted = Float64Array.from(values).sort();
  const points = Math.min(JITTER_POINTS, sorted.length);
  const means = Array.from({ length: points }, (_, i) => {
    const part = sorted.subarray(
      Math.floor((i * sorted.length) / points),
      Math.floor(((i + 1) * sorted.length) / points),
    );
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const mean = means.reduce((sum, value) => sum + value, 0) / points;
  return means.map((value) => value / mean);
}

/** GB/s of frames with their checksums, from memory to memory. */
export function codecSpeed(): { encode: number; decode: number } {
  const payload = new Uint8Array(MAX_CHUNK_BYTES);
  for (let i = 0; i < payload.length; i++) payload[i] = (i * 7919) % 251;
  const key = { run: 1n, incarnation: 1, session: 1, step: 1, lo: 0, hi: 1, offset: 0 };
  const encode = () => encodeHeader({ type: 'gradient', ...key }, payload);
  const decoder = new FrameDecoder(() => {});
  const header = encode();
  const rate = (work: () => void): number => {
    let best = Number.POSITIVE_INFINITY;
    for (const end = performance.now() + PATIENCE; performance.now() < end; ) {
      const began = performance.now();
      work();
      best = Math.min(best, performance.now() - began);
    }
    return payload.length / best / 1e6;
  };
  return {
    encode: rate(encode),
    decode: rate(() => {
      decoder.push(header);
      decoder.push(payload);
    }),
  };
}
