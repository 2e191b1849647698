/** Measures training with different numbers of workers, round by round, so that a drifting machine hurts all alike. */
import type { KernelVariant } from '@lockstep/kernels';
import {
  type Activity,
  activities,
  type Prepared,
  type ProfiledBatch,
  type SplitTotals,
} from '@lockstep/trainer';
import type { TrainingDefinition } from 'lockstep';
import { plural } from '../report/text.ts';
import { type NodesPiece, type NodesScaling, trainOnNodes } from './nodes.ts';
import { PeakMeter } from './peaks.ts';
import { endless, trainFor } from './piece.ts';
import { type Measured, measured, ratio } from './statistics.ts';

export interface Plan {
  /** Rising; all figures are compared with the first. */
  readonly workers: readonly number[];
  /** Of nodes on this machine, each with the fewest workers. */
  readonly nodes: readonly number[];
  /** Strong: the same batch on more workers. Weak: batch and shards grow with the workers. */
  readonly mode: 'strong' | 'weak';
  readonly kernels: KernelVariant;
  /** An odd number. */
  readonly rounds: number;
  /** Of training with one number of workers in one round (s), its warm-up included. */
  readonly seconds: number;
}

/** What a worker was at, from and to a moment (ms from the first). */
export interface TimelineSpan {
  readonly worker: number;
  readonly activity: Activity;
  readonly from: number;
  readonly to: number;
}

/** Figures of one number of workers. */
export interface Scaling {
  readonly workers: number;
  readonly batch: number;
  readonly shards: number;
  readonly samplesPerSecond: Measured;
  readonly stepMilliseconds: Measured;
  /** Throughput over that of the fewest workers. */
  readonly speedup: Measured;
  /** Speed-up per worker that was added: 1 is ideal. */
  readonly efficiency: Measured;
  /** Arithmetic in matrix products and their like, and the most that so many threads of this machine do. */
  readonly gflops: Measured;
  readonly peakGflops: Measured;
  readonly shareOfPeak: Measured;
  /** Where a step's time goes (ms): the mean of the workers. */
  readonly split: Readonly<Record<Activity, Measured>>;
  /** Each of them, in the round whose step time is the median: its parts add up to that. */
  readonly splitOfWorkers: readonly Readonly<Record<Activity, number>>[];
  /** Bytes that all workers read and write in a step. */
  readonly bytes: Readonly<Record<Activity, number>>;
  /** The quickest few steps in a row of the last round: the least disturbed. */
  readonly timeline: readonly TimelineSpan[];
}

/** Of each measurement of the peak (ms). */
const PEAK_TIME = 120;
const TIMELINE_STEPS = 3;

interface Piece {
  readonly totals: SplitTotals;
  readonly quickest: readonly ProfiledBatch[];
}

/** Throws what training throws; an aborted `signal` ends it with the signal's reason. */
export async function measureScaling<M, F extends string>(
  prepared: Prepared<M, F>,
  plan: Plan,
  signal: AbortSignal,
  onPiece: (round: number, what: string) => void,
): Promise<{ results: Scaling[]; nodes: NodesScaling[] }> {
  const [first = 1] = plan.workers;
  const cases = plan.workers.map((workers) => ({
    workers,
    definition: endless(prepared, plan.mode === 'weak' ? workers / first : 1),
    pieces: [] as Piece[],
    peaks: [] as number[],
  }));
  const clusters = plan.nodes.map((nodes) => ({
    nodes,
    definition: endless(prepared, plan.mode === 'weak' ? nodes : 1),
    pieces: [] as NodesPiece[],
  }));
  const meters: PeakMeter[] = [];
  try {
    for (const { workers } of cases) meters.push(await PeakMeter.start(workers, plan.kernels));
    for (let round = 0; round < plan.rounds; round++) {
      // There and back: no number of workers is always the first after a pause.
      const order = [...cases.entries()];
      for (const [i, each] of round % 2 ? order.reverse() : order) {
        onPiece(round, plural(each.workers, 'worker'));
        each.pieces.push(await measurePiece(each.definition, each.workers, plan, signal));
        each.peaks.push(await meters[i]!.measure(PEAK_TIME));
      }
      for (const { nodes, definition, pieces } of clusters) {
        onPiece(round, plural(nodes, 'node'));
        const options = { nodes, workers: first, kernels: plan.kernels, seconds: plan.seconds };
        pieces.push(await trainOnNodes(definition, options, signal));
      }
    }
  } finally {
    await Promise.all(meters.map((meter) => meter.close()));
  }
  const throughputs = cases.map(({ pieces }) =>
    measured(pieces.map(({ totals }) => totals.rows / totals.seconds)),
  );
  const results = cases.map(({ workers, definition, pieces, peaks }, i) => {
    const gflops = measured(pieces.map(({ totals }) => totals.flops / totals.seconds / 1e9));
    const peakGflops = measured(peaks);
    const speedup = ratio(throughputs[i]!, throughputs[0]!);
    return {
      workers,
      batch: definition.batch,
      shards: definition.shards ?? 1,
      samplesPerSecond: throughputs[i]!,
      stepMilliseconds: measured(pieces.map(stepMilliseconds)),
      speedup,
      efficiency: measured(speedup.rounds.map((times) => (times * first) / workers)),
      gflops,
      peakGflops,
      shareOfPeak: ratio(gflops, peakGflops),
      ...splitsOf(pieces),
      timeline: timelineOf(pieces.at(-1)!.quickest),
    };
  });
  const nodes = clusters.map(({ nodes, definition, pieces }): NodesScaling => {
    const { batch, shards = 1 } = definition;
    const samplesPerSecond = measured(pieces.map(({ steps, seconds }) => (steps * batch) / seconds));
    const speedup = ratio(samplesPerSecond, throughputs[0]!);
    return {
      ...{ nodes, workers: first, batch, shards, samplesPerSecond, speedup },
      stepMilliseconds: measured(pieces.map(({ steps, seconds }) => (1000 * seconds) / steps)),
      efficiency: measured(speedup.rounds.map((times) => times / nodes)),
    };
  });
  return { results, nodes };
}

