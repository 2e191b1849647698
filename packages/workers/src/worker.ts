/**
 * What a thread of the pool runs: one long task over many ticks. It starts at the position that its place in the
 * control block holds, so a thread that takes over from a dead one repeats the phase in which that one died.
 */
import { threadId } from 'node:worker_threads';
import type { KernelChoice, Kernels, SharedMemory } from '@lockstep/kernels';
import { Control, type ControlLayout, nextTick, phaseOf } from './control.ts';
import type { Call, WorkerCalls } from './plan.ts';
import { Stopwatch, type TimingLayout } from './timing.ts';

/** Everything that a thread needs to know; plain data and the shared memory. */
export interface WorkerTask {
  readonly worker: number;
  readonly memory: SharedMemory;
  readonly control: ControlLayout;
  readonly calls: WorkerCalls;
  readonly kernels: KernelChoice;
  /** URL of the module that exports `loadKernels`. */
  readonly kernelsModule: string;
  readonly stackTop: number;
  /** Byte addresses and strides of the rings. */
  readonly records: RingLayout;
  readonly results: RingLayout;
  /** Spin before sleeping: there is a core for every worker. */
  readonly spin: boolean;
  /** Tell at each mark how far it is. */
  readonly watched: boolean;
  /** Where to note the time; none: nothing is measured. */
  readonly timing: TimingLayout | undefined;
}

export interface RingLayout {
  readonly address: number;
  /** Bytes from slot to slot. */
  readonly stride: number;
}

/** Why a task ended early: an error in kernels or programs, which another thread would only repeat. */
export interface WorkerFailure {
  readonly message: string;
  /** `plan/program`; absent when the thread never came to run one. */
  readonly program?: string;
  readonly sequence: number;
}

type KernelsModule = Pick<typeof import('@lockstep/kernels'), 'loadKernels'>;

/** Works until the pool stops (undefined) or something fails. */
export default async function work(task: WorkerTask): Promise<WorkerFailure | undefined> {
  const { worker, memory } = task;
  const control = new Control(memory, task.control);
  control.enter(worker, threadId);
  let kernels: Kernels;
  try {
    const { loadKernels }: KernelsModule = await import(task.kernelsModule);
    kernels = loadKernels({ kernels: task.kernels, memory, stackTop: task.stackTop });
  } catch (error) {
    return { message: messageOf(error), sequence: control.position(worker) };
  }
  control.ready(worker);
  return follow(task, control, kernels);
}

/** The loop. It allocates nothing. */
const follow = (task: WorkerTask, control: Control, kernels: Kernels): WorkerFailure | undefined => {
  const { worker, memory, calls, records, results, spin, timing, watched } = task;
  const stopwatch = timing && new Stopwatch(memory, timing, task.control.ring, calls);
  const heap = new Int32Array(memory.buffer);
  let sequence = control.position(worker);
  let running: string | undefined;
  const passed = watched ? (mark: number): void => control.mark(worker, sequence, mark) : undefined;
  const come = (needs: number): boolean => control.awaitGate(worker, sequence, needs, spin);
  try {
    const awaitTurn = (): boolean =>
      stopwatch === undefined
        ? control.awaitTurn(worker, sequence, spin)
        : stopwatch.awaitTurn(control, worker, sequence, spin);
    while (awaitTurn()) {
      const plan = control.plan(sequence);
      const phases = calls[plan]!;
      const slot = control.slot(sequence);
      const phase = phaseOf(sequence);
      if (stopwatch?.isOn) stopwatch.begin(plan, phase, slot);
      for (const call of phases[phase]!) {
        running = call.name;
        for (const word of call.records) heap[word] = records.address + slot * records.stride;
        for (const word of call.results) heap[word] = results.address + slot * results.stride;
        if (call.pointers.length > 0) {
          const record = (records.address + slot * records.stride) >>> 2;
          for (const [word, recordWord] of call.pointers) heap[word] = heap[record + recordWord]!;
        }
        if (stopwatch?.isOn) {
          if (!stopwatch.run(kernels, call, passed, come)) return undefined;
        } else if (call.parts.length > 1 || call.parts[0]!.needs > 0) {
          if (!runParts(kernels, call, passed, come)) return undefined;
        } else {
          kernels.run(call.code, 0, call.words, call.bases);
        }
      }
      sequence = phase + 1 === phases.length ? nextTick(sequence) : sequence + 1;
      control.arrive(worker, sequence);
    }
    return undefined;
  } catch (error) {
    return { message: messageOf(error), sequence, ...(running === undefined ? {} : { program: running }) };
  }
};

/**
 * Waits at gates, tells at marks how far it is; a guard that ends the program ends it here, too. False when the pool stops
 * meanwhile.
 */
const runParts = (
  kernels: Kernels,
  { code, bases, parts }: Call,
  passed: ((mark: number) => void) | undefined,
  come: (needs: number) => boolean,
): boolean => {
  let from = 0;
  for (let i = 0; i < parts.length; i++) {
    const { to, mark, needs } = parts[i]!;
    if (needs > 0 && !come(needs)) return false;
    if (!kernels.run(code, from, to, bases)) return true;
    if (mark > 0) passed?.(mark);
    from = to;
  }
  return true;
};

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
