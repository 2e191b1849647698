import type { Program, Region } from '@lockstep/kernels';
import type { SharedHeap } from './heap.ts';

/** In `PoolTask.bases`: the region is the record of the tick. */
export const RECORD = -1;
/** In `PoolTask.bases`: the region is the result slot of the tick. */
export const RESULT = -2;
/** In `PoolTask.bases`: the region's byte address stands in this word of the tick's record. */
export interface Pointer {
  readonly pointer: number;
}

/** A tick has at most this many phases. */
export const MAX_PHASES = 8;

/** Where the pool writes the tick (a journal's key) in a record of `recordWords` words of the caller's: after them. */
export const tickOffset = (recordWords: number): number => recordWords * 4;

/** A place in a program that waits for something that comes while it runs, or before. */
export interface Gate {
  /** Index of an instruction. */
  readonly before: number;
  /** How much must have come, counted as `WorkerPool.opened` does, from where the tick says. */
  readonly needs: number;
}

/** A program that the threads of a pool can run. */
export interface PoolProgram {
  /** Named in messages. */
  readonly name: string;
  readonly program: Program;
  /** Rising indexes of instructions before which a run stops to tell how far it is (`watch`). */
  readonly marks?: readonly number[];
  /** Rising indexes of instructions before which it stops to note the time (`measure`); the marks if not given. */
  readonly noted?: readonly number[];
  /** Rising, in both. */
  readonly gates?: readonly Gate[];
}

/** A stretch of a program's code that a worker runs at once. */
export interface Part {
  /** Word before which it ends. */
  readonly to: number;
  /** How many marks are passed there; 0: it is no mark. */
  readonly mark: number;
  /** What must have come before it begins; 0: nothing. */
  readonly needs: number;
}

/** One run of a program by one worker. */
export interface PoolTask {
  /** Index into the pool's programs. */
  readonly program: number;
  /** Byte address of every region of the program, or RECORD, or RESULT, or where the record says. */
  readonly bases: readonly (number | Pointer)[];
}

/**
 * What the workers do in a tick: `phases[phase][worker]` are tasks in order. A barrier stands between phases and
 * between ticks. Within a phase no task may read what another worker writes, and every task may be cut off and run
 * again from the start of the phase: it rewrites all its outputs from inputs that the phase leaves alone, or it is
 * journaled by the tick. (A journaled chain keeps a tile in its scratch: no other call before it may write there.)
 * Programs must be valid (`validateProgram`); the pool checks that their regions lie in memory.
 */
export interface Plan {
  readonly name: string;
  readonly phases: readonly (readonly (readonly PoolTask[])[])[];
}

/** A task as a worker runs it. Plain data; addresses are in bytes. */
export interface Call {
  /** `plan/program`, for messages. */
  readonly name: string;
  readonly code: number;
  /** Length of the code in words. */
  readonly words: number;
  /** Between marks and gates. */
  readonly parts: readonly Part[];
  /** Also where the time is noted. */
  readonly noted: readonly Part[];
  readonly bases: number;
  /** Words of the heap (indexes of an Int32Array over all of it) that take the address of the tick's record. */
  readonly records: readonly number[];
  /** … and of its result slot. */
  readonly results: readonly number[];
  /** … and of which of the record's words. */
  readonly pointers: readonly (readonly [word: number, recordWord: number])[];
}

/** The calls of one worker: `[plan][phase]`. */
export type WorkerCalls = readonly (readonly (readonly Call[])[])[];

interface PlanContext {
  readonly heap: SharedHeap;
  readonly programs: readonly PoolProgram[];
  readonly plans: readonly Plan[];
  readonly workers: number;
  readonly recordBytes: number;
  readonly resultBytes: number;
}

/**
 * Places the code of all programs and a table of base addresses for every task in shared memory; checks that every
 * region lies in memory of its own. Returns what each worker has to call. Throws a RangeError that names plan, phase and worker.
 */
export const placePlans = (context: PlanContext): WorkerCalls[] => {
  const { heap, programs, plans, workers } = context;
  const codes = new Map<PoolProgram, number>();
  const codeOf = (found: PoolProgram): number => {
    const { code } = found.program;
    const address = codes.get(found) ?? heap.allocatePrivate(code.byteLength);
    heap.i32(address, code.length).set(code);
    codes.set(found, address);
    return address;
  };
  for (const plan of plans) checkShape(plan, workers);
  return Array.from({ length: workers }, (_, worker) =>
    plans.map((plan) =>
      plan.phases.map((phase, index) =>
        phase[worker]!.map((task) => {
          const found = programs[task.program];
          const where = `plan ${plan.name}, phase ${index}, worker ${worker}`;
          if (found === undefined) {
            throw new RangeError(
              `${where}: got program ${task.program}, expected 0 to ${programs.length - 1}`,
            );
          }
          checkBases(context, task, `${where}, program ${found.name}`);
          return placeCall(heap, `${plan.name}/${found.name}`, codeOf(found), found, task);
        }),
      ),
    ),
  );
};

