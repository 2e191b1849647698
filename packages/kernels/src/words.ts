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

export const addressWords = (what: string, { region, offset }: Address): [number, number] => [
  region,
  unsigned(`${what}: offset`, offset),
];
