/** A profile for people: a trace of a few batches, and what each kernel cost over all of them. */
import type { Activity, ProfiledBatch } from './profile.ts';

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

  /** Worker threads with their phases, activities and kernels, one above the other. */
  trace(name: string): ChromeTrace {
    const origin = Math.min(...this.#shown.flatMap(({ moments }) => moments.map((own) => own[0]!)));
    const workers = this.#shown[0]?.spans.length ?? 0;
    const about = (tid: number, what: string, args: object): TraceEvent => ({
      ...{ name: what, ph: 'M', pid: 1, tid, args: { ...args } },
    });
    const threads = Array.from({ length: workers }, (_, worker) => [
      about(worker, 'thread_name', { name: `worker ${worker}` }),
      about(worker, 'thread_sort_index', { sort_index: worker }),
    ]);
    const slices = this.#shown.flatMap((batch) =>
      batch.spans.flatMap((_, worker) => workerEvents(batch, worker, origin)),
    );
    return {
      displayTimeUnit: 'ms',
      traceEvents: [about(0, 'process_name', { name }), ...threads.flat(), ...slices],
    };
  }
}

function workerEvents({ tick, rows, spans, moments }: ProfiledBatch, worker: number, origin: number) {
  const own = spans[worker]!;
  const at = moments[worker]!;
  const slice = (name: string, cat: string, from: number, to: number, args = {}): TraceEvent => ({
    ...{ name, cat, ph: 'X', pid: 1, tid: worker, args },
    ts: (at[from]! - origin) * 1000,
    dur: (at[to]! - at[from]!) * 1000,
  });
  const events = [slice(`batch ${tick}`, 'batch', 0, own.length, { rows })];
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
