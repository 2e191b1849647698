/** Decodes instructions and says which memory each touches: what the validator and the disassembler go by. */

import { scratchOf } from '../instructions/instruction.ts';
import {
  ELEMENTWISE,
  ELEMENTWISE_HEADER,
  type Extent,
  elementwiseHeader,
  elementwiseScratchBytes,
  type Fields,
  inputKinds,
  instructions,
  MAX_RANK,
  MAX_SLOTS,
  type Values,
} from '../instructions/instructions.ts';
import { type MicroOpName, microOps } from '../instructions/microops.ts';
import { type Address, ELEMENT_BYTES } from '../instructions/program.ts';
import { fieldValue } from '../instructions/words.ts';

export interface Decoded {
  readonly name: string;
  /** Length in words. */
  readonly words: number;
  /** Every address whose base the kernel looks up, whether it touches memory there or not. */
  readonly addresses: readonly (readonly [what: string, address: Address])[];
  readonly extents: readonly Extent[];
}

const NOWHERE_REGION = -1;
/** code → name and arity of every micro-op. */
export const microOpOf: ReadonlyMap<number, { readonly name: MicroOpName; readonly arity: number }> = new Map(
  Object.entries(microOps).map(([name, { code, arity }]) => [code, { name: name as MicroOpName, arity }]),
);

/** The common face of the table's entries, whose field types differ. */
interface AnyInstruction {
  readonly fields: Fields;
  readonly extents: (values: Values<Fields>) => Extent[];
}
const instructionOf: ReadonlyMap<number, readonly [string, AnyInstruction]> = new Map(
  Object.entries(instructions).map(([name, instruction]) => [
    instruction.code,
    [name, instruction as unknown as AnyInstruction] as const,
  ]),
);

const addressAt = (words: Int32Array, at: number): Address => ({
  region: words[at]!,
  offset: words[at + 1]! >>> 0,
});

/** Length in words of an instruction of fixed shape. */
export const fixedWords = (fields: Fields): number =>
  Object.values(fields).reduce((sum, type) => sum + (type === 'addr' ? 2 : 1), 2);

/** The operands of an instruction of fixed shape. */
export const decodeValues = <F extends Fields>(fields: F, words: Int32Array, at: number): Values<F> => {
  const values: Record<string, Address | number> = {};
  let w = at + 2;
  for (const [name, type] of Object.entries(fields)) {
    if (type === 'addr') values[name] = addressAt(words, w);
    else values[name] = fieldValue(type, words[w]!);
    w += type === 'addr' ? 2 : 1;
  }
  return values as Values<F>;
};

/** The parts of an elementwise chain, as they lie in its words. */
export interface DecodedChain {
  readonly total: number;
  readonly dims: readonly number[];
  readonly nReg: number;
  readonly scratch: Address;
  readonly journal: Address;
  readonly tick: Address;
  readonly inputs: readonly {
    readonly address: Address;
    readonly kind: number;
    readonly strides: readonly number[];
  }[];
  readonly steps: readonly {
    readonly op: number;
    readonly dst: number;
    readonly args: readonly number[];
    readonly imm: number;
  }[];
  readonly outputs: readonly Address[];
}

const count = (what: string, got: number, least: number, most: number): number => {
  if (got < least || got > most) throw new Error(`${what} is ${got}, expected ${least} to ${most}`);
  return got;
};

/** Reads a chain's words. Throws an Error with the reason where the counts do not fit the length. */
export const decodeChain = (words: Int32Array, at: number): DecodedChain => {
  const length = words[at + 1]!;
  if (length < ELEMENTWISE_HEADER)
    throw new Error(`${length} words, expected at least ${ELEMENTWISE_HEADER}`);
  const { total, scratch, journal, tick, ...counts } = decodeValues(elementwiseHeader, words, at);
  const rank = count('rank', counts.rank, 1, MAX_RANK);
  const nIn = count('number of inputs', counts.inputs, 0, MAX_SLOTS);
  const nReg = count('number of registers', counts.registers, 0, MAX_SLOTS);
  const nOut = count('number of outputs', counts.outputs, 1, MAX_SLOTS);
  count('number of slots', nIn + nReg + nOut, 1, MAX_SLOTS);
  const nOps = counts.steps;
  const expected = ELEMENTWISE_HEADER + rank + nIn * (3 + rank) + nOps * 6 + nOut * 2;
  if (expected !== length) throw new Error(`${length} words, expected ${expected} by its counts`);
  let w = at + ELEMENTWISE_HEADER;
  const take = (n: number): number[] => {
    w += n;
    return Array.from(words.subarray(w - n, w), (word) => word >>> 0);
  };
  const dims = take(rank);
  const inputs = Array.from({ length: nIn }, () => {
    const address = addressAt(words, w);
    const kind = words[w + 2]!;
    w += 3;
    return { address, kind, strides: take(rank) };
  });
  const steps = Array.from({ length: nOps }, () => {
    const [op = 0, dst = 0, a = 0, b = 0, c = 0, imm = 0] = take(6);
    return { op, dst, args: [a, b, c], imm };
  });
  const outputs = Array.from({ length: nOut }, (_, o) => addressAt(words, w + 2 * o));
  return { total, dims, nReg, scratch, journal, tick, inputs, steps, outputs };
};

