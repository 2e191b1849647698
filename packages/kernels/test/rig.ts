/** Runs one instruction at a time: on a variant of the kernels, in guarded memory, or on the naive twin. */

import {
  elementwiseScratchBytes,
  type InstructionName,
  instructions,
} from '../src/instructions/instructions.ts';
import type { Address } from '../src/instructions/program.ts';
import { floatBits } from '../src/instructions/words.ts';
import { type Chain, encodeChain } from '../src/program/chain.ts';
import { runReference } from '../src/reference/reference.ts';
import { type Kernels, type KernelVariant, loadKernels } from '../src/run/load.ts';
import { createMemory, HEAP_BASE } from '../src/run/memory.ts';

export type Data = Float32Array | Int32Array | Uint32Array | Uint8Array;

/** An instruction and what lies in its regions. Region numbers follow the order of the operands. */
export interface Call {
  readonly words: Int32Array;
  readonly regions: readonly Data[];
}

/** A call of `name`; operands that are arrays become regions. */
export const call = (name: InstructionName, operands: Readonly<Record<string, Data | number>>): Call => {
  const { code, fields } = instructions[name];
  const words: number[] = [code, 0];
  const regions: Data[] = [];
  for (const [field, type] of Object.entries(fields)) {
    const value = operands[field];
    if (value === undefined) throw new Error(`rig: ${name} lacks ${field}`);
    if (typeof value === 'number') words.push(type === 'f32' ? floatBits(value) : value);
    else words.push(regions.push(value) - 1, 0);
  }
  words[1] = words.length;
  return { words: Int32Array.from(words), regions };
};

/** An elementwise chain over regions; the scratch becomes one more region, the last. */
export const chainCall = (chain: Omit<Chain, 'scratch'>, regions: readonly Data[]): Call => {
  const { words, slots } = encodeChain({ ...chain, scratch: region(regions.length) });
  const scratch = new Uint8Array(elementwiseScratchBytes(slots));
  return { words: Int32Array.from(words), regions: [...regions, new Float32Array(scratch.buffer)] };
};

export const region = (index: number): Address => ({ region: index, offset: 0 });

const MEMORY_BYTES = 64 << 20;
/** Words on both sides of every region that no instruction may change. They read as a NaN: using them shows, too. */
const GUARD = 16;
const CANARY = 0x7fa5a5a5;

const memory = createMemory(MEMORY_BYTES);
const bytes = new Uint8Array(memory.buffer);
const loaded = new Map<KernelVariant, Kernels>();
const kernelsOf = (variant: KernelVariant): Kernels => {
  const kernels = loaded.get(variant) ?? loadKernels({ kernels: variant, memory });
  loaded.set(variant, kernels);
  return kernels;
};

const asBytes = (data: Data): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const like = <T extends Data>(data: T, values: Iterable<number>): T =>
  (data.constructor as unknown as { from(values: Iterable<number>): T }).from(values);

/** What the regions hold after the call. Throws an Error if the kernel wrote outside of them. */
export const run = (variant: KernelVariant, { words, regions }: Call): Data[] => {
  let top = HEAP_BASE;
  const take = (size: number): number => {
    const at = top;
    top += Math.ceil(size / 4) * 4;
    if (top > MEMORY_BYTES) throw new Error('rig: the memory is full');
    return at;
  };
  const guards: number[] = [];
  const guard = (): void => {
    guards.push(take(GUARD * 4));
    new Uint32Array(memory.buffer, guards.at(-1), GUARD).fill(CANARY);
  };
  const bases = take(regions.length * 4);
  const code = take(words.byteLength);
  guard();
  const places = regions.map((data, i) => {
    // Kernels must cope with any multiple of 4, so no region is aligned to a vector on purpose.
    take(((7 + i) % 16) * 4);
    guard();
    const at = take(data.byteLength);
    bytes.set(asBytes(data), at);
    guard();
    return at;
  });
  new Uint32Array(memory.buffer, bases, regions.length).set(places);
  new Int32Array(memory.buffer, code, words.length).set(words);
  kernelsOf(variant).run(code, 0, words.length, bases);
  for (const at of guards) {
    if (new Uint32Array(memory.buffer, at, GUARD).some((word) => word !== CANARY)) {
      throw new Error(`rig: instruction ${words[0]} wrote outside of its regions, at ${at}`);
    }
  }
  return regions.map((data, i) => {
    const after = data.slice();
    asBytes(after).set(bytes.subarray(places[i]!, places[i]! + data.byteLength));
    return after;
  });
};

/** The same by the naive twin, in f32. */
export const twin = ({ words, regions }: Call): Data[] => {
  const wide = regions.map((data) => Float64Array.from(data));
  const program = {
    version: 1 as const,
    regions: regions.map((data, i) => ({ name: `r${i}`, bytes: data.byteLength, access: 'write' as const })),
    code: words,
    starts: [0],
    labels: [''],
    cuts: [],
  };
  runReference(program, wide, 'float32');
  return regions.map((data, i) => like(data, wide[i]!));
};

/** Whether two buffers have the same bits; every NaN is alike. `expect(a).toEqual(b)` says what differs, but slowly. */
export const sameBits = (a: Data, b: Data): boolean =>
  Buffer.compare(asBytes(bits(a)), asBytes(bits(b))) === 0;

/** The words; every NaN alike (its sign and payload differ between CPUs, and no digest sees them). */
export const bits = (data: Data): Uint32Array | Uint8Array => {
  if (data instanceof Uint8Array) return data;
  const canonical = data instanceof Float32Array ? data.map((x) => (Number.isNaN(x) ? Number.NaN : x)) : data;
  return new Uint32Array(canonical.buffer, canonical.byteOffset, canonical.length);
};

/** A repeatable sequence of u32 (xorshift32) that owes nothing to the code under test. */
export const numbers = (seed: number): (() => number) => {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
};

/** n floats of mixed size and sign, so that the order of additions shows in the bits. */
export const floats = (n: number, seed = 1): Float32Array => {
  const next = numbers(seed * 2654435761);
  return Float32Array.from({ length: n }, () => ((next() >>> 8) / 2 ** 23 - 1) * 2 ** ((next() % 12) - 6));
};
