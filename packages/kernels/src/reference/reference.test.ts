/** The reference machine against the kernels, instruction by instruction: each is the other's oracle. */
import { describe, expect, it } from 'vitest';
import { convolutionCases } from '../../test/convolution.ts';
import { fusedCases } from '../../test/fused.ts';
import {
  guardKinds,
  type InstructionName,
  type InstructionValues,
  reduceKinds,
  softmaxKinds,
  sourceKinds,
} from '../instructions/instructions.ts';
import type { Address, Program } from '../instructions/program.ts';
import { ProgramBuilder } from '../program/builder.ts';
import { Arena, loadProgram } from '../run/host.ts';
import { availableVariants, loadKernels } from '../run/load.ts';
import { createMemory } from '../run/memory.ts';
import { philox4x32 } from './philox.ts';
import { runReference } from './reference.ts';

type Numbers = Float32Array | Int32Array | Uint8Array;

/** A program with the content of its input regions; `output` is region 0. */
interface Case {
  readonly title: string;
  readonly outputs: number;
  /** Type of the outputs. Default f32. */
  readonly integer?: true;
  /** Largest distance in ulps; 0 (default): equal bits. */
  readonly ulps?: number;
  readonly inputs: readonly Numbers[];
  readonly write: (builder: ProgramBuilder, output: Address, inputs: Address[]) => void;
}

const numbers = (n: number, low = -2, high = 2, seed = 1): Float32Array =>
  Float32Array.from(
    { length: n },
    (_, i) => low + (high - low) * ((seed * 0.754877 + (i + 1) * 0.618034) % 1),
  );
const integers = (n: number, limit: number): Int32Array =>
  Int32Array.from({ length: n }, (_, i) => (i * 7 + 3) % limit);

function program({ outputs, inputs, write }: Case): Program {
  const builder = new ProgramBuilder();
  const region = (name: string, access: 'read' | 'write', bytes: number): Address => {
    const id = builder.addRegion(name, access);
    builder.reserve(id, bytes);
    return { region: id, offset: 0 };
  };
  const output = region('output', 'write', outputs * 4);
  const addresses = inputs.map((data, i) => region(`input ${i}`, 'write', data.byteLength));
  write(builder, output, addresses);
  return builder.build();
}

/** Region for scratch, after all others. */
const scratch = (builder: ProgramBuilder): Address => ({
  region: builder.addRegion('scratch', 'write'),
  offset: 0,
});

function onReference(test: Case): Float64Array {
  const built = program(test);
  const regions = built.regions.map(({ bytes }) => new Float64Array(bytes));
  test.inputs.forEach((data, i) => {
    regions[1 + i]!.set(data);
  });
  runReference(built, regions, 'float32');
  return regions[0]!.subarray(0, test.outputs);
}

const memory = createMemory(1 << 20);
const kernels = availableVariants().map((variant) => loadKernels({ kernels: variant, memory }));

function onKernels(which: (typeof kernels)[number], test: Case): Float64Array {
  const arena = new Arena(which);
  const { bases, run } = loadProgram(arena, program(test));
  arena.f32(bases[0]!, test.outputs).fill(0);
  test.inputs.forEach((data, i) => {
    arena.u8(bases[1 + i]!, data.byteLength).set(new Uint8Array(data.buffer));
  });
  run();
  const found = test.integer ? arena.i32(bases[0]!, test.outputs) : arena.f32(bases[0]!, test.outputs);
  return Float64Array.from(found);
}

const record = Int32Array.of(0x1234567, 0x89abcde, 77, 3);
const unit = Int32Array.of(2, 1);

const rows = (kind: keyof typeof softmaxKinds): Case => ({
  title: kind,
  outputs: kind === 'logSumExp' ? 5 : 5 * 37,
  ulps: 8,
  inputs: [numbers(5 * 37)],
  write: (b, out, [x]) => b.call('softmax', { out, in: x!, rows: 5, n: 37, kind: softmaxKinds[kind] }),
});

const gather = (kind: keyof typeof sourceKinds, data: Numbers, stride = 3): Case => ({
  title: stride === 3 ? kind : `${kind}, windows that overlap`,
  outputs: 4 * 3,
  ...(kind === 'i32' || kind === 'u8ToI32' ? { integer: true } : {}),
  // The last two rows are out of range: of the data, of the index.
  inputs: [data, Int32Array.of(0, 0, 0, 0, 5, 2, 99), record, unit],
  write: (b, out, [x, index, record, unit]) =>
    b.call('gatherRows', {
      out,
      data: x!,
      index: index!,
      record: record!,
      unit: unit!,
      rows: 4,
      width: 3,
      dataRows: 6,
      indexCount: 7,
      kind: sourceKinds[kind],
      scale: 1 / 255,
      shift: -0.5,
      stride,
    }),
});

