import { add, div, mul, sqrt, sub } from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions, formatValue } from './errors.ts';
import { powInteger } from './exactMath.ts';
import { type CommonOptions, defineOptimizer, type Optimizer } from './optimizer.ts';
import { type LearningRate, toSchedule } from './schedule.ts';

export interface AdamOptions extends CommonOptions {
  /** Default 1e-3. */
  readonly lr?: LearningRate;
  /** Decay of the means of g and of g², each from 0 to below 1. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Keeps the division finite, above 0. Default 1e-8. */
  readonly eps?: number;
  /** adam: adds weightDecay · w to the gradient, default 0. adamw: shrinks w by lr · weightDecay, default 0.01. */
  readonly weightDecay?: number;
}

/**
 * Adam (Kingma and Ba, 2015): m = β₁m + (1 − β₁)g;  v = β₂v + (1 − β₂)g²;
 * w −= lr · m̂ / (√v̂ + eps) with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ). Throws ConfigError.
 */
export const adam = (options: AdamOptions = {}): Optimizer => build('adam', options, 0);

/** Adam with decoupled weight decay (Loshchilov and Hutter, 2019): w shrinks by lr · weightDecay before each step. */
export const adamw = (options: AdamOptions = {}): Optimizer => build('adamw', options, 0.01);

/**
 * Note [Adam's corrections]: Multiplied through by √(1 − β₂ᵗ), the step is stepSize · m / (√v + eps √(1 − β₂ᵗ)) with
 * stepSize = lr √(1 − β₂ᵗ) / (1 − β₁ᵗ). That is PyTorch's step with its division of √v folded into the scalars: one
 * division per weight instead of two, and a rounding less.
 */
function build(name: 'adam' | 'adamw', options: AdamOptions, defaultDecay: number): Optimizer {
  const who = `optim.${name}`;
  expectOptions(who, options, ['lr', 'betas', 'eps', 'weightDecay', 'clipNorm']);
  const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = defaultDecay, clipNorm } = options;
  if (!Array.isArray(betas) || betas.length !== 2) {
    throw new ConfigError(
      who,
      `got betas = ${formatValue(betas)}, expected two numbers such as [0.9, 0.999]`,
    );
  }
  const [beta1, beta2] = betas as readonly [number, number];
  expectNumber(who, 'betas[0]', beta1, { min: 0, below: 1 });
  expectNumber(who, 'betas[1]', beta2, { min: 0, below: 1 });
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  const decoupled = name === 'adamw' && weightDecay !== 0;
  const coupled = name === 'adam' && weightDecay !== 0;
  const root = (step: number): number => Math.sqrt(1 - powInteger(beta2, step + 1));

  return defineOptimizer<'m' | 'v', 'stepSize' | 'eps' | 'keep'>({
    name,
    lr: toSchedule(who, options.lr ?? 1e-3),
    clipNorm,
    config: { betas: [beta1, beta2], eps, weightDecay },
    slots: ['m', 'v'],
    scalars: {
      stepSize: (lr, step) => (lr * root(step)) / (1 - powInteger(beta1, step + 1)),
      eps: (_, step) => eps * root(step),
      keep: (lr) => (decoupled ? 1 - lr * weightDecay : 1),
    },
    update: ({ weight, gradient, slots, scalars }) => {
      const g = coupled ? add(gradient, mul(weight, weightDecay)) : gradient;
      const m = add(mul(slots.m, beta1), mul(g, 1 - beta1));
      const v = add(mul(slots.v, beta2), mul(mul(g, 1 - beta2), g));
      const shrunk = decoupled ? mul(weight, scalars.keep) : weight;
      const change = div(mul(m, scalars.stepSize), add(sqrt(v), scalars.eps));
      return { weight: sub(shrunk, change), slots: { m, v } };
    },
  });
}