async function measurePiece<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  workers: number,
  { kernels, seconds }: Plan,
  signal: AbortSignal,
): Promise<Piece> {
  const last: ProfiledBatch[] = [];
  let quickest: readonly ProfiledBatch[] = [];
  const totals = await trainFor(definition, { workers, kernels, seconds }, signal, (batch) => {
    last.push(batch);
    if (last.length > TIMELINE_STEPS) last.shift();
    if (quickest.length < last.length || duration(last) < duration(quickest)) quickest = [...last];
  });
  return { totals, quickest };
}

/** From the first worker's beginning to its end (ms). */
const duration = (batches: readonly ProfiledBatch[]): number =>
  batches.at(-1)!.moments[0]!.at(-1)! - batches[0]!.moments[0]![0]!;

function splitsOf(pieces: readonly Piece[]): Pick<Scaling, 'split' | 'splitOfWorkers' | 'bytes'> {
  const splits = pieces.map(({ totals }) => totals.split);
  const byActivity = <T>(make: (activity: Activity) => T): Record<Activity, T> =>
    Object.fromEntries(activities.map((activity) => [activity, make(activity)])) as Record<Activity, T>;
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    split: byActivity((activity) =>
      measured(splits.map((split) => mean(split.map((worker) => worker[activity])))),
    ),
    splitOfWorkers: medianPiece(pieces).totals.split,
    bytes: byActivity((activity) => {
      const { totals } = pieces.at(-1)!;
      return totals.bytes[activity] / totals.batches;
    }),
  };
}

/** Of an odd number of rounds. */
const medianPiece = (pieces: readonly Piece[]): Piece =>
  pieces.toSorted((a, b) => stepMilliseconds(a) - stepMilliseconds(b))[pieces.length >> 1]!;

const stepMilliseconds = ({ totals }: Piece): number => (totals.seconds * 1000) / totals.batches;

/** Neighbours of one activity are one span. */
function timelineOf(batches: readonly ProfiledBatch[]): TimelineSpan[] {
  const origin = Math.min(...batches.slice(0, 1).flatMap(({ moments }) => moments.map((own) => own[0]!)));
  const spans: { -readonly [K in keyof TimelineSpan]: TimelineSpan[K] }[] = [];
  const workers = batches[0]?.spans.length ?? 0;
  for (let worker = 0; worker < workers; worker++) {
    for (const batch of batches) {
      const at = batch.moments[worker]!;
      for (const [i, { activity }] of batch.spans[worker]!.entries()) {
        const [from, to] = [at[i]! - origin, at[i + 1]! - origin];
        const before = spans.at(-1);
        if (before?.worker === worker && before.activity === activity) before.to = to;
        else if (to > from) spans.push({ worker, activity, from, to });
      }
    }
  }
  return spans;
}
