/** Kin of Adam: NAdam, RAdam, Lion. */
import { add, div, mul, sign, sqrt, sub, type Tensor } from '@lockstep/autograd';
import { expectNumber } from '../common/errors.ts';
import { exp, powInteger } from '../common/exactMath.ts';
import { betasOf } from './adam.ts';
import { type CommonOptions, type Formula, fromFormula, type Optimizer } from './optimizer.ts';
import type { LearningRate } from './schedule.ts';

export interface NadamRule {
  /** Decay of the means of g and of g², each from 0 to below 1. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Above 0. Default 1e-8. */
  readonly eps?: number;
  /** Adds weightDecay · w to the gradient. Default 0. */
  readonly weightDecay?: number;
  /** ψ: how fast the momentum grows to β₁, at least 0. Default 4e-3. */
  readonly momentumDecay?: number;
}
export interface NadamOptions extends NadamRule, CommonOptions<NadamRule> {
  /** Default 2e-3. */
  readonly lr?: LearningRate;
}

const moment = (old: Tensor, beta: number, g: Tensor): Tensor => add(mul(old, beta), mul(g, 1 - beta));
const secondMoment = (old: Tensor, beta: number, g: Tensor): Tensor =>
  add(mul(old, beta), mul(mul(g, 1 - beta), g));

const LN_096 = -0.040821994520255166;

/**
 * Adam with Nesterov's momentum (Dozat, 2016), PyTorch's documented NAdam: μₜ = β₁(1 − ½ · 0.96^(tψ));
 * w −= lr · ((1 − μₜ) g / (1 − Πμ) + μₜ₊₁ m / (1 − Πμ · μₜ₊₁)) / (√v̂ + eps). Throws ConfigError.
 */
export const nadam = (options: NadamOptions = {}): Optimizer =>
  fromFormula<NadamRule>(
    'nadam',
    options,
    ['betas', 'eps', 'weightDecay', 'momentumDecay'],
    nadamFormula,
    2e-3,
  );

function nadamFormula(who: string, options: NadamRule): Formula<'m' | 'v', 'now' | 'next' | 'eps'> {
  const { eps = 1e-8, weightDecay = 0, momentumDecay = 4e-3 } = options;
  const [beta1, beta2] = betasOf(who, options.betas);
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  expectNumber(who, 'momentumDecay', momentumDecay, { min: 0 });
  const root = (step: number): number => Math.sqrt(1 - powInteger(beta2, step + 1));
  const mu = (t: number): number => beta1 * (1 - 0.5 * exp(LN_096 * t * momentumDecay));
  // Π μ over the steps up to `step`; steps come in order, so the last product is mostly one factor away.
  let known = { step: -1, product: 1 };
  const product = (step: number): number => {
    if (step < known.step) known = { step: -1, product: 1 };
    let { product: found } = known;
    for (let s = known.step + 1; s <= step; s++) found *= mu(s + 1);
    known = { step, product: found };
    return found;
  };
  return {
    config: { betas: [beta1, beta2], eps, weightDecay, momentumDecay },
    slots: ['m', 'v'],
    scalars: {
      now: (lr, step) => (lr * root(step) * (1 - mu(step + 1))) / (1 - product(step)),
      next: (lr, step) => (lr * root(step) * mu(step + 2)) / (1 - product(step) * mu(step + 2)),
      eps: (_, step) => eps * root(step),
    },
    update: ({ weight, gradient, slots, scalars }) => {
      const g = weightDecay === 0 ? gradient : add(gradient, mul(weight, weightDecay));
      const m = moment(slots.m, beta1, g);
      const v = secondMoment(slots.v, beta2, g);
      const direction = add(mul(g, scalars.now), mul(m, scalars.next));
      return { weight: sub(weight, div(direction, add(sqrt(v), scalars.eps))), slots: { m, v } };
    },
  };
}

