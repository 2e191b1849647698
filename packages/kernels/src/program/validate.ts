/**
 * Nothing runs that was not validated: after this, no call of a program can touch memory outside of its regions.
 *
 * Note [Disjoint writes]. Kernels are C: they follow tap lists, row lists and indexes that they have just written or checked, and
 * they copy with `memcpy` and `restrict`. So whatever an instruction writes must not overlap anything else that it touches,
 * neither its scratch nor its operands. The two exceptions are stated by the extents themselves: `inPlace` (an elementwise
 * output exactly over a contiguous input) and `interleaved` (outputs that share a buffer and hold numbers only). Regions of
 * one program never overlap where one of them is writable: whoever binds them sees to that.
 */

import { type Extent, MEMORY_BYTES } from '../instructions/instruction.ts';
import { type Address, ELEMENT_BYTES, type Program } from '../instructions/program.ts';
import { type Decoded, instructionExtents } from './extents.ts';

const checkRegions = ({ regions }: Program): void => {
  const byName = new Map<string, number>();
  regions.forEach(({ name, bytes, access }, r) => {
    const other = byName.get(name);
    if (other !== undefined) {
      throw new Error(
        `program: regions ${other} and ${r} are both named '${name}', expected a name for each region`,
      );
    }
    byName.set(name, r);
    if (!Number.isInteger(bytes) || bytes < 0 || bytes > MEMORY_BYTES) {
      throw new Error(`program: region ${r} (${name}) has ${bytes} bytes, expected 0 to ${MEMORY_BYTES}`);
    }
    if (access !== 'read' && access !== 'write') {
      throw new Error(`program: region ${r} (${name}) has access '${access}', expected 'read' or 'write'`);
    }
  });
};

/** Why a range is refused, or undefined. */
const rangeRefusal = (
  { regions }: Program,
  { region: index, offset }: Address,
  bytes: number,
): string | undefined => {
  const region = regions[index];
  if (!region) return `is in region ${index}, expected 0 to ${regions.length - 1}`;
  if (offset % ELEMENT_BYTES !== 0)
    return `begins at byte ${offset} of '${region.name}', expected a multiple of 4`;
  const end = offset + bytes;
  // Written this way round, so that a size that is no number is refused, too.
  if (!(end <= region.bytes)) return `ends at byte ${end} of '${region.name}', which has ${region.bytes}`;
  return undefined;
};

/** Why an extent is refused, or undefined. */
const extentRefusal = (program: Program, { address, bytes, access }: Extent): string | undefined => {
  const reason = rangeRefusal(program, address, bytes);
  if (reason) return reason;
  const region = program.regions[address.region]!;
  return access === 'write' && region.access !== 'write'
    ? `writes '${region.name}', which is read-only`
    : undefined;
};

const overlap = (a: Extent, b: Extent): boolean =>
  a.address.region === b.address.region &&
  a.address.offset < b.address.offset + b.bytes &&
  b.address.offset < a.address.offset + a.bytes;

const mayOverlap = (a: Extent, b: Extent): boolean => {
  if (a.access === 'write' && b.access === 'write') return Boolean(a.interleaved && b.interleaved);
  const isSame = a.address.offset === b.address.offset && a.bytes === b.bytes;
  return Boolean(isSame && a.inPlace && b.inPlace);
};

/** The write and what it overlaps without being allowed to, if there is such a pair. See Note [Disjoint writes]. */
const conflict = (extents: readonly Extent[]): readonly [Extent, Extent] | undefined => {
  for (const [i, a] of extents.entries()) {
    if (a.access !== 'write' || a.bytes === 0) continue;
    for (const [j, b] of extents.entries()) {
      const isOther = j !== i && b.bytes > 0 && (b.access === 'read' || j < i);
      if (isOther && overlap(a, b) && !mayOverlap(a, b)) return [a, b];
    }
  }
  return undefined;
};

/** Why an instruction is refused, or undefined. */
const instructionRefusal = (program: Program, { addresses, extents }: Decoded): string | undefined => {
  for (const extent of extents) {
    const reason = extentRefusal(program, extent);
    if (reason) return `${extent.what} ${reason}`;
  }
  // Kernels look up the base of every address, used or not.
  for (const [what, address] of addresses) {
    const reason = rangeRefusal(program, address, 0);
    if (reason) return `${what} ${reason}`;
  }
  const pair = conflict(extents);
  if (!pair) return undefined;
  const [{ what, address }, other] = pair;
  return `${what} overlaps ${other.what} in '${program.regions[address.region]!.name}', expected memory of its own`;
};

const checkCuts = ({ cuts, starts }: Program): void => {
  cuts.forEach((cut, i) => {
    const sorted = i === 0 || cut > cuts[i - 1]!;
    if (!Number.isInteger(cut) || cut < 0 || cut >= starts.length || !sorted) {
      throw new Error(
        `program: cut ${i} is ${cut}, expected rising instruction indexes below ${starts.length}`,
      );
    }
  });
};

/**
 * Refuses a program that could touch memory outside of its regions, write to a read-only one or over its own operands, or whose
 * lists do not fit its code. Throws an Error that names the instruction, what it got and what was expected.
 */
export const validateProgram = (program: Program): void => {
  const { version, code, starts, labels } = program;
  if (version !== 1) throw new Error(`program: version ${version}, expected 1`);
  checkRegions(program);
  if (labels.length !== starts.length) {
    throw new Error(`program: ${labels.length} labels for ${starts.length} instructions`);
  }
  let at = 0;
  starts.forEach((start, i) => {
    const where = `program: instruction ${i} (${labels[i]})`;
    if (start !== at) throw new Error(`${where}: starts at word ${start}, expected ${at}`);
    let decoded: Decoded;
    try {
      decoded = instructionExtents(code, at);
    } catch (error) {
      throw new Error(`${where}: ${error instanceof Error ? error.message : String(error)}`);
    }
    const reason = instructionRefusal(program, decoded);
    if (reason) throw new Error(`${where}: ${decoded.name}: ${reason}`);
    at += decoded.words;
  });
  if (at !== code.length)
    throw new Error(`program: ${code.length} words of code, but its instructions have ${at}`);
  checkCuts(program);
};
