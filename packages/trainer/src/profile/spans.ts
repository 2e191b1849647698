/** Where the time of training goes: what the moments that workers note (`WorkerPool.moments`) mean. */
import { instructionWork, type Program } from '@lockstep/kernels';
import type { Plan, PoolProgram, PoolTask, WorkerPool } from '@lockstep/workers';

/**
 * What a worker can be at: waiting for the main thread to hand out a batch (`record`), waiting for the other workers
 * or for weights (`wait`), fetching rows (`data`), `forward`, `backward`, summing gradients and applying them (`update`).
 */
export const activities = ['data', 'forward', 'backward', 'update', 'wait', 'record'] as const;
export type Activity = (typeof activities)[number];

/** A stretch of a worker's time in every batch of a kind. */
export interface Span {
  readonly activity: Activity;
  readonly phase: number;
  /** The program that runs; none while it waits. */
  readonly program?: string;
  /** Instructions of the program: one, or all of a part. */
  readonly labels: readonly string[];
  /** Name of the (first) instruction. */
  readonly kernel?: string;
  /** See `instructionWork`. */
  readonly flops: number;
  readonly bytes: number;
}

export interface ProfiledBatch {
  /** Counts batches, also those of validation, from 1. */
  readonly tick: number;
  /** For people. */
  readonly name: string;
  readonly rows: number;
  /** Per worker: what it does, in order. The same object for all batches of a kind. */
  readonly spans: readonly (readonly Span[])[];
  /**
   * Per worker: moments (ms, on a clock that all threads share) between the spans: span i is from moments[i] to
   * moments[i + 1]. The first one is the end of the batch before, where one of training was right before it.
   */
  readonly moments: readonly (readonly number[])[];
}

export interface ProfileOptions {
  /** `parts`: one span for each activity in turn; `instructions`: one for each kernel call, which costs a little more. */
  readonly depth: 'parts' | 'instructions';
  /** Whether the next batch is to be measured; default: all are. */
  readonly isOn?: () => boolean;
  /** Called for each training batch, in order, when it is done. */
  readonly onBatch: (batch: ProfiledBatch) => void;
}

/** Of instructions that make a unit's gradient, by where they come from in the model. */
function activitiesOf({ labels, code, starts }: Program): Activity[] {
  const found = labels.map((label, i): Activity | undefined => {
    const { name } = instructionWork(code, starts[i]!);
    if (name === 'guard') return undefined;
    if (name === 'gatherRows') return 'data';
    return /^(sum over shards of )?grad\(/.test(label) ? 'backward' : 'forward';
  });
  // A guard is nothing of its own.
  return found.map((activity, i) => activity ?? found.slice(i).find((next) => next) ?? 'forward');
}

/** Programs that stop where a depth asks for it. */
export function markPrograms(
  programs: readonly PoolProgram[],
  depth: ProfileOptions['depth'],
): readonly PoolProgram[] {
  return programs.map((each) => {
    const own = activitiesOf(each.program);
    const bounds = own.flatMap((activity, i) =>
      i > 0 && (depth === 'instructions' || activity !== own[i - 1]) ? [i] : [],
    );
    return { ...each, noted: [...new Set([...(each.marks ?? []), ...bounds])].sort((a, b) => a - b) };
  });
}

/** The spans of a task; in phases after the first, all is `update`. */
function taskSpans({ name, program, noted = [], gates = [] }: PoolProgram, phase: number): Span[] {
  const own = activitiesOf(program);
  const needs = new Set(gates.map(({ before }) => before));
  const bounds = [...new Set([0, ...noted, ...needs])].sort((a, b) => a - b);
  return bounds.flatMap((from, part) => {
    const to = bounds[part + 1] ?? program.starts.length;
    const works = program.starts.slice(from, to).map((start) => instructionWork(program.code, start));
    const span: Span = {
      activity: phase === 0 ? own[from]! : 'update',
      phase,
      program: name,
      labels: program.labels.slice(from, to),
      ...(works[0] && { kernel: works[0].name }),
      flops: works.reduce((sum, { flops }) => sum + flops, 0),
      bytes: works.reduce((sum, { bytes }) => sum + bytes, 0),
    };
    return needs.has(from) ? [waiting('wait', phase), span] : [span];
  });
}

const waiting = (activity: Activity, phase: number): Span => ({
  activity,
  phase,
  labels: [],
  flops: 0,
  bytes: 0,
});

/** What each worker does in a tick, in the order of `WorkerPool.moments`. */
function planSpans({ phases }: Plan, programs: readonly PoolProgram[]): Span[][] {
  const workers = phases[0]?.length ?? 0;
  return Array.from({ length: workers }, (_, worker) =>
    phases.flatMap((tasks, phase) => [
      ...(phase === 0 ? [waiting('record', 0)] : []),
      waiting('wait', phase),
      ...tasks[worker]!.flatMap(({ program }: PoolTask) => taskSpans(programs[program]!, phase)),
    ]),
  );
}

/** Reads what the workers of a measured pool noted. */
export class Profiler {
  readonly #plans: readonly Plan[];
  readonly #programs: readonly PoolProgram[];
  /** By plan. */
  readonly #spans: (readonly (readonly Span[])[])[] = [];
  readonly #onBatch: ProfileOptions['onBatch'];
  #lastTick = -1;
  /** Per worker: when it was done with the last batch. */
  #lastEnds: number[] = [];

  constructor(
    plans: readonly Plan[],
    marked: readonly PoolProgram[],
    { onBatch }: Pick<ProfileOptions, 'onBatch'>,
  ) {
    this.#plans = plans;
    this.#programs = marked;
    this.#onBatch = onBatch;
  }

  /** A measured tick of training is complete. In order; ticks that are left out (validation) are nobody's time. */
  batch(pool: WorkerPool, tick: number, plan: number, rows: number, name = `batch ${tick}`): void {
    this.#spans[plan] ??= planSpans(this.#plans[plan]!, this.#programs);
    const spans = this.#spans[plan];
    const noted = spans.map((_, worker) => pool.moments(tick, worker));
    // After a gap, all begin when the first one sees the record.
    const begin = tick === this.#lastTick + 1 ? undefined : Math.min(...noted.map((own) => own[0]!));
    const moments = spans.map((own, worker) => {
      const all = [begin ?? this.#lastEnds[worker]!];
      for (let i = 0; i < own.length; i++) all.push(noted[worker]![i]!);
      return all;
    });
    this.#lastTick = tick;
    this.#lastEnds = moments.map((own) => own.at(-1)!);
    this.#onBatch({ tick, name, rows, spans, moments });
  }
}
