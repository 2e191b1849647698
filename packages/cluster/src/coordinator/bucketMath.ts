/** Adds up buckets as they come in, with the kernels, in memory of its own that is used again and again. */

import { add, mul, sum, type Tensor } from '@lockstep/autograd';
import { Arena, createMemory, type KernelChoice, loadKernels } from '@lockstep/kernels';
import type { ReducerOptions } from '@lockstep/sync';
import { at, MemoryProgram } from '@lockstep/trainer';

/** A program on buckets of one length. */
interface Routine {
  readonly code: number;
  readonly words: number;
  /** What each region of the program is; a number: memory of its own, at this address. */
  readonly operands: readonly ('left' | 'right' | number)[];
  readonly bases: Int32Array;
}

export class BucketMath {
  readonly #arena: Arena;
  readonly #adders = new Map<number, Routine>();
  readonly #checks = new Map<number, Routine>();
  readonly #unused = new Map<number, Float32Array[]>();
  readonly #check: Float32Array;

  constructor(kernels: KernelChoice) {
    this.#arena = new Arena(loadKernels({ kernels, memory: createMemory(1 << 20) }));
    this.#check = this.#new(1);
  }

  readonly reducing: Omit<ReducerOptions<Float32Array>, 'buckets'> = {
    keep: (value) => {
      if (this.#looked?.value !== value) return this.#copy(value);
      const { copy } = this.#looked;
      this.#looked = undefined;
      return copy;
    },
    add: (left, right) => {
      this.#run(this.#adderOf(left.length), { left, right });
      this.#free(right);
      return left;
    },
    drop: (value) => this.#free(value),
  };

  /** The copy that was looked at: what is kept next, as a rule. */
  #looked: { readonly value: Float32Array; readonly copy: Float32Array } | undefined;

  isFinite(value: Float32Array): boolean {
    if (this.#looked) this.#free(this.#looked.copy);
    const copy = this.#copy(value);
    this.#looked = { value, copy };
    this.#run(this.#checkOf(value.length), { left: copy, right: this.#check });
    return this.#check[0] === 0;
  }

  #copy(value: Float32Array): Float32Array {
    const copy = this.#freeOf(value.length).pop() ?? this.#new(value.length);
    copy.set(value);
    return copy;
  }

  #free(value: Float32Array): void {
    this.#freeOf(value.length).push(value);
  }

  #run(
    { code, words, operands, bases }: Routine,
    { left, right }: Record<'left' | 'right', Float32Array>,
  ): void {
    const address = { left: left.byteOffset, right: right.byteOffset };
    for (const [i, operand] of operands.entries()) {
      bases[i] = typeof operand === 'number' ? operand : address[operand];
    }
    this.#arena.kernels.run(code, 0, words, bases.byteOffset);
  }

  #freeOf(length: number): Float32Array[] {
    const known = this.#unused.get(length);
    if (known) return known;
    const unused: Float32Array[] = [];
    this.#unused.set(length, unused);
    return unused;
  }

  #new(length: number): Float32Array {
    return this.#arena.f32(this.#arena.allocate(length * 4), length);
  }

  /** left += right. */
  #adderOf(length: number): Routine {
    return this.#routine(this.#adders, length, (left, right) => [[add(left, right), at('left')]]);
  }

  /** right = 0 if all of left are finite, else NaN: ∞ · 0 and NaN · 0 are, and a sum with one is. */
  #checkOf(length: number): Routine {
    return this.#routine(this.#checks, length, (left) => [
      [sum(mul(left, 0), 0, { keepDims: true }), at('right')],
    ]);
  }

  #routine(
    known: Map<number, Routine>,
    length: number,
    body: (left: Tensor, right: Tensor) => ReturnType<Parameters<MemoryProgram['compile']>[0]>,
  ): Routine {
    const found = known.get(length);
    if (found) return found;
    const program = new MemoryProgram();
    const [left, right] = [program.input(at('left'), length), program.input(at('right'), length)];
    const { code, regions } = program.compile(() => body(left, right));
    const address = this.#arena.allocate(code.byteLength);
    this.#arena.i32(address, code.length).set(code);
    const bases = this.#arena.i32(this.#arena.allocate(regions.length * 4), regions.length);
    const operands = regions.map(({ name, bytes }) =>
      name === 'left' || name === 'right' ? name : this.#arena.allocate(bytes),
    );
    const made = { code: address, words: code.length, operands, bases };
    known.set(length, made);
    return made;
  }
}
