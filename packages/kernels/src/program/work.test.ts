import { expect, test } from 'vitest';
import { MATMUL_SCRATCH_BYTES, sourceKinds } from '../instructions/instructions.ts';
import { ProgramBuilder } from './builder.ts';
import { instructionWork } from './work.ts';

type Build = (b: ProgramBuilder, at: (name: string) => { region: number; offset: number }) => void;

const cases: Readonly<Record<string, { build: Build; flops: number; bytes: number }>> = {
  'a product: 2 M N K per segment; A and B read, C written': {
    build: (b, at) => {
      const scratch = at('scratch');
      b.reserve(scratch.region, MATMUL_SCRATCH_BYTES);
      b.call('matmul', {
        ...{ c: at('c'), a: at('a'), b: at('b'), scratch, m: 3, n: 5, k: 7, lda: 14, ldb: 5, ldc: 5 },
        ...{ transA: 0, transB: 0, batch0: 1, batch1: 1, segments: 2, segmentA: 7, segmentB: 35 },
        ...{ strideA0: 0, strideA1: 0, strideB0: 0, strideB1: 0, strideC0: 0, strideC1: 0 },
      });
    },
    flops: 2 * 3 * 5 * 7 * 2,
    bytes: 4 * (3 * 5 + 3 * 14 + 70),
  },
  'a chain: its operands, a scalar once': {
    build: (b, at) =>
      b.elementwise({
        dims: [10],
        inputs: [{ address: at('x') }, { address: at('y'), scalar: true }],
        steps: [{ op: 'mul', args: [0, 1] }],
        outputs: [{ address: at('out'), value: 2 }],
        scratch: at('scratch'),
      }),
    flops: 0,
    bytes: 4 * (10 + 1 + 10),
  },
  'a batch: the rows that are picked, not the data set': {
    build: (b, at) =>
      b.call('gatherRows', {
        ...{ out: at('out'), data: at('data'), index: at('index'), record: at('record'), unit: at('unit') },
        ...{
          rows: 4,
          width: 6,
          dataRows: 1000,
          indexCount: 1000,
          kind: sourceKinds.u8ToF32,
          scale: 1,
          shift: 0,
          stride: 6,
        },
      }),
    flops: 0,
    bytes: 4 * 4 * 6 + 4 * 6 + 4 * 4,
  },
};

test.each(Object.entries(cases))('%s', (_, { build, flops, bytes }) => {
  const builder = new ProgramBuilder();
  build(builder, (name) => ({ region: builder.addRegion(name, 'write'), offset: 0 }));
  const { code } = builder.build();
  expect(instructionWork(code, 0)).toMatchObject({ flops, bytes });
});
