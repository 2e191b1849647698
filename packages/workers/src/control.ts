/**
 * The control block: how the threads of a pool keep step. Int32 words in shared memory, touched by Atomics only.
 *
 * Positions. All have one number, the *sequence*: 8 · tick + phase, modulo 2³². A worker's word holds the phase that it
 * stands before: everything earlier is done. The author (the main thread) has a word, too: 8 · tick + 7 of the last
 * tick whose record it has written. So there is one rule: phase s may start once every word is at s or later. A
 * replaced thread reads its word and knows where to go on.
 *
 * Sleeping. Whoever waits spins for a while, then sleeps on the epoch word. It raises its flag *before* it looks at
 * the words for the last time; the last to arrive looks at the flags *after* it has stored its word. Atomics are
 * sequentially consistent, so one of the two sees the other. A thread that dies in between leaves others asleep: hence
 * the time limit, after which they look again.
 *
 * The gate. The author counts what has come for ticks that were handed out before all of it was there; a worker goes on
 * when the count is far enough. It only grows, so a thread that takes another's place passes where that one passed.
 */

import type { SharedMemory } from '@lockstep/kernels';

/** Words between things that different threads write: two cache lines, since CPUs fetch pairs. */
const LINE = 32;
const STOP = 0;
const EPOCH = LINE;
const SIGNAL = 2 * LINE;
const WANTS = SIGNAL + 1;
const WANTED = SIGNAL + 2;
/** The author waits for a mark. */
const WATCHES = SIGNAL + 3;
const GATE = 3 * LINE;
const MEMBERS = 4 * LINE;
// Words of a member.
const POSITION = 0;
const SLEEPING = 1;
const READY = 2;
const THREAD = 3;
/** Marks passed in a phase: 256 · sequence + their number. */
const MARKS = 4;
/** What it waits for at a gate. */
const WAITS = 5;
// How it sleeps.
const AWAKE = 0;
const ASLEEP = 1;
const AT_GATE = 2;
/** Marks of a phase that can be told apart. */
export const MAX_MARKS = 255;

/** Sleepers look around at least this often (ms). */
const NAP = 100;
/** Rounds of spinning: the least, and the most where a core is free for every worker (some 0.3 ms). */
const SPINS_MIN = 4_000;
const SPINS_MAX = 200_000;

/** Where a control block lies and how many it serves. */
export interface ControlLayout {
  /** Byte address. */
  readonly address: number;
  readonly workers: number;
  /** Ticks that can be under way: a power of two. */
  readonly ring: number;
}

/** Words of a control block. */
export const controlWords = (workers: number, ring: number): number =>
  MEMBERS + (workers + 1) * LINE + 2 * ring;

/** a ≥ b for sequences less than 2³¹ apart. */
const reached = (a: number, b: number): boolean => ((a - b) | 0) >= 0;

const AUTHOR = MEMBERS;
const memberOf = (worker: number): number => MEMBERS + (worker + 1) * LINE;

/** The phases of ticks in the order of sequences. */
export const sequenceOf = (tick: number, phase: number): number => (tick * 8 + phase) | 0;
export const phaseOf = (sequence: number): number => sequence & 7;
export const nextTick = (sequence: number): number => ((sequence | 7) + 1) | 0;

export class Control {
  readonly #words: Int32Array;
  readonly #workers: number;
  readonly #ring: number;
  #spins = SPINS_MIN;

  constructor(memory: SharedMemory, { address, workers, ring }: ControlLayout) {
    this.#words = new Int32Array(memory.buffer, address, controlWords(workers, ring));
    this.#workers = workers;
    this.#ring = ring;
  }

  // --- both sides

  /** The slot of a tick in the rings. */
  slot(sequence: number): number {
    return (sequence >>> 3) & (this.#ring - 1);
  }

  /** The phase that a worker stands before. */
  position(worker: number): number {
    return Atomics.load(this.#words, memberOf(worker) + POSITION);
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, STOP) !== 0;
  }

  #wakeSleepers(): void {
    const words = this.#words;
    for (let worker = 0; worker < this.#workers; worker++) {
      if (Atomics.load(words, memberOf(worker) + SLEEPING) !== AWAKE) {
        this.#wake();
        return;
      }
    }
  }

