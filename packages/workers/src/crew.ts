import type { Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { type Control, phaseOf } from './control.ts';
import type { WorkerFailure, WorkerTask } from './worker.ts';

/** A worker thread died; it will be replaced, and its replacement repeats this phase. */
export interface WorkerLoss {
  readonly worker: number;
  readonly tick: number;
  readonly phase: number;
  readonly reason: string;
}

/** Why a pool gave up. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  readonly worker: number;
  /** `plan/program` that failed, if one was running. */
  readonly program: string | undefined;

  constructor(worker: number, message: string, program?: string) {
    super(`worker ${worker}${program === undefined ? '' : `, program ${program}`}: ${message}`);
    this.worker = worker;
    this.program = program;
  }
}

export interface CrewOptions {
  readonly control: Control;
  readonly workers: number;
  /** The built `entry.cjs`. */
  readonly file: URL;
  readonly task: (worker: number) => WorkerTask;
  /** Tick at a worker's position. */
  readonly tickOf: (sequence: number) => number;
  /** A thread must come up within this time (ms): Piscina can be left with a task that no thread takes. */
  readonly bootLimit: number;
  /** A worker without progress for so long (ms) is taken to hang. */
  readonly hangLimit: number;
  readonly onLost: (loss: WorkerLoss) => void;
  readonly onReplaced: (loss: WorkerLoss) => void;
  readonly onFailed: (error: WorkerError) => void;
}

/** Reason of a loss that somebody asked for. */
const DRILL = 'terminated';
/** A terminated thread must be gone within this time (ms); native code ends with its call. */
const EXIT_LIMIT = 60_000;
/** So many losses of one worker at one position, drills apart, and it is not bad luck. */
const MAX_LOSSES = 5;

interface Place {
  abort: AbortController;
  /** How long its thread has been coming up (ms). */
  booting: number;
  lossesHere: number;
  lostAt: number | undefined;
  /** The loss that made the current thread come up; until it is at work. */
  replacing: WorkerLoss | undefined;
  /** Why we ended its thread ourselves. */
  verdict: string | undefined;
}

/** How long (ms) a place may wait for a thread when there are fewer threads than places. */
const MISSING_LIMIT = 1000;

/** Keeps a thread at every place of the control block: Piscina owns the threads, one long task each. */
export class Crew {
  readonly #options: CrewOptions;
  readonly #piscina: Piscina<WorkerTask, WorkerFailure | undefined>;
  readonly #places: Place[];
  /** Threads that have not exited, also those that Piscina has already given up. */
  readonly #alive = new Map<number, Promise<unknown>>();
  #closing = false;
  // Watch over hanging threads: the slowest position, how long it stands (ms), the longest that it stood before it
  // moved on by itself, and how often that was cut short since it last moved.
  #slowest = 0;
  #standing = 0;
  #longest = 0;
  #cuts = 0;

