/**
 * The coordinator as a pure state machine: no await, no clock, no randomness, no sockets, no files. A driver tells it
 * what happened (`CoordinatorEvent`) and when, and does what it wants (`Effect`).
 *
 * Note [The step's life]: gathering → open ⇄ applying → saving → done. Open: units are computed, handed out anew when
 * their holder is lost, computed twice when it is late. When every unit is there: applying, which the driver does on
 * its own (it may have begun with buckets that are complete). Then the weights go out and the next step is open. A
 * run without nodes stays open until one joins.
 */
import { type Coordinator, type Member, Typical } from './coordinatorState.ts';
import type { CloseReason, CoordinatorEvent, Effect, Report } from './coordinatorTypes.ts';
import { OpenStep, type Orders, type UnitState } from './openStep.ts';
import { type Cost, makespan, shareOut, timeOf } from './shares.ts';
import type { ShardRange } from './tree.ts';

/** A new assignment must promise at least this part less time: another one means new programs on the nodes. */
const WORTH = 0.9;
/** A step may take this part longer, where that means fewer gradients on the wire. */
const SLACK = 0.15;
/** A member that was too slow for a share is tried again after so many steps: it may have been slow for a while only. */
const FORGOTTEN = 200;
/**
 * Shares stay while the slowest member takes at most so many times as long as the fastest: compared are times with the
 * shares as they are, since what a member needs per shard also depends on how many it has.
 */
const BALANCED = 1.25;
/** Members are taken for equals until each was measured so often: in the first steps much is done for the first time. */
const KNOWN = 3;

/** Who is new does all for the first time, and has to receive the weights before: it may take so many times longer than others. */
const NEWCOMER = 5;

/**
 * Gradients of two members that take times on the wire within this factor of each other are taken for equally far: on a link
 * that they share, chance decides whose is there first.
 */
const FAR = 2;

/** One event at time `now`: changes the state, returns what is to be done, in order. */
export const coordinate = (state: Coordinator, event: CoordinatorEvent, now: number): Effect[] => {
  const turn = new Turn(state, now);
  turn.take(event);
  return turn.effects;
};

class Turn {
  readonly effects: Effect[] = [];
  readonly #state: Coordinator;
  readonly #now: number;

  constructor(state: Coordinator, now: number) {
    this.#state = state;
    this.#now = now;
  }

  take(event: CoordinatorEvent): void {
    const member = 'session' in event ? this.#state.members.get(event.session) : undefined;
    if (member !== undefined) member.heard = this.#now;
    switch (event.type) {
      case 'join':
        this.#join(event);
        break;
      case 'ready':
        if (member !== undefined) this.#ready(member);
        break;
      case 'leave':
        if (member !== undefined) this.#leave(member);
        break;
      case 'lost':
        if (member !== undefined) this.#lose(member, 'closed');
        break;
      case 'unit':
        if (member !== undefined) this.#unit(member, event);
        break;
      case 'computed':
        if (member?.busy !== undefined && event.step === this.#state.open.step) {
          member.busy.computed = (member.busy.computed ?? 0) + event.milliseconds;
          member.busy.uncomputed--;
        }
        break;
      case 'conflict':
        this.#alarm(event);
        break;
      case 'applied':
        this.#applied(event.step);
        break;
      case 'saved':
        this.#saved(event.step, event.ok);
        break;
      case 'save':
        this.#state.save.wanted = true;
        break;
      case 'stop':
        this.#stop();
        break;
      case 'tick':
        this.#tick();
        break;
      case 'heard':
        break;
    }
  }

  // Members

