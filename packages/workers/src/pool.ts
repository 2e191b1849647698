import { EventEmitter } from 'node:events';
import { type KernelChoice, STACK_BYTES } from '@lockstep/kernels';
import { Control, controlWords, sequenceOf } from './control.ts';
import { cores } from './cores.ts';
import { Crew, type WorkerError, type WorkerLoss } from './crew.ts';
import type { SharedHeap } from './heap.ts';
import {
  type Plan,
  type PointerNeed,
  type PoolProgram,
  placePlans,
  pointersOf,
  tickOffset,
  type WorkerCalls,
} from './plan.ts';
import { momentsBefore, type TimingLayout } from './timing.ts';
import { Waiters } from './waiters.ts';
import type { RingLayout } from './worker.ts';

export { WorkerError, type WorkerLoss } from './crew.ts';

export interface PoolOptions {
  /** Where everything lies; the caller's buffers come from it, too. */
  readonly heap: SharedHeap;
  /** Threads, at least 1. */
  readonly workers: number;
  /** Default `auto`. */
  readonly kernels?: KernelChoice;
  readonly programs: readonly PoolProgram[];
  /** What a tick can be; `submit` chooses one by index. */
  readonly plans: readonly Plan[];
  /** 4-byte words of a record that the caller writes. The pool appends the tick at byte `tickOffset(recordWords)`. */
  readonly recordWords: number;
  /** 4-byte words of a result slot. */
  readonly resultWords: number;
  /** Ticks that can be under way at once: a power of two, default 64. */
  readonly ring?: number;
  /** Ends the pool; what waits is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Seconds without progress after which a worker is taken to hang (longer where steps take longer). Default 30. */
  readonly hangSeconds?: number;
  /** Seconds in which a thread must come up, else it is replaced. Default 30. */
  readonly bootSeconds?: number;
  /** Spin at barriers; default: if there is a core for every worker. */
  readonly spin?: boolean;
  /** Have workers note when they were done with what (see `moments`, `isMeasuring`). Default false, which costs nothing. */
  readonly measure?: boolean;
  /** Have workers tell at the programs' marks how far they are (see `waitMark`). Default false. */
  readonly watch?: boolean;
  /** URL of a module to take `loadKernels` from, for tests of faults. */
  readonly kernelsModule?: string;
  /** Number of the first tick, default 1 (0 is what a fresh journal holds). */
  readonly firstTick?: number;
}

/** A record to write: two views of the same words. */
export interface RecordView {
  readonly u32: Uint32Array;
  readonly f32: Float32Array;
}

/** What happens to workers: see `WorkerLoss`. */
export interface PoolEvents {
  workerLost: [loss: WorkerLoss];
  workerReplaced: [loss: WorkerLoss];
}

/** The main thread looks around at least this often (ms), whatever signals got lost with a thread. */
const POLL = 100;

/**
 * Threads that run plans, tick by tick, in lockstep: all of phase p on every worker, then phase p + 1. The caller
 * submits ticks ahead of time (it never holds up the workers as long as the ring has ticks) and picks up results:
 *
 *     const tick = pool.submit(TRAIN, ({ u32, f32 }) => { … });
 *     await pool.wait(tick);
 *     const [loss] = pool.result(tick);
 *
 * A thread that dies is replaced, and the phase in which it died is repeated by its replacement; the plan's tasks are
 * made so that this cannot change a bit. An error in a program or in the kernels ends the pool.
 */
export class WorkerPool extends EventEmitter<PoolEvents> {
  readonly workers: number;
  readonly ring: number;
  /** Whether what is submitted next is measured, in a pool with `measure`. */
  isMeasuring = true;
  readonly #options: PoolOptions;
  readonly #control: Control;
  readonly #records: readonly RecordView[];
  readonly #results: readonly Float32Array[];
  /** By plan. */
  readonly #pointers: readonly (readonly PointerNeed[])[];
  readonly #recordRing: RingLayout;
  readonly #resultRing: RingLayout;
  /** By plan: the most that one of its gates needs. */
  readonly #needs: readonly number[];
  /** Per worker: where its moments lie; empty when nothing is measured. */
  readonly #timings: readonly { readonly layout: TimingLayout; readonly slots: readonly Float64Array[] }[];
  readonly #crewTask: ConstructorParameters<typeof Crew>[0]['task'];
  readonly #waiters: Waiters;
  #crew: Crew | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lookedAt = 0;
  #submitted: number;
  #completed: number;
  /** What has come, as ticks with gates count it; the workers have something to do once it is at `#needed`. */
  #opened = 0;
  #needed = 0;
  #losses = 0;
  #ended: { reason: unknown } | undefined;
  #closed: Promise<void> | undefined;

