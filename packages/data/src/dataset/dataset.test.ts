import { describe, expect, it } from 'vitest';
import { expectProblem, thrown } from '../../test/support.ts';
import type { DataErrorCode } from '../common/errors.ts';
import { arrays, labels } from './arrays.ts';
import { type Column, column, contentHash, type Dataset, dataset, sliceRows, takeRows } from './dataset.ts';

const numbers = column(Float32Array.of(1, 2, 3, 4), { shape: [2] });
const two = (columns: Record<string, Column>, validation?: Dataset) => () =>
  dataset({ name: 'd', columns, validation });

describe('a bad data set', () => {
  const cases: [string, () => unknown, DataErrorCode, ...string[]][] = [
    ['has no columns', two({}), 'DATA_EMPTY', 'no columns'],
    ['has no rows', two({ x: column(new Float32Array(0)) }), 'DATA_EMPTY', 'no rows'],
    [
      'has columns of different lengths',
      two({ x: numbers, y: column(Float32Array.of(1, 2, 3)) }),
      'DATA_SHAPE',
      'column "y" has 3 rows',
      'column "x" has 2',
    ],
    [
      'has half a row',
      two({ x: column(Float32Array.of(1, 2, 3), { shape: [2] }) }),
      'DATA_SHAPE',
      '3 numbers are not whole rows of shape [2]',
    ],
    ['has a row shape of 0', two({ x: column(new Float32Array(0), { shape: [0] }) }), 'DATA_SHAPE', '[0]'],
    [
      'has NaN',
      two({ x: column(Float32Array.of(1, 2, 3, Number.NaN), { shape: [2] }) }),
      'DATA_VALUE',
      'column "x": NaN in row 1, element 1',
    ],
    ['has an infinity', two({ x: column(Float32Array.of(1, -1 / 0)) }), 'DATA_VALUE', '-Infinity in row 1;'],
    [
      'has a label above the classes',
      two({ y: column(Int32Array.of(0, 9, 10), { classes: 10 }) }),
      'DATA_LABEL',
      'label 10 in row 2; expected 0 to 9',
    ],
    [
      'has a label below 0',
      two({ y: column(Int32Array.of(-1), { classes: 3 }) }),
      'DATA_LABEL',
      'label -1 in row 0',
    ],
    [
      'has a byte label above the classes',
      two({ y: column(Uint8Array.of(3), { as: 'i32', classes: 3 }) }),
      'DATA_LABEL',
      'label 3 in row 0',
    ],
    [
      'has other class names than classes',
      two({ y: column(Int32Array.of(1), { classes: 3, labels: ['a'] }) }),
      'DATA_LABEL',
      '1 class names for 3 classes',
    ],
    [
      'scales floats',
      two({ x: { ...numbers, scale: 2 } }),
      'DATA_OPTION',
      'only u8 seen as f32 can be scaled',
    ],
    ['sees floats as labels', two({ x: { ...numbers, as: 'i32' } }), 'DATA_OPTION', 'Give an Int32Array'],
    [
      'has another validation set',
      two({ x: numbers }, arrays({ x: [[1, 2, 3]] })),
      'DATA_SHAPE',
      'column "x" is f32 [2] from f32 for training, f32 [3] from f32 for validation',
    ],
    [
      'has a validation set with fewer columns',
      two({ x: numbers, y: column(Float32Array.of(1, 2)) }, arrays({ x: [[1, 2]] })),
      'DATA_SHAPE',
      'column "y"',
      'missing for validation',
    ],
  ];
  it.each(cases)('%s', (_, make, code, ...texts) => expectProblem(thrown(make), code, ...texts));
});

describe('rows', () => {
  const source = arrays({
    x: [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    y: labels([0, 1, 2]),
  });

  it('are taken in any order', () => {
    const taken = takeRows(source, Int32Array.of(2, 0, 2));
    expect(taken.length).toBe(3);
    expect([...taken.columns.x.data]).toEqual([5, 6, 1, 2, 5, 6]);
    expect([...taken.columns.y.data]).toEqual([2, 0, 2]);
    expect(taken.columns.y.classes).toBe(3);
  });

  it('are cut as views', () => {
    const cut = sliceRows(source, 1, 3);
    expect([...cut.columns.x.data]).toEqual([3, 4, 5, 6]);
    expect(cut.columns.x.data.buffer).toBe(source.columns.x.data.buffer);
  });
});

describe('contentHash', () => {
  const base = () => arrays({ x: [[1, 2]], y: labels([1]) });

  it('is of the content, not of names for people or the place in memory', () => {
    const far = Float32Array.of(9, 1, 2).subarray(1);
    const same = arrays({ y: labels([1]), x: { data: far, shape: [1, 2] } }, { name: 'other' });
    expect(contentHash(same)).toBe(contentHash(base()));
  });

  it('changes with anything that a run can see', () => {
    const others: Dataset[] = [
      base(),
      arrays({ x: [[1, 3]], y: labels([1]) }),
      arrays({ x: [1], y: labels([1]) }),
      arrays({ z: [[1, 2]], y: labels([1]) }),
      arrays({ x: [[1, 2]], y: labels([1], 3) }),
      arrays({ x: [[1, 2]], y: [1] }),
      arrays({ x: column(Uint8Array.of(1, 2), { shape: [2] }), y: labels([1]) }),
      arrays({ x: column(Uint8Array.of(1, 2), { shape: [2], scale: 2 }), y: labels([1]) }),
      arrays({ x: [[1, 2]], y: labels([1]) }, { validation: base() }),
    ];
    expect(new Set(others.map(contentHash)).size).toBe(others.length);
  });
});
