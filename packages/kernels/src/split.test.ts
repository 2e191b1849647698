import { describe, expect, test } from 'vitest';
import { call, floats, run, sameBits } from '../test/rig.ts';
import { MATMUL_SCRATCH_BYTES } from './instructions.ts';
import { availableVariants } from './load.ts';
import type { Program } from './program.ts';
import { splitProducts } from './split.ts';
import { validateProgram } from './validate.ts';

const scratch = new Float32Array(MATMUL_SCRATCH_BYTES / 4);

/** A product as the only instruction of a program; C has a gap between its rows. */
const product = (m: number, n: number, k: number, segments: number, transA: boolean, batch = 1) => {
  const depth = segments * k;
  const [lda, ldc] = [transA ? m : depth, n + 3];
  const made = call('matmul', {
    c: new Float32Array(batch * m * ldc),
    a: floats(batch * m * depth, 1),
    b: floats(batch * n * depth, 2),
    scratch,
    ...{ m, n, k, lda, ldb: n, ldc, transA: Number(transA), transB: 0 },
    ...{ batch0: batch, batch1: 1, strideA0: m * depth, strideA1: 0, strideB0: n * depth, strideB1: 0 },
    ...{ strideC0: m * ldc, strideC1: 0, segments, segmentA: transA ? k * lda : k, segmentB: k * n },
  });
  const names = ['gradient', 'a', 'b', 'scratch'];
  const program: Program = {
    version: 1,
    regions: made.regions.map((data, i) => ({
      name: names[i]!,
      bytes: data.byteLength,
      access: 'write' as const,
    })),
    code: made.words,
    starts: [0],
    labels: ['weight'],
    cuts: [0],
  };
  return { program, regions: made.regions };
};

describe('products in pieces', () => {
  // m, n, k, segments, transA, bytes: how many pieces.
  test.each<[number, number, number, number, boolean, number, number]>([
    [64, 40, 16, 4, true, 16 * 43 * 4, 4],
    [70, 33, 5, 3, true, 9 * 36 * 4, 9],
    [37, 17, 8, 1, false, 1, 5],
    [100, 1, 3, 2, true, 1000, 2],
    [16, 16, 4, 1, true, 16 * 19 * 4, 1],
  ])('%i × %i × %i in %i segments: the same bits', (m, n, k, segments, transA, bytes, pieces) => {
    const { program, regions } = product(m, n, k, segments, transA);
    const split = splitProducts(program, 'gradient', bytes);
    validateProgram(split);
    expect(split.starts.length).toBe(pieces);
    expect(split.labels).toEqual(Array.from({ length: pieces }, () => 'weight'));
    expect(split.cuts).toEqual([pieces - 1]);
    for (const variant of availableVariants()) {
      const [whole] = run(variant, { words: program.code, regions });
      const [parts] = run(variant, { words: split.code, regions });
      expect(whole!.some((value) => value !== 0)).toBe(true);
      expect(sameBits(whole!, parts!), variant).toBe(true);
    }
  });

  test.each([
    ['of another region', 'loss', 1],
    ['of several at once', 'gradient', 2],
  ])('products %s stay whole', (_, region, batch) => {
    const { program } = product(64, 40, 16, 1, true, batch);
    expect(splitProducts(program, region, 64).code).toEqual(program.code);
  });
});