const product = (transA: number, transB: number, segments: number): Case => {
  const [m, n, k] = [5, 19, 7];
  return {
    title: `transA ${transA}, transB ${transB}, ${segments} segments`,
    outputs: m * n,
    inputs: [numbers(segments * m * k), numbers(segments * k * n, -1, 1, 2)],
    write: (b, c, [x, y]) =>
      b.call('matmul', {
        ...{ c, a: x!, b: y!, scratch: scratch(b), m, n, k, transA, transB, segments },
        ...{ lda: transA ? m : k, ldb: transB ? k : n, ldc: n, segmentA: m * k, segmentB: k * n },
        ...{
          batch0: 1,
          batch1: 1,
          strideA0: 0,
          strideA1: 0,
          strideB0: 0,
          strideB1: 0,
          strideC0: 0,
          strideC1: 0,
        },
      }),
  };
};

/** output = [halt, tick if the program went on]. */
const guard = (title: string, kind: keyof typeof guardKinds, halt: number, values: Numbers): Case => ({
  title: `${kind}: ${title}`,
  outputs: 2,
  integer: true,
  inputs: [Int32Array.of(halt), Int32Array.of(41), values],
  write: (b, output, [halt, tick, values]) => {
    const shared = scratch(b);
    const copy = (source: Address, offset: number): void => {
      const outputs = [{ address: { ...output, offset }, value: 0 }];
      b.elementwise({ dims: [1], inputs: [{ address: source }], steps: [], outputs, scratch: shared });
    };
    copy(halt!, 0);
    b.call('guard', {
      halt: output,
      tick: tick!,
      values: values!,
      count: 3,
      stride: 2,
      kind: guardKinds[kind],
    });
    copy(tick!, 4);
  },
});

interface Indexed {
  readonly segments: number;
  readonly outer: number;
  readonly n: number;
  readonly inner: number;
  readonly count: number;
}
/** One index is negative, one too large. */
const indexes = (count: number, n: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) =>
    i % 11 === 7 ? -1 : i % 13 === 5 ? n : (i * 5 + (i >> 2)) % n,
  );
const indexedShapes: readonly Indexed[] = [
  { segments: 1, outer: 1, n: 3, inner: 1, count: 7 },
  { segments: 3, outer: 2, n: 5, inner: 19, count: 6 },
  { segments: 7, outer: 1, n: 9, inner: 150, count: 4 },
  { segments: 8, outer: 1, n: 40, inner: 33, count: 2 },
  { segments: 2, outer: 0, n: 3, inner: 2, count: 3 },
  { segments: 6, outer: 3, n: 2, inner: 1, count: 17 },
];
/** Once with data and index of its own for each segment, once with shared data, once with a shared index. */
const indexedCases = (write: (v: Indexed, sharedData: boolean, sharedIndex: boolean) => Case): Case[] =>
  indexedShapes.flatMap((v) => [write(v, false, false), write(v, true, false), write(v, false, true)]);
const titleOf = (v: Indexed, ...shared: boolean[]): string => `${Object.values(v)}, shared ${shared}`;

const picking = (name: 'take' | 'gather'): Case[] =>
  indexedCases((v, sharedData, sharedIndex) => {
    const rows = v.outer * v.n * v.inner;
    const picks = name === 'take' ? v.count : v.outer * v.count * v.inner;
    return {
      title: titleOf(v, sharedData, sharedIndex),
      outputs: v.segments * v.outer * v.count * v.inner,
      inputs: [
        numbers((sharedData ? 1 : v.segments) * rows),
        indexes((sharedIndex ? 1 : v.segments) * picks, v.n),
      ],
      write: (b, out, [x, index]) =>
        b.call(name, {
          ...{ ...v, out, in: x!, index: index! },
          segmentIn: sharedData ? 0 : rows,
          segmentIndex: sharedIndex ? 0 : picks,
        }),
    };
  });

const adding = (name: 'scatterAdd' | 'gatherAdd', tree: number): Case[] =>
  indexedCases((v, sharedData, sharedIndex) => {
    const items = v.outer * v.count * v.inner;
    const picks = name === 'scatterAdd' ? v.count : items;
    return {
      title: `tree ${tree}: ${titleOf(v, sharedData, sharedIndex)}`,
      outputs: (tree ? 1 : v.segments) * v.outer * v.n * v.inner,
      inputs: [
        numbers((sharedData ? 1 : v.segments) * items),
        indexes((sharedIndex ? 1 : v.segments) * picks, v.n),
      ],
      write: (b, out, [x, index]) => {
        const operands = {
          ...{ ...v, out, in: x!, index: index! },
          segmentIn: sharedData ? 0 : items,
          segmentIndex: sharedIndex ? 0 : picks,
        };
        if (name === 'gatherAdd') b.call(name, operands);
        else b.call(name, { ...operands, tree, scratch: scratch(b) });
      },
    };
  });

