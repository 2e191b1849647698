/** Gradients on their way out of a node. No sockets: whoever has them says what is done, and is told what to send when. */
import type { ShardRange } from './tree.ts';

/** A unit's results as they are sent: bucket by bucket, in one order. */
interface Line<V> {
  readonly unit: ShardRange;
  readonly vector: V;
  readonly done: Set<number>;
  /** The most that may be sent before anything comes back, in the unit of `size`. */
  readonly ahead: number;
  /** Of the order: how many were sent. */
  sent: number;
  release: (() => void) | undefined;
}

export interface PacerOptions<V> {
  /** Buckets, in the order in which all nodes send them: none can wait for another that waits for it. */
  readonly order: readonly number[];
  /** So many of the first of them have no weights that could come back. */
  readonly head: number;
  readonly size: (bucket: number) => number;
  /** Buckets of the weights after this step that are here. */
  readonly returned: (step: number) => number;
  readonly send: (step: number, unit: ShardRange, vector: V, bucket: number) => void;
}

/**
 * Lets a node send only so far ahead of the weights that come back. Nodes share a link to the coordinator, and chance gives
 * one of them more of it: that one's gradient would be there early, for nothing, while nothing can be added up without the
 * other's; and the way back would stand idle, and then be too narrow for all at once.
 */
export class Pacer<V> {
  readonly #options: PacerOptions<V>;
  readonly #lines: Line<V>[] = [];
  /** By place in the order: what goes before it. One more than there are places. */
  readonly #before: readonly number[];
  #step = -1;

  constructor(options: PacerOptions<V>) {
    this.#options = options;
    let sum = 0;
    const sums = options.order.map((bucket) => {
      sum += options.size(bucket);
      return sum;
    });
    this.#before = [0, ...sums];
  }

  /** Buckets of a unit are done. `release` comes with the last of them: it is called when they were all sent, or dropped. */
  offer(
    step: number,
    { unit, vector, ahead }: { unit: ShardRange; vector: V; ahead: number },
    buckets: readonly number[],
    release: (() => void) | undefined,
  ): void {
    if (step !== this.#step) this.drop();
    this.#step = step;
    let line = this.#lines.find((each) => each.vector === vector);
    if (line === undefined) {
      line = { unit, vector, ahead, done: new Set(), sent: 0, release: undefined };
      this.#lines.push(line);
    }
    for (const bucket of buckets) line.done.add(bucket);
    line.release = release;
    this.pump();
  }

  /** Sends what may be sent now. */
  pump(): void {
    const { order, head, returned, send } = this.#options;
    const back = this.#before[Math.min(order.length, head + returned(this.#step))]!;
    for (const line of [...this.#lines]) {
      for (; line.sent < order.length; line.sent++) {
        const bucket = order[line.sent]!;
        // One bucket may always be on its way: it is what the others wait for.
        const isFar = this.#before[line.sent]! > back && this.#before[line.sent + 1]! > back + line.ahead;
        if (isFar || !line.done.has(bucket)) break;
        send(this.#step, line.unit, line.vector, bucket);
      }
      if (line.release !== undefined && line.sent === order.length) {
        this.#lines.splice(this.#lines.indexOf(line), 1);
        line.release();
      }
    }
  }

  /** Forgets what was not sent: nobody wants it any more. */
  drop(): void {
    for (const { release } of this.#lines.splice(0)) release?.();
  }
}
