import { createHash } from 'node:crypto';
import { DataError } from '../common/errors.ts';
import type { Moments } from './standardize.ts';

export type ColumnType = 'f32' | 'i32' | 'u8';
export type ColumnData = Float32Array | Int32Array | Uint8Array;

/**
 * One field of a data set: all rows of it, row after row.
 *
 * A batch sees it `as` 'f32' (from f32 as it is, from u8 as `data · scale + shift`) or as 'i32' (from i32 or u8 as it
 * is: class labels, indexes).
 */
export interface Column<Shape extends readonly number[] = readonly number[]> {
  readonly dtype: ColumnType;
  /** Shape of one row; [] is one number per row. */
  readonly shape: Shape;
  readonly data: ColumnData;
  readonly as: 'f32' | 'i32';
  /** Only a u8 column seen as f32 may have another scale than 1 and another shift than 0. Both are f32 numbers. */
  readonly scale: number;
  readonly shift: number;
  /**
   * Numbers from the beginning of one row to that of the next: fewer than a row has where rows are windows that
   * overlap. Absent: rows lie one after another.
   */
  readonly stride?: number;
  /** Of labels: how many classes there are; every value is from 0 to classes − 1. */
  readonly classes?: number;
  /** Of labels: the name of every class; of tokens: the character of each. */
  readonly labels?: readonly string[];
  /** What the numbers of a row (of its last axis) are called, as in the file that they came from. */
  readonly features?: readonly string[];
  /** What shifted and scaled the numbers of the last axis: x was `x · deviation + mean` before. */
  readonly fit?: readonly Moments[];
}

/** A data set in memory: columns of `length` rows each, and maybe a validation set of the same columns. */
export interface Dataset<F extends string = string> {
  readonly name: string;
  readonly length: number;
  readonly columns: { readonly [K in F]: Column };
  readonly validation?: Dataset<F>;
}

/** Fields of a column that may be left out: see {@link column}. */
export interface ColumnOptions {
  readonly shape?: readonly number[];
  readonly as?: 'f32' | 'i32';
  readonly scale?: number;
  readonly shift?: number;
  readonly stride?: number;
  readonly classes?: number;
  readonly labels?: readonly string[];
  readonly features?: readonly string[];
  readonly fit?: readonly Moments[];
}

/** A column of `data` with the usual defaults: one number per row, f32 and u8 seen as f32, i32 seen as i32. */
export function column(data: ColumnData, options: ColumnOptions = {}): Column {
  const dtype = data instanceof Float32Array ? 'f32' : data instanceof Int32Array ? 'i32' : 'u8';
  const classes = options.classes ?? options.labels?.length;
  return {
    dtype,
    shape: options.shape ?? [],
    data,
    as: options.as ?? (dtype === 'i32' ? 'i32' : 'f32'),
    scale: Math.fround(options.scale ?? 1),
    shift: Math.fround(options.shift ?? 0),
    ...(options.stride === undefined ? {} : { stride: options.stride }),
    ...(classes === undefined ? {} : { classes }),
    ...(options.labels === undefined ? {} : { labels: options.labels }),
    ...(options.features === undefined ? {} : { features: options.features }),
    ...(options.fit === undefined ? {} : { fit: options.fit }),
  };
}

/** Numbers in one row. */
export const rowSize = (shape: readonly number[]): number =>
  shape.reduce((product, size) => product * size, 1);

/** Numbers from the beginning of one row of a column to that of the next. */
export const rowStride = ({ stride, shape }: Column): number => stride ?? rowSize(shape);

/** What {@link dataset} builds from. */
export interface DatasetParts<F extends string> {
  /** For messages and reports. */
  readonly name: string;
  readonly columns: { readonly [K in F]: Column };
  readonly validation?: Dataset<F> | undefined;
}

/**
 * A checked data set: at least one row, columns of one length, finite numbers, labels in their range, and a
 * validation set (if any) of the same columns. Every loader of this package ends here.
 *
 * @throws DataError that names the data set, the column and the first bad row.
 */
export function dataset<F extends string>(parts: DatasetParts<F>): Dataset<F> {
  const { name, columns, validation } = parts;
  const fields = Object.keys(columns) as F[];
  const first = fields[0];
  if (first === undefined) {
    throw new DataError('DATA_EMPTY', `Data set ${name}: no columns; expected at least one.`);
  }
  for (const field of fields) checkColumn(`Data set ${name}, column "${field}"`, columns[field]);
  const length = rowsOf(columns[first]);
  if (length === 0) {
    throw new DataError('DATA_EMPTY', `Data set ${name}: no rows; expected at least one. Check its source.`);
  }
  for (const field of fields) {
    const rows = rowsOf(columns[field]);
    if (rows === length) continue;
    throw new DataError(
      'DATA_SHAPE',
      `Data set ${name}: column "${field}" has ${rows} rows, column "${first}" has ${length}; expected as many in ` +
        'every column. Check that they come from the same rows of the source.',
    );
  }
  if (validation === undefined) return { name, length, columns };
  checkAlike(name, columns, validation);
  return { name, length, columns, validation };
}

/** Rows of a column. */
export const rowsOf = (column: Column): number => {
  const left = column.data.length - rowSize(column.shape);
  return left < 0 ? 0 : Math.floor(left / rowStride(column)) + 1;
};

