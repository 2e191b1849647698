/** A profile for people: a trace of a few batches, and what each kernel cost over all of them. */
import type { Activity, ProfiledBatch } from './spans.ts';

/** Batches that a trace shows, and how many go before them: code gets compiled and caches get warm. */
const SHOWN = 5;
const WARM_UP = 20;

/** All calls of a kernel at one place of the model, on all workers. */
export interface KernelCost {
  /** Where it comes from in the model. */
  readonly label: string;
  readonly kernel: string;
  readonly activity: Activity;
  readonly calls: number;
  readonly milliseconds: number;
  readonly flops: number;
  readonly bytes: number;
}

/** An event of the Chrome trace format ("Trace Event Format"), which Perfetto opens. */
export interface TraceEvent {
  readonly name: string;
  readonly ph: 'X' | 'M';
  readonly pid: number;
  readonly tid: number;
  /** Microseconds. */
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly args?: Readonly<Record<string, unknown>>;
}

export interface ChromeTrace {
  readonly displayTimeUnit: 'ms';
  readonly traceEvents: readonly TraceEvent[];
}

/** Takes the batches of a run (`instructions` deep). */
export class ProfileTrace {
  readonly #shown: ProfiledBatch[] = [];
  readonly #costs = new Map<string, { -readonly [K in keyof KernelCost]: KernelCost[K] }>();
  #batches = 0;
  /** Of all workers, waiting included. */
  #milliseconds = 0;

  add(batch: ProfiledBatch): void {
    this.#batches++;
    // The last ones of a short run, else the first ones that are warm.
    if (this.#batches <= WARM_UP + SHOWN) this.#shown.push(batch);
    if (this.#shown.length > SHOWN) this.#shown.shift();
    for (const [worker, spans] of batch.spans.entries()) {
      const at = batch.moments[worker]!;
      this.#milliseconds += at.at(-1)! - at[0]!;
      for (const [i, { labels, kernel, activity, flops, bytes }] of spans.entries()) {
        if (kernel === undefined || kernel === 'guard') continue;
        const label = labels.join(', ');
        const key = `${activity} ${kernel} ${label}`;
        const cost = this.#costs.get(key) ?? {
          ...{ label, kernel, activity, calls: 0, milliseconds: 0, flops: 0, bytes: 0 },
        };
        this.#costs.set(key, cost);
        cost.calls++;
        cost.milliseconds += at[i + 1]! - at[i]!;
        cost.flops += flops;
        cost.bytes += bytes;
      }
    }
  }

  get batches(): number {
    return this.#batches;
  }

  /** Time of all workers together. */
  get milliseconds(): number {
    return this.#milliseconds;
  }

  /** The most expensive first. */
  costs(): KernelCost[] {
    return [...this.#costs.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  }

  /** What the workers did in the batches that are shown: slices above each other, on the workers' clock. */
  slices(): TraceEvent[] {
    return this.#shown.flatMap((batch) => batch.spans.flatMap((_, worker) => workerEvents(batch, worker)));
  }

  /** Worker threads with their phases, activities and kernels. */
  trace(name: string): ChromeTrace {
    return chromeTrace([{ name, ahead: 0, slices: this.slices() }]);
  }
}

/** A process of a trace. */
export interface TraceProcess {
  readonly name: string;
  /** Its clock, in milliseconds ahead of the first one's. */
  readonly ahead: number;
  readonly slices: readonly TraceEvent[];
}

/** Processes beside each other, each with its threads, on one clock that begins with the first slice. */
export function chromeTrace(processes: readonly TraceProcess[]): ChromeTrace {
  const moved = processes.map(({ ahead, slices }, i) =>
    slices.map((slice) => ({ ...slice, pid: i + 1, ts: (slice.ts ?? 0) - ahead * 1000 })),
  );
  const origin = moved.flat().reduce((least, { ts }) => Math.min(least, ts), Number.POSITIVE_INFINITY);
  const about = (pid: number, tid: number, name: string, args: object): TraceEvent => ({
    ...{ name, ph: 'M', pid, tid, args: { ...args } },
  });
  const names = processes.flatMap(({ name, slices }, i) => [
    about(i + 1, 0, 'process_name', { name }),
    about(i + 1, 0, 'process_sort_index', { sort_index: i }),
    ...[...new Set(slices.map(({ tid }) => tid))].flatMap((tid) => [
      about(i + 1, tid, 'thread_name', { name: THREADS[tid] ?? `worker ${tid}` }),
      about(i + 1, tid, 'thread_sort_index', { sort_index: tid }),
    ]),
  ]);
  const slices = moved.flat().map((slice) => ({ ...slice, ts: slice.ts - origin }));
  return { displayTimeUnit: 'ms', traceEvents: [...names, ...slices] };
}

/** Threads that are none of a worker: what is on its way, and a coordinator's steps. */
export const [NETWORK, STEPS] = [10_000, 10_001];
const THREADS: Readonly<Record<number, string>> = { [NETWORK]: 'network', [STEPS]: 'steps' };

function workerEvents({ name: batch, rows, spans, moments }: ProfiledBatch, worker: number): TraceEvent[] {
  const own = spans[worker]!;
  const at = moments[worker]!;
  const slice = (name: string, cat: string, from: number, to: number, args = {}): TraceEvent => ({
    ...{ name, cat, ph: 'X', pid: 1, tid: worker, args },
    ts: at[from]! * 1000,
    dur: (at[to]! - at[from]!) * 1000,
  });
  const events = [slice(batch, 'batch', 0, own.length, { rows })];
  // Neighbours of one activity share a slice, which lies above their kernels.
  for (let from = 0, to = 0; from < own.length; from = to) {
    const { activity, phase, program } = own[from]!;
    while (to < own.length && own[to]!.activity === activity && own[to]!.program === program) to++;
    events.push(slice(activity, 'activity', from, to, { phase, ...(program && { program }) }));
    for (let i = from; i < to; i++) {
      const { labels, kernel, flops, bytes } = own[i]!;
      if (kernel === undefined) continue;
      const nanoseconds = (at[i + 1]! - at[i]!) * 1e6;
      const rates = { 'GFLOP/s': flops / nanoseconds, 'GB/s': bytes / nanoseconds };
      const label = labels.join(', ');
      events.push(slice(label, kernel, i, i + 1, { kernel, flops, bytes, ...rates }));
    }
  }
  return events;
}
