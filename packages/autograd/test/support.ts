/** What a case of an op is, and the inputs that many of them share. Inputs come from a fixed generator. */
import type { Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';

export interface OpCase {
  readonly title: string;
  /** f32 inputs; gradients are checked with respect to each of them. */
  readonly inputs: readonly Tensor[];
  readonly call: (...inputs: Tensor[]) => Tensor;
  /** Only the forward pass (for large inputs). */
  readonly forwardOnly?: boolean;
}

export interface OpTest {
  /** Largest distance of a f32 result from the rounded float64 result, in units in the last place; 0: equal bits. */
  readonly ulps: number;
  /** Sums cancel: their distance is counted in units of the largest output instead of each one. */
  readonly ofLargest?: boolean;
  /**
   * Gradients do not flow through (comparisons, indexes, constants), or inputs that require them are `refused` (what only
   * backward rules call, which are written in other ops when they are recorded in turn). Default true.
   */
  readonly differentiable?: false | 'refused';
  readonly cases: readonly OpCase[];
}

/** Numbers spread over (low, high) by the golden ratio; the same for the same seed. */
export function numbers(shape: Shape, low: number, high: number, seed = 1): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  const golden = (Math.sqrt(5) - 1) / 2;
  const values = Float32Array.from({ length: size }, (_, i) => {
    const fraction = (seed * 0.7548776662 + (i + 1) * golden) % 1;
    return low + (high - low) * fraction;
  });
  return a.tensor(values, { shape });
}

export const name = (...shapes: Shape[]): string => shapes.map((shape) => `[${shape.join(', ')}]`).join(' ');

/** Labels 0 … classes − 1. */
export const labels = (shape: Shape, classes: number): Tensor => {
  const size = shape.reduce((product, n) => product * n, 1);
  return a.tensor(
    Int32Array.from({ length: size }, (_, i) => (i * 7 + 3) % classes),
    { shape },
  );
};

const unaryShapes: Shape[] = [[7], [2, 3, 5], [1], [], [0, 3]];
export const large: Shape = [3, 611];

/** `low` and `high` bound the inputs of gradient checks, `wide` those of a large forward pass. */
export const unary = (
  f: (x: Tensor) => Tensor,
  [low, high]: readonly [number, number],
  wide: readonly [number, number] = [low, high],
): OpCase[] => [
  ...unaryShapes.map((shape) => ({ title: name(shape), inputs: [numbers(shape, low, high)], call: f })),
  { title: name(large), inputs: [numbers(large, ...wide, 5)], call: f, forwardOnly: true },
];

export const one = (title: string, inputs: readonly Tensor[], call: OpCase['call']): OpCase => ({
  title,
  inputs,
  call,
});
export const on = (shape: Shape, call: (x: Tensor) => Tensor, title: string): OpCase =>
  one(`${title} of ${name(shape)}`, [numbers(shape, -2, 2)], call);

export const reduction = (f: typeof a.sum): OpCase[] => [
  on([7], (x) => f(x), 'all'),
  on([3, 5, 2], (x) => f(x, 1), 'middle axis'),
  on([3, 5, 2], (x) => f(x, [0, -1]), 'outer axes'),
  on([2, 17], (x) => f(x, -1, { keepDims: true }), 'rows'),
  on([17, 2], (x) => f(x, 0), 'columns'),
  on([1, 1], (x) => f(x), 'all'),
  on([0, 3], (x) => f(x, -1), 'last axis'),
  { ...on([5, 613], (x) => f(x, -1), 'rows'), forwardOnly: true },
  { ...on([77, 130], (x) => f(x, 0), 'columns'), forwardOnly: true },
];