/** Copies between windows: sizes, strides, and the first element of the source. */
const copying = (title: string, sizes: number[], outs: number[], ins: number[], first = 0): Case => ({
  title,
  outputs: 4000,
  inputs: [numbers(4000)],
  write: (b, out, [x]) => {
    const padded = (values: number[], fill: number): number[] => [
      ...new Array<number>(8 - values.length).fill(fill),
      ...values,
    ];
    const fields = Object.fromEntries(
      padded(sizes, 1).flatMap((n, d) => [
        [`n${d}`, n],
        [`outStride${d}`, padded(outs, 0)[d]],
        [`inStride${d}`, padded(ins, 0)[d]],
      ]),
    );
    const from = { ...x!, offset: first * 4 };
    b.call('copy', { ...fields, out, in: from } as InstructionValues<'copy'>);
  },
});

const cases: { readonly [N in InstructionName]: readonly Case[] } = {
  ...convolutionCases,
  matmul: [0, 1].flatMap((a) => [0, 1].flatMap((b) => [1, 5].map((segments) => product(a, b, segments)))),
  reduce: Object.entries(reduceKinds).flatMap(([name, kind]) =>
    [1, 3].map(
      (inner): Case => ({
        title: `${name}, inner ${inner}`,
        outputs: 2 * inner,
        ...(name.startsWith('arg') ? { integer: true } : {}),
        inputs: [numbers(2 * 37 * inner)],
        write: (b, out, [x]) => b.call('reduce', { out, in: x!, outer: 2, n: 37, inner, kind }),
      }),
    ),
  ),
  treeSum: [1, 2, 3, 7, 8].map((segments) => ({
    title: `${segments} segments`,
    outputs: 21,
    inputs: [numbers(segments * 21)],
    write: (b, out, [x]) => b.call('treeSum', { out, in: x!, segments, n: 21 }),
  })),
  gatherRows: [
    gather('f32', numbers(18)),
    gather('i32', integers(18, 100)),
    gather('u8ToI32', Uint8Array.from(integers(18, 256))),
    gather('u8ToF32', Uint8Array.from(integers(18, 256))),
    gather('f32', numbers(8), 1),
    gather('u8ToI32', Uint8Array.from(integers(13, 256)), 2),
  ],
  random: [
    {
      title: 'three segments',
      outputs: 3 * 71,
      inputs: [record, unit],
      write: (b, out, [record, unit]) =>
        b.call('random', { out, record: record!, unit: unit!, stream: 5, segments: 3, n: 71 }),
    },
  ],
  softmax: [rows('softmax'), rows('logSoftmax'), rows('logSumExp')],
  crossEntropy: [
    {
      title: 'labels in and out of range',
      outputs: 5,
      ulps: 8,
      inputs: [numbers(5 * 7), Int32Array.of(0, 6, 7, -1, 3)],
      write: (b, out, [logits, labels]) =>
        b.call('crossEntropy', { out, logits: logits!, labels: labels!, rows: 5, n: 7 }),
    },
  ],
  crossEntropyGrad: [
    {
      title: 'labels in and out of range',
      outputs: 5 * 7,
      ulps: 64, // p − 1 cancels
      inputs: [numbers(5 * 7), Int32Array.of(0, 6, 7, -1, 3), numbers(5)],
      write: (b, out, [logits, labels, grad]) =>
        b.call('crossEntropyGrad', { out, logits: logits!, labels: labels!, grad: grad!, rows: 5, n: 7 }),
    },
  ],
  guard: [
    guard('all well', 'finite', 0, Float32Array.of(1, Number.NaN, -0, Number.NaN, 3e38)),
    guard('a NaN', 'finite', 0, Float32Array.of(1, 2, 3, 4, Number.NaN)),
    guard('infinite', 'finite', 0, Float32Array.of(1, 2, -Infinity, 4, 5)),
    guard('halted before', 'finite', 7, Float32Array.of(1, 2, 3, 4, Number.NaN)),
    guard('all well', 'zero', 0, Int32Array.of(0, 1, 0, 1, 0)),
    guard('a mark', 'zero', 0, Int32Array.of(0, 0, 1, 0, 0)),
  ],
  copy: [
    copying('a run', [77], [1], [1]),
    copying('a run backwards', [77], [1], [-1], 76),
    copying('one element repeated', [77], [1], [0], 5),
    copying('every third to every second', [50], [2], [3]),
    copying('a transpose', [37, 53], [53, 1], [1, 37]),
    copying('a transpose of windows', [3, 17, 5], [400, 9, 1], [120, 1, 18], 7),
    copying(
      'rank 8, axes reversed',
      [2, 1, 3, 2, 1, 2, 3, 2],
      [72, 72, 24, 12, 12, 6, 2, 1],
      [1, 2, 2, 6, 12, 12, 24, 72],
    ),
    copying('flipped in two axes', [4, 5, 6], [30, 6, 1], [-30, 6, -1], 95),
    copying('nothing', [4, 0, 6], [30, 6, 1], [-30, 6, -1]),
  ],
  take: picking('take'),
  gather: picking('gather'),
  scatterAdd: [0, 1].flatMap((tree) => adding('scatterAdd', tree)),
  gatherAdd: adding('gatherAdd', 0),
  argsort: [0, 1].flatMap((descending) =>
    [1, 2, 7, 64, 101].map(
      (n): Case => ({
        title: `rows of ${n}, descending ${descending}`,
        outputs: 3 * n,
        integer: true,
        // Rounded, so that some are equal; and some are no numbers.
        inputs: [numbers(3 * n, -9, 9).map((x, i) => (i % 13 === 5 ? Number.NaN : Math.round(x)))],
        write: (b, out, [x]) =>
          b.call('argsort', { out, in: x!, scratch: scratch(b), rows: 3, n, descending }),
      }),
    ),
  ),
  cumsum: [0, 1].flatMap((reverse) =>
    [
      [1, 7, 1],
      [2, 5, 19],
      [3, 1, 4],
      [2, 0, 3],
      [0, 3, 2],
    ].map(
      ([outer, n, inner]): Case => ({
        title: `${[outer, n, inner]}, reverse ${reverse}`,
        outputs: outer! * n! * inner!,
        inputs: [numbers(outer! * n! * inner!)],
        write: (b, out, [x]) =>
          b.call('cumsum', { out, in: x!, outer: outer!, n: n!, inner: inner!, reverse }),
      }),
    ),
  ),
  ...fusedCases,
  sumOfSquares: [
    {
      title: 'a shorter last block',
      outputs: 3,
      inputs: [numbers(100)],
      write: (b, out, [x]) => b.call('sumOfSquares', { out, in: x!, n: 100, block: 37 }),
    },
  ],
};

