import { describe, expect, it } from 'vitest';
import { bits, type Call, call, floats, numbers, run, sameBits, twin } from '../../test/rig.ts';
import { reduceKinds, softmaxKinds, sourceKinds } from '../instructions/instructions.ts';
import { availableVariants, type KernelVariant } from './load.ts';

const variants = availableVariants();
const kindsOf = <T extends Record<string, number>>(kinds: T): [string, number][] => Object.entries(kinds);

const expectTwin = (variant: KernelVariant, instruction: Call): void => {
  const expected = twin(instruction);
  run(variant, instruction).forEach((after, i) => {
    if (!sameBits(after, expected[i]!)) expect(bits(after)).toEqual(bits(expected[i]!));
  });
};

/** [outer, n, inner] */
const shapes: [number, number, number][] = [
  [1, 0, 1],
  [2, 0, 3],
  [1, 1, 1],
  [3, 2, 1],
  [5, 10, 1],
  [4, 15, 1],
  [4, 16, 1],
  [4, 17, 1],
  [3, 33, 1],
  [2, 1000, 1],
  [1, 100_003, 1],
  [1, 64, 10],
  [2, 7, 3],
  [2, 5, 16],
  [3, 9, 33],
  [2, 20, 130],
  [1, 3, 1024],
  [0, 4, 4],
];

describe.each(variants)('reduce on %s', (variant) => {
  describe.each(kindsOf(reduceKinds))('%s', (name, kind) => {
    it.each(shapes)('[%i, %i, %i] as the naive twin', (outer, n, inner) => {
      const mixed = floats(outer * n * inner);
      // Products of many factors of any size would leave the range of floats.
      const input = name === 'prod' ? mixed.map((x) => 1 + x / 1024) : mixed;
      const index = name.startsWith('arg');
      const out = index ? new Int32Array(outer * inner) : new Float32Array(outer * inner);
      expectTwin(variant, call('reduce', { out, in: input, outer, n, inner, kind }));
    });
  });

  it.each([1, 3])('the first of equals, and the first NaN, are the extreme (inner = %i)', (inner) => {
    const column = [1, 5, 5, Number.NaN, 7, Number.NaN];
    const input = Float32Array.from(column.flatMap((x) => Array(inner).fill(x)));
    const index = (n: number, kind: number): number[] => {
      const out = new Int32Array(inner);
      return [...run(variant, call('reduce', { out, in: input, outer: 1, n, inner, kind }))[0]!];
    };
    expect(index(6, reduceKinds.argmax)).toEqual(Array(inner).fill(3));
    expect(index(6, reduceKinds.argmin)).toEqual(Array(inner).fill(3));
    expect(index(3, reduceKinds.argmax)).toEqual(Array(inner).fill(1));
    expect(index(3, reduceKinds.argmin)).toEqual(Array(inner).fill(0));
    const out = new Float32Array(inner);
    const [max] = run(
      variant,
      call('reduce', { out, in: input, outer: 1, n: 6, inner, kind: reduceKinds.max }),
    );
    expect([...max!]).toEqual(Array(inner).fill(Number.NaN));
  });

  it('all −∞ has the maximum −∞ at 0', () => {
    const input = new Float32Array(20).fill(Number.NEGATIVE_INFINITY);
    const outs = [new Float32Array(1), new Int32Array(1)] as const;
    const shape = { in: input, outer: 1, n: 20, inner: 1 };
    expect(run(variant, call('reduce', { out: outs[0], ...shape, kind: reduceKinds.max }))[0]![0]).toBe(
      -Infinity,
    );
    expect(run(variant, call('reduce', { out: outs[1], ...shape, kind: reduceKinds.argmax }))[0]![0]).toBe(0);
  });
});

describe.each(variants)('treeSum on %s', (variant) => {
  const segments = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 64, 100];
  it.each(segments)('%i segments as the naive twin', (count) => {
    for (const n of [1, 5, 16, 37, 128]) {
      expectTwin(
        variant,
        call('treeSum', { out: new Float32Array(n), in: floats(count * n), segments: count, n }),
      );
    }
  });
});

describe.each(variants)('sumOfSquares on %s', (variant) => {
  it.each([
    [1, 1],
    [100, 32],
    [1000, 1000],
    [1001, 100],
    [50, 64],
  ])('%i elements in blocks of %i as the naive twin', (n, block) => {
    const out = new Float32Array(Math.ceil(n / block));
    expectTwin(variant, call('sumOfSquares', { out, in: floats(n), n, block }));
  });
});

