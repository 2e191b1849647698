import { checkInteger, DataError } from '../common/errors.ts';
import { type Column, column, type Dataset, dataset } from '../dataset/dataset.ts';
import { type Moments, moments, standardized } from '../dataset/standardize.ts';
import { indexOf, numberIn, readTable } from './csv.ts';

export interface SeriesOptions {
  /** A CSV file, one line per time, in order. */
  readonly path?: string;
  /** Or the numbers: each column by name, all of one length. */
  readonly values?: { readonly [name: string]: ArrayLike<number> };
  /** Name of the column to forecast. */
  readonly target: string;
  /** Names of the columns to forecast from. Default: all columns, the target among them. */
  readonly inputs?: readonly string[];
  /** Times that a forecast sees, at least 1. */
  readonly window: number;
  /** Times that it is made for, at least 1. Default 1: the next. */
  readonly horizon?: number;
  /** Times from the beginning of one window to that of the next. Default 1. */
  readonly stride?: number;
  /** Times held back at the end to validate on: a number below 1 is a fraction, else a count; 0: none. Default 0.2. */
  readonly validation?: number;
  /** Shift and scale each column to mean 0 and deviation 1, fitted on the training part alone. Default true. */
  readonly scale?: boolean;
  /** Names of the columns when the file has no line of names. */
  readonly header?: readonly string[];
  /** Default ','. */
  readonly delimiter?: string;
}

/** A data set of windows, and what scaled it: a forecast y is `y · deviation + mean` in the target's units. */
export interface Series extends Dataset<'x' | 'y'> {
  readonly scaling: { readonly inputs: readonly Moments[]; readonly target: Moments };
}

/**
 * Sliding windows over the columns of a table: `x` f32 [window, inputs] and `y` f32 [horizon], the target at the times
 * after the window. Training windows end before the validation part begins; validation windows may see what was before it,
 * and forecast only what is in it. No window is copied.
 *
 * @throws DataError for what `csv` does, columns of different lengths, or too few times.
 */
export function series(options: SeriesOptions): Series {
  const { window, horizon = 1, stride = 1, validation = 0.2, scale = true, target } = options;
  checkInteger('series: window', window, 1);
  checkInteger('series: horizon', horizon, 1);
  checkInteger('series: stride', stride, 1);
  const { name, names, columns, times } = readColumns(options);
  const held = validation < 1 ? Math.round(validation * times) : validation;
  checkInteger('series: validation', held, 0, times);
  const cut = times - held;
  const inputs = options.inputs ?? names;
  const series_ = inputs.map((input) => scaled(columns(input), cut, scale));
  const goal = scaled(columns(target), cut, scale);
  const x = new Float32Array(times * inputs.length);
  series_.forEach(({ values }, j) => {
    for (let t = 0; t < times; t++) x[t * inputs.length + j] = values[t]!;
  });
  const part = (from: number, to: number): { readonly [K in 'x' | 'y']: Column } => {
    if (from < 0 || to - from < window + horizon) {
      throw new DataError(
        'DATA_EMPTY',
        `series: ${name}: ${to - Math.max(from, 0)} times ${from === 0 ? 'to train on' : 'to validate on'} give no window of ` +
          `${window} and ${horizon} to forecast. Take a shorter window, or another validation.`,
      );
    }
    const seen = x.subarray(from * inputs.length, (to - horizon) * inputs.length);
    return {
      x: column(seen, {
        shape: [window, inputs.length],
        stride: stride * inputs.length,
        features: inputs,
        fit: series_.map(({ fit }) => fit),
      }),
      y: column(goal.values.subarray(from + window, to), { shape: [horizon], stride }),
    };
  };
  const heldPart =
    held === 0 ? undefined : dataset({ name: `${name} (validation)`, columns: part(cut - window, times) });
  return {
    ...dataset({ name, columns: part(0, cut), validation: heldPart }),
    scaling: { inputs: series_.map(({ fit }) => fit), target: goal.fit },
  };
}

/** A column at mean 0 and deviation 1 over its first `fitted` numbers; one that never changes there becomes 0 there. */
function scaled(
  values: Float32Array,
  fitted: number,
  scale: boolean,
): { values: Float32Array; fit: Moments } {
  if (!scale) return { values, fit: { mean: 0, deviation: 1 } };
  const [{ mean, deviation }] = moments(column(values.subarray(0, fitted))) as [Moments];
  const fit = { mean, deviation: deviation > 0 ? deviation : 1 };
  return { values: values.map((value) => standardized(value, fit)), fit };
}

interface Columns {
  readonly name: string;
  readonly names: readonly string[];
  readonly times: number;
  /** @throws DataError where there is none of that name, or no number in it. */
  readonly columns: (name: string) => Float32Array;
}

function readColumns(options: SeriesOptions): Columns {
  const { path, values } = options;
  if ((path === undefined) === (values === undefined)) {
    throw new DataError(
      'DATA_OPTION',
      `series: got ${path === undefined ? 'neither path nor values' : 'both path and values'}, expected one of them.`,
    );
  }
  if (path !== undefined) {
    const { header, delimiter } = options;
    const { names, rows } = readTable({ path, ...(header && { header }), ...(delimiter && { delimiter }) });
    const columns = (name: string): Float32Array => {
      const index = indexOf(path, names, name);
      return Float32Array.from(rows, (row) => numberIn(path, row, index, names));
    };
    return { name: path, names, times: rows.length, columns };
  }
  const names = Object.keys(values!);
  const times = values![options.target]?.length ?? 0;
  const columns = (name: string): Float32Array => {
    const found = values![name];
    if (found?.length === times && times > 0) return Float32Array.from(found);
    const got = found ? `${found.length} numbers, the target has ${times}` : 'not there';
    throw new DataError(
      found ? 'DATA_SHAPE' : 'DATA_MISSING',
      `series: column "${name}" is ${got}; its columns: ${names.join(', ')}.`,
    );
  };
  return { name: 'series', names, times, columns };
}