/** Distance in units in the last place of the exact value. */
function ulps(found: number, exact: number): number {
  if (Object.is(found, exact)) return 0;
  return Math.abs(found - exact) / 2 ** (Math.floor(Math.log2(Math.abs(exact))) - 23);
}

const entries: [string, readonly Case[]][] = Object.entries(cases);
const chains: Case[] = [
  {
    title: 'strides, constants of both types, choice',
    outputs: 5 * 300,
    inputs: [numbers(300), integers(5, 4)],
    write: (b, output, [x, i]) =>
      b.elementwise({
        dims: [5, 300],
        inputs: [
          { address: x!, strides: [0, 1] },
          { address: i!, strides: [1, 0] },
        ],
        steps: [
          { op: 'constant', args: [], bits: 2 },
          { op: 'mulI', args: [1, 2] },
          { op: 'toFloat', args: [3] },
          { op: 'constant', args: [], imm: 0.1 },
          { op: 'mul', args: [4, 5] },
          { op: 'lt', args: [0, 6] },
          { op: 'select', args: [7, 6, 0] },
        ],
        outputs: [{ address: output, value: 8 }],
        scratch: scratch(b),
      }),
  },
  {
    title: 'a journal; the tile with an infinite result is not committed',
    outputs: 1300,
    inputs: [numbers(1300).fill(0, 700, 701), new Int32Array(3), Int32Array.of(0, 0, 9)],
    write: (b, output, [x, journal, record]) =>
      b.elementwise({
        dims: [1300],
        inputs: [{ address: x! }],
        steps: [
          { op: 'constant', args: [], imm: 1 },
          { op: 'div', args: [1, 0] },
        ],
        outputs: [{ address: output, value: 2 }],
        scratch: scratch(b),
        journal: journal!,
        tick: { region: record!.region, offset: 8 },
      }),
  },
];

describe.each([...entries, ['elementwise', chains] as const])('%s', (_, list) => {
  it.each(list.map((test) => [test.title, test] as const))('%s', (_, test) => {
    const exact = onReference(test);
    for (const which of kernels) {
      const found = onKernels(which, test);
      const worst = found.reduce((most, x, i) => Math.max(most, ulps(x, exact[i]!)), 0);
      expect(worst, which.variant).toBeLessThanOrEqual(test.ulps ?? 0);
    }
  });
});

it('draws by a Philox of its own', () => {
  const words = philox4x32([0, 5, 77, 2], [0x1234567, 0x89abcde]);
  const drawn = onReference(cases.random[0]!).slice(0, 4);
  expect([...drawn]).toEqual(Array.from(words, (word) => (word >>> 8) / 2 ** 24));
});
