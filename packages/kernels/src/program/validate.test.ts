import { describe, expect, it } from 'vitest';
import { operands } from '../../test/operands.ts';
import { chainCall, floats, run } from '../../test/rig.ts';
import { ELEMENTWISE_HEADER, type InstructionName, instructions } from '../instructions/instructions.ts';
import type { Address, Program } from '../instructions/program.ts';
import { availableVariants } from '../run/load.ts';
import { ProgramBuilder } from './builder.ts';
import { disassemble } from './disassemble.ts';
import { deserializeProgram, serializeProgram } from './serialize.ts';
import { validateProgram } from './validate.ts';

const at = (region: number, offset = 0) => ({ region, offset });

/** Instruction 0: treeSum of 3 × 5 from `in` to `out`; instruction 1: out2 = max(in / 2, in) over 2 × 5, strided. */
const sample = (): Program => {
  const b = new ProgramBuilder();
  const input = b.addRegion('in', 'read');
  const out = b.addRegion('out', 'write');
  const scratch = b.addRegion('scratch', 'write');
  b.setLabel('first');
  b.call('treeSum', { out: at(out), in: at(input), segments: 3, n: 5 });
  b.cut();
  b.setLabel('second');
  b.elementwise({
    dims: [2, 5],
    inputs: [{ address: at(input), strides: [1, 2] }],
    steps: [
      { op: 'constant', args: [], imm: 0.5 },
      { op: 'mul', args: [0, 1] },
      { op: 'max', args: [2, 0] },
    ],
    outputs: [{ address: at(out, 64), value: 3 }],
    scratch: at(scratch),
  });
  b.cut();
  return b.build();
};

const SECOND = 8; // word at which the chain starts
const STEP = SECOND + ELEMENTWISE_HEADER + 2 + 5; // after dims and the one input
const word =
  (position: number, value: number) =>
  (program: Program): Program => {
    const code = program.code.slice();
    code[position] = value;
    return { ...program, code };
  };

describe('the builder', () => {
  it('lets regions grow to what is touched', () => {
    const { regions } = sample();
    expect(regions.map(({ bytes }) => bytes)).toEqual([60, 64 + 40, 4 * 512 * 4]);
  });
  it('writes a program that is valid and reads well', () => {
    const program = sample();
    validateProgram(program);
    expect(program.cuts).toEqual([0, 1]);
    expect(disassemble(program)).toBe(
      [
        '0 first: treeSum out=out+0 in=in+0 segments=3 n=5',
        '1 second: elementwise [2,5] (in+0/1,2) → out+64',
        '    r0 = constant(0.5)',
        '    r1 = mul(in0, r0)',
        '    out0 = max(r1, in0)',
      ].join('\n'),
    );
  });
  it('refuses values that mean nothing, and writes to read-only regions', () => {
    const b = new ProgramBuilder();
    b.setLabel('layer');
    const r = b.addRegion('weights', 'read');
    expect(() => b.call('treeSum', { out: at(r), in: at(r), segments: 0, n: 5 })).toThrow(
      /layer: segments is 0/,
    );
    expect(() => b.call('treeSum', { out: at(r), in: at(r), segments: 1, n: 1.5 })).toThrow(/n is 1.5/);
    expect(() => b.call('treeSum', { out: at(7), in: at(r), segments: 1, n: 1 })).toThrow(/no region 7/);
    b.call('treeSum', { out: at(r), in: at(r), segments: 1, n: 1 });
    expect(() => b.build()).toThrow(
      /instruction 0 \(layer\): treeSum: out writes 'weights', which is read-only/,
    );
  });
});

describe('serialisation', () => {
  it('gives the same program back', () => {
    const program = sample();
    expect(deserializeProgram(serializeProgram(program))).toEqual(program);
  });
  it('refuses bytes that are cut off or no program at all', () => {
    const bytes = serializeProgram(sample());
    for (let length = 0; length < bytes.length; length++) {
      expect(() => deserializeProgram(bytes.slice(0, length)), `${length} bytes`).toThrow(Error);
    }
    expect(() => deserializeProgram(new Uint8Array(64))).toThrow(/not a program/);
  });
});

