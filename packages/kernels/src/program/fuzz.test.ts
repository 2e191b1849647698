/**
 * What a stranger could send as a program: bytes and words of valid ones, changed at random from a seed. Each is refused
 * with an Error, or stays within its regions when it runs; nothing else happens, and nothing piles up.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { operands } from '../../test/operands.ts';
import { run } from '../../test/rig.ts';
import { type InstructionName, instructions } from '../instructions/instructions.ts';
import type { Program } from '../instructions/program.ts';
import { availableVariants } from '../run/load.ts';
import { ProgramBuilder } from './builder.ts';
import { deserializeProgram, serializeProgram } from './serialize.ts';
import { validateProgram } from './validate.ts';
import { instructionWork } from './work.ts';

const at = (region: number, offset = 0) => ({ region, offset });

const chain = (): Program => {
  const b = new ProgramBuilder();
  const [input, out, scratch] = [
    b.addRegion('in', 'read'),
    b.addRegion('out', 'write'),
    b.addRegion('s', 'write'),
  ];
  b.call('treeSum', { out: at(out), in: at(input), segments: 3, n: 5 });
  b.cut();
  b.elementwise({
    dims: [2, 5],
    inputs: [{ address: at(input), strides: [1, 2] }],
    steps: [
      { op: 'constant', args: [], imm: 0.5 },
      { op: 'mul', args: [0, 1] },
      { op: 'add', args: [2, 0] },
    ],
    outputs: [{ address: at(out, 64), value: 3 }],
    scratch: at(scratch),
  });
  return b.build();
};

const one = (name: InstructionName): Program => {
  const b = new ProgramBuilder();
  const values = Object.entries(instructions[name].fields).map(([field, type]) => [
    field,
    type === 'addr' ? at(b.addRegion(field, 'write')) : operands[name][field],
  ]);
  b.call(name, Object.fromEntries(values));
  return b.build();
};

const programs = [chain(), ...(Object.keys(operands) as InstructionName[]).map(one)];
const serialized = programs.map(serializeProgram);
const variants = availableVariants();

/** Small enough to be run however often it is in the loops of an instruction. */
const SMALL = 16;
const values = fc.oneof(
  fc.constantFrom(-1, 0, 1, 2, 3, 4, 5, 7, 8, SMALL),
  fc.constantFrom(65_536, 0x7fffffff, -0x80000000, 0x40000000, 0x3f800000, -SMALL),
  fc.integer({ min: -0x80000000, max: 0x7fffffff }),
);

const counts = { refused: 0, accepted: 0, ran: 0 };
/** The program that this gives, or undefined where it was refused as it should be. */
const attempt = (make: () => Program): Program | undefined => {
  try {
    const program = make();
    counts.accepted++;
    return program;
  } catch (error) {
    // A TypeError or a RangeError would be an accident, not a refusal.
    if ((error as Error).constructor !== Error) throw error;
    counts.refused++;
    return undefined;
  }
};

/** Between guards, on each build of the kernels in turn. */
const runGuarded = ({ code, starts, regions }: Program): void => {
  const bytes = regions.reduce((sum, region) => sum + region.bytes, 0);
  if (starts.some((start) => instructionWork(code, start).flops > 1e6)) return;
  if (bytes > 1 << 20 || regions.some((region) => region.bytes % 4 !== 0)) return;
  const variant = variants[counts.ran++ % variants.length]!;
  run(variant, { words: code, regions: regions.map((region) => new Float32Array(region.bytes / 4)) });
};

describe('of programs that were changed', () => {
  test('in up to three words, 70,000 are refused or stay in bounds', () => {
    const change = fc.tuple(fc.nat(), values);
    fc.assert(
      fc.property(
        fc.nat(programs.length - 1),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        (which, changes) => {
          const program = programs[which]!;
          const code = program.code.slice();
          for (const [position, value] of changes) code[position % code.length] = value;
          const changed = attempt(() => {
            const made = { ...program, code };
            validateProgram(made);
            return made;
          });
          // Several large numbers at once may be valid and take years: loops that stand still in memory.
          if (changed && (changes.length === 1 || changes.every(([, value]) => Math.abs(value) <= SMALL))) {
            runGuarded(changed);
          }
        },
      ),
      { numRuns: 70_000, seed: 1 },
    );
    expect(counts.refused).toBeGreaterThan(20_000);
    expect(counts.ran).toBeGreaterThan(2_000);
  });

  test('in bytes on the wire, 60,000 are refused or valid; what is cut, spliced or claimed takes no memory', () => {
    const edit = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), at: fc.nat(), byte: fc.nat(255) }),
      fc.record({ kind: fc.constant('cut' as const), at: fc.nat(), byte: fc.nat(255) }),
      fc.record({ kind: fc.constant('insert' as const), at: fc.nat(), byte: fc.nat(255) }),
      fc.record({
        kind: fc.constant('digit' as const),
        at: fc.nat(),
        byte: fc.integer({ min: 48, max: 57 }),
      }),
    );
    const apply = (bytes: number[], { kind, at, byte }: { kind: string; at: number; byte: number }): void => {
      const place = at % (bytes.length + 1);
      if (kind === 'cut') bytes.length = place;
      else if (kind === 'insert') bytes.splice(place, 0, byte, byte, byte, byte);
      // Of the header, which is JSON: sizes of regions, cuts.
      else if (kind === 'digit') {
        const digits = bytes.flatMap((each, i) => (each >= 48 && each <= 57 ? [i] : []));
        if (digits.length > 0) bytes[digits[at % digits.length]!] = byte;
      } else bytes[Math.min(place, bytes.length - 1)] = byte;
    };
    const memory = (): number => process.memoryUsage().arrayBuffers;
    const before = memory();
    let most = 0;
    let runs = 0;
    fc.assert(
      fc.property(
        fc.nat(programs.length - 1),
        fc.array(edit, { minLength: 1, maxLength: 4 }),
        (which, edits) => {
          const bytes = [...serialized[which]!];
          for (const each of edits) apply(bytes, each);
          attempt(() => deserializeProgram(Uint8Array.from(bytes)));
          if (++runs % 1000 === 0) most = Math.max(most, memory() - before);
        },
      ),
      { numRuns: 60_000, seed: 2 },
    );
    // A program of a few hundred bytes, whatever it claims: what is alive and not yet collected of thousands of them.
    expect(most).toBeLessThan(64 << 20);
  });
});