function checkColumn(who: string, column: Column): void {
  const { dtype, shape, data, as, scale, shift, labels, classes, stride } = column;
  const size = rowSize(shape);
  if (!shape.every((extent) => Number.isInteger(extent) && extent >= 1)) {
    throw new DataError('DATA_SHAPE', `${who}: row shape [${shape}]; expected whole numbers of at least 1.`);
  }
  if (stride !== undefined && !(Number.isInteger(stride) && stride >= 1)) {
    throw new DataError('DATA_SHAPE', `${who}: stride ${stride}; expected a whole number of at least 1.`);
  }
  if (stride === undefined && data.length % size !== 0) {
    throw new DataError(
      'DATA_SHAPE',
      `${who}: ${data.length} numbers are not whole rows of shape [${shape}] (${size} each). Check the row shape.`,
    );
  }
  const scaled = scale !== 1 || shift !== 0;
  if (!Number.isFinite(scale) || !Number.isFinite(shift) || (scaled && (dtype !== 'u8' || as !== 'f32'))) {
    throw new DataError(
      'DATA_OPTION',
      `${who}: scale ${scale} and shift ${shift} of a column of ${dtype} seen as ${as}; only u8 seen as f32 can be ` +
        'scaled, by finite numbers. Scale the data itself (see standardize).',
    );
  }
  if ((as === 'i32' && dtype === 'f32') || (as === 'f32' && dtype === 'i32')) {
    throw new DataError(
      'DATA_OPTION',
      `${who}: ${dtype} cannot be seen as ${as}. Give ${as === 'i32' ? 'an Int32Array' : 'a Float32Array'}.`,
    );
  }
  if (labels !== undefined && labels.length !== classes) {
    throw new DataError('DATA_LABEL', `${who}: ${labels.length} class names for ${classes} classes.`);
  }
  if (data instanceof Float32Array) checkFinite(who, data, rowStride(column));
  if (as === 'i32' && classes !== undefined) checkLabels(who, data, rowStride(column), classes);
}

function checkFinite(who: string, data: Float32Array, size: number): void {
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    // Only NaN and the infinities give something else than 0.
    if (value - value === 0) continue;
    const place = size === 1 ? '' : `, element ${i % size}`;
    throw new DataError(
      'DATA_VALUE',
      `${who}: ${value} in row ${Math.floor(i / size)}${place}; expected finite numbers. Remove or fill such rows.`,
    );
  }
}

function checkLabels(who: string, data: ColumnData, size: number, classes: number): void {
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (value >= 0 && value < classes) continue;
    throw new DataError(
      'DATA_LABEL',
      `${who}: label ${value} in row ${Math.floor(i / size)}; expected 0 to ${classes - 1} (${classes} classes). ` +
        'Labels count from 0; give the number of classes if there are more.',
    );
  }
}

/** What a compiled step knows of a column: the same for training and validation. */
const face = ({ dtype, as, shape, scale, shift, classes }: Column): string => {
  const source = scale === 1 && shift === 0 ? dtype : `${dtype} · ${scale} + ${shift}`;
  return `${as} [${shape}] from ${source}${classes === undefined ? '' : ` of ${classes} classes`}`;
};

function checkAlike<F extends string>(
  name: string,
  columns: Dataset<F>['columns'],
  validation: Dataset<F>,
): void {
  const fields = Object.keys(columns) as F[];
  for (const field of new Set([...fields, ...(Object.keys(validation.columns) as F[])])) {
    const mine: Column | undefined = columns[field];
    const theirs: Column | undefined = validation.columns[field];
    if (mine !== undefined && theirs !== undefined && face(mine) === face(theirs)) continue;
    const show = (column: Column | undefined): string => (column === undefined ? 'missing' : face(column));
    throw new DataError(
      'DATA_SHAPE',
      `Data set ${name}: column "${field}" is ${show(mine)} for training, ${show(theirs)} for validation; expected ` +
        'the same columns in both.',
    );
  }
}

/** The rows `indexes` of a data set's columns, copied; without its validation set. */
export function takeRows<F extends string>(
  source: Dataset<F>,
  indexes: Int32Array,
  name = source.name,
): Dataset<F> {
  const taken = Object.entries<Column>(source.columns).map(([field, column]) => {
    const size = rowSize(column.shape);
    const data = new (column.data.constructor as new (length: number) => ColumnData)(indexes.length * size);
    for (let row = 0; row < indexes.length; row++) {
      const from = indexes[row]! * rowStride(column);
      data.set(column.data.subarray(from, from + size), row * size);
    }
    const { stride: _, ...packed } = column;
    return [field, { ...packed, data }];
  });
  return dataset({ name, columns: Object.fromEntries(taken) as Dataset<F>['columns'] });
}

/** The rows from `start` to `end` (excluded) of a data set's columns, as views; without its validation set. */
export function sliceRows<F extends string>(source: Dataset<F>, start: number, end: number): Dataset<F> {
  const cut = Object.entries<Column>(source.columns).map(([field, column]) => {
    const stride = rowStride(column);
    const last = end > start ? (end - 1) * stride + rowSize(column.shape) : start * stride;
    return [field, { ...column, data: column.data.subarray(start * stride, last) }];
  });
  return dataset({ name: source.name, columns: Object.fromEntries(cut) as Dataset<F>['columns'] });
}

/**
 * SHA-256 (hex) of what a run can see of a data set: every column in name order (name, types, shapes, scaling,
 * classes, then its little-endian bytes), training part first. The data set's name and the names of classes do not count.
 */
export function contentHash(source: Dataset): string {
  const hash = createHash('sha256');
  for (let part: Dataset | undefined = source; part !== undefined; part = part.validation) {
    for (const field of Object.keys(part.columns).sort()) {
      const { dtype, shape, data, as, scale, shift, classes = null, stride } = part.columns[field]!;
      const head = [field, dtype, shape, data.length, as, scale, shift, classes];
      hash.update(JSON.stringify(stride === undefined ? head : [...head, stride]));
      hash.update('\0');
      hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    hash.update('\n');
  }
  return hash.digest('hex');
}
