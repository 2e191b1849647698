import { createRequire } from 'node:module';
import { DataError } from '../common/errors.ts';
import { readBytes } from '../common/files.ts';
import { labels } from '../dataset/arrays.ts';
import { type Column, column, type Dataset, dataset } from '../dataset/dataset.ts';

export interface CsvOptions {
  /** The file. */
  readonly path: string;
  /** Name of the column to predict. */
  readonly target: string;
  /** Names of the columns to predict from. Default: all others. */
  readonly features?: readonly string[];
  /**
   * 'regression': `y` is f32 [1]. 'classification': `y` are labels; the classes are the texts in use, in order (by
   * number when all are numbers). Default: by whether the target of the first row is a number.
   */
  readonly task?: 'regression' | 'classification';
  /** Names of the columns when the file has no line of names. */
  readonly header?: readonly string[];
  /** Default ','. */
  readonly delimiter?: string;
}

/** One line of a table. */
export interface Row {
  readonly cells: readonly string[];
  readonly line: number;
}

/**
 * A table of numbers from a CSV file (RFC 4180, UTF-8): `x` is f32 [features], `y` the target, see
 * {@link CsvOptions.task}. Blanks around a cell do not count; empty lines are skipped.
 *
 * @throws DataError that names file, line and column for a missing column, an empty cell or one that is not a number.
 */
export function csv(options: CsvOptions): Dataset<'x' | 'y'> {
  const { path } = options;
  const { names, rows } = readTable(options);
  const target = indexOf(path, names, options.target);
  const picked = options.features ?? names.filter((_, i) => i !== target);
  if (picked.length === 0) {
    throw new DataError(
      'DATA_EMPTY',
      `csv: ${path}: no feature columns beside the target "${options.target}".`,
    );
  }
  const features = picked.map((name) => indexOf(path, names, name));
  const x = new Float32Array(rows.length * features.length);
  let at = 0;
  for (const row of rows) for (const feature of features) x[at++] = numberIn(path, row, feature, names);
  return dataset({
    name: path,
    columns: {
      x: column(x, { shape: [features.length], features: picked }),
      y: targetColumn(options, rows, target, names),
    },
  });
}

/** The lines of a CSV file and the names of its columns. Throws DataError. */
export function readTable(options: Pick<CsvOptions, 'path' | 'header' | 'delimiter'>): {
  names: readonly string[];
  rows: Row[];
} {
  const { path } = options;
  const rows = parseRows(options);
  const names = options.header ?? rows.shift()?.cells;
  if (names === undefined || rows.length === 0) {
    throw new DataError('DATA_EMPTY', `csv: ${path} has no rows${names ? ' below its line of names' : ''}.`);
  }
  checkNames(path, names, rows);
  return { names, rows };
}

/** The lines of a CSV file as they are. Throws DataError. */
export function parseRows(options: Pick<CsvOptions, 'path' | 'delimiter'>): Row[] {
  const { path, delimiter = ',' } = options;
  const text = Buffer.from(readBytes('csv', path)).toString('utf8');
  // Loaded on first use: most runs read no CSV, and their first step should not wait for the parser.
  const { parse } = createRequire(import.meta.url)('csv-parse/sync') as typeof import('csv-parse/sync');
  const rows: Row[] = [];
  try {
    parse(text, {
      delimiter,
      bom: true,
      trim: true,
      skip_empty_lines: true,
      on_record: (cells: string[], { lines }) => {
        rows.push({ cells, line: lines });
        return null;
      },
    });
    return rows;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DataError('DATA_FORMAT', `csv: ${path} is not proper CSV: ${reason}`, { cause: error });
  }
}

function checkNames(path: string, names: readonly string[], rows: readonly Row[]): void {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new DataError('DATA_FORMAT', `csv: ${path} has two columns "${twice}"; expected a name for each.`);
  }
  const width = rows[0]!.cells.length;
  if (names.length !== width) {
    throw new DataError(
      'DATA_SHAPE',
      `csv: ${path} has ${width} columns, but ${names.length} names are given.`,
    );
  }
}

/** Throws DataError on a name that is not there. */
export function indexOf(path: string, names: readonly string[], name: string): number {
  const index = names.indexOf(name);
  if (index >= 0) return index;
  throw new DataError(
    'DATA_MISSING',
    `csv: ${path} has no column "${name}"; its columns: ${names.join(', ')}.`,
  );
}

export const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The number in a cell. Throws DataError. */
export function numberIn(
  path: string,
  row: Row,
  index: number,
  names: readonly string[],
  wayOut = leaveOut,
): number {
  const cell = row.cells[index]!;
  const value = decimal.test(cell) ? Math.fround(Number(cell)) : Number.NaN;
  if (Number.isFinite(value)) return value;
  const got = cell === '' ? 'an empty cell' : `"${cell}"`;
  throw new DataError(
    'DATA_VALUE',
    `csv: ${path}, line ${row.line}, column "${names[index]}": ${got}; expected a number. ${wayOut}`,
  );
}

const leaveOut = 'Fix the cell, or leave the column out (features).';

function targetColumn(
  options: CsvOptions,
  rows: readonly Row[],
  index: number,
  names: readonly string[],
): Column {
  const numeric = decimal.test(rows[0]!.cells[index]!);
  const task = options.task ?? (numeric ? 'regression' : 'classification');
  if (task === 'regression') {
    const wayOut = "Fix the cell, or give task: 'classification' if these are names of classes.";
    const y = Float32Array.from(rows, (row) => numberIn(options.path, row, index, names, wayOut));
    return column(y, { shape: [1] });
  }
  const cells = rows.map((row) => {
    const cell = row.cells[index]!;
    if (cell !== '') return cell;
    throw new DataError(
      'DATA_VALUE',
      `csv: ${options.path}, line ${row.line}, column "${names[index]}": an empty cell; expected the name of a class.`,
    );
  });
  if (!cells.every((cell) => decimal.test(cell))) return labels(cells);
  const classes = [...new Set(cells)].sort((a, b) => Number(a) - Number(b));
  const number = new Map(classes.map((name, i) => [name, i]));
  return column(
    Int32Array.from(cells, (cell) => number.get(cell)!),
    { labels: classes },
  );
}
