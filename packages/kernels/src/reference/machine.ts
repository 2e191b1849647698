/** What the naive twins of the kernels compute with. */
import { type Address, ELEMENT_BYTES } from '../instructions/program.ts';

/**
 * `float64` computes in doubles. `float32` rounds after each operation: bit for bit what the kernels give for
 * + − × ÷ √, min, max and integers; exp, log and the like are correctly rounded there and may differ by 2 ulp.
 */
export type ReferencePrecision = 'float32' | 'float64';

/** The regions of a running program, and its arithmetic. */
export class Machine {
  /** Set by a guard: the program ends. */
  halted = false;
  readonly round: (x: number) => number;
  readonly #regions: readonly Float64Array[];

  constructor(regions: readonly Float64Array[], precision: ReferencePrecision) {
    this.#regions = regions;
    this.round = precision === 'float32' ? Math.fround : (x) => x;
  }

  at({ region, offset }: Address, elementBytes = ELEMENT_BYTES): Float64Array {
    return this.#regions[region]!.subarray(offset / elementBytes);
  }

  add = (a: number, b: number): number => this.round(a + b);
  mul = (a: number, b: number): number => this.round(a * b);
}

type Combine = (a: number, b: number) => number;

/** The tree of the exactness contract over values lo … hi − 1. */
export function tree(lo: number, hi: number, value: (i: number) => number, combine: Combine): number {
  if (hi - lo === 1) return value(lo);
  let half = 1;
  while (2 * half < hi - lo) half *= 2;
  return combine(tree(lo, lo + half, value, combine), tree(lo + half, hi, value, combine));
}

/** Reduces a row by 16 lanes, then the tree over the lanes. */
export function reduceLanes(row: Iterable<number>, identity: number, combine: Combine): number {
  const lanes = new Float64Array(16).fill(identity);
  let i = 0;
  for (const value of row) {
    lanes[i % 16] = combine(lanes[i % 16]!, value);
    i++;
  }
  return tree(0, 16, (lane) => lanes[lane]!, combine);
}

/** Calls `body` for every index within `sizes`, the last one fastest. */
export function forEach<const S extends readonly number[]>(
  sizes: S,
  body: (index: { -readonly [K in keyof S]: number }) => void,
): void {
  const total = sizes.reduce((product, n) => product * n, 1);
  for (let i = 0; i < total; i++) {
    const index: number[] = [];
    for (let axis = sizes.length - 1, rest = i; axis >= 0; axis--) {
      index.unshift(rest % sizes[axis]!);
      rest = Math.floor(rest / sizes[axis]!);
    }
    body(index as { -readonly [K in keyof S]: number });
  }
}
