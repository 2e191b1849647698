/**
 * A program: a flat list of kernel calls over offsets into one memory. It is plain data, so that it can be
 * validated, stored and sent; whoever runs it binds each region to a byte address.
 */

/** A place in memory: a region of the program (by index) and a byte offset into it. */
export interface Address {
  readonly region: number;
  readonly offset: number;
}

/** A named stretch of memory that a program uses. The host binds it to an address before a run. */
export interface Region {
  readonly name: string;
  /** Size that the program needs, in bytes. */
  readonly bytes: number;
  /** `write` includes reading. A program that writes to a `read` region is refused. */
  readonly access: 'read' | 'write';
}

export interface Program {
  readonly version: 1;
  readonly regions: readonly Region[];
  /** Instructions: opcode, length in words (both included), operands. See `instructions.ts`. */
  readonly code: Int32Array;
  /** Word position of every instruction, in order. */
  readonly starts: readonly number[];
  /** Where each instruction comes from in the user's model (for messages and profiles), parallel to `starts`. */
  readonly labels: readonly string[];
  /** Instruction indexes after which an output (a gradient bucket) is complete. */
  readonly cuts: readonly number[];
}

/** Elements per tile of an elementwise chain: a register of the tile machine is this many 32-bit lanes. */
export const TILE = 512;

/** Every value in a program has 4 bytes: f32, or i32 (bool is i32 0 or 1). */
export const ELEMENT_BYTES = 4;

/** Regions and operands start on cache lines. */
export const ALIGNMENT = 64;

export const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** The absent optional address. */
export const NOWHERE: Address = { region: -1, offset: 0 };
