/** Where the time goes: a worker that is measured notes in shared memory at which moments it was done with what. */
import type { Kernels, SharedMemory } from '@lockstep/kernels';
import { type Control, phaseOf } from './control.ts';
import type { Call, WorkerCalls } from './plan.ts';

/** Where a worker notes its moments: a ring of ticks. */
export interface TimingLayout {
  /** Byte address. */
  readonly address: number;
  /** Moments (f64) from one tick's slot to the next. */
  readonly stride: number;
}

/**
 * Moments of a tick before those of each phase, and of the whole tick at the end. A phase has: the record was there
 * (phase 0 only), its turn had come (all others stood before it), then of every part of every call: what it needs had come
 * (where it needs something), and its end.
 */
export const momentsBefore = (phases: readonly (readonly Call[])[]): number[] => {
  const starts = [0];
  for (const [phase, calls] of phases.entries()) {
    const parts = calls.flatMap(({ noted }) => noted);
    const waits = parts.filter(({ needs }) => needs > 0);
    starts.push(starts[phase]! + (phase === 0 ? 2 : 1) + parts.length + waits.length);
  }
  return starts;
};

/** Tries to read two clocks at the same moment, of which the quickest counts: a thread may be held up between them. */
const ATTEMPTS = 20;

/** What to add to `performance.now()` of this thread for a clock that is the same in all threads (ms). */
const clockOffset = (): number => {
  let best = Number.POSITIVE_INFINITY;
  let offset = 0;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const before = performance.now();
    const [seconds, nanoseconds] = process.hrtime();
    const after = performance.now();
    if (after - before >= best) continue;
    best = after - before;
    offset = seconds * 1e3 + nanoseconds / 1e6 - (before + after) / 2;
  }
  return offset;
};

export class Stopwatch {
  readonly #moments: Float64Array;
  readonly #stride: number;
  readonly #starts: readonly (readonly number[])[];
  readonly #offset = clockOffset();
  #isOn = false;
  #record = 0;
  #turn = 0;
  #next = 0;

  constructor(memory: SharedMemory, { address, stride }: TimingLayout, ring: number, calls: WorkerCalls) {
    this.#moments = new Float64Array(memory.buffer, address, stride * ring);
    this.#stride = stride;
    this.#starts = calls.map(momentsBefore);
  }

  /** Whether the time is noted in the tick whose turn was awaited last. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** As `control.awaitTurn`. */
  awaitTurn(control: Control, worker: number, sequence: number, spin: boolean): boolean {
    const isFirst = phaseOf(sequence) === 0;
    if (isFirst && !control.awaitRecord(worker, sequence, spin)) return false;
    this.#isOn = control.isMeasured(sequence);
    if (isFirst && this.#isOn) this.#record = this.#now();
    const go = control.awaitTurn(worker, sequence, spin);
    if (this.#isOn) this.#turn = this.#now();
    return go;
  }

  /** To be called before the first call of a phase. */
  begin(plan: number, phase: number, slot: number): void {
    this.#next = slot * this.#stride + this.#starts[plan]![phase]!;
    if (phase === 0) this.#moments[this.#next++] = this.#record;
    this.#moments[this.#next++] = this.#turn;
  }

  /** As `runParts`, and notes the time. */
  run(
    kernels: Kernels,
    { code, bases, noted }: Call,
    passed: ((mark: number) => void) | undefined,
    come: (needs: number) => boolean,
  ): boolean {
    let from = 0;
    let going = true;
    for (let i = 0; i < noted.length; i++) {
      const { to, mark, needs } = noted[i]!;
      if (needs > 0) {
        if (going && !come(needs)) return false;
        this.#moments[this.#next++] = this.#now();
      }
      if (going) going = kernels.run(code, from, to, bases);
      this.#moments[this.#next++] = this.#now();
      if (going && mark > 0) passed?.(mark);
      from = to;
    }
    return true;
  }

  #now(): number {
    return performance.now() + this.#offset;
  }
}
