/**
 * The naive twin of all kernels: interprets a program in plain JavaScript, one element after the other. Gradient
 * checks run on it in float64, tests hold the fast kernels to it. It shares no code with `native/`.
 */
import { ELEMENTWISE } from '../instructions/instructions.ts';
import type { Program } from '../instructions/program.ts';
import { elementwise } from './elementwise.ts';
import { runInstruction } from './kernels.ts';
import { Machine, type ReferencePrecision } from './machine.ts';

export type { ReferencePrecision } from './machine.ts';

/**
 * Runs every instruction of a program. `regions[i]` holds region i, one number per 4 bytes (f32, i32 and u32 alike),
 * except for the u8 data of `gatherRows`: one number per byte. Programs are not validated here.
 */
export function runReference(
  program: Program,
  regions: readonly Float64Array[],
  precision: ReferencePrecision = 'float64',
): void {
  const machine = new Machine(regions, precision);
  for (const start of program.starts) {
    if (machine.halted) return;
    const words = program.code.subarray(start, start + program.code[start + 1]!);
    if (words[0] === ELEMENTWISE) elementwise(machine, words);
    else runInstruction(machine, words);
  }
}
