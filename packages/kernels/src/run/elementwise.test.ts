import { describe, expect, it } from 'vitest';
import {
  bits,
  type Call,
  chainCall,
  type Data,
  floats,
  numbers,
  region,
  run,
  sameBits,
  twin,
} from '../../test/rig.ts';
import { type MicroOpName, microOps } from '../instructions/microops.ts';
import { TILE } from '../instructions/program.ts';
import type { Chain, ChainStep } from '../program/chain.ts';
import { availableVariants, type KernelVariant } from './load.ts';

const variants = availableVariants();

/** Regions hold what the twin computes (but for the scratch, the last). */
const expectTwin = (variant: KernelVariant, instruction: Call): void => {
  const expected = twin(instruction);
  run(variant, instruction)
    .slice(0, -1)
    .forEach((after, i) => {
      if (!sameBits(after, expected[i]!)) expect(bits(after)).toEqual(bits(expected[i]!));
    });
};

/** Sizes around vectors, tiles and their ends. */
const sizes = [1, 3, 4, 7, 15, 16, 17, 100, TILE - 1, TILE, TILE + 1, TILE + 16, 3 * TILE + 5];

const edges = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  -2.5,
  1e-45,
  -1e-45,
  1e-38,
  3.4e38,
  -3.4e38,
  2 ** 23 + 1,
  2 ** 31,
  -(2 ** 31),
];
const special = Float32Array.from([...edges, 1e10, -1e10, 0.1, Infinity, -Infinity, Number.NaN]);
const pairs = (values: readonly number[] | Float32Array): [number[], number[]] => {
  const all = [...values];
  return [all.flatMap((x) => all.map(() => x)), all.flatMap(() => all)];
};
const integers = [0, 1, -1, 2, 7, -7, 1000003, -1000003, 2 ** 31 - 1, -(2 ** 31), 65536, -65537];

/** One step with inputs in regions 0 … and the output after them. */
const single = (op: MicroOpName, inputs: readonly Data[], integer = false): Call => {
  const n = inputs[0]!.length;
  const out = integer ? new Int32Array(n) : new Float32Array(n);
  return chainCall(
    {
      dims: [n],
      inputs: inputs.map((_, i) => ({ address: region(i) })),
      steps: [{ op, args: inputs.map((_, i) => i) }],
      outputs: [{ address: region(inputs.length), value: inputs.length }],
    },
    [...inputs, out],
  );
};

/** Micro-ops whose every bit the twin knows (the others are in math.test.ts), by what they take and give. */
const exactOps = {
  floats: [
    'move',
    'neg',
    'abs',
    'sign',
    'floor',
    'ceil',
    'round',
    'sqrt',
    'add',
    'sub',
    'mul',
    'div',
    'min',
    'max',
  ],
  floatsToInt: ['lt', 'le', 'eq', 'ne', 'toInt', 'isFinite'],
  ints: 'addI subI mulI ltI leI eqI neI and or not negI absI minI maxI divI'.split(' ') as MicroOpName[],
} as const satisfies Record<string, readonly MicroOpName[]>;

describe.each(variants)('micro-ops on %s, as the naive twin', (variant) => {
  const operands = (
    op: MicroOpName,
    make: (list: number[]) => Data,
    values: readonly number[] | Float32Array,
  ): Data[] => pairs(values).slice(0, microOps[op].arity).map(make);
  const asFloats = (list: number[]): Data => Float32Array.from(list);
  const asInts = (list: number[]): Data => Int32Array.from(list);

  it.each(exactOps.floats)('%s', (op) => expectTwin(variant, single(op, operands(op, asFloats, special))));
  it.each(exactOps.floatsToInt)('%s', (op) =>
    expectTwin(variant, single(op, operands(op, asFloats, special), true)),
  );
  it.each(exactOps.ints)('%s', (op) => expectTwin(variant, single(op, operands(op, asInts, integers), true)));
  it('toFloat', () => {
    const next = numbers(9);
    const input = Int32Array.from([...integers, ...Array.from({ length: 1000 }, () => next() | 0)]);
    expectTwin(variant, single('toFloat', [input]));
  });
  it('select', () => {
    const n = special.length;
    const condition = Int32Array.from({ length: n }, (_, i) => [0, 1, -1][i % 3]!);
    expectTwin(variant, single('select', [condition, special, special.slice().reverse()]));
  });
});

