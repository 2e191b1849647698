/**
 * Every kernel as it runs in a training step, one core: what it reaches, and which share that is of the machine's peak. A
 * kernel with products is held to the fastest square product, any other to the fastest copy within a core's cache.
 */
import {
  Arena,
  createMemory,
  loadKernels,
  loadProgram,
  MATMUL_SCRATCH_BYTES,
  ProgramBuilder,
  resolveVariant,
} from '@lockstep/kernels';
import { ProfileTrace } from '@lockstep/trainer';
import { modelNames, models } from '../models.mjs';
import { medianCall } from './calls.mjs';
import { profile } from './steps.mjs';

/** Kernels that take less than this share of a step are left out. */
const SHARE = 0.01;
const SIDE = 768;
/** Floats: 128 KiB in and out, within a core's second cache; and more than any cache. */
const COPIES = { cache: 1 << 15, memory: 1 << 25 };

/** @typedef {import('@lockstep/trainer').KernelCost} KernelCost */

/** The names of the suites' peaks. */
const PEAK = { arithmetic: 'peak: product of 768³', memory: 'peak: copy within the cache' };

/** A program on numbers that are not zeros: some processors are faster on them. @param {ProgramBuilder} builder */
const ready = (builder) => {
  const kernels = loadKernels({ kernels: resolveVariant('auto'), memory: createMemory(0) });
  const arena = new Arena(kernels);
  const program = builder.build();
  const { bases, run } = loadProgram(arena, program);
  for (const [i, { bytes }] of program.regions.entries()) arena.f32(bases[i] ?? 0, bytes / 4).fill(1.5);
  return () => run();
};

const place = (
  /** @type {ProgramBuilder} */ builder,
  /** @type {string} */ name,
  /** @type {'read' | 'write'} */ access,
) => ({ region: builder.addRegion(name, access), offset: 0 });

const squareProduct = () => {
  const builder = new ProgramBuilder();
  const scratch = place(builder, 'scratch', 'write');
  builder.reserve(scratch.region, MATMUL_SCRATCH_BYTES);
  builder.call('matmul', {
    c: place(builder, 'c', 'write'),
    a: place(builder, 'a', 'read'),
    b: place(builder, 'b', 'read'),
    scratch,
    ...{ m: SIDE, n: SIDE, k: SIDE, lda: SIDE, ldb: SIDE, ldc: SIDE, transA: 0, transB: 0 },
    ...{ batch0: 1, batch1: 1, strideA0: 0, strideA1: 0, strideB0: 0, strideB1: 0, strideC0: 0, strideC1: 0 },
    ...{ segments: 1, segmentA: 0, segmentB: 0 },
  });
  return ready(builder);
};

/** The sum over one segment is a copy. @param {number} n floats */
const copy = (n) => {
  const builder = new ProgramBuilder();
  const [out, from] = [place(builder, 'out', 'write'), place(builder, 'in', 'read')];
  builder.call('treeSum', { out, in: from, segments: 1, n });
  return ready(builder);
};

/**
 * Rates of each kind of kernel in each model.
 * @param {'flops' | 'bytes'} what kernels whose work is that
 * @param {number} seconds
 */
const inModels = (what, seconds) =>
  modelNames.map((name) => {
    const definition = models[name]();
    return {
      name,
      measure: async () => {
        const trace = new ProfileTrace();
        await profile(definition, seconds, 1, 'instructions', (batch) => trace.add(batch));
        return rates(trace, what);
      },
    };
  });

/** G/s by kernel. @param {ProfileTrace} trace @param {'flops' | 'bytes'} what */
const rates = (trace, what) => {
  /** @type {Map<string, { work: number, milliseconds: number }>} */
  const kinds = new Map();
  for (const cost of trace.costs()) {
    if (cost.flops > 0 !== (what === 'flops')) continue;
    const name = cost.activity === 'update' ? `${cost.kernel} of the update` : cost.kernel;
    const known = kinds.get(name) ?? { work: 0, milliseconds: 0 };
    kinds.set(name, {
      work: known.work + cost[what],
      milliseconds: known.milliseconds + cost.milliseconds,
    });
  }
  return Object.fromEntries(
    [...kinds]
      .filter(([, { milliseconds }]) => milliseconds > SHARE * trace.milliseconds)
      .map(([name, { work, milliseconds }]) => [name, work / milliseconds / 1e6]),
  );
};

/** @type {import('../suites.mjs').Suite} */
export const arithmetic = {
  unit: 'GFLOP/s',
  peak: PEAK.arithmetic,
  cases: (seconds) => {
    const product = squareProduct();
    const measure = async () => (2 * SIDE ** 3) / (await medianCall(product, seconds / 2)) / 1e6;
    return [{ name: PEAK.arithmetic, measure }, ...inModels('flops', seconds)];
  },
};

/** @type {import('../suites.mjs').Suite} */
export const memory = {
  unit: 'GB/s',
  peak: PEAK.memory,
  cases: (seconds) => {
    const copying = (/** @type {number} */ floats) => {
      const call = copy(floats);
      return async () => (8 * floats) / (await medianCall(call, seconds / 2)) / 1e6;
    };
    return [
      { name: PEAK.memory, measure: copying(COPIES.cache) },
      { name: 'copy in memory', measure: copying(COPIES.memory) },
      ...inModels('bytes', seconds),
    ];
  },
};
