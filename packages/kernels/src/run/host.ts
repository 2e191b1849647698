/** Runs programs on one thread, with memory from a simple arena: what eager mode and the tests need. */

import { align, type Program } from '../instructions/program.ts';
import type { Kernels } from './load.ts';
import { HEAP_BASE } from './memory.ts';

const PAGE = 65536;

/** Hands out stretches of a memory, one after the other; `release` gives back everything above a mark. */
export class Arena {
  readonly kernels: Kernels;
  #top: number;

  /** @param base First byte that the arena may use. */
  constructor(kernels: Kernels, base = HEAP_BASE) {
    this.kernels = kernels;
    this.#top = align(base);
  }

  /** Bytes in use: what `release` takes. */
  get mark(): number {
    return this.#top;
  }

  /** Address of `bytes` bytes on a cache line; the memory grows as needed. Throws an Error at 4 GiB. */
  allocate(bytes: number): number {
    const address = this.#top;
    const end = address + align(bytes);
    const { memory } = this.kernels;
    const missing = end - memory.buffer.byteLength;
    if (missing > 0) {
      try {
        memory.grow(Math.ceil(missing / PAGE));
      } catch {
        throw new Error(
          `Arena: ${bytes} bytes do not fit: kernels address 4 GiB, ${address} bytes are in use`,
        );
      }
    }
    this.#top = end;
    return address;
  }

  /** Everything allocated since `mark` was taken is free again. */
  release(mark: number): void {
    this.#top = mark;
  }

  f32(address: number, length: number): Float32Array {
    return new Float32Array(this.kernels.memory.buffer, address, length);
  }

  i32(address: number, length: number): Int32Array {
    return new Int32Array(this.kernels.memory.buffer, address, length);
  }

  u8(address: number, length: number): Uint8Array {
    return new Uint8Array(this.kernels.memory.buffer, address, length);
  }
}

/** A program bound to memory. */
export interface LoadedProgram {
  /** Byte address of each region. */
  readonly bases: readonly number[];
  /** Runs all instructions, or those with index in [from, to). */
  run(from?: number, to?: number): void;
}

/**
 * Puts a program's code into an arena and binds its regions: those in `bind` (by name) to the given addresses, the others to
 * new memory (not cleared).
 */
export const loadProgram = (
  arena: Arena,
  program: Program,
  bind: Readonly<Record<string, number>> = {},
): LoadedProgram => {
  const { code, regions, starts } = program;
  const bases = regions.map(({ name, bytes }) => bind[name] ?? arena.allocate(bytes));
  const basesAt = arena.allocate(4 * bases.length);
  arena.i32(basesAt, bases.length).set(bases);
  const codeAt = arena.allocate(4 * code.length);
  arena.i32(codeAt, code.length).set(code);
  const word = (instruction: number): number => starts[instruction] ?? code.length;
  return {
    bases,
    run: (from = 0, to = starts.length) => arena.kernels.run(codeAt, word(from), word(to), basesAt),
  };
};
