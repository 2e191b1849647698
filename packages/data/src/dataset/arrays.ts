import { DataError } from '../common/errors.ts';
import { type Column, column, type Dataset, dataset, rowSize } from './dataset.ts';

/** Numbers in rows and columns, of any depth. */
export type Nested = readonly number[] | readonly Nested[];

/** An array of numbers with its full shape; the first axis are the rows. */
export interface NdArray {
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array;
  readonly shape: readonly number[];
}

/** What {@link arrays} takes for a field. */
export type ArrayLike =
  | Nested
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint8Array
  | NdArray
  // A column as it is: from `labels`, or from another data set.
  | Column;

/**
 * A data set from arrays in memory, a field each: `arrays({ x: [[0, 1], [1, 1]], y: labels([0, 1]) })`. Nested arrays and
 * floats become f32, an Int32Array i32 (labels), a Uint8Array f32 from 0 to 255. A typed array alone is one number
 * per row; `{ data, shape }` (as from `readNpy` or `readIdx`) has more.
 *
 * @throws DataError for ragged rows, fields of different lengths, NaN or infinite numbers, or no rows.
 */
export function arrays<F extends string>(
  fields: { readonly [K in F]: ArrayLike },
  options: { readonly name?: string; readonly validation?: Dataset<F> } = {},
): Dataset<F> {
  const entries = Object.entries<ArrayLike>(fields).map(([field, value]) => [field, toColumn(field, value)]);
  const columns = Object.fromEntries(entries) as Dataset<F>['columns'];
  return dataset({ name: options.name ?? 'arrays', columns, validation: options.validation });
}

/**
 * A column of class labels: whole numbers from 0, or names (the classes are then the names in use, sorted).
 *
 * @param classes How many classes there are. Default: the highest label plus one.
 * @throws DataError for a label that is not a whole number from 0 to classes − 1, or such classes.
 */
export function labels(values: ArrayLikeOf<number> | readonly string[], classes?: number): Column {
  if (classes !== undefined && !(Number.isInteger(classes) && classes >= 1)) {
    const got = typeof classes === 'object' ? JSON.stringify(classes) : String(classes);
    throw new DataError(
      'DATA_OPTION',
      `labels: got ${got} classes; expected their number: labels(values, 3).`,
    );
  }
  if (isNames(values)) {
    const names = [...new Set(values)].sort();
    const index = new Map(names.map((name, i) => [name, i]));
    return column(
      Int32Array.from(values, (name) => index.get(name)!),
      { labels: names },
    );
  }
  let highest = 0;
  for (let row = 0; row < values.length; row++) {
    const value = values[row]!;
    if (!Number.isInteger(value) || value < 0 || value >= (classes ?? 2 ** 31 - 1)) {
      const range = classes === undefined ? 'from 0' : `from 0 to ${classes - 1}`;
      throw new DataError('DATA_LABEL', `labels: ${value} in row ${row}; expected whole numbers ${range}.`);
    }
    highest = Math.max(highest, value);
  }
  return column(Int32Array.from(values), { classes: classes ?? highest + 1 });
}

interface ArrayLikeOf<T> extends Iterable<T> {
  readonly length: number;
  readonly [index: number]: T;
}

const isNames = (values: ArrayLikeOf<number> | readonly string[]): values is readonly string[] =>
  typeof values[0] === 'string';

function toColumn(field: string, value: ArrayLike): Column {
  if (typeof value !== 'object' || value === null) {
    throw new DataError(
      'DATA_SHAPE',
      `arrays: field "${field}" is ${value === null ? 'null' : `a ${typeof value}`}; expected numbers in nested or typed arrays, one ` +
        'element per row.',
    );
  }
  if (isList(value)) {
    const shape = shapeOf(value);
    const flat = new Float32Array(rowSize(shape));
    fill(field, value, shape, flat, []);
    return column(flat, { shape: shape.slice(1) });
  }
  if (ArrayBuffer.isView(value)) return column(toF32(value));
  if ('dtype' in value) return value;
  const { data, shape } = value;
  if (shape.length === 0 || rowSize(shape) !== data.length) {
    throw new DataError(
      'DATA_SHAPE',
      `arrays: field "${field}" has ${data.length} numbers for the shape [${shape}]; expected the full shape, rows first.`,
    );
  }
  return column(toF32(data), { shape: shape.slice(1) });
}

const isList = (value: ArrayLike): value is Nested => Array.isArray(value);

const toF32 = (data: NdArray['data']): Column['data'] =>
  data instanceof Float64Array ? Float32Array.from(data) : data;

/** The shape along the first elements; {@link fill} holds all others to it. */
function shapeOf(value: Nested): number[] {
  const shape: number[] = [];
  for (let level: Nested | number | undefined = value; Array.isArray(level); level = level[0]) {
    shape.push(level.length);
  }
  return shape;
}

/** Copies the nested numbers below the place `path` to `flat`, from `at`; gives the next free place. */
function fill(
  field: string,
  value: Nested | number | undefined,
  shape: readonly number[],
  flat: Float32Array,
  path: readonly number[],
  at = 0,
): number {
  const depth = path.length;
  const where = path.length === 0 ? '' : ` at [${path.join('][')}]`;
  if (depth === shape.length) {
    if (typeof value !== 'number') {
      throw new DataError(
        'DATA_SHAPE',
        `arrays: field "${field}" has ${show(value)}${where}; expected a number.`,
      );
    }
    flat[at] = value;
    return at + 1;
  }
  if (!Array.isArray(value) || value.length !== shape[depth]) {
    throw new DataError(
      'DATA_SHAPE',
      `arrays: field "${field}" has ${show(value)}${where}; expected ${shape[depth]} elements as in the first row.`,
    );
  }
  let next = at;
  for (let i = 0; i < value.length; i++) next = fill(field, value[i], shape, flat, [...path, i], next);
  return next;
}

const show = (value: unknown): string =>
  Array.isArray(value) ? `${value.length} elements` : `${typeof value}`;