export interface RadamRule {
  /** Decay of the means of g and of g², each from 0 to below 1. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Above 0. Default 1e-8. */
  readonly eps?: number;
  /** Adds weightDecay · w to the gradient. Default 0. */
  readonly weightDecay?: number;
}
export interface RadamOptions extends RadamRule, CommonOptions<RadamRule> {
  /** Default 1e-3. */
  readonly lr?: LearningRate;
}

/**
 * Rectified Adam (Liu et al., 2020), PyTorch's RAdam: plain momentum while the variance of v̂ is unknown (ρₜ ≤ 5), then
 * Adam's step times r = √((ρₜ − 4)(ρₜ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρₜ)). Throws ConfigError.
 */
export const radam = (options: RadamOptions = {}): Optimizer =>
  fromFormula<RadamRule>('radam', options, ['betas', 'eps', 'weightDecay'], radamFormula, 1e-3);

function radamFormula(who: string, options: RadamRule): Formula<'m' | 'v', 'plain' | 'adaptive'> {
  const { eps = 1e-8, weightDecay = 0 } = options;
  const [beta1, beta2] = betasOf(who, options.betas);
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  const limit = 2 / (1 - beta2) - 1;
  const rho = (t: number): number => limit - (2 * t * powInteger(beta2, t)) / (1 - powInteger(beta2, t));
  const rectified = (t: number): number => {
    const r = rho(t);
    if (r <= 5) return 0;
    const share = ((r - 4) * (r - 2) * limit) / ((limit - 4) * (limit - 2) * r);
    return Math.sqrt(share) * Math.sqrt(1 - powInteger(beta2, t));
  };
  const size = (lr: number, t: number): number => lr / (1 - powInteger(beta1, t));
  return {
    config: { betas: [beta1, beta2], eps, weightDecay },
    slots: ['m', 'v'],
    scalars: {
      // One of the two is 0.
      plain: (lr, step) => (rho(step + 1) <= 5 ? size(lr, step + 1) : 0),
      adaptive: (lr, step) => size(lr, step + 1) * rectified(step + 1),
    },
    update: ({ weight, gradient, slots, scalars }) => {
      const g = weightDecay === 0 ? gradient : add(gradient, mul(weight, weightDecay));
      const m = moment(slots.m, beta1, g);
      const v = secondMoment(slots.v, beta2, g);
      const rate = add(div(scalars.adaptive, add(sqrt(v), eps)), scalars.plain);
      return { weight: sub(weight, mul(m, rate)), slots: { m, v } };
    },
  };
}

export interface LionRule {
  /** Share of the old m in the step and in the new m, each from 0 to below 1. Default [0.9, 0.99]. */
  readonly betas?: readonly [number, number];
  /** w shrinks by lr · weightDecay before each step. Default 0. */
  readonly weightDecay?: number;
}
export interface LionOptions extends LionRule, CommonOptions<LionRule> {
  /** Default 1e-4. */
  readonly lr?: LearningRate;
}

/**
 * Lion (Chen et al., 2023): w −= lr · (sign(β₁m + (1 − β₁)g) + weightDecay · w);  m = β₂m + (1 − β₂)g. Throws
 * ConfigError.
 */
export const lion = (options: LionOptions = {}): Optimizer =>
  fromFormula<LionRule>('lion', options, ['betas', 'weightDecay'], lionFormula, 1e-4);

function lionFormula(who: string, options: LionRule): Formula<'m', 'lr' | 'keep'> {
  const { weightDecay = 0 } = options;
  const [beta1, beta2] = betasOf(who, options.betas ?? [0.9, 0.99]);
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  return {
    config: { betas: [beta1, beta2], weightDecay },
    slots: ['m'],
    scalars: { lr: (rate) => rate, keep: (rate) => 1 - rate * weightDecay },
    update: ({ weight, gradient: g, slots, scalars }) => {
      const step = mul(sign(moment(slots.m, beta1, g)), scalars.lr);
      const shrunk = weightDecay === 0 ? weight : mul(weight, scalars.keep);
      return { weight: sub(shrunk, step), slots: { m: moment(slots.m, beta2, g) } };
    },
  };
}
