/** Who computes what in the open step: units, their holders, and when a holder is late. Changes nothing else. */
import { type Cost, shareOut } from './shares.ts';
import { type ShardRange, units } from './tree.ts';

export interface Holder {
  readonly session: number;
  /** From then on the unit may be given to somebody else, too. */
  readonly due: number;
}

export interface UnitState extends ShardRange {
  /** All who were asked for it, the lost ones taken out. */
  holders: Holder[];
  done: boolean;
}

/** What is given to whom: one message each. */
export type Orders = ReadonlyMap<number, readonly ShardRange[]>;

/** A partition of the shards into nodes of the tree. A unit is only cut again when nobody holds it. */
export class OpenStep {
  readonly step: number;
  /** Shards that have rows in this step: the tree is the one over [0, shards). */
  readonly shards: number;
  #units: UnitState[];

  constructor(step: number, shards: number) {
    this.step = step;
    this.shards = shards;
    this.#units = [{ lo: 0, hi: shards, holders: [], done: false }];
  }

  /** In order of the shards. */
  get units(): readonly UnitState[] {
    return this.#units;
  }

  get isDone(): boolean {
    return this.#units.every(({ done }) => done);
  }

  /** Whether somebody is missing to compute some of it. */
  get hasOrphans(): boolean {
    return this.#units.some(isOrphan);
  }

  find(lo: number, hi: number): UnitState | undefined {
    return this.#units.find((unit) => unit.lo === lo && unit.hi === hi);
  }

  /** The units that a session has still to compute. */
  pending(session: number): UnitState[] {
    return this.#units.filter(({ done, holders }) => !done && holders.some((h) => h.session === session));
  }

  drop(session: number): void {
    for (const unit of this.#units) unit.holders = unit.holders.filter((h) => h.session !== session);
  }

  /** Hands the whole step out by these ranges: one per session, in order. */
  deal(ranges: ReadonlyMap<number, ShardRange>, due: (session: number, shards: number) => number): Orders {
    const orders = new Map<number, ShardRange[]>();
    this.#units = [];
    for (const [session, { lo, hi }] of ranges) this.#give(session, units(lo, hi, this.shards), due, orders);
    return orders;
  }

  /** Hands what nobody holds to these, by what it costs them. */
  dealOrphans(
    takers: readonly { readonly session: number; readonly cost: Cost }[],
    due: (session: number, shards: number) => number,
  ): Orders {
    const orders = new Map<number, ShardRange[]>();
    const costs = takers.map(({ cost }) => cost);
    const orphans = mergeNeighbours(this.#units.filter(isOrphan));
    this.#units = this.#units.filter((unit) => !isOrphan(unit));
    for (const orphan of orphans) {
      for (const [i, { lo, hi }] of shareOut(orphan, this.shards, costs).entries()) {
        this.#give(takers[i]!.session, units(lo, hi, this.shards), due, orders);
      }
    }
    this.#units.sort((a, b) => a.lo - b.lo);
    return orders;
  }

  /**
   * A unit that all its holders are late with, none of which is this session: one that somebody is still computing, where there
   * is one, for another may only be held back until that is there.
   */
  findLate(now: number, session: number, isComputing: (holder: number) => boolean): UnitState | undefined {
    const late = this.#units.filter(
      ({ done, holders }) =>
        !done && holders.length > 0 && holders.every((each) => each.due <= now && each.session !== session),
    );
    return late.find(({ holders }) => holders.some((each) => isComputing(each.session))) ?? late[0];
  }

  /** When the next holder is late; Infinity when none will be. */
  nextDue(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { done, holders } of this.#units) {
      if (!done) for (const { due } of holders) if (due > now && due < next) next = due;
    }
    return next;
  }

  #give(
    session: number,
    given: readonly ShardRange[],
    due: (session: number, shards: number) => number,
    orders: Map<number, ShardRange[]>,
  ): void {
    if (given.length === 0) return;
    const at = due(session, given.at(-1)!.hi - given[0]!.lo);
    for (const { lo, hi } of given)
      this.#units.push({ lo, hi, holders: [{ session, due: at }], done: false });
    orders.set(session, [...(orders.get(session) ?? []), ...given.map(({ lo, hi }) => ({ lo, hi }))]);
  }
}

const isOrphan = ({ done, holders }: UnitState): boolean => !done && holders.length === 0;

const mergeNeighbours = (ranges: readonly ShardRange[]): ShardRange[] => {
  const merged: ShardRange[] = [];
  for (const { lo, hi } of ranges) {
    if (merged.at(-1)?.hi === lo) merged[merged.length - 1] = { lo: merged.at(-1)!.lo, hi };
    else merged.push({ lo, hi });
  }
  return merged;
};