  /** Lays out the pool's memory; threads come with `start`. Throws a RangeError for plans that do not fit. */
  constructor(options: PoolOptions) {
    super();
    const { heap, workers, ring = 64, recordWords, resultWords, firstTick = 1 } = options;
    checkCount('workers', workers, 1);
    checkCount('recordWords', recordWords, 0);
    checkCount('resultWords', resultWords, 0);
    checkCount('ring', ring, 1);
    checkCount('firstTick', firstTick, 1);
    if ((ring & (ring - 1)) !== 0)
      throw new RangeError(`WorkerPool: ring is ${ring}, expected a power of two`);
    this.#options = options;
    this.workers = workers;
    this.ring = ring;
    this.#submitted = firstTick - 1;
    this.#completed = firstTick - 1;

    const layout = { address: heap.allocatePrivate(controlWords(workers, ring) * 4, 128), workers, ring };
    const recordBytes = tickOffset(recordWords) + 4;
    const resultBytes = resultWords * 4;
    this.#recordRing = allocateRing(heap, recordBytes, ring);
    this.#resultRing = allocateRing(heap, resultBytes, ring);
    const calls = placePlans({ ...options, recordBytes, resultBytes });
    this.#pointers = options.plans.map((plan) => pointersOf(plan, options.programs));
    this.#needs = options.plans.map(({ phases }) =>
      Math.max(
        0,
        ...phases.flat(2).map(({ program }) => options.programs[program]!.gates?.at(-1)?.needs ?? 0),
      ),
    );
    this.#timings = options.measure ? calls.map((own) => allocateTiming(heap, own, ring)) : [];
    const stacks = heap.allocatePrivate(workers * STACK_BYTES, 4096);
    this.#control = new Control(heap.memory, layout);
    this.#control.begin(firstTick);
    this.#waiters = new Waiters(this.#control, () => {
      this.#crew?.greet();
      return this.#completed;
    });
    this.#records = ringViews(this.#recordRing, ring, (address) => ({
      u32: heap.u32(address, recordWords + 1),
      f32: heap.f32(address, recordWords + 1),
    }));
    this.#results = ringViews(this.#resultRing, ring, (address) => heap.f32(address, resultWords));
    this.#crewTask = (worker) => ({
      worker,
      memory: heap.memory,
      control: layout,
      calls: calls[worker]!,
      kernels: options.kernels ?? 'auto',
      kernelsModule: options.kernelsModule ?? '@lockstep/kernels',
      stackTop: stacks + (worker + 1) * STACK_BYTES,
      records: this.#recordRing,
      results: this.#resultRing,
      spin: options.spin ?? workers <= cores(),
      timing: this.#timings[worker]?.layout,
      watched: options.watch ?? false,
    });
  }

  /** Brings up the threads; settles when all have loaded their kernels. Ticks may be submitted before. */
  async start(): Promise<void> {
    if (this.#crew !== undefined) throw new Error('WorkerPool: start() was called before');
    const { signal, hangSeconds = 30, bootSeconds = 30 } = this.#options;
    signal?.throwIfAborted();
    this.#throwIfEnded();
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#crew = new Crew({
      control: this.#control,
      workers: this.workers,
      file: WORKER_FILE,
      task: this.#crewTask,
      // Positions are at most `ring` ticks away from the last completed one.
      tickOf: (sequence) => this.#completed + ((sequence - sequenceOf(this.#completed, 0)) >> 3),
      bootLimit: bootSeconds * 1000,
      hangLimit: hangSeconds * 1000,
      onLost: (loss) => {
        this.#losses++;
        this.emit('workerLost', loss);
      },
      onReplaced: (loss) => this.emit('workerReplaced', loss),
      onFailed: (error) => this.#end(error),
    });
    this.#lookedAt = performance.now();
    // Signals do not keep the process alive: this does.
    this.#timer = setInterval(this.#look, POLL);
    const workers = Array.from({ length: this.workers }, (_, worker) => worker);
    await this.#waitFor(
      () => workers.every((worker) => this.#control.isReady(worker)),
      sequenceOf(this.#completed + 1, 0),
    );
  }

  /** Last tick that was submitted; the first one is 1. */
  get submitted(): number {
    return this.#submitted;
  }

  /** Last tick that all workers have finished. */
  get completed(): number {
    this.#completed += this.#control.progressFrom(sequenceOf(this.#completed + 1, 0)) >> 3;
    return this.#completed;
  }

  /** Ticks that can be submitted now. */
  get capacity(): number {
    return this.ring - (this.#submitted - this.completed);
  }

  /** Threads that died so far. */
  get losses(): number {
    return this.#losses;
  }

  /**
   * Gives the workers a tick to do: `plan` by index, and a record that `write` fills (the words of an earlier tick are
   * still in it). Returns the tick's number. Throws when the ring is full (see `capacity`) or the pool has ended.
   *
   * `from`: its programs' gates count from there (see `opened`). Default: all that they need is there.
   */
  submit(plan: number, write: (record: RecordView) => void, from?: number): number {
    this.#throwIfEnded();
    if (this.#options.plans[plan] === undefined) {
      throw new RangeError(`WorkerPool: got plan ${plan}, expected 0 to ${this.#options.plans.length - 1}`);
    }
    if (this.capacity < 1) {
      throw new RangeError(
        `WorkerPool: ${this.ring} ticks are under way; wait for one before you submit another`,
      );
    }
    const tick = this.#submitted + 1;
    const record = this.#records[tick & (this.ring - 1)]!;
    write(record);
    this.#checkPointers(plan, record);
    record.u32[this.#options.recordWords] = tick;
    this.#submitted = tick;
    if (from !== undefined) this.#needed = Math.max(this.#needed, from + this.#needs[plan]!);
    const gate = from ?? this.#opened - this.#needs[plan]!;
    this.#control.publish(tick, plan, this.isMeasuring && this.#timings.length > 0, gate);
    return tick;
  }

  /** How much has come of what ticks wait for that were submitted before it was all there. From 0, it only grows. */
  get opened(): number {
    return this.#opened;
  }

  /** So much has come. Throws a RangeError where that is less than before. */
  open(count: number): void {
    if (!Number.isSafeInteger(count) || count < this.#opened) {
      throw new RangeError(`WorkerPool: open(${count}), expected an integer of at least ${this.#opened}`);
    }
    if (count === this.#opened) return;
    this.#opened = count;
    this.#control.open(count);
  }

  #checkPointers(plan: number, { u32 }: RecordView): void {
    for (const { word, bytes } of this.#pointers[plan]!) {
      const address = u32[word]!;
      const room = address % 4 === 0 ? this.#options.heap.room(address) : 0;
      if (bytes <= room) continue;
      const { name } = this.#options.plans[plan]!;
      throw new RangeError(
        `WorkerPool: plan ${name}: word ${word} of the record points at ${address}, where ${room} bytes are; expected ${bytes}`,
      );
    }
  }

  /** Settles when a tick is complete. Rejects when the pool fails (`WorkerError`), is closed or is aborted before. */
  async wait(tick: number): Promise<void> {
    if (tick <= this.completed) return;
    if (tick > this.#submitted) {
      throw new RangeError(
        `WorkerPool: waiting for tick ${tick}, but the last one submitted is ${this.#submitted}`,
      );
    }
    await this.#waitFor(() => this.completed >= tick, sequenceOf(tick + 1, 0));
  }

  /**
   * Settles when a worker has passed so many marks (at most 255) in the first phase of a tick, or is done with it. Where
   * it runs one program with marks there, all that stands before the mark is done. Of a pool with `watch` only.
   */
  async waitMark(tick: number, worker: number, marks: number): Promise<void> {
    const sequence = sequenceOf(tick, 0);
    const done = (): boolean => tick <= this.completed || this.#control.marks(worker, sequence) >= marks;
    if (!done()) await this.#waitFor(done, sequenceOf(tick + 1, 0), true);
  }

  /** The result slot of a complete tick. Its words are good until `ring` more ticks are submitted: copy or read them. */
  result(tick: number): Float32Array {
    this.#checkRecent(tick);
    return this.#results[tick & (this.ring - 1)]!;
  }

  /**
   * When a worker was done with what in a complete tick (ms, on a clock that all threads share). Per phase: the record was
   * there (phase 0 only), all workers stood before it, then in order, of every call: its gates were open, and the end of each
   * part up to a mark, a gate or its end. Good as long as the result is. Of a pool with `measure` only.
   */
  moments(tick: number, worker: number): Float64Array {
    const timing = this.#timings[worker];
    if (!this.isMeasured(tick) || timing === undefined)
      throw new RangeError(`WorkerPool: worker ${worker} is not measured`);
    return timing.slots[tick & (this.ring - 1)]!;
  }

  /** Whether a complete tick was measured. */
  isMeasured(tick: number): boolean {
    this.#checkRecent(tick);
    return this.#control.isMeasured(sequenceOf(tick, 0));
  }

  #checkRecent(tick: number): void {
    if (tick > this.completed || tick <= this.#submitted - this.ring || tick < 1) {
      throw new RangeError(
        `WorkerPool: got tick ${tick}, expected one of the last ${this.ring} that are complete (now ${this.#completed})`,
      );
    }
  }

  /** Kills a worker's thread wherever it stands, as a drill; settles when it is gone. It is replaced. */
  async terminate(worker: number): Promise<void> {
    await this.#crew?.terminate(worker);
  }

  /** Ends all threads and settles when they are gone. What still waits is rejected. */
  close(): Promise<void> {
    return this.#shut(new Error('WorkerPool: the pool is closed'));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #onAbort = (): void => {
    void this.#shut(this.#options.signal?.reason);
  };

  #shut(reason: unknown): Promise<void> {
    this.#closed ??= (async () => {
      this.#end(reason);
      this.#options.signal?.removeEventListener('abort', this.#onAbort);
      await this.#crew?.close();
      clearInterval(this.#timer);
    })();
    return this.#closed;
  }

  /** No more ticks: the threads return at their next barrier. */
  #end(reason: WorkerError | unknown): void {
    this.#ended ??= { reason };
    this.#control.stop();
    this.#waiters.reject(this.#ended.reason);
    // After a failure nothing is under way that should keep the process alive.
    this.#timer?.unref();
  }

  #throwIfEnded(): void {
    if (this.#ended !== undefined) throw this.#ended.reason;
  }

  #waitFor(done: () => boolean, sequence: number, atMark = false): Promise<void> {
    this.#throwIfEnded();
    return this.#waiters.wait({ done, sequence, atMark });
  }

  readonly #look = (): void => {
    const now = performance.now();
    // A machine that slept or a busy main thread must not look like workers that hang.
    const elapsed = Math.min(now - this.#lookedAt, 2 * POLL);
    this.#lookedAt = now;
    if (this.#ended !== undefined) return;
    // Before a closed gate, workers wait for others: they do not hang.
    this.#crew?.watch(elapsed, this.completed < this.#submitted && this.#opened >= this.#needed);
    this.#waiters.settle();
  };
}

