/** How numbers become the 32-bit words of a program. */
import type { Address } from './program.ts';

const float = new Float32Array(1);
const int = new Int32Array(float.buffer);

/** The bits of a number, rounded to f32. */
export const floatBits = (value: number): number => {
  float[0] = value;
  return int[0]!;
};

/** The f32 with these bits. */
export const bitsFloat = (bits: number): number => {
  int[0] = bits;
  return float[0]!;
};

/** A whole number from 0 to 2³² − 1 as a word. */
export const unsigned = (what: string, value: number): number => {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw new Error(`${what} is ${value}, expected a whole number from 0 to 4294967295`);
  }
  return value | 0;
};

/** A whole number from −2³¹ to 2³¹ − 1 as a word. */
export const signed = (what: string, value: number): number => {
  if ((value | 0) !== value) {
    throw new Error(`${what} is ${value}, expected a whole number from -2147483648 to 2147483647`);
  }
  return value;
};

/** An operand of an instruction, other than an address, as a word. */
export const fieldWord = (what: string, type: 'u32' | 'i32' | 'f32', value: number): number =>
  type === 'f32' ? floatBits(value) : type === 'i32' ? signed(what, value) : unsigned(what, value);

/** The operand that a word stands for. */
export const fieldValue = (type: 'u32' | 'i32' | 'f32', word: number): number =>
  type === 'f32' ? bitsFloat(word) : type === 'i32' ? word : word >>> 0;

export const addressWords = (what: string, { region, offset }: Address): [number, number] => [
  region,
  unsigned(`${what}: offset`, offset),
];
