import { add, div, maximum, mul, sqrt, sub } from '@lockstep/autograd';
import { ConfigError, expectNumber, formatValue } from '../common/errors.ts';
import { powInteger } from '../common/exactMath.ts';
import { type CommonOptions, type Formula, fromFormula, type Optimizer } from './optimizer.ts';
import type { LearningRate } from './schedule.ts';

export interface AdamRule {
  /** Decay of the means of g and of g², each from 0 to below 1. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Keeps the division finite, above 0. Default 1e-8. */
  readonly eps?: number;
  /** adam: adds weightDecay · w to the gradient, default 0. adamw: shrinks w by lr · weightDecay, default 0.01. */
  readonly weightDecay?: number;
  /** Divides by the largest v̂ so far (AMSGrad: Reddi et al., 2018). Default false. */
  readonly amsgrad?: boolean;
}
export interface AdamOptions extends AdamRule, CommonOptions<AdamRule> {
  /** Default 1e-3. */
  readonly lr?: LearningRate;
}

const KEYS = ['betas', 'eps', 'weightDecay', 'amsgrad'] as const;

/**
 * Adam (Kingma and Ba, 2015): m = β₁m + (1 − β₁)g;  v = β₂v + (1 − β₂)g²;
 * w −= lr · m̂ / (√v̂ + eps) with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ). Throws ConfigError.
 */
export const adam = (options: AdamOptions = {}): Optimizer =>
  fromFormula<AdamRule>('adam', options, KEYS, (who, own) => formula(who, own, false), 1e-3);

/** Adam with decoupled weight decay (Loshchilov and Hutter, 2019): w shrinks by lr · weightDecay before each step. */
export const adamw = (options: AdamOptions = {}): Optimizer =>
  fromFormula<AdamRule>('adamw', options, KEYS, (who, own) => formula(who, own, true), 1e-3);

/** The two decays of Adam and its kin. Throws ConfigError. */
export function betasOf(who: string, betas: readonly [number, number] = [0.9, 0.999]): [number, number] {
  if (!Array.isArray(betas) || betas.length !== 2) {
    throw new ConfigError(
      who,
      `got betas = ${formatValue(betas)}, expected two numbers such as [0.9, 0.999]`,
    );
  }
  const [beta1, beta2] = betas as readonly [number, number];
  expectNumber(who, 'betas[0]', beta1, { min: 0, below: 1 });
  expectNumber(who, 'betas[1]', beta2, { min: 0, below: 1 });
  return [beta1, beta2];
}

/**
 * Note [Adam's corrections]: Multiplied through by √(1 − β₂ᵗ), the step is stepSize · m / (√v + eps √(1 − β₂ᵗ)) with
 * stepSize = lr √(1 − β₂ᵗ) / (1 − β₁ᵗ). That is PyTorch's step with its division of √v folded into the scalars: one
 * division per weight instead of two, and a rounding less.
 */
function formula(
  who: string,
  options: AdamRule,
  isDecoupled: boolean,
): Formula<string, 'stepSize' | 'eps' | 'keep'> {
  const { eps = 1e-8, weightDecay = isDecoupled ? 0.01 : 0, amsgrad = false } = options;
  const [beta1, beta2] = betasOf(who, options.betas);
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  const decoupled = isDecoupled && weightDecay !== 0;
  const coupled = !isDecoupled && weightDecay !== 0;
  const root = (step: number): number => Math.sqrt(1 - powInteger(beta2, step + 1));

  return {
    config: { betas: [beta1, beta2], eps, weightDecay, ...(amsgrad && { amsgrad }) },
    slots: amsgrad ? ['m', 'v', 'vMax'] : ['m', 'v'],
    scalars: {
      stepSize: (lr, step) => (lr * root(step)) / (1 - powInteger(beta1, step + 1)),
      eps: (_, step) => eps * root(step),
      keep: (lr) => (decoupled ? 1 - lr * weightDecay : 1),
    },
    update: ({ weight, gradient, slots, scalars }) => {
      const g = coupled ? add(gradient, mul(weight, weightDecay)) : gradient;
      const m = add(mul(slots.m!, beta1), mul(g, 1 - beta1));
      const v = add(mul(slots.v!, beta2), mul(mul(g, 1 - beta2), g));
      const shrunk = decoupled ? mul(weight, scalars.keep) : weight;
      const vMax = amsgrad ? maximum(slots.vMax!, v) : v;
      const change = div(mul(m, scalars.stepSize), add(sqrt(vMax), scalars.eps));
      return { weight: sub(shrunk, change), slots: amsgrad ? { m, v, vMax } : { m, v } };
    },
  };
}
