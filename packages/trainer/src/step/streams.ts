/**
 * Note [Random numbers]: Every number is a function of (seed, stream, step, shard or sample, element), never of who draws
 * it or when. A stream is one place of the traced code where numbers are drawn; its number counts from the first one of
 * the purpose below, so that no purpose sees another's numbers.
 *
 * | purpose    | step                      | keyed by |
 * | ---------- | ------------------------- | -------- |
 * | training   | batch of the run          | shard    |
 * | validation | batch of the validation part: every validation sees the same numbers | shard |
 * | prediction | 0                         | row, where the shape follows the number of rows; else alike for all rows |
 *
 * Initial weights have a shard of their own (`INITIAL_WEIGHTS`).
 */
import type { Samples, Trace } from '@lockstep/autograd';
import { ConfigError } from '@lockstep/nn';

export const FIRST_STREAM = { training: 0, validation: 2 ** 30, prediction: 2 ** 31 } as const;

/** Shapes of the random numbers that a trace draws, by stream. */
export function randomShapes({ nodes }: Trace): Map<number, readonly number[]> {
  const draws = nodes.flatMap((node) =>
    node.kind === 'op' && node.op.kind === 'kernel' && node.op.random
      ? [[(node.attrs as { readonly stream: number }).stream, node.shape] as const]
      : [],
  );
  return new Map(draws);
}

/**
 * Which axis of random numbers goes along the rows: the one that is longer in a trace for one row more. Throws ConfigError
 * where that is not one axis.
 */
export function samplesOf(
  shapes: ReadonlyMap<number, readonly number[]>,
  oneMore: ReadonlyMap<number, readonly number[]>,
  rows: number,
): Map<number, Samples> {
  return new Map(
    [...shapes].map(([stream, shape]): [number, Samples] => {
      const other = oneMore.get(stream) ?? [];
      const grown = shape.flatMap((size, axis) => (size === other[axis] ? [] : [axis]));
      const [axis] = grown;
      if (axis === undefined && shape.length === other.length) return [stream, 'none'];
      const isRows = grown.length === 1 && shape[axis!]! * (rows + 1) === other[axis!]! * rows;
      if (isRows && shape.length === other.length) return [stream, { axis: axis!, count: rows }];
      throw new ConfigError(
        'predict',
        `it draws random numbers of shape [${shape.join(', ')}] for ${rows} rows and [${other.join(', ')}] for ${rows + 1}, ` +
          'expected one axis that goes along the rows, or the same shape: a row must not depend on how many there are',
      );
    }),
  );
}
