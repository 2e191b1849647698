/** Toys for a network of three layers: each needs its hidden layer. */

export interface Task {
  readonly about: string;
  readonly inputs: readonly (readonly number[])[];
  readonly targets: readonly (readonly number[])[];
  /** Options that learn it with seed 1. */
  readonly hidden: number;
  readonly lr: number;
  readonly epochs: number;
}

const bits = (n: number, width: number): number[] =>
  Array.from({ length: width }, (_, i) => (n >> (width - 1 - i)) & 1);
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const unit = (n: number, size: number): number[] => upTo(size).map((i) => (i === n ? 1 : 0));

export const tasks: Readonly<Record<string, Task>> = {
  xor: {
    about: 'is exactly one of two inputs 1? No single layer can tell (Minsky and Papert, 1969)',
    inputs: upTo(4).map((n) => bits(n, 2)),
    targets: [[0], [1], [1], [0]],
    hidden: 3,
    lr: 8,
    epochs: 2000,
  },
  parity: {
    about: 'is the number of ones among three inputs odd?',
    inputs: upTo(8).map((n) => bits(n, 3)),
    targets: upTo(8).map((n) => [bits(n, 3).reduce((sum, bit) => sum + bit) % 2]),
    hidden: 6,
    lr: 8,
    epochs: 4000,
  },
  encoder: {
    about: 'eight patterns through three hidden units: the network has to find a code of three bits',
    inputs: upTo(8).map((n) => unit(n, 8)),
    targets: upTo(8).map((n) => unit(n, 8)),
    hidden: 3,
    lr: 8,
    epochs: 5000,
  },
};
