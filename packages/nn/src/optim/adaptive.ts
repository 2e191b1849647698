/** Optimizers that divide by a running measure of the gradient: RMSprop, Adagrad, Adadelta. PyTorch's formulas. */
import { add, div, maximum, mul, sqrt, square, sub, type Tensor } from '@lockstep/autograd';
import { expectNumber } from '../common/errors.ts';
import { type CommonOptions, type Formula, fromFormula, type Optimizer } from './optimizer.ts';
import type { LearningRate } from './schedule.ts';

const decayed = (weight: Tensor, gradient: Tensor, weightDecay: number): Tensor =>
  weightDecay === 0 ? gradient : add(gradient, mul(weight, weightDecay));

export interface RmspropRule {
  /** α, decay of the mean of g², from 0 to below 1. Default 0.99. */
  readonly alpha?: number;
  /** Above 0. Default 1e-8. */
  readonly eps?: number;
  /** From 0 to below 1. Default 0. */
  readonly momentum?: number;
  /** Divides by the deviation of g instead of the root of its mean square. Default false. */
  readonly centered?: boolean;
  /** Adds weightDecay · w to the gradient. Default 0. */
  readonly weightDecay?: number;
}
export interface RmspropOptions extends RmspropRule, CommonOptions<RmspropRule> {
  /** Default 1e-2. */
  readonly lr?: LearningRate;
}

/**
 * RMSprop (Hinton, 2012): s = αs + (1 − α)g²;  d = g / (√s + eps), centered: √(s − a²) with a = αa + (1 − α)g;
 * b = momentum · b + d;  w −= lr · b. Throws ConfigError.
 */
export const rmsprop = (options: RmspropOptions = {}): Optimizer =>
  fromFormula<RmspropRule>(
    'rmsprop',
    options,
    ['alpha', 'eps', 'momentum', 'centered', 'weightDecay'],
    rmspropFormula,
    1e-2,
  );

function rmspropFormula(who: string, options: RmspropRule): Formula {
  const { alpha = 0.99, eps = 1e-8, momentum = 0, centered = false, weightDecay = 0 } = options;
  expectNumber(who, 'alpha', alpha, { min: 0, below: 1 });
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'momentum', momentum, { min: 0, below: 1 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  return {
    config: { alpha, eps, momentum, centered, weightDecay },
    slots: ['square', ...(centered ? ['mean'] : []), ...(momentum > 0 ? ['momentum'] : [])],
    scalars: { lr: (rate) => rate },
    update: ({ weight, gradient, slots, scalars }) => {
      const g = decayed(weight, gradient, weightDecay);
      const s = add(mul(slots.square!, alpha), mul(mul(g, 1 - alpha), g));
      const a = centered ? add(mul(slots.mean!, alpha), mul(g, 1 - alpha)) : undefined;
      // Rounding can bring the difference below 0.
      const spread = a ? maximum(sub(s, square(a)), 0) : s;
      const d = div(g, add(sqrt(spread), eps));
      const b = momentum > 0 ? add(mul(slots.momentum!, momentum), d) : d;
      return {
        weight: sub(weight, mul(b, scalars.lr!)),
        slots: { square: s, ...(a && { mean: a }), ...(momentum > 0 && { momentum: b }) },
      };
    },
  };
}

export interface AdagradRule {
  /** The rate falls as lr / (1 + step · lrDecay), at least 0. Default 0. */
  readonly lrDecay?: number;
  /** Start of the sums of squares, at least 0. Default 0. */
  readonly initial?: number;
  /** Above 0. Default 1e-10. */
  readonly eps?: number;
  /** Adds weightDecay · w to the gradient. Default 0. */
  readonly weightDecay?: number;
}
export interface AdagradOptions extends AdagradRule, CommonOptions<AdagradRule> {
  /** Default 1e-2. */
  readonly lr?: LearningRate;
}

/** Adagrad (Duchi et al., 2011): s = s + g²;  w −= lr · g / (√s + eps). Throws ConfigError. */
export const adagrad = (options: AdagradOptions = {}): Optimizer =>
  fromFormula<AdagradRule>(
    'adagrad',
    options,
    ['lrDecay', 'initial', 'eps', 'weightDecay'],
    adagradFormula,
    1e-2,
  );

function adagradFormula(who: string, options: AdagradRule): Formula<'sum', 'lr'> {
  const { lrDecay = 0, initial = 0, eps = 1e-10, weightDecay = 0 } = options;
  expectNumber(who, 'lrDecay', lrDecay, { min: 0 });
  expectNumber(who, 'initial', initial, { min: 0 });
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  return {
    config: { lrDecay, initial, eps, weightDecay },
    slots: ['sum'],
    scalars: { lr: (rate, step) => rate / (1 + step * lrDecay) },
    update: ({ weight, gradient, slots, scalars }) => {
      const g = decayed(weight, gradient, weightDecay);
      const s = add(slots.sum, square(g));
      const total = initial === 0 ? s : add(s, initial);
      return { weight: sub(weight, mul(div(g, add(sqrt(total), eps)), scalars.lr)), slots: { sum: s } };
    },
  };
}

export interface AdadeltaRule {
  /** ρ, decay of both means of squares, from 0 to below 1. Default 0.9. */
  readonly rho?: number;
  /** Above 0. Default 1e-6. */
  readonly eps?: number;
  /** Adds weightDecay · w to the gradient. Default 0. */
  readonly weightDecay?: number;
}
export interface AdadeltaOptions extends AdadeltaRule, CommonOptions<AdadeltaRule> {
  /** Default 1. */
  readonly lr?: LearningRate;
}

/**
 * Adadelta (Zeiler, 2012): s = ρs + (1 − ρ)g²;  d = √(a + eps) / √(s + eps) · g;  a = ρa + (1 − ρ)d²;  w −= lr · d.
 * Throws ConfigError.
 */
export const adadelta = (options: AdadeltaOptions = {}): Optimizer =>
  fromFormula<AdadeltaRule>('adadelta', options, ['rho', 'eps', 'weightDecay'], adadeltaFormula, 1);

function adadeltaFormula(who: string, options: AdadeltaRule): Formula<'square' | 'change', 'lr'> {
  const { rho = 0.9, eps = 1e-6, weightDecay = 0 } = options;
  expectNumber(who, 'rho', rho, { min: 0, below: 1 });
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  return {
    config: { rho, eps, weightDecay },
    slots: ['square', 'change'],
    scalars: { lr: (rate) => rate },
    update: ({ weight, gradient, slots, scalars }) => {
      const g = decayed(weight, gradient, weightDecay);
      const s = add(mul(slots.square, rho), mul(mul(g, 1 - rho), g));
      const d = mul(div(sqrt(add(slots.change, eps)), sqrt(add(s, eps))), g);
      const a = add(mul(slots.change, rho), mul(mul(d, 1 - rho), d));
      return { weight: sub(weight, mul(d, scalars.lr)), slots: { square: s, change: a } };
    },
  };
}