/** The worker runs as JavaScript: from a source tree (tests) it is the built one. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith('.ts') ? '../dist/entry.cjs' : './entry.cjs',
  import.meta.url,
);

const allocateRing = (heap: SharedHeap, bytes: number, ring: number): RingLayout => {
  const stride = Math.max(64, Math.ceil(bytes / 64) * 64);
  return { address: heap.allocatePrivate(stride * ring), stride };
};

const allocateTiming = (heap: SharedHeap, calls: WorkerCalls, ring: number) => {
  const most = Math.max(1, ...calls.map((phases) => momentsBefore(phases).at(-1)!));
  // Whole cache lines: every worker writes lines of its own.
  const stride = Math.ceil(most / 8) * 8;
  const bytes = stride * Float64Array.BYTES_PER_ELEMENT;
  const address = heap.allocatePrivate(bytes * ring);
  const slots = Array.from(
    { length: ring },
    (_, slot) => new Float64Array(heap.memory.buffer, address + slot * bytes, stride),
  );
  return { layout: { address, stride }, slots };
};

const ringViews = <T>({ address, stride }: RingLayout, ring: number, view: (address: number) => T): T[] =>
  Array.from({ length: ring }, (_, slot) => view(address + slot * stride));

const checkCount = (what: string, got: number, least: number): void => {
  if (!Number.isSafeInteger(got) || got < least) {
    throw new RangeError(`WorkerPool: ${what} is ${got}, expected an integer of at least ${least}`);
  }
};
