/**
 * What an optimizer is: data. It never touches a weight itself. The update is written once in tensor ops, all of them
 * elementwise, so that the compiler makes one pass over memory of it; the numbers that change from step to step are
 * computed on the main thread in double and reach the update as scalars.
 */
import type { Tensor } from '@lockstep/autograd';
import { ConfigError, expectNumber } from './errors.ts';
import type { Json, Schedule } from './schedule.ts';

/** All tensors are f32 of one shape [n], except the scalars: [1]. */
export interface UpdateInput<Slot extends string = string, Scalar extends string = string> {
  readonly weight: Tensor;
  /** Mean over the batch, clipped. */
  readonly gradient: Tensor;
  readonly slots: Readonly<Record<Slot, Tensor>>;
  readonly scalars: Readonly<Record<Scalar, Tensor>>;
}

export interface UpdateOutput<Slot extends string = string> {
  readonly weight: Tensor;
  readonly slots: Readonly<Record<Slot, Tensor>>;
}

export interface Optimizer<Slot extends string = string, Scalar extends string = string> {
  readonly name: string;
  /** State kept for each weight, such as `momentum`; starts at 0. */
  readonly slots: readonly Slot[];
  /** Names of the numbers per step, in the order of `scalarsAt`. */
  readonly scalars: readonly Scalar[];
  /** Largest global norm of the gradient: a longer one is scaled down to it. */
  readonly clipNorm?: number;
  /** All that defines the optimizer, for the definition of a run. */
  readonly config: { readonly [key: string]: Json };
  /** The learning rate at an optimizer step (0-based). Throws ConfigError where a schedule gives no rate. */
  learningRate(step: number, totalSteps: number): number;
  /** The scalars of an optimizer step (0-based), in double. */
  scalarsAt(step: number, totalSteps: number): number[];
  /** New weight and slots. Elementwise ops only. */
  update(input: UpdateInput<Slot, Scalar>): UpdateOutput<Slot>;
}

/** Options that every optimizer takes. */
export interface CommonOptions {
  /** Clips the gradient's global norm over all parameters to this (Pascanu et al., 2013). Default: no clipping. */
  readonly clipNorm?: number;
}

/** One rule with its numbers: what `sgd` and the others fill in. */
export interface OptimizerRule<Slot extends string, Scalar extends string> {
  readonly name: string;
  readonly lr: Schedule;
  readonly clipNorm: number | undefined;
  readonly slots: readonly Slot[];
  readonly scalars: { readonly [K in Scalar]: (lr: number, step: number) => number };
  /** The rule's own options. */
  readonly config: { readonly [key: string]: Json };
  update(input: UpdateInput<Slot, Scalar>): UpdateOutput<Slot>;
}

/** An optimizer from its rule. Throws ConfigError. */
export function defineOptimizer<Slot extends string, Scalar extends string>(
  rule: OptimizerRule<Slot, Scalar>,
): Optimizer<Slot, Scalar> {
  const { name, lr, clipNorm, slots, update } = rule;
  const who = `optim.${name}`;
  if (clipNorm !== undefined) expectNumber(who, 'clipNorm', clipNorm, { above: 0 });
  const scalars = Object.keys(rule.scalars) as Scalar[];
  const learningRate = (step: number, totalSteps: number): number => {
    const rate = lr(step, totalSteps);
    if (Number.isFinite(rate) && rate >= 0) return rate;
    throw new ConfigError(who, `got ${rate} from the schedule of lr at step ${step}, expected a number >= 0`);
  };
  return {
    name,
    slots,
    scalars,
    ...(clipNorm === undefined ? {} : { clipNorm }),
    config: { name, lr: lr.config, clipNorm: clipNorm ?? null, ...rule.config },
    learningRate,
    scalarsAt: (step, totalSteps) => {
      const rate = learningRate(step, totalSteps);
      return scalars.map((scalar) => rule.scalars[scalar](rate, step));
    },
    update,
  };
}
