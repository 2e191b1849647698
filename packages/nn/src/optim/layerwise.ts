/** Updates that look at a whole parameter: two elementwise passes with norms in between. */
import { blockSquares, sqrt, sum, type Tensor } from '@lockstep/autograd';
import type { UpdateInput, UpdateOutput } from './optimizer.ts';

/** Blocks of a norm: their sums of squares are added in a fixed order, whoever computes them. */
export const NORM_BLOCK = 1024;

/** ‖x‖ [1] from the sums of squares of its blocks. */
export const normOfBlocks = (squares: Tensor): Tensor => sqrt(sum(squares, 0, { keepDims: true }));

/** What the second pass knows beside its inputs; the norms are [1]. */
export interface Measured {
  readonly measured: Tensor;
  readonly weightNorm: Tensor;
  readonly measuredNorm: Tensor;
}

/** An update in two elementwise passes with norms over a parameter in between. */
export interface LayerRule<Slot extends string = string, Scalar extends string = string> {
  /** Slots that the first pass writes. */
  readonly measureSlots: readonly Slot[];
  /** Gives the vector whose norm is wanted, and the slots of `measureSlots`. */
  measure(input: UpdateInput<Slot, Scalar>): {
    readonly measured: Tensor;
    readonly slots: Readonly<Record<string, Tensor>>;
  };
  /** Gives the weight and the other slots. The gradient is gone by then: what `apply` needs of it, `measure` keeps. */
  apply(input: Omit<UpdateInput<Slot, Scalar>, 'gradient'> & Measured): UpdateOutput;
}

/** Both passes on one whole parameter. */
export const byLayer =
  (rule: LayerRule) =>
  (input: UpdateInput): UpdateOutput => {
    const { measured, slots } = rule.measure(input);
    const norm = (x: Tensor): Tensor => normOfBlocks(blockSquares(x, NORM_BLOCK));
    const { weight, scalars } = input;
    const found = { measured, weightNorm: norm(weight), measuredNorm: norm(measured) };
    const updated = rule.apply({ weight, scalars, slots: { ...input.slots, ...slots }, ...found });
    return { weight: updated.weight, slots: { ...slots, ...updated.slots } };
  };
