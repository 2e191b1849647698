import { checkInteger, DataError } from '../common/errors.ts';
import { KeyedRandom, shuffled, streams } from '../common/random.ts';
import { type Column, type Dataset, rowSize, takeRows } from './dataset.ts';

/**
 * Cuts a data set in a training part and a validation part, drawn at random by the seed. Rows keep their order within
 * each part.
 *
 * @param validation Rows to validate on: a number below 1 is a fraction (rounded, at least one row), else a count.
 * @throws DataError when nothing would be left to train or to validate on.
 */
export function split<F extends string>(source: Dataset<F>, validation: number, seed = 0): Dataset<F> {
  checkInteger('split: seed', seed, 0);
  for (const [field, { stride, shape }] of Object.entries<Column>(source.columns)) {
    if (stride === undefined || stride >= rowSize(shape)) continue;
    throw new DataError(
      'DATA_OPTION',
      `split: rows of column "${field}" of ${source.name} are windows that overlap, so rows drawn at random for validation ` +
        'would share their numbers with the training part. Let windows() or series() hold back the end (validation).',
    );
  }
  const count =
    validation > 0 && validation < 1 ? Math.max(1, Math.round(validation * source.length)) : validation;
  if (!Number.isInteger(count) || count < 1 || count >= source.length) {
    throw new DataError(
      'DATA_OPTION',
      `split: ${validation} of the ${source.length} rows of ${source.name} for validation; expected a fraction between ` +
        `0 and 1 or a whole number from 1 to ${source.length - 1}.`,
    );
  }
  const order = shuffled(new KeyedRandom(seed, streams.split), new Int32Array(source.length));
  const held = order.subarray(0, count).sort();
  const kept = order.subarray(count).sort();
  return { ...takeRows(source, kept), validation: takeRows(source, held, `${source.name} (validation)`) };
}