/** Every slot is written before it is read, inputs never, constants once, outputs at least once. */
const checkSteps = ({ inputs, nReg, outputs, steps }: DecodedChain): void => {
  const firstOutput = inputs.length + nReg;
  const slots = firstOutput + outputs.length;
  const written = new Array<boolean>(slots).fill(false).fill(true, 0, inputs.length);
  const constant = new Set(steps.filter(({ op }) => op === microOps.constant.code).map(({ dst }) => dst));
  steps.forEach(({ op, dst, args }, s) => {
    const known = microOpOf.get(op);
    if (!known) throw new Error(`step ${s}: unknown micro-op ${op}`);
    const fail = (reason: string): never => {
      throw new Error(`step ${s} (${known.name}): ${reason}`);
    };
    args.forEach((arg, i) => {
      // Kernels look up all three slots, whatever the arity.
      if (arg >= slots) fail(`reads slot ${arg}, expected one of ${slots}`);
      if (i < known.arity && !written[arg]) fail(`reads slot ${arg} before it is written`);
    });
    if (dst < inputs.length || dst >= slots)
      fail(`writes slot ${dst}, expected ${inputs.length} to ${slots - 1}`);
    const isConstant = known.name === 'constant';
    if (isConstant && dst >= firstOutput) fail('writes an output; only a register can hold a constant');
    if (constant.has(dst) && (!isConstant || written[dst]))
      fail(`writes slot ${dst}, which holds a constant`);
    written[dst] = true;
  });
  const missing = written.indexOf(false, firstOutput);
  if (missing >= 0) throw new Error(`output ${missing - firstOutput} is never written`);
};

const chainExtents = (chain: DecodedChain): Extent[] => {
  const { total, dims, nReg, inputs, outputs } = chain;
  const product = dims.reduce((size, dim) => size * dim, 1);
  if (product !== total) throw new Error(`total is ${total}, but dims [${dims}] have ${product} elements`);
  checkSteps(chain);
  const bytes = total * ELEMENT_BYTES;
  const slots = inputs.length + nReg + outputs.length;
  const extents: Extent[] = [scratchOf(chain.scratch, elementwiseScratchBytes(slots))];
  inputs.forEach(({ address, kind, strides }, i) => {
    const what = `input ${i}`;
    const walk = dims.reduce((sum, dim, d) => sum + (dim - 1) * strides[d]!, 1);
    const sizes = { contiguous: total, scalar: 1, strided: total === 0 ? 0 : walk };
    const known = (Object.keys(inputKinds) as (keyof typeof inputKinds)[]).find(
      (name) => inputKinds[name] === kind,
    );
    if (!known) throw new Error(`${what}: kind is ${kind}, expected 0 to 2`);
    const extent: Extent = { what, address, bytes: sizes[known] * ELEMENT_BYTES, access: 'read' };
    // Tile by tile, so only what is read in the order in which it is written can be replaced.
    extents.push(known === 'strided' ? extent : { ...extent, inPlace: true });
  });
  outputs.forEach(
    (address, o) =>
      void extents.push({ what: `output ${o}`, address, bytes, access: 'write', inPlace: true }),
  );
  if (chain.journal.region !== NOWHERE_REGION) {
    extents.push({ what: 'journal', address: chain.journal, bytes: 3 * ELEMENT_BYTES, access: 'write' });
    extents.push({ what: 'tick', address: chain.tick, bytes: ELEMENT_BYTES, access: 'read' });
  }
  return extents;
};

/**
 * The instruction at a word position and every stretch of memory that it touches. Throws an Error with the reason if
 * the words make no instruction.
 */
export const instructionExtents = (words: Int32Array, at: number): Decoded => {
  const [opcode, length] = [words[at] ?? 0, words[at + 1] ?? 0];
  if (at + 2 > words.length || length < 2 || at + length > words.length) {
    throw new Error(
      `word ${at}: an instruction of ${length} words, but the code ends after ${words.length - at}`,
    );
  }
  if (opcode === ELEMENTWISE) {
    const extents = chainExtents(decodeChain(words, at));
    const addresses = extents.map(({ what, address }) => [what, address] as const);
    return { name: 'elementwise', words: length, addresses, extents };
  }
  const found = instructionOf.get(opcode);
  if (!found) throw new Error(`word ${at}: unknown instruction ${opcode}`);
  const [name, { fields, extents }] = found;
  const expected = fixedWords(fields);
  if (length !== expected) throw new Error(`${length} words, expected ${expected}`);
  const values = decodeValues(fields, words, at);
  const addresses = Object.entries<Address | number>(values).filter(
    (entry): entry is [string, Address] => typeof entry[1] === 'object',
  );
  return { name, words: length, addresses, extents: extents(values) };
};
