import { describe, expect, it } from 'vitest';
import { type Call, call, floats, run, sameBits, twin } from '../../test/rig.ts';
import { availableVariants } from '../run/load.ts';
import { MATMUL_SCRATCH_BYTES } from './instructions.ts';

interface Shape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly segments?: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
  /** Floats between the end of a row and the next. */
  readonly gap?: number;
  readonly batch?: readonly [number, number];
  /** Batch strides in whole operands: [a0, a1, b0, b1]; 0 repeats the operand. */
  readonly steps?: readonly [number, number, number, number];
}

const scratch = new Float32Array(MATMUL_SCRATCH_BYTES / 4);

/** Segments follow each other along K in memory, as the rows of adjacent shards do. */
const product = (shape: Shape, values = floats): Call => {
  const {
    m,
    n,
    k,
    segments = 1,
    transA = false,
    transB = false,
    gap = 0,
    batch = [1, 1],
    steps = [1, 1, 1, 1],
  } = shape;
  const depth = segments * k;
  const [lda, ldb, ldc] = [(transA ? m : depth) + gap, (transB ? depth : n) + gap, n + gap];
  const [sizeA, sizeB, sizeC] = [(transA ? depth : m) * lda, (transB ? n : depth) * ldb, m * ldc];
  const [a0, a1, b0, b1] = steps;
  const reach = (size: number, s0: number, s1: number): number =>
    size * (1 + (batch[0] - 1) * s0 + (batch[1] - 1) * s1);
  return call('matmul', {
    c: new Float32Array(Math.max(1, sizeC * batch[0] * batch[1])).fill(Number.NaN),
    a: values(Math.max(1, reach(sizeA, a0, a1)), 1),
    b: values(Math.max(1, reach(sizeB, b0, b1)), 2),
    scratch,
    m,
    n,
    k,
    lda,
    ldb,
    ldc,
    transA: Number(transA),
    transB: Number(transB),
    batch0: batch[0],
    batch1: batch[1],
    strideA0: a0 * sizeA,
    strideA1: a1 * sizeA,
    strideB0: b0 * sizeB,
    strideB1: b1 * sizeB,
    strideC0: batch[1] * sizeC,
    strideC1: sizeC,
    segments,
    segmentA: transA ? k * lda : k,
    segmentB: transB ? k : k * ldb,
  });
};

const check = (shape: Shape, values = floats): void => {
  const asked = product(shape, values);
  const [expected] = twin(asked);
  for (const variant of availableVariants()) {
    const [got] = run(variant, asked);
    expect(sameBits(got!, expected!), `${variant} ${JSON.stringify(shape)}`).toBe(true);
  }
};

const TRANSPOSES = [
  { transA: false, transB: false },
  { transA: false, transB: true },
  { transA: true, transB: false },
  { transA: true, transB: true },
];
const SIZES = [1, 3, 7, 10, 16, 17, 31, 33, 64, 100];
const DEPTHS = [1, 3, 16, 17, 33];
const SEGMENTS = [1, 2, 3, 4, 5, 8];

describe.each(TRANSPOSES)('matmul, transA $transA, transB $transB', (transposes) => {
  it('has the bits of the naive product for all tails and segments', () => {
    SIZES.forEach((m, i) => {
      SIZES.forEach((n, j) => {
        const k = DEPTHS[(i + j) % DEPTHS.length]!;
        const segments = SEGMENTS[(i + 2 * j) % SEGMENTS.length]!;
        check({ m, n, k, segments, gap: 3 * ((i + j) % 2), ...transposes });
      });
    });
  });

  it.each<Shape>([
    { m: 9, n: 33, k: 600 }, // more than a piece
    { m: 20, n: 40, k: 300, segments: 3 }, // segments of several pieces
    { m: 10, n: 300, k: 100, segments: 5, gap: 1 }, // several blocks of C
    { m: 80, n: 264, k: 5, segments: 64 }, // a deep tree
    { m: 600, n: 17, k: 128, segments: 2 }, // more rows than one packing of A
  ])('keeps the order through blocks of C: $m × $n × $k, $segments segments', (shape) => {
    check({ ...shape, ...transposes });
  });

  it('steps through two batch dimensions and repeats operands of stride 0', () => {
    check({ m: 5, n: 18, k: 9, batch: [2, 3], steps: [3, 1, 3, 1], ...transposes });
    check({ m: 5, n: 18, k: 9, batch: [2, 3], steps: [0, 1, 1, 0], segments: 2, ...transposes });
  });

  it('gives +0 for K = 0, and leaves C alone without rows, columns or batch', () => {
    check({ m: 3, n: 20, k: 0, segments: 3, ...transposes });
    check({ m: 0, n: 20, k: 4, ...transposes });
    check({ m: 3, n: 0, k: 4, ...transposes });
    check({ m: 3, n: 5, k: 4, batch: [0, 1], ...transposes });
  });

  it('keeps subnormals, infinities, NaN and the sign of zero', () => {
    const special = [-0, 0, 1e-40, -3e-39, 1e-22, -2e-20, Infinity, -Infinity, Number.NaN, 3e38, 1, -1];
    const values = (length: number, seed = 0): Float32Array =>
      // Infinities and NaN are rare, or they would be all there is to see.
      Float32Array.from({ length }, (_, i) => special[(i * 7 + seed) % (i % 11 === 0 ? 12 : 6)]!);
    check({ m: 19, n: 35, k: 6, segments: 3, ...transposes }, values);
  });
});
