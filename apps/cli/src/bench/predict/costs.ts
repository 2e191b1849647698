/** Measures what a step costs here: training on one worker, whole and in parts, in rounds that take turns. */
import type { KernelVariant } from '@lockstep/kernels';
import { encodeHeader, FrameDecoder, MAX_CHUNK_BYTES } from '@lockstep/protocol';
import type { Prepared, ProfiledBatch, Split } from '@lockstep/trainer';
import { cores } from '@lockstep/workers';
import type { TrainingDefinition } from 'lockstep';
import { PeakMeter } from '../peaks.ts';
import { endless, type Piece, Subject } from '../piece.ts';
import { type Measured, measured } from '../statistics.ts';
import { Opened, type Turns, takeTurns } from '../turns.ts';
import type { Costs } from './model.ts';
import { threadCosts } from './threads.ts';

export interface CostsPlan extends Turns {
  readonly kernels: KernelVariant;
  /** Of each piece of a round. */
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
const PATIENCE = 12;

interface Case<M, F extends string> {
  readonly definition: TrainingDefinition<M, F>;
  readonly workers: number;
  readonly execution: 'coalesced' | 'separate';
  readonly pieces: Piece[];
  /** Of the batches of each piece (ms). */
  readonly computeTimes: number[][];
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
  const make = (part: Partial<Case<M, F>>): Case<M, F> => ({
    ...{ definition: whole, workers: 1, execution: 'coalesced', ...part },
    ...{ pieces: [], computeTimes: [] },
  });
  const [first, ...smaller] = unitSizes(shards).map((count) =>
    make({
      definition: { ...whole, batch: Math.ceil(batch / shards) * count, shards: count },
      ...(count === shards && { definition: whole }),
    }),
  );
  const separate = make({ execution: 'separate' });
  const checked = plan.check.map((workers) => make({ workers }));
  const cases = [first!, ...smaller, ...(shards > 1 ? [separate] : []), ...checked];
  const most = cores();
  const parameters = prepared.layout.entries.reduce((total, { size }) => total + size, 0);
  const opened = new Opened();
  const peaks: number[][] = [[], []];
  const turns: ((round: number) => Promise<void>)[] = [];
  try {
    for (const { definition, workers, execution, pieces, computeTimes } of cases) {
      const options = { workers, execution, kernels: plan.kernels };
      const subject = await opened.add(Subject.start(definition, options, signal));
      turns.push(async (round) => {
        onPiece(round);
        const times: number[] = [];
        pieces.push(await subject.measure(plan.seconds, (batch) => times.push(computeTime(batch))));
        computeTimes.push(times);
      });
    }
    for (const [i, workers] of [1, most].entries()) {
      const meter = await opened.add(PeakMeter.start(workers, plan.kernels));
      turns.push(async () => void peaks[i]!.push(await meter.measure(PATIENCE)));
    }
    await takeTurns(turns, plan);
  } finally {
    await opened.close();
  }
  const threads = { workers: most, ...(await threadCosts(most, plan.kernels, parameters)) };
  // Within a round: a host that takes a core away does so to the steps, too.
  const busy = peaks[0]!.map((alone, round) => Math.max(1, (most * alone) / peaks[1]![round]!));
  const common = {
    parameters,
    batch,
    shards,
    threads,
    jitter: jitterOf(first!.computeTimes),
    ...codecSpeed(),
  };
  const costsFrom = (pick: (rounds: readonly number[]) => number): Costs => {
    const part = ({ pieces }: Case<M, F>, of: (split: Split) => number): number =>
      pick(pieces.map(({ totals }) => of(totals.split[0]!)));
    const update = part(first!, (split) => split.update);
    const separated = shards > 1 ? part(separate, (split) => split.update) : update;
    const sum = Math.min(update, Math.max(0, separated - update) / Math.max(1, shards - 1));
    const units = [first!, ...smaller].map((each) => ({
      shards: each.definition.shards ?? 1,
      time: part(each, ({ data, forward, backward }) => data + forward + backward),
    }));
    return {
      ...{ ...common, busy: pick(busy) },
      ...{ units: units.reverse(), sum, apply: update - sum },
      rest: part(first!, ({ wait, record }) => wait + record),
    };
  };
  const byRound = Array.from({ length: peaks[0]!.length }, (_, round) =>
    costsFrom((values) => values[round]!),
  );
  return {
    costs: costsFrom((rounds) => measured(rounds).median),
    byRound,
    checks: checked.map(({ workers, pieces }) => ({
      workers,
      stepMilliseconds: measured(pieces.map(({ milliseconds }) => milliseconds)),
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

const meanOf = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Times over the mean of their piece (what changes from one to the next is the machine, and hurts all workers alike), as
 * means of equally many; rising.
 */
export function jitterOf(pieces: readonly (readonly number[])[]): number[] {
  const values = pieces.flatMap((times) => {
    const mean = meanOf(times);
    return times.map((time) => time / mean);
  });
  const sorted = Float64Array.from(values).sort();
  const points = Math.min(JITTER_POINTS, sorted.length);
  const means = Array.from({ length: points }, (_, i) => {
    const [from, to] = [i, i + 1].map((part) => Math.floor((part * sorted.length) / points));
    return meanOf(sorted.subarray(from, to));
  });
  // Not quite equally many.
  const mean = meanOf(means);
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
