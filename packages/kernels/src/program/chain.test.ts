import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainCall, floats, region, run, sameBits, twin } from '../../test/rig.ts';
import { inputKinds } from '../instructions/instructions.ts';
import { availableVariants } from '../run/load.ts';
import { type Chain, type ChainStep, encodeChain } from './chain.ts';
import { decodeChain, microOpOf } from './extents.ts';

const N = 700; // more than a tile, and no multiple of a vector
const [x, y, out, other] = [region(0), region(1), region(2), region(3)];
const scratch = region(4);
type Parts = Omit<Chain, 'scratch'>;

const decoded = (chain: Parts) => decodeChain(Int32Array.from(encodeChain({ ...chain, scratch }).words), 0);

/** Runs the chain on all variants and the twin over four regions of N floats; gives what the regions hold. */
const runAll = (chain: Parts): readonly (readonly number[])[] => {
  const asked = chainCall(
    chain,
    [1, 2, 3, 4].map((seed) => floats(N, seed)),
  );
  const expected = twin(asked);
  for (const variant of availableVariants()) {
    const got = run(variant, asked);
    for (let i = 0; i < 4; i++) expect(sameBits(got[i]!, expected[i]!), `${variant}, region ${i}`).toBe(true);
  }
  return expected.map((data) => [...data]);
};
const [X, Y] = [floats(N, 1), floats(N, 2)];
const each = (f: (x: number, y: number) => number): number[] =>
  [...X].map((value, i) => Math.fround(f(value, Y[i]!)));

describe('planning', () => {
  it('reuses registers after the last read and computes outputs in place', () => {
    const { nReg, steps } = decoded({
      dims: [N],
      inputs: [{ address: x }],
      steps: [
        { op: 'neg', args: [0] },
        { op: 'abs', args: [1] },
        { op: 'sqrt', args: [2] },
        { op: 'exp', args: [3] },
      ],
      outputs: [{ address: out, value: 4 }],
    });
    expect(nReg).toBe(1);
    expect(steps.map(({ dst }) => dst)).toEqual([1, 1, 1, 2]);
  });

  it('drops steps that no output needs and merges equal constants, but keeps −0 and 0 apart', () => {
    const { nReg, steps } = decoded({
      dims: [N],
      inputs: [{ address: x }],
      steps: [
        { op: 'constant', args: [], imm: 2 },
        { op: 'constant', args: [], imm: 2 },
        { op: 'constant', args: [], imm: 0 },
        { op: 'constant', args: [], imm: -0 },
        { op: 'exp', args: [0] },
        { op: 'min', args: [0, 2] },
        { op: 'min', args: [6, 1] },
        { op: 'max', args: [7, 3] },
        { op: 'max', args: [8, 4] },
      ],
      outputs: [{ address: out, value: 9 }],
    });
    expect(steps).toHaveLength(7);
    expect(nReg).toBe(4); // three constants and one running value
  });

  const { fround, sqrt } = Math;
  it.each<
    [
      first: ChainStep['op'],
      second: ChainStep['op'],
      at: 0 | 1,
      name: string,
      (x: number, y: number) => number,
    ]
  >([
    ['mul', 'add', 0, 'mulAdd', (x, y) => fround(x * y) + x],
    ['mul', 'add', 1, 'mulAdd', (x, y) => x + fround(x * y)],
    ['mul', 'sub', 0, 'mulSub', (x, y) => fround(x * y) - x],
    ['mul', 'sub', 1, 'mul sub', (x, y) => x - fround(x * y)],
    ['mul', 'div', 0, 'mulDiv', (x, y) => fround(x * y) / x],
    ['mul', 'div', 1, 'mul div', (x, y) => x / fround(x * y)],
    ['mul', 'mul', 0, 'mulMul', (x, y) => fround(x * y) * x],
    ['mul', 'mul', 1, 'mulMul', (x, y) => x * fround(x * y)],
    ['add', 'mul', 0, 'addMul', (x, y) => fround(x + y) * x],
    ['add', 'mul', 1, 'addMul', (x, y) => x * fround(x + y)],
    ['sub', 'mul', 0, 'subMul', (x, y) => fround(x - y) * x],
    ['sub', 'mul', 1, 'subMul', (x, y) => x * fround(x - y)],
    ['sqrt', 'add', 0, 'sqrtAdd', (x) => fround(sqrt(x)) + x],
    ['sqrt', 'add', 1, 'sqrtAdd', (x) => x + fround(sqrt(x))],
    ['add', 'add', 0, 'add add', (x, y) => fround(x + y) + x],
  ])(
    'makes one step of %s and %s (its argument %i): %s, with the bits of both',
    (first, second, at, name, value) => {
      const begin: ChainStep = { op: first, args: first === 'sqrt' ? [0] : [0, 1] };
      const chain = (steps: readonly ChainStep[], ...values: number[]): Parts => ({
        dims: [N],
        inputs: [{ address: x }, { address: y }],
        steps,
        outputs: values.map((id, o) => ({ address: [out, other][o]!, value: id })),
      });
      const then = (arg: number): ChainStep => ({ op: second, args: at === 0 ? [arg, 0] : [0, arg] });
      const names = (parts: Parts): string =>
        decoded(parts)
          .steps.map(({ op }) => microOpOf.get(op)!.name)
          .join(' ');
      const plain = chain([begin, then(2)], 3);
      expect(names(plain)).toBe(name);
      expect(runAll(plain)[2]).toEqual(each(value));
      // Somebody else reads the first result: it has to be stored anyway.
      expect(names(chain([begin, then(2)], 3, 2))).toBe(`${first} ${second}`);
      expect(names(chain([begin, then(2), { op: 'max', args: [3, 2] }], 4))).toBe(`${first} ${second} max`);
      // Nobody reads the other reader's result: it does not count.
      expect(names(chain([begin, { op: 'neg', args: [2] }, then(2)], 4))).toBe(name);
    },
  );

  it.each([
    { dims: [2, 3, 4], strides: [12, 4, 1], became: [[24], inputKinds.contiguous] },
    { dims: [2, 1, 4], strides: [0, 9, 0], became: [[8], inputKinds.scalar] },
    { dims: [2, 3, 4], strides: [0, 4, 1], became: [[2, 12], inputKinds.strided] },
    { dims: [2, 3, 4], strides: [0, 0, 1], became: [[6, 4], inputKinds.strided] },
    { dims: [2, 3, 4], strides: [1, 2, 6], became: [[2, 3, 4], inputKinds.strided] },
    { dims: [1, 1], strides: [5, 5], became: [[1], inputKinds.contiguous] },
    { dims: [], strides: [], became: [[1], inputKinds.contiguous] },
  ])('collapses dims $dims with strides $strides to $became', ({ dims, strides, became }) => {
    const { dims: got, inputs } = decoded({
      dims,
      inputs: [{ address: x, strides }],
      steps: [{ op: 'neg', args: [0] }],
      outputs: [{ address: out, value: 1 }],
    });
    expect([got, inputs[0]!.kind]).toEqual(became);
  });
});

