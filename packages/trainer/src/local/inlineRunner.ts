/** Runs short plans on this thread, where waking others would take longer than what they have to do. */
import { type KernelChoice, type Kernels, loadKernels, STACK_BYTES } from '@lockstep/kernels';
import {
  type Call,
  type Plan,
  type PoolProgram,
  placePlans,
  type RecordView,
  type SharedHeap,
  tickOffset,
} from '@lockstep/workers';

export interface DirectOptions {
  /** Where programs and their regions lie. */
  readonly heap: SharedHeap;
  readonly kernels: KernelChoice;
  readonly programs: readonly PoolProgram[];
  /** Of one worker. */
  readonly plans: readonly Plan[];
  readonly recordWords: number;
  readonly resultWords: number;
}

export class DirectRunner {
  readonly #kernels: Kernels;
  readonly #record: RecordView;
  readonly #result: Float32Array;
  readonly #recordWords: number;
  readonly #plans: readonly (readonly Call[])[];
  #tick = 0;

  constructor({ heap, kernels, programs, plans, recordWords, resultWords }: DirectOptions) {
    const stack = heap.allocatePrivate(STACK_BYTES, 4096);
    const [recordBytes, resultBytes] = [tickOffset(recordWords) + 4, resultWords * 4];
    const record = heap.allocatePrivate(recordBytes);
    const result = heap.allocatePrivate(resultBytes);
    this.#recordWords = recordWords;
    this.#record = { u32: heap.u32(record, recordWords + 1), f32: heap.f32(record, recordWords + 1) };
    this.#result = heap.f32(result, resultWords);
    const [calls] = placePlans({ heap, programs, plans, workers: 1, recordBytes, resultBytes });
    this.#plans = calls!.map((phases) => phases.flat());
    for (const { name, records, results, pointers } of this.#plans.flat()) {
      if (pointers.length > 0) throw new Error(`${name}: a pointer, which plans of this thread have not`);
      for (const word of records) heap.i32(word * 4, 1)[0] = record;
      for (const word of results) heap.i32(word * 4, 1)[0] = result;
    }
    this.#kernels = loadKernels({ kernels, memory: heap.memory, stackTop: stack + STACK_BYTES });
  }

  /** Runs a plan to its end. Gives its result, good until the next run. */
  run(plan: number, write: (record: RecordView) => void): Float32Array {
    write(this.#record);
    this.#tick++;
    this.#record.u32[this.#recordWords] = this.#tick;
    for (const { code, words, bases } of this.#plans[plan]!) this.#kernels.run(code, 0, words, bases);
    return this.#result;
  }
}
