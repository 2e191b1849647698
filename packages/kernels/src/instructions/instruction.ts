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

/** A stretch of memory that an instruction touches. */
export interface Extent {
  readonly what: string;
  readonly address: Address;
  readonly bytes: number;
  readonly access: 'read' | 'write';
}

export interface Instruction<F extends Fields> {
  readonly code: number;
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

/** Last element touched + 1 by a strided walk. */
export const span = (...walks: readonly (readonly [count: number, stride: number])[]): number =>
  walks.some(([count]) => count === 0)
    ? 0
    : walks.reduce((sum, [count, stride]) => sum + (count - 1) * stride, 1);

export const MAX_SEGMENTS = 65536;

export const segmentCount = (got: number): void => {
  if (got < 1 || got > MAX_SEGMENTS) throw new Error(`segments is ${got}, expected 1 to ${MAX_SEGMENTS}`);
};
