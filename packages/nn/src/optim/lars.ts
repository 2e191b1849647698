import { add, div, gt, logicalAnd, mul, sub, type Tensor, where } from '@lockstep/autograd';
import { expectNumber } from '../common/errors.ts';
import { type CommonOptions, type Formula, fromFormula, type Optimizer } from './optimizer.ts';
import type { LearningRate } from './schedule.ts';

export interface LarsRule {
  /** From 0 to below 1. Default 0.9. */
  readonly momentum?: number;
  /** Default 0. */
  readonly weightDecay?: number;
  /** η: the length of a step as a share of the weights' norm, above 0. Default 1e-3. */
  readonly trust?: number;
  /** Keeps the division finite, at least 0. Default 1e-8. */
  readonly eps?: number;
  /** false: λ = 1, for a group of biases and gains of norms. Default true. */
  readonly adapt?: boolean;
}
export interface LarsOptions extends LarsRule, CommonOptions<LarsRule> {
  readonly lr: LearningRate;
}

/**
 * LARS, a rate for each parameter (You et al., 2017): λ = η ‖w‖ / (‖g‖ + weightDecay · ‖w‖ + eps), 1 where a norm is 0;
 * b = momentum · b + lr · λ · (g + weightDecay · w);  w −= b. Throws ConfigError.
 */
export const lars = (options: LarsOptions): Optimizer =>
  fromFormula<LarsRule>('lars', options, ['momentum', 'weightDecay', 'trust', 'eps', 'adapt'], formula);

function formula(who: string, options: LarsRule): Formula<'momentum', 'lr'> {
  const { momentum = 0.9, weightDecay = 0, trust = 1e-3, eps = 1e-8, adapt = true } = options;
  expectNumber(who, 'momentum', momentum, { min: 0, below: 1 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  expectNumber(who, 'trust', trust, { above: 0 });
  expectNumber(who, 'eps', eps, { min: 0 });
  const step = (weight: Tensor, g: Tensor, old: Tensor, rate: Tensor) => {
    const d = weightDecay === 0 ? g : add(g, mul(weight, weightDecay));
    const b = add(mul(old, momentum), mul(d, rate));
    return { weight: sub(weight, b), slots: { momentum: b } };
  };
  const shared = {
    slots: ['momentum' as const],
    scalars: { lr: (rate: number) => rate },
    config: { momentum, weightDecay, trust, eps, adapt },
  };
  if (!adapt) {
    return {
      ...shared,
      update: ({ weight, gradient, slots, scalars }) => step(weight, gradient, slots.momentum, scalars.lr),
    };
  }
  return {
    ...shared,
    layer: {
      measureSlots: [],
      measure: ({ gradient }) => ({ measured: gradient, slots: {} }),
      apply: ({ weight, measured: g, weightNorm, measuredNorm, slots, scalars }) => {
        const size = add(add(measuredNorm, mul(weightNorm, weightDecay)), eps);
        const both = logicalAnd(gt(weightNorm, 0), gt(measuredNorm, 0));
        const rate = mul(where(both, div(mul(weightNorm, trust), size), 1), scalars.lr);
        return step(weight, g, slots.momentum, rate);
      },
    },
  };
}
