/** Who computes what in the open step: units, their holders, and how long they took. Changes nothing else. */

import { type ShardRange, units } from '../reduce/tree.ts';
import { type Cost, shareOut } from './shares.ts';

export interface Holder {
  readonly session: number;
  /** When it was asked for the unit, */
  readonly since: number;
  /** and of how many shards it had not returned the gradient then, those of the unit among them. */
  readonly shards: number;
  /** It computes the unit for another holder, who was late. */
  readonly isHelper: boolean;
  /** All that it computed of the unit is here, whether it was the first or not. */
  hasReturned: boolean;
}

/** How long somebody took for so many shards of the step. */
interface Pace {
  readonly session: number;
  readonly milliseconds: number;
  readonly shards: number;
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
  /** When it began. */
  readonly since: number;
  /** Somebody was lost, or helped: it took longer than such steps do. */
  isDisturbed = false;
  /** Redundant units are computed meanwhile, which were assigned not long ago. */
  hasTrials = false;
  #units: UnitState[];
  /** From the assignment until it was computed, and until all of it was here. */
  readonly #paces = { computed: [] as Pace[], returned: [] as Pace[] };

  constructor(step: number, shards: number, since: number) {
    this.step = step;
    this.shards = shards;
    this.since = since;
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

  /** The units that a session was asked for and has not returned. */
  pending(session: number): UnitState[] {
    return this.#units.filter(({ holders }) => holders.some((h) => h.session === session && !h.hasReturned));
  }

  /** Whether somebody has returned all that it was asked for. */
  get hasReturns(): boolean {
    return this.#paces.returned.length > 0;
  }

  /** A session has computed, or returned, so many shards in so many milliseconds. */
  note(what: 'computed' | 'returned', pace: Pace): void {
    this.#paces[what].push(pace);
  }

  /**
   * The shortest time that one of the others took for its share, or for so many shards where it had fewer. Infinity while nobody
   * else is done.
   */
  quickest(what: 'computed' | 'returned', session: number, shards: number): number {
    let least = Number.POSITIVE_INFINITY;
    for (const pace of this.#paces[what]) {
      if (pace.session === session) continue;
      least = Math.min(least, pace.milliseconds * Math.max(1, shards / pace.shards));
    }
    return least;
  }

  drop(session: number): void {
    for (const unit of this.#units) unit.holders = unit.holders.filter((h) => h.session !== session);
  }

  /** Hands the whole step out by these ranges: one per session, in order. */
  deal(ranges: ReadonlyMap<number, ShardRange>, now: number): Orders {
    const orders = new Map<number, ShardRange[]>();
    this.#units = [];
    for (const [session, { lo, hi }] of ranges) this.#give(session, units(lo, hi, this.shards), now, orders);
    return orders;
  }

  /** Hands what nobody holds to these, by what it costs them. */
  dealOrphans(takers: readonly { readonly session: number; readonly cost: Cost }[], now: number): Orders {
    this.isDisturbed = true;
    const orders = new Map<number, ShardRange[]>();
    const costs = takers.map(({ cost }) => cost);
    const orphans = mergeNeighbours(this.#units.filter(isOrphan));
    this.#units = this.#units.filter((unit) => !isOrphan(unit));
    for (const orphan of orphans) {
      for (const [i, { lo, hi }] of shareOut(orphan, this.shards, costs).entries()) {
        this.#give(takers[i]!.session, units(lo, hi, this.shards), now, orders);
      }
    }
    this.#units.sort((a, b) => a.lo - b.lo);
    return orders;
  }

  /** Gives a unit to somebody who computes it as well, for its holders are late. */
  help(unit: UnitState, session: number, since: number): Orders {
    this.isDisturbed = true;
    const shards = this.#load(session) + unit.hi - unit.lo;
    unit.holders.push({ session, since, shards, isHelper: true, hasReturned: false });
    return new Map([[session, [{ lo: unit.lo, hi: unit.hi }]]]);
  }

  /**
   * A unit that all its holders are late with, none of which is this session: one that somebody is still computing, where there
   * is one, for another may only be held back until that is there.
   */
  findLate(
    session: number,
    isLate: (holder: Holder) => boolean,
    isComputing: (holder: number) => boolean,
  ): UnitState | undefined {
    const late = this.#units.filter(
      ({ done, holders }) =>
        !done && holders.length > 0 && holders.every((each) => each.session !== session && isLate(each)),
    );
    return late.find(({ holders }) => holders.some((each) => isComputing(each.session))) ?? late[0];
  }

  #load(session: number): number {
    return this.pending(session).reduce((sum, { lo, hi }) => sum + hi - lo, 0);
  }

  #give(
    session: number,
    given: readonly ShardRange[],
    since: number,
    orders: Map<number, ShardRange[]>,
  ): void {
    if (given.length === 0) return;
    const shards = this.#load(session) + given.at(-1)!.hi - given[0]!.lo;
    for (const { lo, hi } of given) {
      const holder = { session, since, shards, isHelper: false, hasReturned: false };
      this.#units.push({ lo, hi, holders: [holder], done: false });
    }
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
