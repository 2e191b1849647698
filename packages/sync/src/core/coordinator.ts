/**
 * The coordinator as a pure state machine: no await, no clock, no randomness, no sockets, no files. A driver tells it
 * what happened (`CoordinatorEvent`) and when, and does what it wants (`Effect`).
 *
 * Note [The step's life]: gathering → open ⇄ applying → over → done. Open: units are computed, handed out anew when
 * their holder is lost, computed twice when it is late. When every unit is there: applying, which the driver does on
 * its own (it may have begun with buckets that are complete). Then the weights go out and the next step is open. A
 * run without nodes stays open until one joins. When the last step is applied, nodes stay until they are told what came
 * of it: with `stop`.
 */

import type { ShardRange } from '../reduce/tree.ts';
import { assign, noteComputed, noteReturned, publish } from './assignments.ts';
import { type Coordinator, type Member, RollingMedian } from './coordinatorState.ts';
import type { CloseReason, CoordinatorEvent, Effect, Report } from './coordinatorTypes.ts';
import { helpLate, noteMisses, probe } from './helping.ts';
import {
  activate,
  actives,
  anyActives,
  cutShares,
  dismissIdle,
  FIRST_INTERVAL,
  judgeStep,
  nextLineup,
  reconsider,
  takersOf,
} from './lineup.ts';
import { OpenStep, type Orders, type UnitState } from './openStep.ts';
import { assignTrials, NEWCOMER, noteEnd } from './trials.ts';

