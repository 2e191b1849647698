/** Adds up what workers were at, over many batches. Each worker's parts add up to the time of the batches, exactly. */
import { type Activity, activities, type ProfiledBatch } from './spans.ts';

/** Milliseconds per step. */
export type Split = Readonly<Record<Activity, number>>;

const WAIT = activities.indexOf('wait');

type Spans = ProfiledBatch['spans'];

/** What the batches of one kind have in common: it is looked at once, as a batch may take but microseconds. */
interface Kind {
  /** Per worker and span: index into `activities`. */
  readonly places: readonly Uint8Array[];
  /** Of all workers together. */
  readonly flops: number;
  /** By activity. */
  readonly bytes: readonly number[];
}

const kindOf = (spans: Spans): Kind => {
  const all = spans.flat();
  return {
    places: spans.map((own) => Uint8Array.from(own, ({ activity }) => activities.indexOf(activity))),
    flops: all.reduce((sum, { flops }) => sum + flops, 0),
    bytes: activities.map((activity) =>
      all.reduce((sum, span) => sum + (span.activity === activity ? span.bytes : 0), 0),
    ),
  };
};

const byActivity = (value: (i: number) => number): Split =>
  Object.fromEntries(activities.map((activity, i) => [activity, value(i)])) as Split;

export class SplitTotals {
  batches = 0;
  rows = 0;
  readonly #kinds = new Map<Spans, Kind & { batches: number }>();
  /** Per worker and activity (ms). */
  readonly #workers: Float64Array[] = [];
  #milliseconds = 0;

  add({ rows, spans, moments }: ProfiledBatch): void {
    let kind = this.#kinds.get(spans);
    if (kind === undefined) {
      kind = { ...kindOf(spans), batches: 0 };
      this.#kinds.set(spans, kind);
    }
    kind.batches++;
    this.batches++;
    this.rows += rows;
    let [began, ended] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const at of moments) {
      began = Math.max(began, at[0]!);
      ended = Math.max(ended, at.at(-1)!);
    }
    for (let worker = 0; worker < moments.length; worker++) {
      const at = moments[worker]!;
      const places = kind.places[worker]!;
      this.#workers[worker] ??= new Float64Array(activities.length);
      const totals = this.#workers[worker]!;
      // What a worker waits until the others are done with the batch, too, belongs to it and not to the next.
      for (let i = 0; i < places.length; i++)
        totals[places[i]!]! += Math.max(began, at[i + 1]!) - Math.max(began, at[i]!);
      totals[WAIT]! += ended - at[places.length]!;
    }
    this.#milliseconds += ended - began;
  }

  /** From the end of the last worker in one batch to that in the next, over all batches (s). */
  get seconds(): number {
    return this.#milliseconds / 1000;
  }

  /** Operations of all workers. */
  get flops(): number {
    return this.#sum(({ flops }) => flops);
  }

  /** Bytes that all workers read and wrote. */
  get bytes(): Split {
    return byActivity((i) => this.#sum(({ bytes }) => bytes[i]!));
  }

  /** Per worker: the mean over the batches. */
  get split(): Split[] {
    return this.#workers.map((totals) => byActivity((i) => totals[i]! / this.batches));
  }

  #sum(value: (kind: Kind) => number): number {
    let total = 0;
    for (const kind of this.#kinds.values()) total += kind.batches * value(kind);
    return total;
  }
}
