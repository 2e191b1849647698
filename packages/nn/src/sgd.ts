import { add, mul, sub } from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions } from './errors.ts';
import { type CommonOptions, defineOptimizer, type Optimizer, type UpdateInput } from './optimizer.ts';
import { type LearningRate, toSchedule } from './schedule.ts';

export interface SgdOptions extends CommonOptions {
  readonly lr: LearningRate;
  /** From 0 to below 1. Default 0: none. */
  readonly momentum?: number;
  /** From 0 to 1. Default 0. */
  readonly dampening?: number;
  /** Look ahead along the momentum (Sutskever et al., 2013); needs momentum > 0 and dampening = 0. Default false. */
  readonly nesterov?: boolean;
  /** Adds weightDecay · w to the gradient. Default 0. */
  readonly weightDecay?: number;
}

/**
 * Stochastic gradient descent by PyTorch's formulas:
 * d = g + weightDecay · w;  b = momentum · b + (1 − dampening) · d (the first b is d);
 * w −= lr · (nesterov ? d + momentum · b : b). Throws ConfigError.
 */
export function sgd(options: SgdOptions): Optimizer {
  const who = 'optim.sgd';
  expectOptions(who, options, ['lr', 'momentum', 'dampening', 'nesterov', 'weightDecay', 'clipNorm']);
  const { momentum = 0, dampening = 0, nesterov = false, weightDecay = 0, clipNorm } = options;
  const lr = toSchedule(who, options.lr);
  expectNumber(who, 'momentum', momentum, { min: 0, below: 1 });
  expectNumber(who, 'dampening', dampening, { min: 0, max: 1 });
  expectNumber(who, 'weightDecay', weightDecay, { min: 0 });
  if (nesterov && (momentum === 0 || dampening !== 0)) {
    throw new ConfigError(
      who,
      `got nesterov with momentum = ${momentum} and dampening = ${dampening}, expected momentum > 0 and dampening = 0`,
    );
  }
  const config = { momentum, dampening, nesterov, weightDecay };
  const shared = { name: 'sgd', lr, clipNorm, config };
  const decayed = ({ weight, gradient }: UpdateInput) =>
    weightDecay === 0 ? gradient : add(gradient, mul(weight, weightDecay));

  if (momentum === 0) {
    return defineOptimizer<never, 'lr'>({
      ...shared,
      slots: [],
      scalars: { lr: (rate) => rate },
      update: (input) => ({ weight: sub(input.weight, mul(decayed(input), input.scalars.lr)), slots: {} }),
    });
  }
  return defineOptimizer<'momentum', 'lr' | 'share'>({
    ...shared,
    slots: ['momentum'],
    // The first gradient is not damped. Its old momentum is 0, so the formula holds from the first step on.
    scalars: { lr: (rate) => rate, share: (_, step) => (step === 0 ? 1 : 1 - dampening) },
    update: (input) => {
      const d = decayed(input);
      const { lr: rate, share } = input.scalars;
      const b = add(mul(input.slots.momentum, momentum), dampening === 0 ? d : mul(d, share));
      const direction = nesterov ? add(d, mul(b, momentum)) : b;
      return { weight: sub(input.weight, mul(direction, rate)), slots: { momentum: b } };
    },
  });
}
