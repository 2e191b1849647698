/** Parameters that training leaves alone. */
import type { Parameter } from '@lockstep/autograd';
import { ConfigError } from '../common/errors.ts';
import { type Match, matcher } from './match.ts';
import { namedParameters } from './parameters.ts';

/**
 * Freezes the parameters of a module, or those of them that match: they take no gradient and no optimizer state, and
 * keep their bits. Gives the module. Throws ConfigError where there is nothing to freeze.
 *
 * `nn.freeze(model.encoder)`, `nn.freeze(model, ['embedding.*', '*.bias'])`
 */
export function freeze<M>(module: M, match: Match = '*'): M {
  return setFrozen('nn.freeze', module, match, true);
}

/** The opposite of {@link freeze}. */
export function unfreeze<M>(module: M, match: Match = '*'): M {
  return setFrozen('nn.unfreeze', module, match, false);
}

/** Whether training leaves a parameter as it is. */
export const isFrozen = (parameter: Parameter): boolean => !parameter.requiresGrad;

function setFrozen<M>(who: string, module: M, match: Match, frozen: boolean): M {
  const matches = matcher(who, match);
  const parameters = namedParameters(module);
  const found = [...parameters].filter(([name, { shape }]) => matches({ name, shape }));
  if (found.length === 0) {
    const names = [...parameters.keys()].join(', ') || '(none)';
    throw new ConfigError(who, `no parameter matches; the module's parameters are ${names}`);
  }
  for (const [, parameter] of found) parameter.requiresGrad = !frozen;
  return module;
}
