/** What the kernels and the memory of this machine can do, on one core. */
import {
  Arena,
  createMemory,
  type KernelVariant,
  loadKernels,
  loadProgram,
  MATMUL_SCRATCH_BYTES,
  type Program,
  ProgramBuilder,
} from '@lockstep/kernels';

/** Rows, columns and depth of the matrix product. */
export const SIDE = 768;
/** Bytes of the copy: more than any cache. */
const COPY_BYTES = 1 << 28;
/** Milliseconds for each measurement. */
const PATIENCE = 300;

/** A product of square matrices. */
export function squareProduct(): Program {
  const builder = new ProgramBuilder();
  const place = (name: string, access: 'read' | 'write') => ({
    region: builder.addRegion(name, access),
    offset: 0,
  });
  const scratch = place('scratch', 'write');
  builder.reserve(scratch.region, MATMUL_SCRATCH_BYTES);
  builder.call('matmul', {
    c: place('c', 'write'),
    a: place('a', 'read'),
    b: place('b', 'read'),
    scratch,
    ...{ m: SIDE, n: SIDE, k: SIDE, lda: SIDE, ldb: SIDE, ldc: SIDE, transA: 0, transB: 0 },
    ...{ batch0: 1, batch1: 1, strideA0: 0, strideA1: 0, strideB0: 0, strideB1: 0, strideC0: 0, strideC1: 0 },
    ...{ segments: 1, segmentA: 0, segmentB: 0 },
  });
  return builder.build();
}

/** Billions of additions and multiplications per second in a product of square matrices. */
export function matmulGflops(variant: KernelVariant): number {
  const kernels = loadKernels({ kernels: variant, memory: createMemory(1 << 24) });
  const arena = new Arena(kernels);
  const program = loadProgram(arena, squareProduct());
  // Not zeros: some CPUs are faster on them.
  for (const base of program.bases.slice(1)) arena.f32(base, SIDE * SIDE).fill(1.5);
  return (2 * SIDE ** 3) / fastest(() => program.run()) / 1e9;
}

/** Gigabytes per second, read and written. */
export function copyBandwidth(): number {
  const half = COPY_BYTES / 2;
  const memory = new Uint8Array(COPY_BYTES).fill(1);
  return COPY_BYTES / fastest(() => memory.copyWithin(half, 0, half)) / 1e9;
}

/** Seconds of the fastest call: others are disturbed by what else runs. */
function fastest(work: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + PATIENCE;
  work();
  do {
    const began = performance.now();
    work();
    best = Math.min(best, performance.now() - began);
  } while (performance.now() < end);
  return best / 1000;
}