/** Sessions whose names are known, for alarms about what comes late; those of members always are. */
const MAX_NAMES = 4096;

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
      case 'whole':
        this.#whole(event.step);
        break;
      case 'returned':
        if (member !== undefined) this.effects.push(...noteReturned(this.#state, member, event, this.#now));
        break;
      case 'computed':
        if (member !== undefined) noteComputed(this.#state, member, event, this.#now);
        break;
      case 'conflict':
        this.#alarm(event);
        break;
      case 'applied':
        this.#applied(event);
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
    const session = ++state.sessions;
    this.#remember(session, name);
    const now = this.#now;
    state.members.set(session, {
      session,
      id,
      name,
      joined: now,
      heard: now,
      pinged: now,
      round: new RollingMedian(),
      shard: new RollingMedian(),
      unit: new RollingMedian(),
      ready: false,
      leaving: false,
      isActive: false,
      ...NEWCOMER,
      isBegun: false,
      dueAt: 0,
      interval: FIRST_INTERVAL,
      isAlone: false,
      isHarmless: false,
      idle: 0,
      isTried: false,
      isAside: false,
      model: -1,
      receives: false,
      busy: undefined,
    });
    this.effects.push({ do: 'welcome', peer, session });
    this.#report({ type: 'join', name, step: state.step });
    if (state.phase === 'done') this.#close(session);
  }

  /** A node that joins again and again doesn't make the list grow without end. */
  #remember(session: number, name: string): void {
    const { names, members } = this.#state;
    names.set(session, name);
    if (names.size <= MAX_NAMES) return;
    for (const old of names.keys()) {
      if (members.has(old)) continue;
      names.delete(old);
      return;
    }
  }

  #ready(member: Member): void {
    const { phase } = this.#state;
    if (member.ready || phase === 'done' || phase === 'over') return;
    member.ready = true;
    if (phase === 'gathering') {
      // Nobody is ahead of anybody yet.
      activate(this.#state, member, FIRST_INTERVAL);
      this.#publish(member);
      this.#begin();
    } else if (phase === 'open') {
      this.#handOutOrphans();
      this.#assignTrials();
    }
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
    const { members, open, redundant } = this.#state;
    members.delete(member.session);
    open.drop(member.session);
    for (const each of redundant) if (each.session === member.session) redundant.delete(each);
    if (member.isActive) reconsider(this.#state);
    if (reason !== 'left') noteEnd(this.#state, member, this.#now);
    if (reason !== 'closed') this.effects.push({ do: 'close', session: member.session, reason });
  }

  /** Those who take part in the open step; where there is nobody, others do from now on. */
  #recruits(): Member[] {
    const state = this.#state;
    const present = [...state.members.values()].filter(({ receives, leaving }) => receives && !leaving);
    if (present.length > 0) return present;
    const found = anyActives(state);
    for (const member of found) this.#admit(member);
    return found;
  }

  /** From now on it is sent every model. */
  #admit(member: Member): void {
    this.#publish(member);
    member.receives = true;
  }

  #publish(member: Member): void {
    this.effects.push(...publish(this.#state, member));
  }

  // The open step

  #begin(): void {
    const { config, step } = this.#state;
    if (step === config.steps) this.#state.phase = 'over';
    else if (actives(this.#state).length >= config.minNodes) this.#open();
  }

  #open(): void {
    const state = this.#state;
    state.phase = 'open';
    state.open = new OpenStep(state.step, state.config.shards(state.step), this.#now);
    for (const member of state.members.values()) {
      member.busy = undefined;
      member.receives = false;
    }
    state.mostShards = Math.max(state.mostShards, state.open.shards);
    const lineup = nextLineup(state);
    for (const member of lineup) this.#admit(member);
    const awaited = [...new Set([...state.redundant].map(({ step }) => step))];
    this.effects.push({ do: 'open', step: state.step, awaited });
    if (lineup.length > 0) this.#deal(lineup);
    this.#assignTrials();
    this.#noteStall();
  }

  #deal(lineup: readonly Member[]): void {
    const state = this.#state;
    const { ranges, isNew } = cutShares(state, takersOf(lineup));
    if (isNew) this.#report({ type: 'rebalance', step: state.step });
    this.#send(state.open.deal(ranges, this.#now), true);
    for (const report of dismissIdle(state, ranges)) this.#report(report);
  }

  #assignTrials(): void {
    this.effects.push(...assignTrials(this.#state, this.#now));
  }

  #handOutOrphans(): void {
    const { open, members } = this.#state;
    if (!open.hasOrphans) return;
    const takers = this.#recruits();
    if (takers.length === 0) return;
    const orders = open.dealOrphans(takersOf(takers), this.#now);
    const names = [...orders.keys()].map((session) => members.get(session)!.name);
    this.#report({ type: 'reassign', step: open.step, names });
    if (this.#state.stalled) this.#report({ type: 'resume', step: open.step });
    this.#state.stalled = false;
    this.#send(orders);
  }

  #send(orders: Orders, together = false): void {
    this.effects.push(...assign(this.#state, orders, this.#now, together));
  }

  /**
   * The step is over though units of its last cut are missing: what they stand for came in larger ones. Weights may have gone
   * out already, and whoever has them cannot compute the rest any more.
   */
  #whole(step: number): void {
    const { open, phase } = this.#state;
    if (phase !== 'open' || open.step !== step) return;
    for (const unit of open.units) unit.done = true;
    this.#apply(open.units);
  }

  #unit(member: Member, { step, lo, hi }: { step: number } & ShardRange): void {
    const { open, phase } = this.#state;
    const unit = phase === 'open' && open.step === step ? open.find(lo, hi) : undefined;
    if (unit === undefined || unit.done) return;
    unit.done = true;
    if (open.isDone) {
      this.#apply(open.units);
    } else {
      this.#dismissIdle(member);
      this.#helpLate();
    }
  }

  #helpLate(): void {
    this.effects.push(...helpLate(this.#state, this.#now));
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

  // Commit, end

  #apply(units: readonly UnitState[]): void {
    this.effects.push(...noteMisses(this.#state, this.#now));
    this.#state.phase = 'applying';
    for (const member of this.#state.members.values()) member.busy = undefined;
    for (const member of [...this.#state.members.values()]) this.#dismissIdle(member);
    const parts = units.map(({ lo, hi }) => ({ lo, hi }));
    this.effects.push({ do: 'apply', step: this.#state.open.step, units: parts });
  }

  #applied({ step, idle = 0 }: { step: number; idle?: number }): void {
    const state = this.#state;
    if (state.phase !== 'applying' || step !== state.step) return;
    for (const report of judgeStep(state, this.#now - state.open.since - idle)) this.#report(report);
    state.step++;
    if (state.step === state.config.steps) state.phase = 'over';
    else this.#open();
  }

  /** What was computed of an open step is given up: another run computes the same. */
  #stop(): void {
    if (this.#state.phase === 'done') return;
    this.#state.phase = 'done';
    for (const { session } of this.#state.members.values()) this.#close(session);
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
    this.effects.push(...probe(this.#state, this.#now));
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