describe.each(variants)('gatherRows on %s', (variant) => {
  it.each(kindsOf(sourceKinds))('%s as the naive twin, bad indexes reading row 0', (_, kind) => {
    const next = numbers(3);
    for (const [width, stride] of [
      [1, 1],
      [3, 3],
      [10, 1],
      [10, 7],
      [64, 64],
      [784, 800],
    ] as const) {
      const dataRows = 9;
      const size = (dataRows - 1) * stride + width;
      const data =
        kind === sourceKinds.f32
          ? floats(size)
          : kind === sourceKinds.i32
            ? Int32Array.from({ length: size }, () => next() | 0)
            : Uint8Array.from({ length: size }, () => next() & 255);
      const rows = 7;
      const out = new (kind === sourceKinds.f32 || kind === sourceKinds.u8ToF32 ? Float32Array : Int32Array)(
        rows * width,
      );
      expectTwin(
        variant,
        call('gatherRows', {
          out,
          data,
          index: Uint32Array.of(8, 8, 3, 1, 9, 0xffffffff, 2, 0, 4),
          record: Uint32Array.of(0, 0, 0, 2),
          unit: Uint32Array.of(0, 1),
          rows,
          width,
          dataRows,
          indexCount: 9,
          kind,
          scale: 1 / 255,
          shift: -0.1307,
          stride,
        }),
      );
    }
  });
});

/** [rows, n] */
const rowShapes: [number, number][] = [
  [1, 1],
  [3, 2],
  [7, 10],
  [5, 16],
  [4, 17],
  [3, 100],
  [2, 1000],
];
const softmaxCall = (rows: number, n: number, kind: number, input = floats(rows * n, 5)): Call =>
  call('softmax', {
    out: new Float32Array(kind === softmaxKinds.logSumExp ? rows : rows * n),
    in: input,
    rows,
    n,
    kind,
  });
const entropyCalls = (rows: number, n: number): Call[] => {
  const logits = floats(rows * n, 6);
  const labels = Int32Array.from({ length: rows }, (_, r) => (r * 3) % n);
  const grad = floats(rows, 7);
  return [
    call('crossEntropy', { out: new Float32Array(rows), logits, labels, rows, n }),
    call('crossEntropyGrad', { out: new Float32Array(rows * n), logits, labels, grad, rows, n }),
  ];
};

describe('softmax and cross entropy', () => {
  const calls = rowShapes.flatMap(([rows, n]): [string, Call][] => [
    ...kindsOf(softmaxKinds).map(([name, kind]): [string, Call] => [
      `${name} [${rows}, ${n}]`,
      softmaxCall(rows, n, kind),
    ]),
    ...entropyCalls(rows, n).map((instruction, i): [string, Call] => [
      `crossEntropy${i === 0 ? '' : 'Grad'} [${rows}, ${n}]`,
      instruction,
    ]),
  ]);

  it.each(calls)('%s: the same bytes on all variants, close to the naive twin', (_, instruction) => {
    const outputs = variants.map((variant) => run(variant, instruction)[0] as Float32Array);
    for (const output of outputs) expect(bits(output)).toEqual(bits(outputs[0]!));
    const expected = twin(instruction)[0] as Float32Array;
    outputs[0]!.forEach((x, i) => {
      expect(Math.abs(x - expected[i]!)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(expected[i]!)));
    });
  });

  it.each(variants)('%s: in place, the same bits', (variant) => {
    for (const kind of [softmaxKinds.softmax, softmaxKinds.logSoftmax]) {
      const apart = softmaxCall(5, 21, kind);
      const words = apart.words.slice();
      words[2] = words[4]!; // out is where in is
      const [, together] = run(variant, { words, regions: apart.regions });
      expect(bits(together!)).toEqual(bits(run(variant, apart)[0]!));
    }
  });

  it.each(variants)('%s: infinities, NaN and labels out of range', (variant) => {
    const [inf, nan] = [Infinity, Number.NaN];
    const rows = (kind: number, ...values: number[]): number[] => [
      ...run(variant, softmaxCall(1, values.length, kind, Float32Array.from(values)))[0]!,
    ];
    expect(rows(softmaxKinds.softmax, 0, -inf)).toEqual([1, 0]);
    expect(rows(softmaxKinds.softmax, -inf, -inf)).toEqual([nan, nan]);
    expect(rows(softmaxKinds.softmax, 1, nan)).toEqual([nan, nan]);
    expect(rows(softmaxKinds.softmax, 1e38, -1e38)).toEqual([1, 0]);
    expect(rows(softmaxKinds.logSumExp, -inf, -inf)).toEqual([-inf]);
    expect(rows(softmaxKinds.logSumExp, 1, inf)).toEqual([inf]);
    expect(rows(softmaxKinds.logSumExp, 1, nan)).toEqual([nan]);
    const shape = { logits: Float32Array.of(1, 2), labels: Int32Array.of(-1), rows: 1, n: 2 };
    const grad = Float32Array.of(1);
    expect([...run(variant, call('crossEntropy', { out: new Float32Array(1), ...shape }))[0]!]).toEqual([
      nan,
    ]);
    expect([
      ...run(variant, call('crossEntropyGrad', { out: new Float32Array(2), grad, ...shape }))[0]!,
    ]).toEqual([nan, nan]);
  });

  it('a softmax of one class is 1, its log 0', () => {
    expect([...run('wasm', softmaxCall(1, 1, softmaxKinds.softmax))[0]!]).toEqual([1]);
    expect([...run('wasm', softmaxCall(1, 1, softmaxKinds.logSoftmax))[0]!]).toEqual([0]);
  });
});
