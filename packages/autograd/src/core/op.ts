/**
 * What an op is. One op is one small place: its shape rule with the error message, how it becomes kernel calls,
 * and its backward rule. Nothing else in Lockstep names an op.
 *
 * Note [Leading axes]: Coalescing runs one op over k shards at once. It never asks the op: axes in attributes count
 * from the end, element-wise inputs have equal rank, and every `view` and `lower` must accept further leading axes
 * on its inputs (all inputs have the same number of them, each of size k, or 1 for a value that is alike in all shards).
 */
import type { ChainStep } from '@lockstep/kernels';
import type { Spec } from './shape.ts';
import type { Tensor } from './tensor.ts';
import type { Emitter, View } from './view.ts';

/** One step of an elementwise chain: `args` are value numbers, inputs first, then one per step. */
export type Step = ChainStep;

export interface BackwardContext<A> {
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  readonly attrs: A;
}

/**
 * The gradient of the loss with respect to one input, from the gradient `g` with respect to the output. It may be
 * larger than the input where the input was broadcast: the engine sums it to the input's shape.
 */
export type BackwardRule<A> = (g: Tensor, context: BackwardContext<A>) => Tensor;

/**
 * What an op does about the gradient with respect to one input:
 * - a rule;
 * - `flat`: the derivative is 0 wherever it exists, as for an input that only decides which element is picked;
 * - `null`: there is none. That is right for integers and bools, which never require gradients. An f32 input that requires them
 *   is refused when the op is applied, so a gradient is never silently 0.
 */
export type GradientRule<A> = BackwardRule<A> | 'flat' | null;

interface OpBase<A> {
  readonly name: string;
  /** Output shape and type; throws OpError on inputs that do not fit. */
  infer(inputs: readonly Spec[], attrs: A): Spec;
  /** One rule per input, or a function from the input's index for ops of any arity. Not asked where the result isn't f32. */
  readonly backward: readonly GradientRule<A>[] | ((index: number) => GradientRule<A>);
}

/** Element by element: the compiler fuses chains of these into one pass over memory. No inputs: a constant. */
export interface ElementwiseOp<A> extends OpBase<A> {
  readonly kind: 'elementwise';
  /** The last step's value is the result. */
  steps(inputs: readonly Spec[], attrs: A): readonly Step[];
}

/** Moves no data where it can: another window on the same memory. */
export interface ViewOp<A> extends OpBase<A> {
  readonly kind: 'view';
  /** `undefined`: not possible on these strides; the engine then copies the input and asks again. */
  view(input: View, attrs: A, leading: number): View | undefined;
}

/** A call of its own. Inputs may be strided (use `materialize`), the output is contiguous. */
export interface KernelOp<A> extends OpBase<A> {
  readonly kind: 'kernel';
  /** Draws random numbers: differs between shards though it has no input. */
  readonly random?: boolean;
  lower(emit: Emitter, output: View, inputs: readonly View[], attrs: A): void;
  /**
   * Also sums the result over the first leading axis by the shard tree, with the same bits as `lower` followed by
   * `treeSum`; the output has that axis at size 1. Optional: for ops that can keep the partial sums in registers.
   */
  lowerTreeSum?(emit: Emitter, output: View, inputs: readonly View[], attrs: A): boolean;
  /** Inputs that index: their values must lie in [0, limit). Checked against the data set before training. */
  indexLimits?(
    inputs: readonly Spec[],
    attrs: A,
  ): readonly { readonly input: number; readonly limit: number }[];
}

export type Op<A> = ElementwiseOp<A> | ViewOp<A> | KernelOp<A>;

/** An op whose attributes nobody needs to know. */
export type AnyOp = Op<never>;
