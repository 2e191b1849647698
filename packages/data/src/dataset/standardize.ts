import { DataError } from '../common/errors.ts';
import { type Column, type Dataset, dataset, rowSize, rowsOf } from './dataset.ts';

/** Mean and standard deviation (of the population) of one feature. */
export interface Moments {
  readonly mean: number;
  readonly deviation: number;
}

/**
 * Mean and deviation of every feature (element of a row) of a column, or of all its numbers together when `together`.
 * Two passes in f64, rows in order.
 */
export function moments(column: Column, together = false): Moments[] {
  const features = together ? 1 : rowSize(column.shape);
  const { data } = column;
  const count = data.length / features;
  const mean = new Float64Array(features);
  const square = new Float64Array(features);
  for (let i = 0; i < data.length; i++) mean[i % features]! += data[i]!;
  for (let j = 0; j < features; j++) mean[j]! /= count;
  for (let i = 0; i < data.length; i++) {
    const distance = data[i]! - mean[i % features]!;
    square[i % features]! += distance * distance;
  }
  return Array.from(mean, (m, j) => ({ mean: m, deviation: Math.sqrt(square[j]! / count) }));
}

/**
 * Shifts and scales a column to mean 0 and deviation 1, fitted on the training part alone and applied to both parts.
 * A column of f32 is fitted per feature and copied; one of u8 (pixels) is fitted as a whole and keeps its bytes. A
 * feature that never changes becomes 0.
 *
 * @throws DataError for a column that is not there or that is seen as i32 (labels).
 */
export function standardize<F extends string>(source: Dataset<F>, field: NoInfer<F>): Dataset<F> {
  const fitted: Column | undefined = source.columns[field];
  if (fitted === undefined || fitted.as !== 'f32') {
    const got = fitted === undefined ? 'there is no such column' : 'it holds labels';
    throw new DataError(
      fitted === undefined ? 'DATA_MISSING' : 'DATA_OPTION',
      `standardize: column "${field}" of ${source.name}: ${got}; expected one of numbers. Columns: ` +
        `${Object.keys(source.columns).join(', ')}.`,
    );
  }
  if (fitted.stride !== undefined) {
    throw new DataError(
      'DATA_OPTION',
      `standardize: rows of column "${field}" of ${source.name} are windows on one sequence. Scale the sequence before it is ` +
        'cut: series() does.',
    );
  }
  const fit = moments(fitted, fitted.dtype === 'u8');
  const apply = (part: Dataset<F>): Dataset<F> => {
    const columns = { ...part.columns, [field]: rescaled(part.columns[field], fit) };
    return dataset({ name: part.name, columns, validation: part.validation && apply(part.validation) });
  };
  return apply(source);
}

/** A number at mean 0 and deviation 1. What never changes has a deviation of 0, and becomes 0. */
export const standardized = (value: number, { mean, deviation }: Moments): number =>
  (value - mean) * (deviation > 0 ? 1 / deviation : 1);

function rescaled(column: Column, fit: readonly Moments[]): Column {
  if (column.dtype === 'u8') {
    const { mean, deviation } = fit[0]!;
    const scale = deviation > 0 ? 1 / deviation : 1;
    return { ...column, scale: Math.fround(scale), shift: Math.fround(-mean * scale) };
  }
  const features = rowSize(column.shape);
  const data = new Float32Array(rowsOf(column) * features);
  for (let i = 0; i < data.length; i++) data[i] = standardized(column.data[i]!, fit[i % features]!);
  // Of rows with several axes the moments are those of each place, not of the last axis.
  return column.shape.length < 2 ? { ...column, data, fit: composed(column.fit, fit) } : { ...column, data };
}

/** One fit in place of two, one after the other. */
const composed = (first: readonly Moments[] | undefined, second: readonly Moments[]): readonly Moments[] =>
  second.map(({ mean, deviation }, i) => {
    const inner = first?.[i] ?? { mean: 0, deviation: 1 };
    const size = inner.deviation > 0 ? inner.deviation : 1;
    return { mean: inner.mean + mean * size, deviation: deviation * size };
  });
