import { add, mul, sub } from '@lockstep/autograd';
import { ConfigError, expectNumber } from '../common/errors.ts';
import {
  type CommonOptions,
  type Formula,
  fromFormula,
  type Optimizer,
  type UpdateInput,
} from './optimizer.ts';
import type { LearningRate } from './schedule.ts';

export interface SgdRule {
  /** From 0 to below 1. Default 0: none. */
  readonly momentum?: number;
  /** From 0 to 1. Default 0. */
  readonly dampening?: number;
  /** Look ahead along the momentum (Sutskever et al., 2013); needs momentum > 0 and dampening = 0. Default false. */
  readonly nesterov?: boolean;
  /** Adds weightDecay · w to the gradient. Default 0. */
  readonly weightDecay?: number;
}
export interface SgdOptions extends SgdRule, CommonOptions<SgdRule> {
  readonly lr: LearningRate;
}

/**
 * Stochastic gradient descent by PyTorch's formulas:
 * d = g + weightDecay · w;  b = momentum · b + (1 − dampening) · d (the first b is d);
 * w −= lr · (nesterov ? d + momentum · b : b). Throws ConfigError.
 */
export const sgd = (options: SgdOptions): Optimizer =>
  fromFormula<SgdRule>('sgd', options, ['momentum', 'dampening', 'nesterov', 'weightDecay'], formula);

function formula(who: string, options: SgdRule): Formula<never, 'lr'> | Formula<'momentum', 'lr' | 'share'> {
  const { momentum = 0, dampening = 0, nesterov = false, weightDecay = 0 } = options;
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
  const decayed = ({ weight, gradient }: Pick<UpdateInput, 'weight' | 'gradient'>) =>
    weightDecay === 0 ? gradient : add(gradient, mul(weight, weightDecay));

  if (momentum === 0) {
    const plain: Formula<never, 'lr'> = {
      config,
      slots: [],
      scalars: { lr: (rate) => rate },
      update: (input) => ({ weight: sub(input.weight, mul(decayed(input), input.scalars.lr)), slots: {} }),
    };
    return plain;
  }
  const withMomentum: Formula<'momentum', 'lr' | 'share'> = {
    config,
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
  };
  return withMomentum;
}
