/** Which session delivered which unit, whole: also a unit that another session delivered before it. */
import type { ShardRange } from './tree.ts';

/** What came of one unit from one session. */
interface Delivery {
  readonly buckets: Set<number>;
  agrees: boolean;
}

/** Steps after which a delivery still counts, as in the reducer; longer when it is awaited. */
const REMEMBERED = 2;

/**
 * The reducer knows when a unit is whole, whoever its buckets came from. This knows when a session has sent all of a unit:
 * then it has worked, and for how long is measured; and what it computed was compared with what others sent of the unit.
 */
export class Deliveries {
  readonly #buckets: number;
  /** By step, then by unit and session. */
  readonly #steps = new Map<number, Map<string, Delivery>>();

  /** @param buckets that a unit's results are sent in */
  constructor(buckets: number) {
    this.#buckets = buckets;
  }

  /** A step begins. Of older ones only the last two and those that are awaited are still of interest. */
  open(step: number, awaited: readonly number[]): void {
    this.#steps.set(step, new Map());
    for (const old of this.#steps.keys()) {
      if ((old < step - REMEMBERED && !awaited.includes(old)) || old > step) this.#steps.delete(old);
    }
  }

  /**
   * A bucket of a unit came from a session. With the last one of them: whether all had the bits that others sent of it, as far
   * as anybody did. Undefined: some are missing, or it is over.
   */
  add(
    step: number,
    { lo, hi }: ShardRange,
    bucket: number,
    session: number,
    agrees: boolean,
  ): { readonly agrees: boolean } | undefined {
    const units = this.#steps.get(step);
    if (units === undefined) return undefined;
    const key = `${lo}-${hi} ${session}`;
    let delivery = units.get(key);
    if (delivery === undefined) {
      delivery = { buckets: new Set(), agrees: true };
      units.set(key, delivery);
    }
    delivery.agrees &&= agrees;
    if (delivery.buckets.has(bucket)) return undefined;
    delivery.buckets.add(bucket);
    return delivery.buckets.size === this.#buckets ? { agrees: delivery.agrees } : undefined;
  }
}
