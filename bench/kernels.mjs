/**
 * Matrix products on one core, in GFLOP/s: `node bench/kernels.mjs` after a build. 768³, and the products of a training step on
 * one of two workers: a large net (784-1024-1024-10, batch 512) and a small one (784-128-10, batch 128).
 */
import {
  Arena,
  availableVariants,
  createMemory,
  loadKernels,
  loadProgram,
  MATMUL_SCRATCH_BYTES,
  ProgramBuilder,
} from '@lockstep/kernels';
import { interleave, machine, table } from './report.mjs';

const ROUNDS = 9;
/** Work per round: long enough for the clock, short enough that a round of all cases takes seconds. */
const FLOP = 2e8;

/** @typedef {{ name: string, m: number, n: number, k: number, transA?: 0 | 1, transB?: 0 | 1, segments?: number }} Shape */

/** @type {readonly Shape[]} */
const SHAPES = [
  { name: '768³', m: 768, n: 768, k: 768 },
  { name: 'large forward 1, X Wᵀ', m: 256, n: 1024, k: 784, transB: 1 },
  { name: 'large forward 2, X Wᵀ', m: 256, n: 1024, k: 1024, transB: 1 },
  { name: 'large forward 3, X Wᵀ', m: 256, n: 10, k: 1024, transB: 1 },
  { name: 'large dX 2, dY W', m: 256, n: 1024, k: 1024 },
  { name: 'large dX 3, dY W', m: 256, n: 1024, k: 10 },
  { name: 'large dW 1, dYᵀ X, 1 shard', m: 1024, n: 784, k: 256, transA: 1 },
  { name: 'large dW 1, 4 shards', m: 1024, n: 784, k: 64, transA: 1, segments: 4 },
  { name: 'large dW 1, 8 shards', m: 1024, n: 784, k: 32, transA: 1, segments: 8 },
  { name: 'large dW 3, 4 shards', m: 10, n: 1024, k: 64, transA: 1, segments: 4 },
  { name: 'small forward 1', m: 64, n: 128, k: 784, transB: 1 },
  { name: 'small forward 2', m: 64, n: 10, k: 128, transB: 1 },
  { name: 'small dX 2', m: 64, n: 128, k: 10 },
  { name: 'small dW 1, 1 shard', m: 128, n: 784, k: 64, transA: 1 },
  { name: 'small dW 1, 4 shards', m: 128, n: 784, k: 16, transA: 1, segments: 4 },
];

/** @param {Shape} shape */
const program = ({ m, n, k, transA = 0, transB = 0, segments = 1 }) => {
  const builder = new ProgramBuilder();
  const [c, a, b, scratch] = ['c', 'a', 'b', 'scratch'].map((name) => ({
    region: builder.addRegion(name, 'write'),
    offset: 0,
  }));
  if (!c || !a || !b || !scratch) throw new Error('four regions');
  const [lda, ldb] = [transA ? m : segments * k, transB ? segments * k : n];
  const batch = {
    batch0: 1,
    batch1: 1,
    strideA0: 0,
    strideA1: 0,
    strideB0: 0,
    strideB1: 0,
    strideC0: 0,
    strideC1: 0,
  };
  const parts = { segments, segmentA: transA ? k * lda : k, segmentB: transB ? k : k * ldb };
  builder.call('matmul', { c, a, b, scratch, m, n, k, lda, ldb, ldc: n, transA, transB, ...batch, ...parts });
  return builder.build();
};

const kernels = availableVariants().map((variant) =>
  loadKernels({ kernels: variant, memory: createMemory(0) }),
);
const arenas = kernels.map((loaded) => ({ variant: loaded.variant, arena: new Arena(loaded) }));

const cases = SHAPES.flatMap((shape) => {
  const flop = 2 * shape.m * shape.n * shape.k * (shape.segments ?? 1);
  const calls = Math.max(1, Math.round(FLOP / flop));
  return arenas.map(({ variant, arena }) => {
    const { bases, run } = loadProgram(arena, program(shape));
    const operands = arena.f32(bases[1] ?? 0, ((bases[3] ?? 0) - (bases[1] ?? 0)) / 4);
    for (let i = 0; i < operands.length; i++) operands[i] = Math.fround(((i * 7919) % 1021) / 1021 - 0.5);
    const measure = () => {
      const begin = performance.now();
      for (let call = 0; call < calls; call++) run();
      return (flop * calls) / (performance.now() - begin) / 1e6;
    };
    return { name: `${shape.name}, ${variant}`, measure };
  });
});

const results = await interleave(cases, ROUNDS);
const rows = SHAPES.map(({ name, m, n, k, segments = 1 }, s) => {
  const mine = results.slice(s * arenas.length, (s + 1) * arenas.length);
  return [
    name,
    `${m} × ${n} × ${segments} · ${k}`,
    ...mine.map(({ median, max }) => `${Math.round(median)} (${Math.round(max)})`),
  ];
});
console.log(
  `## Matrix product, one core\n\n${machine()}; scratch ${MATMUL_SCRATCH_BYTES >> 10} KiB; GFLOP/s: median (best) of ${ROUNDS} rounds\n`,
);
console.log(table(['', 'M × N × S · K', ...arenas.map(({ variant }) => variant)], rows));