  #wake(): void {
    Atomics.add(this.#words, EPOCH, 1);
    Atomics.notify(this.#words, EPOCH);
  }

  // --- workers

  /** A thread takes up a worker's place. */
  enter(worker: number, threadId: number): void {
    Atomics.store(this.#words, memberOf(worker) + THREAD, threadId);
  }

  /** … and is about to compute. */
  ready(worker: number): void {
    Atomics.store(this.#words, memberOf(worker) + READY, 1);
    this.#wakeAuthor();
  }

  /** Index of the plan of the tick at a sequence. */
  plan(sequence: number): number {
    return this.#words[this.#planWord(sequence)]! >> 1;
  }

  /** Whether the time is to be noted in the tick at a sequence. Once its record is there. */
  isMeasured(sequence: number): boolean {
    return (this.#words[this.#planWord(sequence)]! & 1) === 1;
  }

  /** Waits until all stand before phase `sequence` or later. False when the pool stops. */
  awaitTurn(worker: number, sequence: number, spin: boolean): boolean {
    return this.#await(MEMBERS + (this.#workers + 1) * LINE, worker, sequence, spin);
  }

  /** Waits until the author has written the record of this tick. False when the pool stops. */
  awaitRecord(worker: number, sequence: number, spin: boolean): boolean {
    return this.#await(AUTHOR + LINE, worker, sequence, spin);
  }

  /** Waits for the members before the word `end`. */
  #await(end: number, worker: number, sequence: number, spin: boolean): boolean {
    const words = this.#words;
    // The author needs a core to write the next record: who waits for it gets out of its way soon.
    const limit = spin ? (reached(Atomics.load(words, AUTHOR), sequence) ? this.#spins : SPINS_MIN) : 0;
    let spins = 0;
    for (let member = MEMBERS; member < end; ) {
      if (reached(Atomics.load(words, member + POSITION), sequence)) {
        member += LINE;
      } else if (spins < limit) {
        spins++;
      } else {
        if (this.stopped) return false;
        this.#spins = Math.max(SPINS_MIN, this.#spins >> 1);
        this.#sleep(memberOf(worker), ASLEEP, member + POSITION, sequence);
      }
    }
    if (spins > 0 && spins < limit) this.#spins = Math.min(SPINS_MAX, this.#spins * 2);
    return !this.stopped;
  }

  /** Waits until `needs` of what the tick at a sequence waits for is there. False when the pool stops. */
  awaitGate(worker: number, sequence: number, needs: number, spin: boolean): boolean {
    const words = this.#words;
    const wanted = (words[this.#gateWord(sequence)]! + needs) | 0;
    for (let spins = spin ? SPINS_MIN : 0; !reached(Atomics.load(words, GATE), wanted); ) {
      if (spins-- > 0) continue;
      if (this.stopped) return false;
      Atomics.store(words, memberOf(worker) + WAITS, wanted);
      this.#sleep(memberOf(worker), AT_GATE, GATE, wanted);
    }
    return true;
  }

  /** Sleeps unless the word at `laggard` has come to `sequence`. */
  #sleep(self: number, how: number, laggard: number, sequence: number): void {
    const words = this.#words;
    Atomics.store(words, self + SLEEPING, how);
    const epoch = Atomics.load(words, EPOCH);
    if (!reached(Atomics.load(words, laggard), sequence) && !this.stopped) {
      Atomics.wait(words, EPOCH, epoch, NAP);
    }
    Atomics.store(words, self + SLEEPING, AWAKE);
  }

  /** A worker has done all before `sequence`; the last one to come wakes who sleeps. */
  arrive(worker: number, sequence: number): void {
    const words = this.#words;
    Atomics.store(words, memberOf(worker) + POSITION, sequence);
    for (let other = 0; other < this.#workers; other++) {
      if (!reached(Atomics.load(words, memberOf(other) + POSITION), sequence)) return;
    }
    if (reached(Atomics.load(words, AUTHOR), sequence)) this.#wakeSleepers();
    if (Atomics.load(words, WANTS) !== 0 && reached(sequence, Atomics.load(words, WANTED))) {
      this.#wakeAuthor();
    }
  }

  /** A worker has passed so many marks of the phase. */
  mark(worker: number, sequence: number, marks: number): void {
    const words = this.#words;
    Atomics.store(words, memberOf(worker) + MARKS, (sequence << 8) | marks);
    if (Atomics.load(words, WATCHES) !== 0) {
      Atomics.store(words, WATCHES, 0);
      this.#wakeAuthor();
    }
  }

  #wakeAuthor(): void {
    const words = this.#words;
    Atomics.store(words, WANTS, 0);
    Atomics.add(words, SIGNAL, 1);
    Atomics.notify(words, SIGNAL);
  }

  // --- the author

  /** All stand before the first tick. */
  begin(tick: number): void {
    Atomics.store(this.#words, AUTHOR, sequenceOf(tick - 1, 7));
    for (let worker = 0; worker < this.#workers; worker++) {
      Atomics.store(this.#words, memberOf(worker) + POSITION, sequenceOf(tick, 0));
    }
  }

  /** A new thread will take this worker's place: the old one is gone. */
  vacate(worker: number): void {
    Atomics.store(this.#words, memberOf(worker) + SLEEPING, AWAKE);
    Atomics.store(this.#words, memberOf(worker) + READY, 0);
    Atomics.store(this.#words, memberOf(worker) + THREAD, 0);
  }

  isReady(worker: number): boolean {
    return Atomics.load(this.#words, memberOf(worker) + READY) !== 0;
  }

  /** Thread id of the worker, 0 when none has come up. */
  thread(worker: number): number {
    return Atomics.load(this.#words, memberOf(worker) + THREAD);
  }

  /** The record of this tick is written; its gates count from `gate`. */
  publish(tick: number, plan: number, isMeasured: boolean, gate: number): void {
    const sequence = sequenceOf(tick, 7);
    this.#words[this.#gateWord(sequence)] = gate;
    this.#words[this.#planWord(sequence)] = 2 * plan + (isMeasured ? 1 : 0);
    Atomics.store(this.#words, AUTHOR, sequence);
    this.#wakeSleepers();
  }

  /** So much has come. Wakes those for whom it is enough. */
  open(count: number): void {
    const words = this.#words;
    Atomics.store(words, GATE, count);
    for (let worker = 0; worker < this.#workers; worker++) {
      const member = memberOf(worker);
      const isAtGate = Atomics.load(words, member + SLEEPING) === AT_GATE;
      if (isAtGate && reached(count, Atomics.load(words, member + WAITS))) {
        this.#wake();
        return;
      }
    }
  }

  /** The position of the slowest worker, as its distance from the given sequence (which it has reached). */
  progressFrom(sequence: number): number {
    let least = 2 ** 31;
    for (let worker = 0; worker < this.#workers; worker++) {
      least = Math.min(least, (this.position(worker) - sequence) | 0);
    }
    return least;
  }

  /** Asks the worker that completes the phase before `sequence` to signal. */
  want(sequence: number): void {
    Atomics.store(this.#words, WANTED, sequence);
    Atomics.store(this.#words, WANTS, 1);
  }

  /** Marks that a worker has passed in a phase; all of them when it is done with it. */
  marks(worker: number, sequence: number): number {
    if (reached(this.position(worker), (sequence + 1) | 0)) return Number.POSITIVE_INFINITY;
    const word = Atomics.load(this.#words, memberOf(worker) + MARKS);
    return word >> 8 === (sequence << 8) >> 8 ? word & 255 : 0;
  }

  /** Asks the worker that passes the next mark to signal. */
  watch(): void {
    Atomics.store(this.#words, WATCHES, 1);
  }

  /** The count of signals so far: read it, look at the state of things, then `signal` from it. */
  get signals(): number {
    return Atomics.load(this.#words, SIGNAL);
  }

  /** Settles when there are more signals than `seen`. Does not keep the process alive. */
  async signal(seen: number): Promise<void> {
    await Atomics.waitAsync(this.#words, SIGNAL, seen).value;
  }

  /** Tells all threads to return, and ends `signal`. */
  stop(): void {
    Atomics.store(this.#words, STOP, 1);
    Atomics.add(this.#words, EPOCH, 1);
    Atomics.notify(this.#words, EPOCH);
    this.#wakeAuthor();
  }

  #planWord(sequence: number): number {
    return MEMBERS + (this.#workers + 1) * LINE + this.slot(sequence);
  }

  #gateWord(sequence: number): number {
    return this.#planWord(sequence) + this.#ring;
  }
}