describe.each(variants)('elementwise on %s', (variant) => {
  it.each(sizes)('chain with constants, a scalar and two outputs over %i elements', (n) => {
    const chain = {
      dims: [n],
      inputs: [{ address: region(0) }, { address: region(1) }, { address: region(2), scalar: true as const }],
      steps: [
        { op: 'constant', args: [], imm: 0.3 },
        { op: 'mul', args: [0, 3] },
        { op: 'add', args: [4, 1] },
        { op: 'mul', args: [5, 2] },
        { op: 'max', args: [6, 0] },
      ] satisfies ChainStep[],
      outputs: [
        { address: region(3), value: 5 },
        { address: region(4), value: 7 },
      ],
    };
    const regions = [
      floats(n, 1),
      floats(n, 2),
      Float32Array.of(1.7),
      new Float32Array(n),
      new Float32Array(n),
    ];
    expectTwin(variant, chainCall(chain, regions));
  });

  /** dims, strides of the one strided input, elements that it spans */
  const walks: [number[], number[], number][] = [
    [[3, 10], [0, 1], 10],
    [[100, 10], [0, 1], 10],
    [[130, 33], [0, 1], 33],
    [[5, 1024], [0, 1], 1024],
    [[7, 700], [0, 1], 700],
    [[100, 10], [1, 0], 100],
    [[4, 600], [1, 0], 4],
    [[40, 50], [1, 40], 2000],
    [[600, 3], [1, 600], 1800],
    [[6, 7, 8], [0, 8, 1], 56],
    [[6, 7, 8], [8, 0, 1], 48],
    [[6, 7, 8], [1, 48, 6], 336],
    [[20, 3, 5, 2], [0, 2, 0, 1], 6],
    [[3, 400], [1000, 2], 2799],
    [[3, 5, 513], [513, 0, 1], 1539],
    [[4, 1024], [2000, 1], 7024],
  ];
  it.each(walks)('dims %j by strides %j', (dims, strides, span) => {
    const n = dims.reduce((product, size) => product * size, 1);
    const chain = {
      dims,
      inputs: [{ address: region(0) }, { address: region(1), strides }],
      steps: [{ op: 'sub', args: [0, 1] }] satisfies ChainStep[],
      outputs: [{ address: region(2), value: 2 }],
    };
    expectTwin(variant, chainCall(chain, [floats(n, 3), floats(span, 4), new Float32Array(n)]));
  });

  it.each(sizes)('in place over %i elements', (n) => {
    const chain = {
      dims: [n],
      inputs: [{ address: region(0) }, { address: region(1) }],
      steps: [
        { op: 'add', args: [0, 1] },
        { op: 'mul', args: [2, 0] },
      ] satisfies ChainStep[],
      outputs: [
        { address: region(0), value: 2 },
        { address: region(1), value: 3 },
      ],
    };
    expectTwin(variant, chainCall(chain, [floats(n, 5), floats(n, 6)]));
  });
});

/** w ← w − 0.1 g in place, journaled. Regions: w, g, journal, tick. */
const update: Omit<Chain, 'scratch'> = {
  dims: [3 * TILE + 5],
  inputs: [{ address: region(0) }, { address: region(1) }],
  steps: [
    { op: 'constant', args: [], imm: 0.1 },
    { op: 'mul', args: [1, 2] },
    { op: 'sub', args: [0, 3] },
  ],
  outputs: [{ address: region(0), value: 4 }],
  journal: region(2),
  tick: region(3),
};
const n = update.dims[0]!;
const updateCall = (w: Float32Array, g: Float32Array, journal: number[], tick: number): Call =>
  chainCall(update, [w, g, Uint32Array.from(journal), Uint32Array.of(tick)]);

describe.each(variants)('journal on %s', (variant) => {
  const [w, g] = [floats(n, 7), floats(n, 8)];
  const done = run(variant, updateCall(w, g, [0, 0, 0], 6));
  const end = 2 * Math.ceil(n / TILE);

  it('runs once for a tick', () => {
    expectTwin(variant, updateCall(w, g, [0, 0, 0], 6));
    expect([...done[2]!]).toEqual([6, end, 0]);
    const again = run(variant, { ...updateCall(w, g, [0, 0, 0], 6), regions: done });
    expect(sameBits(again[0]!, done[0]!)).toBe(true);
  });

  it('runs again for another tick', () => {
    const [next, , journal] = run(variant, {
      ...updateCall(w, g, [0, 0, 0], 7),
      regions: [...done.slice(0, 3), Uint32Array.of(7), done[4]!],
    });
    expect([...journal!]).toEqual([7, end, 0]);
    expect(sameBits(next!, done[0]!)).toBe(false);
  });

  it.each([0, 1, 2, 3])('goes on where it was cut off computing tile %i', (tile) => {
    const half = w.slice();
    half.set((done[0] as Float32Array).subarray(0, tile * TILE));
    const [after] = run(variant, updateCall(half, g, [6, 2 * tile, 0], 6));
    expect(sameBits(after!, done[0]!)).toBe(true);
  });

  it.each([0, 1, 2, 3])('goes on where it was cut off copying tile %i', (tile) => {
    const cut = tile * TILE + 3;
    const half = w.slice();
    half.set((done[0] as Float32Array).subarray(0, cut));
    const call = updateCall(half, g, [6, 2 * tile + 1, 0], 6);
    // The tile lies computed in scratch, in the last slot: the output's.
    const scratch = call.regions.at(-1) as Float32Array;
    scratch.set((done[0] as Float32Array).subarray(tile * TILE, (tile + 1) * TILE), scratch.length - TILE);
    const [after, , journal] = run(variant, call);
    expect(sameBits(after!, done[0]!)).toBe(true);
    expect([...journal!]).toEqual([6, end, 0]);
  });

  it.each([Infinity, Number.NaN])('does not commit a tile with %d, and tells', (bad) => {
    const gradient = g.slice();
    gradient[TILE + 9] = bad;
    gradient[n - 1] = bad;
    const call = updateCall(w, gradient, [0, 0, 0], 6);
    expectTwin(variant, call);
    const [after, , journal] = run(variant, call);
    expect([...journal!]).toEqual([6, end, 1]);
    const expected = (done[0] as Float32Array).slice();
    expected.set(w.subarray(TILE, 2 * TILE), TILE);
    expected.set(w.subarray(3 * TILE), 3 * TILE);
    expect(sameBits(after!, expected)).toBe(true);
  });
});
