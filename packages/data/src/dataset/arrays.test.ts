import { describe, expect, it } from 'vitest';
import { expectProblem, thrown } from '../../test/support.ts';
import type { DataErrorCode } from '../common/errors.ts';
import { type ArrayLike, arrays, labels } from './arrays.ts';

describe('arrays', () => {
  const cases: [string, ArrayLike, object][] = [
    ['numbers', [1, 2], { dtype: 'f32', as: 'f32', shape: [], data: Float32Array.of(1, 2) }],
    [
      'rows',
      [
        [1, 2],
        [3, 4],
      ],
      { dtype: 'f32', shape: [2], data: Float32Array.of(1, 2, 3, 4) },
    ],
    [
      'images',
      [
        [[1], [2]],
        [[3], [4]],
      ],
      { shape: [2, 1], data: Float32Array.of(1, 2, 3, 4) },
    ],
    ['doubles', Float64Array.of(0.1, 2), { dtype: 'f32', data: Float32Array.of(0.1, 2) }],
    ['integers', Int32Array.of(1, 2), { dtype: 'i32', as: 'i32', shape: [] }],
    ['bytes', Uint8Array.of(1, 2), { dtype: 'u8', as: 'f32', scale: 1, shift: 0 }],
    ['a shaped array', { data: Float32Array.of(1, 2, 3, 4), shape: [2, 2] }, { shape: [2] }],
    ['labels', labels([2, 0]), { dtype: 'i32', classes: 3, data: Int32Array.of(2, 0) }],
    ['names', labels(['dog', 'cat']), { classes: 2, labels: ['cat', 'dog'], data: Int32Array.of(1, 0) }],
  ];
  it.each(cases)('takes %s', (_, x, expected) => {
    const made = arrays({ x });
    expect(made.length).toBe(2);
    expect(made.columns.x).toMatchObject(expected);
  });

  it('keeps the names of fields in its type', () => {
    const made = arrays({ x: [1], y: [2] });
    // @ts-expect-error there is no field z
    expect(made.columns.z).toBeUndefined();
  });

  const bad: [string, () => unknown, DataErrorCode, ...string[]][] = [
    [
      'ragged rows',
      () => arrays({ x: [[1, 2], [3]] }),
      'DATA_SHAPE',
      '"x" has 1 elements at [1]; expected 2',
    ],
    [
      'a number for a row',
      () => arrays({ x: [[1], 2] as never }),
      'DATA_SHAPE',
      'number at [1]; expected 1 elements',
    ],
    [
      'a text for a number',
      () => arrays({ x: [[1], ['2']] as never }),
      'DATA_SHAPE',
      'string at [1][0]; expected a number',
    ],
    [
      'a row for a number',
      () => arrays({ x: [1, [2]] as never }),
      'DATA_SHAPE',
      '1 elements at [1]; expected a number',
    ],
    [
      'a wrong shape',
      () => arrays({ x: { data: new Float32Array(3), shape: [2, 2] } }),
      'DATA_SHAPE',
      '3 numbers',
      '[2,2]',
    ],
    [
      'an object for the number of classes',
      () => arrays({ x: labels([0, 1], { classes: 3 } as never) }),
      'DATA_OPTION',
      'labels: got {"classes":3} classes; expected their number: labels(values, 3)',
    ],
    ['a text', () => arrays({ x: 'abc' as never }), 'DATA_SHAPE', 'field "x" is a string; expected numbers'],
    ['no axis', () => arrays({ x: { data: new Float32Array(1), shape: [] } }), 'DATA_SHAPE', 'rows first'],
    ['no rows', () => arrays({ x: [] }), 'DATA_EMPTY', 'no rows'],
    ['empty rows', () => arrays({ x: [[], []] }), 'DATA_SHAPE', 'row shape [0]'],
    ['different lengths', () => arrays({ x: [1, 2], y: [1] }), 'DATA_SHAPE', 'column "y" has 1 rows'],
    ['NaN', () => arrays({ x: [1, Number.NaN] }), 'DATA_VALUE', 'NaN in row 1'],
    ['half a label', () => labels([0, 1.5]), 'DATA_LABEL', '1.5 in row 1', 'whole numbers from 0'],
    ['a label below 0', () => labels([-1]), 'DATA_LABEL', '-1 in row 0'],
    ['a label beyond the classes', () => labels([0, 3], 3), 'DATA_LABEL', '3 in row 1', '0 to 2'],
  ];
  it.each(bad)('refuses %s', (_, make, code, ...texts) => expectProblem(thrown(make), code, ...texts));
});
