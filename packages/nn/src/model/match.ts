/** Which parameters are meant: by name, by pattern, by shape. */
import type { Shape } from '@lockstep/autograd';
import { ConfigError, formatValue } from '../common/errors.ts';

export interface NamedShape {
  /** Path in the model: `blocks.0.norm.weight`. */
  readonly name: string;
  readonly shape: Shape;
}

/**
 * A pattern of the whole name in which `*` stands for any characters (`*.bias`, `head.*`), a RegExp that is found
 * in the name, several of them, or a function of name and shape.
 */
export type Match = string | RegExp | ((parameter: NamedShape) => boolean) | readonly Match[];

/** Biases and the gains of norms: what has fewer than two axes. Weight decay is mostly wrong for them. */
export const vectors = ({ shape }: NamedShape): boolean => shape.length < 2;

/** Throws ConfigError on what is no match. */
export function matcher(who: string, match: Match): (parameter: NamedShape) => boolean {
  if (typeof match === 'function') return match;
  if (match instanceof RegExp) return ({ name }) => name.search(match) >= 0;
  if (Array.isArray(match)) {
    const any = (match as readonly Match[]).map((one) => matcher(who, one));
    return (parameter) => any.some((one) => one(parameter));
  }
  if (typeof match !== 'string') {
    throw new ConfigError(
      who,
      `got match = ${formatValue(match)}, expected a name such as '*.bias', a RegExp, a function of { name, shape }, or an ` +
        'array of them',
    );
  }
  const escaped = match.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');
  const pattern = new RegExp(`^${escaped}$`);
  return ({ name }) => pattern.test(name);
}