  #join({ peer, id, name }: { peer: number; id: string; name: string }): void {
    const state = this.#state;
    // The same process again: its old connection is dead, although nobody has told us yet.
    for (const old of [...state.members.values()]) if (old.id === id) this.#lose(old, 'replaced');
    const session = state.names.size + 1;
    state.names.set(session, name);
    const now = this.#now;
    state.members.set(session, {
      session,
      id,
      name,
      heard: now,
      pinged: now,
      speed: new Typical(),
      shard: new Typical(),
      unit: new Typical(),
      idle: 0,
      ready: false,
      leaving: false,
      busy: undefined,
    });
    this.effects.push({ do: 'welcome', peer, session });
    this.#report({ type: 'join', name, step: state.step });
    if (state.phase === 'done') this.#close(session);
  }

  #ready(member: Member): void {
    const state = this.#state;
    if (member.ready || state.phase === 'done' || state.phase === 'saving') return;
    member.ready = true;
    const { session } = member;
    // While weights are updated, everybody gets them afterwards.
    if (state.phase !== 'applying') this.effects.push({ do: 'publish', session, step: state.step });
    if (state.phase === 'gathering') this.#begin();
    else if (state.phase === 'open') this.#handOutOrphans();
    this.#helpLate();
  }

  #leave(member: Member): void {
    if (member.leaving) return;
    member.leaving = true;
    this.#dismissIdle(member);
  }

  /** A node that leaves goes when it has nothing left to do. */
  #dismissIdle(member: Member): void {
    if (!member.leaving || member.busy !== undefined) return;
    this.#remove(member, 'left');
    this.#report({ type: 'leave', name: member.name, step: this.#state.step });
    this.#noteStall();
  }

  #lose(member: Member, reason: CloseReason | 'closed'): void {
    const { phase } = this.#state;
    this.#remove(member, reason);
    this.#report({ type: 'lost', name: member.name, step: this.#state.step, reason });
    if (phase === 'open') this.#handOutOrphans();
    this.#noteStall();
  }

  #remove(member: Member, reason: CloseReason | 'closed'): void {
    this.#state.members.delete(member.session);
    this.#state.open.drop(member.session);
    if (reason !== 'closed') this.effects.push({ do: 'close', session: member.session, reason });
  }

  /** Those who may get work, and what it costs them. Who is not known yet is taken for the mean of the others. */
  #takers(): { session: number; speed: number; cost: Cost }[] {
    const members = [...this.#state.members.values()].filter(({ ready, leaving }) => ready && !leaving);
    const speed = meanOf(members.map((member) => member.speed.value())) ?? 1;
    const shard = meanOf(members.map((member) => member.shard.value(KNOWN))) ?? 1;
    const wires = members.map((member) => member.unit.value(KNOWN));
    const far = FAR * Math.min(...wires.filter((time) => time !== undefined));
    const unit = meanOf(wires.filter((time) => time !== undefined && time <= far)) ?? 0;
    return members.map((member, i) => ({
      session: member.session,
      speed: member.speed.value() ?? speed,
      cost: { shard: member.shard.value(KNOWN) ?? shard, unit: (wires[i] ?? 0) > far ? wires[i]! : unit },
    }));
  }

  // The open step

  #begin(): void {
    const { config, stopping } = this.#state;
    if (this.#state.step === config.steps || stopping) this.#end();
    else if (this.#takers().length >= config.minNodes) this.#open();
  }

  #open(): void {
    const state = this.#state;
    state.phase = 'open';
    state.open = new OpenStep(state.step, state.config.shards(state.step));
    for (const member of state.members.values()) member.busy = undefined;
    this.effects.push({ do: 'open', step: state.step });
    this.#forgetIdle();
    const takers = this.#takers();
    if (takers.length > 0) this.#send(state.open.deal(this.#share(takers), this.#due), true);
    this.#noteStall();
  }

  #forgetIdle(): void {
    const { members, shares } = this.#state;
    for (const [session, { lo, hi }] of shares.ranges) {
      const member = members.get(session);
      if (member === undefined) continue;
      member.idle = lo === hi ? member.idle + 1 : 0;
      if (member.idle < FORGOTTEN) continue;
      member.idle = 0;
      for (const measured of [member.speed, member.shard, member.unit]) measured.forget();
    }
  }

  /** Shares by what was measured. Those of the step before stay while they are nearly as good. */
  #share(takers: readonly { session: number; cost: Cost }[]): ReadonlyMap<number, ShardRange> {
    const { open, shares, step } = this.#state;
    const costs = takers.map(({ cost }) => cost);
    const kept = takers.flatMap(({ session }) => shares.ranges.get(session) ?? []);
    const comparable =
      shares.shards === open.shards && kept.length === takers.length && kept.length === shares.ranges.size;
    if (comparable && isBalanced(kept, shares.shards, costs)) return shares.ranges;
    const best = shareOut({ lo: 0, hi: open.shards }, open.shards, costs, SLACK);
    const time = (ranges: readonly ShardRange[]): number => makespan(ranges, open.shards, costs);
    if (comparable && time(best) >= WORTH * time(kept)) return shares.ranges;
    if (comparable) this.#report({ type: 'rebalance', step });
    const ranges = new Map(takers.map(({ session }, i) => [session, best[i]!]));
    this.#state.shares = { shards: open.shards, ranges };
    return ranges;
  }

  #handOutOrphans(): void {
    const { open, members } = this.#state;
    if (!open.hasOrphans) return;
    const takers = this.#takers();
    if (takers.length === 0) return;
    const orders = open.dealOrphans(takers, this.#due);
    const names = [...orders.keys()].map((session) => members.get(session)!.name);
    this.#report({ type: 'reassign', step: open.step, names });
    if (this.#state.stalled) this.#report({ type: 'resume', step: open.step });
    this.#state.stalled = false;
    this.#send(orders);
  }

  #send(orders: Orders, together = false): void {
    for (const [session, units] of orders) {
      const member = this.#state.members.get(session)!;
      member.busy ??= { since: this.#now, shards: 0, units: 0, uncomputed: 0, computed: undefined };
      member.busy.uncomputed++;
      member.busy.units += units.length;
      for (const { lo, hi } of units) member.busy.shards += hi - lo;
      this.effects.push({ do: 'assign', session, step: this.#state.open.step, units, together });
    }
  }

  /** When a session that is given `shards` more is late. */
  #due = (session: number, shards: number): number => {
    const { members, config } = this.#state;
    const member = members.get(session)!;
    const { factor, least, unknown } = config.straggler;
    const load = shards + this.#state.open.pending(session).reduce((n, { lo, hi }) => n + hi - lo, 0);
    const expected = (speed: number): number => Math.max(least, (factor * load) / speed);
    const own = member.speed.value();
    if (own !== undefined) return this.#now + expected(own);
    const others = meanOf([...members.values()].map(({ speed }) => speed.value()));
    const time = others === undefined ? unknown : Math.min(unknown, NEWCOMER * expected(others));
    return this.#now + time;
  };

  #unit(member: Member, { step, lo, hi }: { step: number } & ShardRange): void {
    const { open, phase } = this.#state;
    const unit = phase === 'open' && open.step === step ? open.find(lo, hi) : undefined;
    if (unit === undefined || unit.done) return;
    unit.done = true;
    for (const { session } of unit.holders) this.#measure(session, session !== member.session);
    if (open.isDone) {
      this.#apply(open.units);
    } else {
      this.#dismissIdle(member);
      this.#helpLate();
    }
  }

  /** Who was late with what another did first is at most as fast as this, and does not say how fast. */
  #measure(session: number, isLate: boolean): void {
    const member = this.#state.members.get(session);
    if (member?.busy === undefined || this.#state.open.pending(session).length > 0) return;
    const { shards, units, since, computed } = member.busy;
    const time = Math.max(this.#now - since, 1e-3);
    member.speed.add(shards / time);
    if (isLate) {
      member.shard.add(time / shards);
    } else if (computed !== undefined) {
      member.shard.add(Math.max(computed, 1e-3) / shards);
      member.unit.add(Math.max(0, time - computed) / units);
    }
    member.busy = undefined;
  }

  /** Gives units that all their holders are late with to members that have nothing left to compute, the fastest first. */
  #helpLate(): void {
    const { open, phase, members } = this.#state;
    if (phase !== 'open') return;
    const isComputing = (session: number): boolean => (members.get(session)?.busy?.uncomputed ?? 0) > 0;
    const idle = this.#takers()
      .filter(({ session }) => !isComputing(session))
      .sort((a, b) => b.speed - a.speed);
    for (const { session } of idle) {
      const unit = open.findLate(this.#now, session, isComputing);
      if (unit === undefined) continue;
      const late = unit.holders.map((holder) => members.get(holder.session)!.name);
      const helper = members.get(session)!.name;
      this.#report({ type: 'straggler', step: open.step, lo: unit.lo, hi: unit.hi, late, helper });
      unit.holders.push({ session, due: this.#due(session, unit.hi - unit.lo) });
      this.#send(new Map([[session, [{ lo: unit.lo, hi: unit.hi }]]]));
    }
  }

  #alarm({
    step,
    lo,
    hi,
    sessions,
  }: { step: number; sessions: readonly [number, number] } & ShardRange): void {
    const [first, second] = sessions.map((session) => this.#state.names.get(session) ?? `session ${session}`);
    this.#report({ type: 'alarm', step, lo, hi, names: [first!, second!] });
  }

  // Commit, checkpoints, end

  #apply(units: readonly UnitState[]): void {
    this.#state.phase = 'applying';
    for (const member of this.#state.members.values()) member.busy = undefined;
    for (const member of [...this.#state.members.values()]) this.#dismissIdle(member);
    const parts = units.map(({ lo, hi }) => ({ lo, hi }));
    this.effects.push({ do: 'apply', step: this.#state.open.step, units: parts });
  }

  #applied(step: number): void {
    const state = this.#state;
    if (state.phase !== 'applying' || step !== state.step) return;
    state.step++;
    if (state.step === state.config.steps || state.stopping) {
      this.#end();
      return;
    }
    for (const { session } of this.#takers()) {
      this.effects.push({ do: 'publish', session, step: state.step });
    }
    const { steps, time } = state.config.checkpoint;
    const { save } = state;
    if (save.wanted || state.step - save.step >= steps || this.#now - save.at >= time) this.#save();
    this.#open();
  }

  /** One at a time: while one is written, the next is due and waits. */
  #save(): void {
    const { save, step } = this.#state;
    if (save.writing !== undefined) return;
    save.writing = step;
    save.step = step;
    save.at = this.#now;
    save.wanted = false;
    this.effects.push({ do: 'save', step });
  }

  #saved(step: number, ok: boolean): void {
    const { save, phase } = this.#state;
    if (save.writing !== step) return;
    save.writing = undefined;
    this.#report({ type: ok ? 'checkpoint' : 'checkpointFailed', step });
    if (phase !== 'saving') return;
    if (step === this.#state.step) this.#finish(ok);
    else this.#save();
  }

  #stop(): void {
    const { phase } = this.#state;
    this.#state.stopping = true;
    // What was computed of an open step is given up: another run computes the same.
    if (phase === 'gathering' || phase === 'open') this.#end();
  }

  #end(): void {
    this.#state.phase = 'saving';
    this.#save();
  }

  #finish(saved: boolean): void {
    this.#state.phase = 'done';
    for (const { session } of this.#state.members.values()) {
      this.#close(session);
    }
    this.effects.push({ do: 'finish', step: this.#state.step, saved });
  }

  #close(session: number): void {
    const isWhole = this.#state.step === this.#state.config.steps;
    this.effects.push({ do: 'close', session, reason: isWhole ? 'finished' : 'interrupted' });
  }

  #tick(): void {
    const { members, config } = this.#state;
    if (this.#state.phase === 'gathering') this.#begin();
    for (const member of [...members.values()]) {
      // The same sums as in nextWake: differences round differently, and a tick that came for nothing asks for another.
      if (this.#now >= member.heard + 2 * config.heartbeat) {
        this.#lose(member, 'silent');
      } else if (this.#now >= member.pinged + config.heartbeat) {
        member.pinged = this.#now;
        this.effects.push({ do: 'ping', session: member.session });
      }
    }
    this.#helpLate();
  }

  #noteStall(): void {
    const { phase, stalled, step } = this.#state;
    if (phase !== 'open' || stalled || !this.#state.open.hasOrphans) return;
    this.#state.stalled = true;
    this.#report({ type: 'stall', step });
  }

  #report(report: Report): void {
    this.effects.push({ do: 'report', report });
  }
}

const meanOf = (values: readonly (number | undefined)[]): number | undefined => {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : known.reduce((a, b) => a + b) / known.length;
};

const isBalanced = (ranges: readonly ShardRange[], shards: number, costs: readonly Cost[]): boolean => {
  const times = ranges.map((range, i) => timeOf(range, shards, costs[i]!));
  return Math.max(...times) <= BALANCED * Math.min(...times);
};
