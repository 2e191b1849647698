/** Constants with a pattern, and masks by place. */
import { tensor } from '../core/apply.ts';
import {
  type DType,
  expectConstant,
  expectDType,
  expectTensors,
  expectTypeName,
  formatSpec,
  OpError,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { cast, eq, where } from './elementwise.ts';
import { unsqueeze } from './shape.ts';

function expectCount(op: string, what: string, n: number): void {
  if (!Number.isInteger(n) || n < 0)
    throw new OpError(op, `got ${what} ${n}, expected a whole number from 0 on`);
}

/** As many values, by their place. */
const sequence = (n: number, value: (i: number) => number, dtype: DType): Tensor =>
  tensor(
    Float64Array.from({ length: n }, (_, i) => value(i)),
    { dtype },
  );

/** 0, 1, …, n − 1 as a constant. Throws OpError. */
export function arange(n: number, dtype?: 'f32' | 'i32'): Tensor;
/** start, start + step, … up to but without `end`, as a constant. Throws OpError. */
export function arange(start: number, end: number, step?: number, dtype?: 'f32' | 'i32'): Tensor;
export function arange(
  first: number,
  second?: number | 'f32' | 'i32',
  step = 1,
  last: 'f32' | 'i32' = 'f32',
): Tensor {
  const dtype = typeof second === 'string' ? second : last;
  expectTypeName('arange', dtype);
  const [start, end] = typeof second === 'number' ? [first, second] : [0, first];
  const count = Math.ceil((end - start) / step);
  if (!Number.isFinite(count) || (dtype === 'i32' && !(Number.isInteger(start) && Number.isInteger(step)))) {
    throw new OpError(
      'arange',
      `got start ${start}, end ${end} and step ${step} for ${dtype}, expected finite numbers, a step other than 0, and whole ` +
        'numbers for i32',
    );
  }
  if (count > 0) for (const end of [start, start + (count - 1) * step]) expectConstant('arange', end, dtype);
  return sequence(Math.max(0, count), (i) => start + i * step, dtype);
}

/** `count` evenly spaced numbers from `start` to `end`, both included. Throws OpError. */
export function linspace(start: number, end: number, count: number): Tensor {
  expectCount('linspace', 'count', count);
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  // From both ends, so that the last number is exactly `end`.
  return sequence(count, (i) => (2 * i < count ? start + i * step : end - (count - 1 - i) * step), 'f32');
}

/** A matrix [rows, columns] with ones on its diagonal. Throws OpError. */
export function eye(rows: number, columns = rows): Tensor {
  expectCount('eye', 'rows', rows);
  expectCount('eye', 'columns', columns);
  const values = new Float64Array(rows * columns);
  for (let i = 0; i < Math.min(rows, columns); i++) values[i * columns + i] = 1;
  return tensor(values, { shape: [rows, columns] });
}

/** One f32 row of `classes` per label (i32 or u8): 1 at the label, else 0. Throws OpError. */
export function oneHot(labels: Tensor, classes: number): Tensor {
  expectDType('oneHot', 'labels', labels, 'i32', 'u8');
  expectCount('oneHot', 'classes', classes);
  return cast(eq(unsqueeze(cast(labels, 'i32'), -1), arange(classes, 'i32')), 'f32');
}

function triangle(op: string, x: Tensor, keep: (row: number, column: number) => boolean): Tensor {
  expectTensors(op, x);
  if (x.rank < 2) throw new OpError(op, `got ${formatSpec(x)}, expected matrices [..., rows, columns]`);
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  const mask = Int32Array.from({ length: rows * columns }, (_, i) =>
    Number(keep(Math.floor(i / columns), i % columns)),
  );
  return where(tensor(mask, { shape: [rows, columns], dtype: 'bool' }), x, 0);
}

/** Matrices [..., rows, columns] with 0 above the diagonal that is `k` to the right of the main one. Throws OpError. */
export const tril = (x: Tensor, k = 0): Tensor => triangle('tril', x, (row, column) => column <= row + k);
/** Matrices [..., rows, columns] with 0 below the diagonal that is `k` to the right of the main one. Throws OpError. */
export const triu = (x: Tensor, k = 0): Tensor => triangle('triu', x, (row, column) => column >= row + k);
