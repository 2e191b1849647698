/**
 * A small training run for tests of the pool, in the shape of a real one: in phase 0 every worker makes the gradients
 * of its shards (from random numbers and the weights), in phase 1 it sums its slice of all gradients by a tree and
 * updates its slice of the weights in place, journaled; worker 0 sums the losses.
 */
import {
  type Address,
  align,
  type KernelChoice,
  loadKernels,
  type Program,
  ProgramBuilder,
} from '@lockstep/kernels';
import { SharedHeap } from '../src/heap.ts';
import { type Plan, type PoolProgram, type PoolTask, RECORD, RESULT, tickOffset } from '../src/plan.ts';
import type { PoolOptions, RecordView } from '../src/pool.ts';

export const SHARDS = 8;
const RECORD_WORDS = 5;
const at = (region: number, offset = 0): Address => ({ region, offset });

/** Gradient and loss of one shard: noise · weight + noise, and the sum of it. */
const shardProgram = (n: number): Program => {
  const b = new ProgramBuilder();
  const [weights, gradient, loss] = [
    b.addRegion('weights', 'read'),
    b.addRegion('gradient', 'write'),
    b.addRegion('loss', 'write'),
  ];
  const [record, unit] = [b.addRegion('record', 'read'), b.addRegion('unit', 'read')];
  const scratch = b.addRegion('scratch', 'write');
  b.call('random', { out: at(gradient), record: at(record), unit: at(unit), stream: 1, segments: 1, n });
  b.elementwise({
    dims: [n],
    inputs: [{ address: at(gradient) }, { address: at(weights) }],
    steps: [
      { op: 'mul', args: [0, 1] },
      { op: 'add', args: [2, 0] },
    ],
    outputs: [{ address: at(gradient), value: 3 }],
    scratch: at(scratch),
  });
  b.call('reduce', { out: at(loss), in: at(gradient), outer: 1, n, inner: 1, kind: 0 });
  return b.build();
};

type Chain = Parameters<ProgramBuilder['elementwise']>[0];

/** Adds up values 0 … SHARDS − 1 of a chain by the shard tree. */
const treeSteps = (inputs: number): Chain['steps'][number][] => {
  const steps: Chain['steps'][number][] = [];
  const sum = (lo: number, hi: number): number => {
    if (hi - lo === 1) return lo;
    const m = lo + (hi - lo) / 2;
    steps.push({ op: 'add', args: [sum(lo, m), sum(m, hi)] });
    return inputs + steps.length - 1;
  };
  sum(0, SHARDS);
  return steps;
};

/** momentum = 0.9 · momentum + Σ gradients; weights −= rate · momentum, both in place. */
const updateProgram = (n: number): Program => {
  const b = new ProgramBuilder();
  const gradients = Array.from({ length: SHARDS }, (_, i) => b.addRegion(`gradient${i}`, 'read'));
  const [weights, momentum] = [b.addRegion('weights', 'write'), b.addRegion('momentum', 'write')];
  const [record, journal] = [b.addRegion('record', 'read'), b.addRegion('journal', 'write')];
  const scratch = b.addRegion('scratch', 'write');
  const inputs = [
    ...gradients.map((region) => ({ address: at(region) })),
    { address: at(weights) },
    { address: at(momentum) },
    { address: at(record, 16), scalar: true as const },
  ];
  const steps = treeSteps(inputs.length);
  const value = (step: Chain['steps'][number]): number => inputs.length + steps.push(step) - 1;
  const sum = inputs.length + steps.length - 1;
  const decay = value({ op: 'constant', args: [], imm: 0.9 });
  const kept = value({ op: 'mul', args: [SHARDS + 1, decay] });
  const next = value({ op: 'add', args: [kept, sum] });
  const change = value({ op: 'mul', args: [next, SHARDS + 2] });
  const weight = value({ op: 'sub', args: [SHARDS, change] });
  b.elementwise({
    dims: [n],
    inputs,
    steps,
    outputs: [
      { address: at(weights), value: weight },
      { address: at(momentum), value: next },
    ],
    scratch: at(scratch),
    journal: at(journal),
    tick: at(record, tickOffset(RECORD_WORDS)),
  });
  return b.build();
};

/** The sum of all losses, into the result slot. */
const lossProgram = (): Program => {
  const b = new ProgramBuilder();
  const [losses, result, scratch] = [
    b.addRegion('losses', 'read'),
    b.addRegion('result', 'write'),
    b.addRegion('scratch', 'write'),
  ];
  const steps = treeSteps(SHARDS);
  b.elementwise({
    dims: [1],
    inputs: Array.from({ length: SHARDS }, (_, i) => ({
      address: at(losses, 64 * i),
      scalar: true as const,
    })),
    steps,
    outputs: [{ address: at(result), value: SHARDS + steps.length - 1 }],
    scratch: at(scratch),
  });
  return b.build();
};