const placeCall = (
  heap: SharedHeap,
  name: string,
  code: number,
  found: PoolProgram,
  task: PoolTask,
): Call => {
  const { program } = found;
  const bases = heap.allocatePrivate(task.bases.length * 4);
  // Addresses from 2 GiB on wrap to negative words: the kernels read them as unsigned.
  heap.i32(bases, task.bases.length).set(task.bases.map((base) => (typeof base === 'number' ? base : 0)));
  const wordsWith = (marker: number): number[] =>
    task.bases.flatMap((base, region) => (base === marker ? [bases / 4 + region] : []));
  return {
    name,
    code,
    words: program.code.length,
    parts: partsOf(found, []),
    noted: partsOf(found, found.noted ?? []),
    bases,
    records: wordsWith(RECORD),
    results: wordsWith(RESULT),
    pointers: task.bases.flatMap((base, region) =>
      typeof base === 'number' ? [] : [[bases / 4 + region, base.pointer] as const],
    ),
  };
};

const partsOf = ({ program, marks = [], gates = [] }: PoolProgram, noted: readonly number[]): Part[] => {
  const ends = new Set([...marks, ...gates.map(({ before }) => before), ...noted]);
  const bounds = [0, ...[...ends].filter((end) => end > 0).sort((a, b) => a - b)];
  return bounds.map((from, i) => {
    const end = bounds[i + 1];
    return {
      to: end === undefined ? program.code.length : program.starts[end]!,
      mark: end === undefined ? 0 : marks.indexOf(end) + 1,
      needs: gates.find(({ before }) => before === from)?.needs ?? 0,
    };
  });
};

const checkShape = (plan: Plan, workers: number): void => {
  const { length } = plan.phases;
  if (length < 1 || length > MAX_PHASES) {
    throw new RangeError(`plan ${plan.name}: got ${length} phases, expected 1 to ${MAX_PHASES}`);
  }
  for (const [phase, tasks] of plan.phases.entries()) {
    if (tasks.length !== workers) {
      throw new RangeError(
        `plan ${plan.name}, phase ${phase}: got task lists for ${tasks.length} workers, expected ${workers}`,
      );
    }
  }
};

/**
 * Every region gets memory of a block that it lies in as a whole, and where one is writable it overlaps no other: this and
 * `validateProgram` keep programs within their regions.
 */
const checkBases = (context: PlanContext, task: PoolTask, where: string): void => {
  const { heap, recordBytes, resultBytes } = context;
  const { regions } = context.programs[task.program]!.program;
  if (task.bases.length !== regions.length) {
    throw new RangeError(
      `${where}: got ${task.bases.length} bases, expected one for each of ${regions.length} regions`,
    );
  }
  for (const [index, { name, bytes, access }] of regions.entries()) {
    const base = task.bases[index]!;
    if (typeof base !== 'number') {
      checkPointer(base, context, where);
      continue;
    }
    if (base === RECORD && access === 'write') {
      throw new RangeError(`${where}: region ${name} is the record, expected it to be read-only`);
    }
    const isMarker = base === RECORD || base === RESULT;
    if (!isMarker && !(Number.isInteger(base) && base > 0 && base % 4 === 0)) {
      throw new RangeError(
        `${where}: region ${name} has base ${base}, expected the address of a block, a multiple of 4`,
      );
    }
    const room = base === RECORD ? recordBytes : base === RESULT ? resultBytes : heap.room(base);
    if (bytes > room) {
      throw new RangeError(
        `${where}: region ${name} needs ${bytes} bytes, but there are ${room} at base ${base}`,
      );
    }
  }
  checkDisjoint(regions, task.bases, where);
};

/** Regions in the same memory, one of them writable: a kernel could write over what another instruction relies on. */
const checkDisjoint = (regions: readonly Region[], bases: PoolTask['bases'], where: string): void => {
  const used = regions.flatMap((region, i) => (region.bytes > 0 ? [{ region, base: bases[i]! }] : []));
  for (const [i, a] of used.entries()) {
    for (const b of used.slice(0, i)) {
      if (a.region.access === 'read' && b.region.access === 'read') continue;
      if (!shareMemory(a.base, a.region.bytes, b.base, b.region.bytes)) continue;
      throw new RangeError(
        `${where}: regions ${b.region.name} and ${a.region.name} share memory, expected a writable region to have its own`,
      );
    }
  }
};

/** Where pointers lead is known when a record comes: two that read the same word lead to the same place. */
const shareMemory = (a: number | Pointer, aBytes: number, b: number | Pointer, bBytes: number): boolean => {
  if (typeof a !== 'number' || typeof b !== 'number') {
    return typeof a !== 'number' && typeof b !== 'number' && a.pointer === b.pointer;
  }
  if (a < 0 || b < 0) return a === b;
  return a < b + bBytes && b < a + aBytes;
};

const checkPointer = ({ pointer }: Pointer, { recordBytes }: PlanContext, where: string): void => {
  if (Number.isInteger(pointer) && pointer >= 0 && pointer < recordBytes / 4) return;
  throw new RangeError(
    `${where}: got a pointer in word ${pointer} of the record, expected 0 to ${recordBytes / 4 - 1}`,
  );
};

/** What a record's words must point at. */
export interface PointerNeed {
  readonly word: number;
  /** Bytes of the largest region that is there. */
  readonly bytes: number;
}

/** The words of a plan's record that are pointers. */
export const pointersOf = (plan: Plan, programs: readonly PoolProgram[]): PointerNeed[] => {
  const needs = new Map<number, number>();
  for (const { program, bases } of plan.phases.flat(2)) {
    for (const [region, base] of bases.entries()) {
      if (typeof base === 'number') continue;
      const { bytes } = programs[program]!.program.regions[region]!;
      needs.set(base.pointer, Math.max(needs.get(base.pointer) ?? 0, bytes));
    }
  }
  return [...needs].map(([word, bytes]) => ({ word, bytes }));
};
