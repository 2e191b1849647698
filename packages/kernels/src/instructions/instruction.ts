/** What an instruction is, and what the tables of instructions are written with. */
import { type Address, ELEMENT_BYTES } from './program.ts';

/** `i32` is signed, for strides that may run backwards. */
export type FieldType = 'addr' | 'u32' | 'i32' | 'f32';
export type Fields = Readonly<Record<string, FieldType>>;
export type Values<F extends Fields> = { [K in keyof F]: F[K] extends 'addr' ? Address : number };

/** Fields of one type, in this order. */
export const fields = <const T extends FieldType, const N extends string>(
  type: T,
  ...names: readonly N[]
): { readonly [K in N]: T } =>
  // What `fromEntries` gives has just these keys, which its type cannot say.
  Object.fromEntries(names.map((name) => [name, type])) as { [K in N]: T };

/** A range of memory that an instruction touches. */
export interface Extent {
  readonly what: string;
  readonly address: Address;
  readonly bytes: number;
  readonly access: 'read' | 'write';
  /** What is read here selects which memory is touched next; see Note [Disjoint writes]. */
  readonly holds?: 'indexes';
  /** A write and a read that both have this may be exactly the same range. */
  readonly inPlace?: true;
  /** Writes that all have this may overlap each other: strided outputs that share one buffer. */
  readonly interleaved?: true;
}

export interface Instruction<F extends Fields> {
  readonly code: number;
  /** It may end the program: the executor runs it itself, and no kernel has its name. */
  readonly control?: true;
  readonly fields: F;
  /** What the call touches. Throws an Error with the reason where a field has a value without meaning. */
  readonly extents: (values: Values<F>) => Extent[];
}

export const define = <const F extends Fields>(instruction: Instruction<F>): Instruction<F> => instruction;

export const elements = (
  what: string,
  address: Address,
  count: number,
  access: Extent['access'] = 'read',
): Extent => ({
  what,
  address,
  bytes: count * ELEMENT_BYTES,
  access,
});

export const oneOf = (what: string, got: number, count: number): void => {
  if (!Number.isInteger(got) || got < 0 || got >= count) {
    throw new Error(`${what} is ${got}, expected 0 to ${count - 1}`);
  }
};

/** Memory that kernels address, in bytes. */
export const MEMORY_BYTES = 2 ** 32;

/**
 * Last element touched + 1 by a strided walk. Kernels add up strides even where nothing is read, so a walk over no elements
 * must stay within the address space, too: throws an Error where it does not.
 */
export const span = (...walks: readonly (readonly [count: number, stride: number])[]): number => {
  const reach = walks.reduce((sum, [count, stride]) => sum + Math.max(0, count - 1) * stride, 1);
  if (walks.every(([count]) => count > 0)) return reach;
  if (reach * ELEMENT_BYTES > MEMORY_BYTES) {
    throw new Error(`strides reach over ${reach} elements, expected at most ${MEMORY_BYTES / ELEMENT_BYTES}`);
  }
  return 0;
};

/** Values that select which memory is touched: `count` of them, 32 bits each. */
export const indexes = (what: string, address: Address, count: number): Extent => ({
  ...elements(what, address, count),
  holds: 'indexes',
});

/** Memory of the instruction's own, for `bytes` bytes of intermediate values. */
export const scratchOf = (address: Address, bytes: number): Extent => ({
  what: 'scratch',
  address,
  bytes,
  access: 'write',
});

export const MAX_SEGMENTS = 65536;

export const segmentCount = (got: number): void => {
  if (got < 1 || got > MAX_SEGMENTS) throw new Error(`segments is ${got}, expected 1 to ${MAX_SEGMENTS}`);
};
