/** Measures training with different numbers of workers and nodes, in turns. */
import type { KernelVariant } from '@lockstep/kernels';
import { type Activity, activities, type Prepared, type ProfiledBatch } from '@lockstep/trainer';
import { plural } from '../report/text.ts';
import { type NodesPiece, NodesSubject, type Traffic } from './nodes.ts';
import { PeakMeter } from './peaks.ts';
import { endless, type Piece, Subject } from './piece.ts';
import { type Measured, measured, quickest, ratio } from './statistics.ts';
import { Opened, type Turns, takeTurns } from './turns.ts';

export interface Plan extends Turns {
  /** Rising; all figures are compared with the first. */
  readonly workers: readonly number[];
  /** Of nodes on this machine, each with the fewest workers. */
  readonly nodes: readonly number[];
  /** Strong: the same batch on more workers. Weak: batch and shards grow with the workers. */
  readonly mode: 'strong' | 'weak';
  readonly kernels: KernelVariant;
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

/** Figures of any number of workers or nodes. */
export interface Figures {
  /** Of each node. */
  readonly workers: number;
  readonly batch: number;
  readonly shards: number;
  readonly samplesPerSecond: Measured;
  readonly stepMilliseconds: Measured;
  /** Throughput over that of the fewest workers, without a network. */
  readonly speedup: Measured;
  /** Speed-up per worker that was added: 1 is ideal. */
  readonly efficiency: Measured;
}

/** Figures of one number of nodes. */
export interface NodesScaling extends Figures {
  readonly nodes: number;
  /** Where a step's time goes (ms), as the coordinator sees it (see `ClusterStep`), in the round whose step time is the median. */
  readonly split: NodesPiece['split'];
  /** Bytes of a step, all nodes together. */
  readonly bytes: Traffic;
}

/** Figures of one number of workers. */
export interface Scaling extends Figures {
  /** A tenth of the steps are quicker: what it comes to when nothing else runs. Of each sixth of the rounds. */
  readonly quick: { readonly stepMilliseconds: Measured; readonly efficiency: Measured };
  /** Arithmetic in matrix products and their like, and the most that so many threads of this machine do. */
  readonly gflops: Measured;
  readonly peakGflops: Measured;
  readonly shareOfPeak: Measured;
  /** What the machine gave: the peak of so many threads over that of one, for each of the fewest workers. */
  readonly cores: Measured;
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
const PEAK_TIME = 12;

/**
 * `onPiece` hears what is measured next; no round: what comes up. Throws what training throws; an aborted `signal` ends it
 * with the signal's reason.
 */
export async function measureScaling<M, F extends string>(
  prepared: Prepared<M, F>,
  plan: Plan,
  signal: AbortSignal,
  onPiece: (round: number | undefined, what: string) => void,
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
  const opened = new Opened();
  const { kernels, seconds } = plan;
  const turns: ((round: number) => Promise<void>)[] = [];
  try {
    for (const { workers, definition, pieces, peaks } of cases) {
      const what = plural(workers, 'worker');
      onPiece(undefined, what);
      const subject = await opened.add(Subject.start(definition, { workers, kernels }, signal));
      const meter = await opened.add(PeakMeter.start(workers, kernels));
      turns.push(async (round) => {
        onPiece(round, what);
        pieces.push(await subject.measure(seconds));
        peaks.push(await meter.measure(PEAK_TIME));
      });
    }
    for (const { nodes, definition, pieces } of clusters) {
      const what = plural(nodes, 'node');
      onPiece(undefined, what);
      const subject = await opened.add(
        NodesSubject.start(definition, { nodes, workers: first, kernels }, signal),
      );
      turns.push(async (round) => {
        onPiece(round, what);
        pieces.push(await subject.measure(seconds));
      });
    }
    await takeTurns(turns, plan);
  } finally {
    await opened.close();
  }
  const base = throughputOf(cases[0]!);
  const quick = cases.map(({ pieces }) => quickest(pieces.map(({ steps }) => steps)));
  const results = cases.map((each, i): Scaling => {
    const { workers, definition, pieces, peaks } = each;
    const gflops = measured(pieces.map(({ totals }) => totals.flops / totals.seconds / 1e9));
    const peakGflops = measured(peaks);
    const ideal = (definition.batch * first) / (cases[0]!.definition.batch * workers);
    return {
      ...figuresOf(each, base, workers / first),
      quick: { stepMilliseconds: quick[i]!, efficiency: ratio(quick[0]!, quick[i]!, ideal) },
      gflops,
      peakGflops,
      shareOfPeak: ratio(gflops, peakGflops),
      cores: ratio(peakGflops, measured(cases[0]!.peaks), first),
      ...splitsOf(pieces),
      timeline: timelineOf(pieces.at(-1)!.quickest),
    };
  });
  const nodes = clusters.map((each): NodesScaling => {
    return {
      nodes: each.nodes,
      ...figuresOf({ ...each, workers: first }, base, each.nodes),
      split: medianPiece(each.pieces).split,
      bytes: each.pieces.at(-1)!.bytes,
    };
  });
  return { results, nodes };
}

interface Measurements {
  readonly workers: number;
  readonly definition: { readonly batch: number; readonly shards?: number };
  readonly pieces: readonly { readonly batches: number; readonly seconds: number }[];
}

const throughputOf = ({ definition, pieces }: Measurements): Measured =>
  measured(pieces.map(({ batches, seconds }) => (batches * definition.batch) / seconds));

/** Beside the throughput `base`, of which `times` would be ideal. */
function figuresOf(each: Measurements, base: Measured, times: number): Figures {
  const samplesPerSecond = throughputOf(each);
  const { batch, shards = 1 } = each.definition;
  return {
    ...{ workers: each.workers, batch, shards, samplesPerSecond },
    stepMilliseconds: measured(each.pieces.map(({ batches, seconds }) => (1000 * seconds) / batches)),
    speedup: ratio(samplesPerSecond, base),
    efficiency: ratio(samplesPerSecond, base, 1 / times),
  };
}

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
function medianPiece<T extends Measurements['pieces'][number]>(pieces: readonly T[]): T {
  const time = ({ seconds, batches }: T): number => seconds / batches;
  return pieces.toSorted((a, b) => time(a) - time(b))[pieces.length >> 1]!;
}

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