export interface Training {
  /** For `new WorkerPool(…)`. */
  readonly options: Pick<
    PoolOptions,
    'heap' | 'workers' | 'programs' | 'plans' | 'recordWords' | 'resultWords'
  >;
  readonly write: (step: number) => (record: RecordView) => void;
  /** The bytes of weights and momentum, to compare. */
  readonly state: () => Buffer;
}

/** Lays out a training of `n` weights (a multiple of 64) on `workers` workers. */
export const prepare = (workers: number, n: number, heap: SharedHeap = new SharedHeap()): Training => {
  const share = (i: number, total: number): number => Math.floor((i * total) / workers);
  const weights = heap.allocate(n * 4);
  const momentum = heap.allocate(n * 4);
  const losses = heap.allocate(SHARDS * 64);
  const gradients = Array.from({ length: SHARDS }, () => heap.allocate(n * 4));
  const units = Array.from({ length: SHARDS }, (_, shard) => {
    const unit = heap.allocate(8);
    heap.i32(unit, 2).set([shard, 0]);
    return unit;
  });
  const programs: PoolProgram[] = [
    { name: 'shard', program: shardProgram(n) },
    { name: 'loss', program: lossProgram() },
  ];
  const scratchBytes = (program: Program): number =>
    align(program.regions.find(({ name }) => name === 'scratch')?.bytes ?? 0);
  const shardPhase: PoolTask[][] = [];
  const updatePhase: PoolTask[][] = [];
  for (let w = 0; w < workers; w++) {
    const from = share(w, n / 64) * 64;
    const slice = share(w + 1, n / 64) * 64 - from;
    const update = programs.push({ name: `update${w}`, program: updateProgram(slice) }) - 1;
    const scratch = heap.allocate(Math.max(...programs.map(({ program }) => scratchBytes(program))));
    const shards = Array.from(
      { length: share(w + 1, SHARDS) - share(w, SHARDS) },
      (_, i) => share(w, SHARDS) + i,
    );
    shardPhase.push(
      shards.map((shard) => ({
        program: 0,
        bases: [weights, gradients[shard]!, losses + 64 * shard, RECORD, units[shard]!, scratch],
      })),
    );
    const slices = gradients.map((gradient) => gradient + from * 4);
    const bases = [...slices, weights + from * 4, momentum + from * 4, RECORD, heap.allocate(12), scratch];
    updatePhase.push([
      { program: update, bases },
      ...(w === 0 ? [{ program: 1, bases: [losses, RESULT, scratch] }] : []),
    ]);
  }
  heap.f32(weights, n).forEach((_, i, all) => {
    all[i] = ((i * 37) % 101) / 101 - 0.5;
  });
  const plans: Plan[] = [
    { name: 'train', phases: [shardPhase, updatePhase] },
    { name: 'gradients', phases: [shardPhase] },
  ];
  return {
    options: { heap, workers, programs, plans, recordWords: RECORD_WORDS, resultWords: 1 },
    write:
      (step) =>
      ({ u32, f32 }) => {
        u32.set([7, 0, step, 0]);
        f32[4] = 0.01;
      },
    state: () => Buffer.concat([heap.u8(weights, n * 4), heap.u8(momentum, n * 4)]),
  };
};

/** The same training on this thread, without a pool: state and the loss of every step. */
export const serial = (
  n: number,
  steps: number,
  kernels: KernelChoice,
): { state: Buffer; losses: number[] } => {
  const training = prepare(1, n);
  const { heap, programs, plans } = training.options;
  const { run } = loadKernels({ kernels, memory: heap.memory });
  const record = heap.allocate(64);
  const result = heap.allocate(64);
  const calls = plans[0]!.phases.flatMap((phase) =>
    phase[0]!.map(({ program, bases }) => {
      const { code } = programs[program]!.program;
      const [codeAt, basesAt] = [heap.allocate(code.byteLength), heap.allocate(bases.length * 4)];
      heap.i32(codeAt, code.length).set(code);
      heap
        .i32(basesAt, bases.length)
        .set(bases.map((b) => (b === RECORD ? record : b === RESULT ? result : (b as number))));
      return () => run(codeAt, 0, code.length, basesAt);
    }),
  );
  const losses: number[] = [];
  for (let step = 1; step <= steps; step++) {
    training.write(step)({ u32: heap.u32(record, 16), f32: heap.f32(record, 16) });
    heap.u32(record, 16)[RECORD_WORDS] = step;
    for (const call of calls) call();
    losses.push(heap.f32(result, 1)[0]!);
  }
  return { state: training.state(), losses };
};