describe('in place', () => {
  it('does not overwrite an input that is read later', () => {
    const regions = runAll({
      dims: [N],
      inputs: [{ address: x }, { address: y }],
      steps: [
        { op: 'add', args: [0, 1] }, // would lie on x
        { op: 'mul', args: [0, 1] },
      ],
      outputs: [
        { address: x, value: 2 },
        { address: out, value: 3 },
      ],
    });
    expect(regions[0]).toEqual(each((a, b) => a + b));
    expect(regions[2]).toEqual(each((a, b) => a * b));
  });

  it('swaps two inputs', () => {
    const regions = runAll({
      dims: [N],
      inputs: [{ address: x }, { address: y }],
      steps: [],
      outputs: [
        { address: x, value: 1 },
        { address: y, value: 0 },
      ],
    });
    expect(regions[0]).toEqual([...Y]);
    expect(regions[1]).toEqual([...X]);
  });

  it('gives one value to two outputs, an input and a constant to others', () => {
    const regions = runAll({
      dims: [N],
      inputs: [{ address: x }],
      steps: [
        { op: 'neg', args: [0] },
        { op: 'constant', args: [], imm: 1.5 },
      ],
      outputs: [
        { address: x, value: 1 },
        { address: y, value: 1 },
        { address: out, value: 0 },
        { address: other, value: 2 },
      ],
    });
    const negated = each((a) => -a);
    expect(regions.slice(0, 4)).toEqual([negated, negated, [...X], new Array(N).fill(1.5)]);
  });
});

