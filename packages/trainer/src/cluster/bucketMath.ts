/** Adds up buckets as they come in, with the kernels, in memory of its own that is used again and again. */
import { add } from '@lockstep/autograd';
import { Arena, createMemory, type KernelChoice, loadKernels } from '@lockstep/kernels';
import type { CoordinatorHost } from '@lockstep/sync';
import { at, MemoryProgram } from '../memoryProgram.ts';

interface Adder {
  readonly code: number;
  readonly words: number;
  /** What each region of the program is. */
  readonly operands: readonly ('left' | 'right' | 'scratch')[];
  readonly bases: Int32Array;
}

export class BucketMath {
  readonly #arena: Arena;
  readonly #adders = new Map<number, Adder>();
  readonly #free = new Map<number, Float32Array[]>();
  readonly #scratch: number;

  constructor(kernels: KernelChoice) {
    this.#arena = new Arena(loadKernels({ kernels, memory: createMemory(1 << 20) }));
    this.#scratch = this.#arena.allocate(SCRATCH_BYTES);
  }

  readonly reducing: CoordinatorHost['reducing'] = {
    keep: (value) => {
      const kept = this.#freeOf(value.length).pop() ?? this.#new(value.length);
      kept.set(value);
      return kept;
    },
    add: (left, right) => {
      const { code, words, operands, bases } = this.#adderOf(left.length);
      const address = { left: left.byteOffset, right: right.byteOffset, scratch: this.#scratch };
      for (const [i, operand] of operands.entries()) bases[i] = address[operand];
      this.#arena.kernels.run(code, 0, words, bases.byteOffset);
      this.#freeOf(right.length).push(right);
      return left;
    },
    drop: (value) => void this.#freeOf(value.length).push(value),
  };

  #freeOf(length: number): Float32Array[] {
    const known = this.#free.get(length);
    if (known) return known;
    const free: Float32Array[] = [];
    this.#free.set(length, free);
    return free;
  }

  #new(length: number): Float32Array {
    return this.#arena.f32(this.#arena.allocate(length * 4), length);
  }

  /** left += right. */
  #adderOf(length: number): Adder {
    const known = this.#adders.get(length);
    if (known) return known;
    const program = new MemoryProgram();
    const [left, right] = [program.input(at('left'), length), program.input(at('right'), length)];
    const { code, regions } = program.compile(() => [[add(left, right), at('left')]]);
    const address = this.#arena.allocate(code.byteLength);
    this.#arena.i32(address, code.length).set(code);
    const bases = this.#arena.i32(this.#arena.allocate(regions.length * 4), regions.length);
    const operands = regions.map(({ name }) => (name === 'left' || name === 'right' ? name : 'scratch'));
    const made = { code: address, words: code.length, operands, bases };
    this.#adders.set(length, made);
    return made;
  }
}

const SCRATCH_BYTES = 1 << 16;
