/** What a run's data looked like: enough to make new rows for its model without having the data. */
import { type Column, type Dataset, type RowSource, readRows, rowSize, rowStride } from '@lockstep/data';
import { ConfigError } from '@lockstep/nn';
import type { TrainingDefinition } from './definition.ts';

/** A column without its rows. */
export type ColumnRecord = Omit<Column, 'data' | 'stride'>;

/** In the order of the data set; the first column is what models take unless the definition says otherwise. */
export type ColumnRecords = Readonly<Record<string, ColumnRecord>>;

export const columnRecords = ({ columns }: Dataset): ColumnRecords =>
  Object.fromEntries(
    Object.entries<Column>(columns).map(([name, { data: _, stride: __, ...record }]) => [name, record]),
  );

const EMPTY = { f32: new Float32Array(), i32: new Int32Array(), u8: new Uint8Array() } as const;

/**
 * Rows of a file or a text for a model: by `definition.read`, else like the first of the data's columns. Throws DataError,
 * and ConfigError on what `read` gives.
 */
export async function inputRows<M, F extends string>(
  { read }: Pick<TrainingDefinition<M, F>, 'read'>,
  columns: ColumnRecords,
  source: RowSource,
): Promise<Dataset> {
  if (read) {
    const rows = await read(source);
    if (typeof rows === 'object' && rows !== null && 'columns' in rows) return rows;
    throw new ConfigError('read', `got ${typeof rows}, expected a data set, for example data.arrays({ x })`);
  }
  const [name, record] = Object.entries(columns)[0]!;
  const column = await readRows({ ...record, data: EMPTY[record.dtype] }, source);
  return { name: 'input', length: column.data.length / rowSize(column.shape), columns: { [name]: column } };
}

/** Rows of several data sets as one, where they have the same columns; none where they do not. */
export function joinedRows(parts: readonly Dataset[]): Dataset | undefined {
  const [first] = parts;
  if (!first) return undefined;
  const faceOf = ({ columns }: Dataset): string =>
    JSON.stringify(Object.entries(columnRecords({ columns } as Dataset)));
  const isPlain = ({ columns }: Dataset): boolean =>
    Object.values<Column>(columns).every((column) => rowStride(column) === rowSize(column.shape));
  if (!parts.every((part) => faceOf(part) === faceOf(first) && isPlain(part))) return undefined;
  const columns = Object.entries<Column>(first.columns).map(([name, column]) => {
    const data = new (column.data.constructor as new (length: number) => Column['data'])(
      parts.reduce((sum, part) => sum + part.columns[name]!.data.length, 0),
    );
    let at = 0;
    for (const part of parts) {
      data.set(part.columns[name]!.data, at);
      at += part.columns[name]!.data.length;
    }
    return [name, { ...column, data }];
  });
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return { name: first.name, length, columns: Object.fromEntries(columns) };
}
