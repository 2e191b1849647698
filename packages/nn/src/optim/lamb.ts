import { add, div, gt, logicalAnd, mul, sqrt, sub, type Tensor, where } from '@lockstep/autograd';
import { expectNumber } from '../common/errors.ts';
import { powInteger } from '../common/exactMath.ts';
import { betasOf } from './adam.ts';
import {
  type CommonOptions,
  type Formula,
  fromFormula,
  type Optimizer,
  type UpdateInput,
} from './optimizer.ts';
import type { LearningRate } from './schedule.ts';

export interface LambRule {
  /** Decay of the means of g and of g², each from 0 to below 1. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Keeps the division finite, above 0. Default 1e-6. */
  readonly eps?: number;
  /** Default 0.01. */
  readonly weightDecay?: number;
  /** false: no ratio of norms, for a group of biases and gains of norms. Default true. */
  readonly adapt?: boolean;
}
export interface LambOptions extends LambRule, CommonOptions<LambRule> {
  /** Default 1e-3. */
  readonly lr?: LearningRate;
}

/**
 * LAMB, Adam with a rate for each parameter (You et al., 2020): u = m̂ / (√v̂ + eps) + weightDecay · w;
 * w −= lr · ‖w‖ / ‖u‖ · u, the ratio 1 where a norm is 0. Throws ConfigError.
 */
export const lamb = (options: LambOptions = {}): Optimizer =>
  fromFormula<LambRule>('lamb', options, ['betas', 'eps', 'weightDecay', 'adapt'], formula, 1e-3);

type Slot = 'm' | 'v';
type Scalar = 'lr' | 'scale' | 'eps';

function formula(who: string, options: LambRule): Formula<Slot, Scalar> {
  const { eps = 1e-6, weightDecay = 0.01, adapt = true } = options;
  const [beta1, beta2] = betasOf(who, options.betas);
  expectNumber(who, 'eps', eps, { above: 0 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  const root = (step: number): number => Math.sqrt(1 - powInteger(beta2, step + 1));
  const measure = ({ weight, gradient: g, slots, scalars }: UpdateInput<Slot, Scalar>) => {
    const m = add(mul(slots.m, beta1), mul(g, 1 - beta1));
    const v = add(mul(slots.v, beta2), mul(mul(g, 1 - beta2), g));
    const u = div(mul(m, scalars.scale), add(sqrt(v), scalars.eps));
    return { measured: weightDecay === 0 ? u : add(u, mul(weight, weightDecay)), slots: { m, v } };
  };
  const shared = {
    slots: ['m' as const, 'v' as const],
    scalars: {
      lr: (rate: number) => rate,
      // See Note [Adam's corrections].
      scale: (_: number, step: number) => root(step) / (1 - powInteger(beta1, step + 1)),
      eps: (_: number, step: number) => eps * root(step),
    },
    config: { betas: [beta1, beta2], eps, weightDecay, adapt },
  };
  if (!adapt) {
    const update = (input: UpdateInput<Slot, Scalar>) => {
      const { measured, slots } = measure(input);
      return { weight: sub(input.weight, mul(measured, input.scalars.lr)), slots };
    };
    return { ...shared, update };
  }
  return {
    ...shared,
    layer: {
      measureSlots: ['m', 'v'],
      measure,
      apply: ({ weight, measured: u, weightNorm, measuredNorm, scalars }) => ({
        weight: sub(weight, mul(u, mul(ratio(weightNorm, measuredNorm), scalars.lr))),
        slots: {},
      }),
    },
  };
}

/** a / b where both are above 0, else 1. */
const ratio = (a: Tensor, b: Tensor): Tensor => where(logicalAnd(gt(a, 0), gt(b, 0)), div(a, b), 1);