describe('any chain', () => {
  const OPS = ['neg', 'abs', 'add', 'sub', 'mul', 'max'] as const;
  const apply = (op: (typeof OPS)[number], a: number, b: number): number =>
    Math.fround({ neg: -a, abs: Math.abs(a), add: a + b, sub: a - b, mul: a * b, max: Math.max(a, b) }[op]);
  const pick = fc.nat(1000);
  const parts = fc.record({
    steps: fc.array(fc.record({ op: fc.constantFrom('constant' as const, ...OPS), a: pick, b: pick }), {
      maxLength: 20,
    }),
    // Where each output lies (0 and 1 are inputs, overwritten in place) and which value it is.
    outputs: fc.uniqueArray(fc.record({ at: fc.nat(5), value: pick }), {
      minLength: 1,
      selector: ({ at }) => at,
    }),
  });

  it('gives what its values say, however slots are shared and inputs overwritten', () => {
    fc.assert(
      fc.property(parts, ({ steps: drawn, outputs: places }) => {
        // Inputs: two contiguous, a row that repeats, a scalar. Then the steps, each on values before it.
        const [rows, columns] = [10, 70];
        const data = [1, 2, 3, 4, 5, 6].map((seed) => floats(rows * columns, seed));
        const [row, scalar] = [floats(columns, 7), floats(1, 8)];
        const inputs = [
          { address: region(0) },
          { address: region(1) },
          { address: region(6), strides: [0, 1] },
          { address: region(7), scalar: true as const },
        ];
        const steps = drawn.map(({ op, a, b }, s) => {
          const [x, y] = [a % (4 + s), b % (4 + s)];
          if (op === 'constant') return { op, args: [], imm: a - 500 };
          return { op, args: op === 'neg' || op === 'abs' ? [x] : [x, y] };
        });
        const outputs = places.map(({ at, value }) => ({
          address: region(at),
          value: value % (4 + steps.length),
        }));
        const asked = chainCall({ dims: [rows, columns], inputs, steps, outputs }, [...data, row, scalar]);
        const got = availableVariants().map((variant) => run(variant, asked));

        for (let i = 0; i < rows * columns; i++) {
          const values = [data[0]![i]!, data[1]![i]!, row[i % columns]!, scalar[0]!];
          for (const step of steps) {
            const [x = 0, y = 0] = step.args.map((arg) => values[arg]!);
            values.push(step.op === 'constant' ? step.imm! : apply(step.op, x, y));
          }
          for (const { address, value } of outputs) {
            for (const regions of got) {
              if (!Object.is((regions[address.region] as Float32Array)[i], values[value])) {
                throw new Error(`element ${i} of region ${address.region}`);
              }
            }
          }
        }
      }),
      { numRuns: 300, seed: 1 },
    );
  });
});

describe('refusals', () => {
  const good: Parts = {
    dims: [4, 8],
    inputs: [{ address: x }],
    steps: [{ op: 'neg', args: [0] }],
    outputs: [{ address: out, value: 1 }],
  };
  it.each<[string, Partial<Parts>, RegExp]>([
    [
      'too many dims that do not lie together',
      {
        dims: new Array(9).fill(2),
        inputs: [{ address: x, strides: [0, 1, 0, 1, 0, 1, 0, 1, 0] }],
      },
      /9 axes of which no two neighbours lie together, expected at most 8/,
    ],
    ['strides of another rank', { inputs: [{ address: x, strides: [1] }] }, /1 strides for 2 dims/],
    ['a later value', { steps: [{ op: 'neg', args: [1] }] }, /step 0 \(neg\) has args \[1\]/],
    ['too few args', { steps: [{ op: 'add', args: [0] }] }, /expected 2 earlier values/],
    ['an unknown output value', { outputs: [{ address: out, value: 2 }] }, /output 0 is value 2/],
    ['no outputs', { outputs: [] }, /without outputs/],
    ['a journal without tick', { journal: y }, /needs a tick/],
    ['a negative stride', { inputs: [{ address: x, strides: [-8, 1] }] }, /stride is -8/],
    ['a shifted overlap', { outputs: [{ address: { region: 0, offset: 4 }, value: 1 }] }, /overlaps input 0/],
    [
      'a strided input overwritten',
      { inputs: [{ address: x, strides: [0, 1] }], outputs: [{ address: x, value: 1 }] },
      /overlaps input 0/,
    ],
    [
      'overlapping outputs',
      {
        outputs: [
          { address: out, value: 1 },
          { address: { region: 2, offset: 64 }, value: 1 },
        ],
      },
      /overlaps another output/,
    ],
    [
      'too many slots',
      {
        inputs: Array.from({ length: 63 }, (_, i) => ({ address: region(i + 10) })),
        outputs: [0, 1].map((value) => ({ address: region(value + 80), value })),
      },
      /65 slots, expected at most 64/,
    ],
  ])('%s', (_, change, message) => {
    expect(() => encodeChain({ ...good, ...change, scratch })).toThrow(message);
  });
});