  constructor(options: CrewOptions) {
    this.#options = options;
    this.#piscina = new Piscina({
      filename: options.file.href,
      minThreads: options.workers,
      maxThreads: options.workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      // The threads run built JavaScript only: no loader or inspector flags of the parent.
      execArgv: [],
    });
    // An idle thread's error has no task to reject; the limit on coming up deals with it.
    this.#piscina.on('error', () => undefined);
    this.#places = Array.from({ length: options.workers }, () => ({
      abort: new AbortController(),
      booting: 0,
      lossesHere: 0,
      lostAt: undefined,
      replacing: undefined,
      verdict: undefined,
    }));
    for (let worker = 0; worker < options.workers; worker++) void this.#tend(worker);
  }

  /** Ends a worker's thread wherever it stands; settles when it is gone. It is replaced. */
  async terminate(worker: number, verdict = DRILL): Promise<void> {
    const place = this.#places[worker]!;
    const id = this.#options.control.thread(worker);
    const thread = this.#piscina.threads.find(({ threadId }) => threadId === id);
    place.verdict = verdict;
    if (thread === undefined) place.abort.abort();
    else await thread.terminate();
  }

  /** Looks whether replacements have come up. */
  greet(): void {
    for (let worker = 0; worker < this.#places.length; worker++) {
      const place = this.#places[worker]!;
      if (place.replacing !== undefined && this.#options.control.isReady(worker)) this.#welcome(place);
    }
  }

  /** To be called regularly, with the time since the last call (ms). `busy`: the workers have something to do. */
  watch(elapsed: number, busy: boolean): void {
    const { bootLimit, control } = this.#options;
    this.greet();
    // When a replacement dies while it starts, Piscina starts no further one until there is a new task.
    const missing = this.#piscina.threads.length < this.#places.length;
    const limit = missing ? Math.min(MISSING_LIMIT, bootLimit) : bootLimit;
    for (const [worker, place] of this.#places.entries()) {
      if (control.isReady(worker)) continue;
      place.booting += elapsed;
      if (place.booting > limit) {
        place.booting = 0;
        void this.terminate(worker, `did not come up within ${limit / 1000} s`);
      }
    }
    this.#watchProgress(elapsed, busy);
  }

  /** Ends all threads; settles when they are gone (or cannot be ended, after a minute). */
  async close(): Promise<void> {
    this.#closing = true;
    // Again, because the late exit of a thread that it had given up makes Piscina start new ones.
    do {
      await this.#piscina.destroy();
      await within(EXIT_LIMIT, Promise.all(this.#alive.values()));
    } while (this.#piscina.threads.length > 0);
  }

  #welcome(place: Place): void {
    const { replacing } = place;
    place.replacing = undefined;
    if (replacing !== undefined) this.#options.onReplaced(replacing);
  }

  async #tend(worker: number): Promise<void> {
    const place = this.#places[worker]!;
    const { control, onLost, onFailed } = this.#options;
    let loss: WorkerLoss | undefined;
    while (!this.#closing) {
      control.vacate(worker);
      place.abort = new AbortController();
      place.booting = 0;
      place.verdict = undefined;
      place.replacing = loss;
      let reason: string;
      try {
        const running = this.#piscina.run(this.#options.task(worker), { signal: place.abort.signal });
        this.#notice();
        const failure = await running;
        if (failure !== undefined) onFailed(new WorkerError(worker, failure.message, failure.program));
        return;
      } catch (error) {
        reason = place.verdict ?? (error instanceof Error ? error.message : String(error));
      }
      this.#notice();
      if (this.#closing) return;
      if (control.isReady(worker)) this.#welcome(place); // It came up, unnoticed, before it died.
      loss = this.#count(worker, reason);
      onLost(loss);
      // Another thread may take over when nobody writes to this one's memory any more.
      const gone = await within(EXIT_LIMIT, Promise.all(this.#dismissed()));
      if (this.#closing) return;
      if (!gone) return onFailed(new WorkerError(worker, `its thread does not end (${reason})`));
      if (place.lossesHere >= MAX_LOSSES) return onFailed(tooMany(loss));
    }
  }

  #count(worker: number, reason: string): WorkerLoss {
    const place = this.#places[worker]!;
    const sequence = this.#options.control.position(worker);
    if (place.lostAt !== sequence) place.lossesHere = 0;
    if (reason !== DRILL) place.lossesHere++;
    place.lostAt = sequence;
    return { worker, tick: this.#options.tickOf(sequence), phase: phaseOf(sequence), reason };
  }

  /** Takes note of new threads. */
  #notice(): void {
    for (const thread of this.#piscina.threads as Worker[]) {
      const { threadId } = thread;
      if (threadId < 0 || this.#alive.has(threadId)) continue;
      // Not events.once: an error before the exit would reject it.
      const exit = new Promise((resolve) => thread.once('exit', resolve)).then(() =>
        this.#alive.delete(threadId),
      );
      this.#alive.set(threadId, exit);
    }
  }

  /** Exits of the threads that Piscina has let go. */
  #dismissed(): Promise<unknown>[] {
    const kept = new Set(this.#piscina.threads.map(({ threadId }) => threadId));
    return [...this.#alive].filter(([threadId]) => !kept.has(threadId)).map(([, exit]) => exit);
  }

  #watchProgress(elapsed: number, busy: boolean): void {
    const { control, workers, hangLimit } = this.#options;
    const slowest = (this.#slowest + control.progressFrom(this.#slowest)) | 0;
    if (slowest !== this.#slowest || !busy) {
      if (this.#cuts === 0 && busy) this.#longest = Math.max(this.#longest, this.#standing);
      this.#slowest = slowest;
      this.#standing = 0;
      this.#cuts = 0;
      return;
    }
    this.#standing += elapsed;
    // Twice as patient after every cut, lest a step that is merely slow never ends.
    if (this.#standing < Math.max(hangLimit, 10 * this.#longest) * 2 ** this.#cuts) return;
    const seconds = Math.round(this.#standing / 1000);
    this.#standing = 0;
    this.#cuts++;
    for (let worker = 0; worker < workers; worker++) {
      if (control.isReady(worker) && control.position(worker) === this.#slowest) {
        void this.terminate(worker, `made no progress for ${seconds} s`);
      }
    }
  }
}

const tooMany = ({ worker, tick, phase, reason }: WorkerLoss): WorkerError =>
  new WorkerError(
    worker,
    `lost ${MAX_LOSSES} times in a row in phase ${phase} of tick ${tick}; the last time: ${reason}`,
  );

/** True when the promise settles within `ms`. Keeps the process alive meanwhile. */
const within = async (ms: number, promise: Promise<unknown>): Promise<boolean> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
};
