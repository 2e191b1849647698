/** Nothing runs that was not validated: after this, no call of a program can touch memory outside of its regions. */

import type { Extent } from '../instructions/instructions.ts';
import { ELEMENT_BYTES, type Program } from '../instructions/program.ts';
import { type Decoded, instructionExtents } from './extents.ts';

const MEMORY_BYTES = 2 ** 32;

const checkRegions = ({ regions }: Program): void => {
  regions.forEach(({ name, bytes, access }, r) => {
    if (!Number.isInteger(bytes) || bytes < 0 || bytes > MEMORY_BYTES) {
      throw new Error(`program: region ${r} (${name}) has ${bytes} bytes, expected 0 to ${MEMORY_BYTES}`);
    }
    if (access !== 'read' && access !== 'write') {
      throw new Error(`program: region ${r} (${name}) has access '${access}', expected 'read' or 'write'`);
    }
  });
};

/** Why an extent is refused, or undefined. */
const refusal = ({ regions }: Program, { address, bytes, access }: Extent): string | undefined => {
  const region = regions[address.region];
  if (!region) return `is in region ${address.region}, expected 0 to ${regions.length - 1}`;
  const { region: _, offset } = address;
  if (offset % ELEMENT_BYTES !== 0)
    return `begins at byte ${offset} of '${region.name}', expected a multiple of 4`;
  if (offset + bytes > region.bytes) {
    return `ends at byte ${offset + bytes} of '${region.name}', which has ${region.bytes}`;
  }
  if (access === 'write' && region.access !== 'write') return `writes '${region.name}', which is read-only`;
  return undefined;
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
 * Refuses a program that could touch memory outside of its regions, write to a read-only one, or whose lists do not fit
 * its code. Throws an Error that names the instruction, what it got and what was expected.
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
    for (const extent of decoded.extents) {
      const reason = refusal(program, extent);
      if (reason) throw new Error(`${where}: ${decoded.name}: ${extent.what} ${reason}`);
    }
    at += decoded.words;
  });
  if (at !== code.length)
    throw new Error(`program: ${code.length} words of code, but its instructions have ${at}`);
  checkCuts(program);
};
