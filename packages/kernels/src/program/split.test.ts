import { describe, expect, test } from 'vitest';
import { call, floats, run, sameBits } from '../../test/rig.ts';
import { MATMUL_SCRATCH_BYTES } from '../instructions/instructions.ts';
import type { Program } from '../instructions/program.ts';
import { availableVariants } from '../run/load.ts';
import { type ProductPieces, splitProducts } from './split.ts';
import { validateProgram } from './validate.ts';

const scratch = new Float32Array(MATMUL_SCRATCH_BYTES / 4);

/** A product as the only instruction of a program; C has a gap between its rows. */
const product = (
  m: number,
  n: number,
  k: number,
  segments: number,
  { transA = false, transB = false, batch = 1 },
) => {
  const depth = segments * k;
  const [lda, ldb, ldc] = [transA ? m : depth, transB ? depth : n, n + 3];
  const made = call('matmul', {
    c: new Float32Array(batch * m * ldc),
    a: floats(batch * m * depth, 1),
    b: floats(batch * n * depth, 2),
    scratch,
    ...{ m, n, k, lda, ldb, ldc, transA: Number(transA), transB: Number(transB) },
    ...{ batch0: batch, batch1: 1, strideA0: m * depth, strideA1: 0, strideB0: n * depth, strideB1: 0 },
    ...{
      strideC0: m * ldc,
      strideC1: 0,
      segments,
      segmentA: transA ? k * lda : k,
      segmentB: transB ? k : k * n,
    },
  });
  const names = ['gradient', 'a', 'weights', 'scratch'];
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

const rows = (bytes: number): ProductPieces => ({ region: 'gradient', access: 'write', bytes });
const columns = (bytes: number): ProductPieces => ({ region: 'weights', access: 'read', bytes });

describe('products in pieces', () => {
  test.each<[string, ReturnType<typeof product>, ProductPieces, number]>([
    ['rows of C', product(64, 40, 16, 4, { transA: true }), rows(16 * 43 * 4), 4],
    ['the rest of the rows', product(70, 33, 5, 3, { transA: true }), rows(9 * 36 * 4), 9],
    ['A as it lies', product(37, 17, 8, 1, {}), rows(1), 5],
    ['one column', product(100, 1, 3, 2, { transA: true }), rows(1000), 2],
    ['few rows', product(16, 16, 4, 1, { transA: true }), rows(16 * 19 * 4), 1],
    ['columns of B', product(19, 128, 16, 1, { transB: true }), columns(64 * 16 * 4), 2],
    ['the rest of the columns', product(40, 77, 9, 1, { transB: true }), columns(1), 3],
    ['columns of several segments', product(8, 70, 5, 3, { transB: true }), columns(1), 3],
    ['few columns', product(8, 32, 5, 1, { transB: true }), columns(1), 1],
  ])('%s: the same bits', (_, { program, regions }, how, pieces) => {
    const split = splitProducts(program, how);
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

  test.each<[string, ReturnType<typeof product>, ProductPieces]>([
    ['of another region', product(64, 40, 16, 1, { transA: true }), { ...rows(64), region: 'loss' }],
    ['of several at once', product(64, 40, 16, 1, { transA: true, batch: 2 }), rows(64)],
    ['whose columns do not lie together', product(64, 96, 16, 1, {}), columns(64)],
    ['that pack A', product(64, 96, 16, 1, { transA: true, transB: true }), columns(64)],
  ])('products %s stay whole', (_, { program }, how) => {
    expect(splitProducts(program, how).code).toEqual(program.code);
  });
});
