/** Where the time of a step goes, as the coordinator sees it. Told what happens, and when: knows no clock. */

/**
 * Milliseconds of one step; together they are all of it, from the end of the step before to its own. What happens at the
 * same time is not counted twice: an earlier part of this list hides the later ones. Means over the nodes that gave
 * something to the step.
 */
export interface StepTime {
  /** Their threads compute: as they tell. */
  readonly compute: number;
  /** They have nothing to do: others are slower, or the coordinator does something else. */
  readonly wait: number;
  /** Gradients are added up, weights updated. */
  readonly update: number;
  /** The rest: weights and gradients are on their way. */
  readonly network: number;
}

/** A time by its parts. */
export const everyPart = (of: (part: keyof StepTime) => number): StepTime => ({
  compute: of('compute'),
  wait: of('wait'),
  update: of('update'),
  network: of('network'),
});

/** What a node does in the open step. */
interface Part {
  /** Of units that are not here yet. */
  units: number;
  /** Since when it has had some. */
  since: number;
  /** So long it had some before. */
  held: number;
  computed: number;
  /** When its threads had computed that long, at the earliest. */
  free: number;
  /** When its last unit was here. */
  end: number;
  given: boolean;
}

/** From `open` to `open`; all times are milliseconds of one clock that never goes back. */
export class StepTimer {
  #opened: number;
  /** Nobody is there to compute since; undefined: somebody is. */
  #idleSince: number | undefined;
  #idle = 0;
  readonly #parts = new Map<number, Part>();
  /** When gradients were added or weights updated: [begin, end], in order. */
  #busy: [begin: number, end: number][] = [];

  constructor(now: number) {
    this.#opened = now;
    this.#idleSince = now;
  }

  /** Of the time up to now, so long nobody was there to compute. */
  idle(now: number): number {
    return this.#idle + (this.#idleSince === undefined ? 0 : now - this.#idleSince);
  }

  /** Somebody is there to compute from now on, or nobody. */
  attended(is: boolean, now: number): void {
    this.#idle = this.idle(now);
    this.#idleSince = is ? undefined : now;
  }

  /** A step begins: with the end of the one before. */
  open(now: number): void {
    this.attended(true, now);
    this.#opened = now;
    this.#parts.clear();
    this.#busy = [];
  }

  /** A session is asked for so many units. */
  assign(session: number, units: number, now: number): void {
    let part = this.#parts.get(session);
    if (part === undefined) {
      part = { units: 0, since: now, held: 0, computed: 0, free: now, end: now, given: false };
      this.#parts.set(session, part);
    }
    if (part.units === 0) part.since = now;
    part.units += units;
  }

  /** The threads of a session computed for so long. */
  computed(session: number, milliseconds: number): void {
    const part = this.#parts.get(session);
    if (part === undefined) return;
    part.computed += milliseconds;
    part.free = part.since + milliseconds;
  }

  /** A unit of a session is here, whole. */
  unit(session: number, now: number): void {
    const part = this.#parts.get(session);
    if (part === undefined || part.units === 0) return;
    part.given = true;
    part.end = now;
    if (--part.units === 0) part.held += now - part.since;
  }

  busy(begin: number, end: number): void {
    this.#busy.push([begin, end]);
  }

  /**
   * The step is over.
   * @param whole when all of its gradients were here
   * @param idle of the time since then, so long the coordinator did something else
   */
  close(whole: number, idle: number, now: number): StepTime {
    const update = now - whole - idle;
    const parts = [...this.#parts.values()].filter(({ given }) => given);
    const sum = { compute: 0, wait: 0, update: 0, network: 0 };
    for (const part of parts) {
      const held = part.held + (part.units > 0 ? whole - part.since : 0);
      const compute = Math.min(part.computed, held);
      const added = Math.min(held - compute, this.#busyFrom(part.free, part.end));
      sum.compute += compute;
      sum.wait += whole - this.#opened - held + idle;
      sum.update += added + update;
      sum.network += held - compute - added;
    }
    const count = Math.max(1, parts.length);
    return everyPart((part) => sum[part] / count);
  }

  #busyFrom(from: number, to: number): number {
    let time = 0;
    for (const [begin, end] of this.#busy) time += Math.max(0, Math.min(end, to) - Math.max(begin, from));
    return time;
  }
}
