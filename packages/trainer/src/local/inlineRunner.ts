/** Runs short plans on this thread, where waking others would take longer than what they have to do. */
import { type KernelChoice, type Kernels, loadKernels, STACK_BYTES } from '@lockstep/kernels';
import {
  type Plan,
  type PoolProgram,
  RECORD,
  RESULT,
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

interface Call {
  readonly code: number;
  readonly words: number;
  readonly bases: number;
}

export class DirectRunner {
  readonly #kernels: Kernels;
  readonly #record: RecordView;
  readonly #result: Float32Array;
  readonly #recordWords: number;
  readonly #plans: readonly (readonly Call[])[];
  #tick = 0;

  constructor({ heap, kernels, programs, plans, recordWords, resultWords }: DirectOptions) {
    const stack = heap.allocate(STACK_BYTES, 4096);
    const record = heap.allocate(tickOffset(recordWords) + 4);
    const result = heap.allocate(resultWords * 4);
    this.#recordWords = recordWords;
    this.#record = { u32: heap.u32(record, recordWords + 1), f32: heap.f32(record, recordWords + 1) };
    this.#result = heap.f32(result, resultWords);
    const codes = new Map<number, number>();
    const codeOf = (program: number): number => {
      const { code } = programs[program]!.program;
      const address = codes.get(program) ?? heap.allocate(code.byteLength);
      heap.i32(address, code.length).set(code);
      codes.set(program, address);
      return address;
    };
    const addressOf = (base: number): number => (base === RECORD ? record : base === RESULT ? result : base);
    this.#plans = plans.map(({ name, phases }) =>
      phases.flat(2).map(({ program, bases }) => {
        const address = heap.allocate(bases.length * 4);
        const bound = bases.map((base) => {
          if (typeof base === 'number') return addressOf(base);
          throw new Error(`plan ${name}: a pointer, which plans of this thread have not`);
        });
        heap.i32(address, bases.length).set(bound);
        return { code: codeOf(program), words: programs[program]!.program.code.length, bases: address };
      }),
    );
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