describe('validateProgram refuses', () => {
  const cases: [string, (program: Program) => Program, RegExp][] = [
    ['another version', (p) => ({ ...p, version: 2 as 1 }), /version 2, expected 1/],
    ['an unknown instruction', word(0, 99), /instruction 0 \(first\): word 0: unknown instruction 99/],
    ['a length of 0', word(1, 0), /an instruction of 0 words/],
    ['a length beyond the code', word(1, 1000), /of 1000 words, but the code ends/],
    ['a negative length', word(1, -4), /of -4 words/],
    ['a wrong length', word(1, 7), /7 words, expected 8/],
    ['an unknown region', word(2, 3), /out is in region 3, expected 0 to 2/],
    ['the absent region', word(2, -1), /out is in region -1/],
    ['an offset out of bounds', word(3, 88), /treeSum: out ends at byte 108 of 'out', which has 104/],
    ['a huge offset', word(3, -4), /ends at byte 4294967312/],
    ['an odd offset', word(3, 2), /begins at byte 2 of 'out', expected a multiple of 4/],
    ['too many elements', word(7, 6), /in ends at byte 72 of 'in', which has 60/],
    ['a product beyond 2³²', word(7, 0x7fffffff), /ends at byte 8589934588/],
    ['no segments', word(6, 0), /segments is 0, expected 1 to 65536/],
    ['a total unlike the dims', word(SECOND + 2, 11), /total is 11, but dims \[2,5\] have 10/],
    ['a rank of 0', word(SECOND + 3, 0), /rank is 0, expected 1 to 8/],
    ['a rank of 9', word(SECOND + 3, 9), /rank is 9, expected 1 to 8/],
    ['too many slots', word(SECOND + 5, 63), /number of slots is 65, expected 1 to 64/],
    ['counts unlike the length', word(SECOND + 7, 4), /words, expected \d+ by its counts/],
    ['no scratch', word(SECOND + 8, -1), /scratch is in region -1/],
    ['small scratch', word(SECOND + 9, 64), /scratch ends at byte/],
    ['a journal without a tick', word(SECOND + 10, 1), /(journal|tick) /],
    ['an unknown input kind', word(SECOND + 18, 3), /input 0: kind is 3/],
    ['a stride out of bounds', word(SECOND + 19, 7), /input 0 ends at byte 64 of 'in'/],
    ['an unknown micro-op', word(STEP, 999), /step 0: unknown micro-op 999/],
    ['a step writing an input', word(STEP + 7, 0), /step 1 \(mul\): writes slot 0, expected 1 to 3/],
    ['a step writing beyond the slots', word(STEP + 7, 4), /writes slot 4/],
    ['a step reading beyond the slots', word(STEP + 8, 4), /reads slot 4, expected one of 4/],
    ['a step reading what is not written yet', word(STEP + 8, 2), /reads slot 2 before it is written/],
    ['a step writing a constant', word(STEP + 7, 1), /slot 1, which holds a constant/],
    ['a constant in an output', word(STEP + 1, 3), /only a register can hold a constant/],
    ['an output never written', word(STEP + 13, 2), /output 0 is never written/],
    ['starts that skip', (p) => ({ ...p, starts: [0, 9] }), /starts at word 9, expected 8/],
    [
      'an instruction without a start',
      (p) => ({ ...p, starts: [0], labels: ['a'], cuts: [0] }),
      /words of code, but/,
    ],
    ['labels that lack', (p) => ({ ...p, labels: ['first'] }), /1 labels for 2 instructions/],
    ['cuts out of order', (p) => ({ ...p, cuts: [1, 0] }), /cut 1 is 0/],
    [
      'a cut beyond the end',
      (p) => ({ ...p, cuts: [2] }),
      /cut 0 is 2, expected rising instruction indexes below 2/,
    ],
    [
      'a write to a read-only region',
      (p) => ({ ...p, regions: p.regions.map((region) => ({ ...region, access: 'read' as const })) }),
      /treeSum: out writes 'out', which is read-only/,
    ],
    [
      'a region of no size',
      (p) => ({ ...p, regions: p.regions.map((region) => ({ ...region, bytes: Number.NaN })) }),
      /region 0 \(in\) has NaN bytes/,
    ],
  ];
  it.each(cases)('%s', (_, change, message) => {
    expect(() => validateProgram(change(sample()))).toThrow(message);
  });
  it('two regions of one name', () => {
    const { regions, ...rest } = sample();
    const twins = regions.map((region) => ({ ...region, name: region.name === 'out' ? 'in' : region.name }));
    expect(() => validateProgram({ ...rest, regions: twins })).toThrow(
      "program: regions 0 and 1 are both named 'in', expected a name for each region",
    );
  });
  it('an address that a kernel looks up without reading there: the mask of attention without one', () => {
    const b = new ProgramBuilder();
    const names = ['out', 'q', 'k', 'v', 'mask', 'scratch'] as const;
    const addresses = Object.fromEntries(names.map((name) => [name, at(b.addRegion(name, 'write'))]));
    b.call('attention', { ...operands.attention, ...addresses, masked: 0 } as never);
    const program = b.build();
    const mask = 10; // opcode, length, then two words each
    for (const [region, offset, message] of [
      [6, 0, /attention: mask is in region 6, expected 0 to 5/],
      [-1, 0, /mask is in region -1/],
      [4, 4, /mask ends at byte 4 of 'mask', which has 0/],
    ] as const) {
      const changed = word(mask + 1, offset)(word(mask, region)(program));
      expect(() => validateProgram(changed)).toThrow(message);
    }
  });
  it('strides that leave the address space where there is nothing to read, and sums of 2³² terms', () => {
    const call = (over: Record<string, number>) => () => {
      const b = new ProgramBuilder();
      const names = ['c', 'a', 'b', 'scratch'] as const;
      const addresses = Object.fromEntries(names.map((name) => [name, at(b.addRegion(name, 'write'))]));
      b.call('matmul', { ...operands.matmul, ...over, ...addresses } as never);
    };
    expect(call({ k: 0, strideA0: 2 ** 31 })).toThrow(
      /strides reach over \d+ elements, expected at most 1073741824/,
    );
    const flat = { lda: 0, ldb: 0, segmentA: 0, segmentB: 0 };
    expect(call({ ...flat, segments: 65536, k: 65536 })).toThrow(/segments · k is 4294967296/);
  });

  /** Sets every word to anything; counts what is refused and what runs, which must stay between the guards. */
  const tryEveryWord = (program: Program) => {
    const counts = { refused: 0, ran: 0 };
    for (let position = 0; position < program.code.length; position++) {
      for (const value of [-1, 0, 1, 2, 5, 64, 0x7fffffff, -0x80000000]) {
        const changed = word(position, value)(program);
        try {
          validateProgram(changed);
        } catch (error) {
          expect((error as Error).message).toMatch(/^program: /);
          counts.refused++;
          continue;
        }
        const regions = changed.regions.map(({ bytes }) => new Float32Array(bytes / 4));
        for (const variant of availableVariants()) run(variant, { words: changed.code, regions });
        counts.ran++;
      }
    }
    return counts;
  };

  it('or lets through what stays in bounds: a chain', () => {
    const { refused, ran } = tryEveryWord(sample());
    expect(refused).toBeGreaterThan(200);
    expect(ran).toBeGreaterThan(50);
  });

  it.each(Object.keys(operands) as InstructionName[])('or lets through what stays in bounds: %s', (name) => {
    const b = new ProgramBuilder();
    const values = Object.entries(instructions[name].fields).map(([field, type]) => [
      field,
      type === 'addr' ? at(b.addRegion(field, 'write')) : operands[name][field],
    ]);
    b.call(name, Object.fromEntries(values));
    const { refused, ran } = tryEveryWord(b.build());
    expect(refused).toBeGreaterThan(20);
    expect(ran).toBeGreaterThan(5);
  });

  /** Note [Disjoint writes]: a call of each kind whose operands lie in one region, at these bytes. */
  const overlaps: [string, InstructionName, Record<string, number>, Record<string, number>, RegExp][] = [
    [
      'conv2d: an output over its lists of taps',
      'conv2d',
      { out: 0, scratch: 0 },
      {},
      /out overlaps scratch/,
    ],
    ['conv2dInputGrad: likewise', 'conv2dInputGrad', { out: 64, scratch: 0 }, {}, /out overlaps scratch/],
    ['conv2dWeightGrad: likewise', 'conv2dWeightGrad', { out: 64, scratch: 0 }, {}, /out overlaps scratch/],
    ['conv2d: an image in scratch', 'conv2d', { a: 512, scratch: 0 }, {}, /scratch overlaps a in/],
    ['scatterAdd: sums over lists of rows', 'scatterAdd', { out: 0, scratch: 4 }, {}, /scratch overlaps out/],
    ['argsort: indexes over runs', 'argsort', { out: 0, scratch: 4 }, {}, /scratch overlaps out/],
    ['take: rows over rows', 'take', { out: 4, in: 0 }, {}, /out overlaps in/],
    ['take: rows over indexes', 'take', { out: 4, index: 0 }, {}, /out overlaps index/],
    ['gather: elements over indexes', 'gather', { out: 4, index: 0 }, {}, /out overlaps index/],
    ['gatherRows: rows over rows', 'gatherRows', { out: 4, data: 0 }, {}, /out overlaps data/],
    ['copy: onto itself', 'copy', { out: 4, in: 0 }, {}, /out overlaps in/],
    ['crossEntropyGrad: over labels', 'crossEntropyGrad', { out: 4, labels: 0 }, {}, /out overlaps labels/],
    ['normalizeWeightGrad: sums in scratch', 'normalizeWeightGrad', { out: 4, scratch: 0 }, {}, /overlaps/],
    ['normalize: over weights', 'normalize', { out: 4, weight: 0 }, {}, /out overlaps weight/],
    ['recurrent: first states in scratch', 'recurrent', { h0: 64, scratch: 0 }, {}, /scratch overlaps h0/],
    ['recurrentGrad: two results in one place', 'recurrentGrad', { dh0: 0, dc0: 4 }, {}, /dc0 overlaps dh0/],
    ['attention: keys in scratch', 'attention', { k: 64, scratch: 0 }, {}, /scratch overlaps k/],
    ['matmul: a product over a factor', 'matmul', { c: 4, a: 0 }, {}, /c overlaps a/],
    ['guard: the halt word among the values', 'guard', { halt: 8, values: 0 }, {}, /halt overlaps values/],
  ];
  it.each(overlaps)('%s', (_, name, together, over, message) => {
    const b = new ProgramBuilder();
    const shared = b.addRegion('shared', 'write');
    const addresses = Object.entries(instructions[name].fields).flatMap(([field, type]) =>
      type === 'addr'
        ? [[field, field in together ? at(shared, together[field]!) : at(b.addRegion(field, 'write'))]]
        : [],
    );
    b.call(name, { ...operands[name], ...over, ...Object.fromEntries(addresses) });
    expect(() => b.build()).toThrow(message);
    expect(() => b.build()).toThrow(/expected memory of its own/);
  });
  it('a chain over its strided input, another output, its scratch, its journal or its tick', () => {
    const chain = (change: object) => () => {
      const b = new ProgramBuilder();
      const region = b.addRegion('all', 'write');
      const scratch = at(b.addRegion('scratch', 'write'));
      b.elementwise({
        dims: [3, 4],
        inputs: [{ address: at(region) }],
        steps: [{ op: 'neg', args: [0] }],
        outputs: [{ address: at(region), value: 1 }],
        scratch,
        ...change,
      });
      return b.build();
    };
    expect(chain({})()).toBeDefined(); // exactly in place
    expect(chain({ scratch: at(0, 0) })).toThrow(/scratch overlaps input 0/);
    const journal = { journal: at(0, 40), tick: at(0, 96) };
    expect(chain(journal)).toThrow(/journal overlaps (input|output) 0/);
    expect(chain({ journal: at(0, 64), tick: at(0, 72) })).toThrow(/journal overlaps tick/);
    // The builder refuses these itself; on the wire they are words.
    const made = chain({})();
    const input = ELEMENTWISE_HEADER + 1;
    expect(() => validateProgram(word(input + 2, 2)(made))).toThrow(/output 0 overlaps input 0/);
    const moved = word(
      made.code.length - 1,
      4,
    )({ ...made, regions: made.regions.map((each) => ({ ...each, bytes: 1 << 20 })) });
    expect(() => validateProgram(moved)).toThrow(/output 0 overlaps input 0/);
  });

  it('and a journal that is none does no harm either', () => {
    for (const progress of [1, 3, 7, 0x7fffffff, -1]) {
      const regions = [floats(600), new Float32Array(600), Int32Array.of(9, progress, 0), Int32Array.of(9)];
      const [x, out, journal, tick] = regions.map((_, i) => at(i)) as [Address, Address, Address, Address];
      const chain = { dims: [600], inputs: [{ address: x }], journal, tick };
      const steps = [{ op: 'neg' as const, args: [0] }];
      const call = chainCall({ ...chain, steps, outputs: [{ address: out, value: 1 }] }, regions);
      for (const variant of availableVariants()) run(variant, call);
    }
  });
});
