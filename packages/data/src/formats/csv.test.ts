import { describe, expect, it } from 'vitest';
import { expectProblem, put, temporaryFolder, thrown } from '../../test/support.ts';
import type { DataErrorCode } from '../common/errors.ts';
import { type CsvOptions, csv } from './csv.ts';

const folder = temporaryFolder();
const table = (content: string | Uint8Array, options: Partial<CsvOptions> = {}) =>
  csv({ path: put(folder, 'table.csv', content), target: 'y', ...options });

describe('csv', () => {
  it('reads features and a numeric target', () => {
    const made = table('a,b,y\n1,2.5,-3\n+4,.5,1e2\n');
    expect(made.length).toBe(2);
    expect(made.columns.x).toMatchObject({ shape: [2], data: Float32Array.of(1, 2.5, 4, 0.5) });
    expect(made.columns.y).toMatchObject({ as: 'f32', shape: [1], data: Float32Array.of(-3, 100) });
  });

  it('reads classes by name, in order', () => {
    const { y } = table('y,a\nsetosa,1\nvirginica,2\nsetosa,3').columns;
    expect(y).toMatchObject({ as: 'i32', shape: [], classes: 2, labels: ['setosa', 'virginica'] });
    expect([...y.data]).toEqual([0, 1, 0]);
  });

  it('reads numbers as classes when told, in numeric order', () => {
    const { y } = table('y,a\n10,1\n9,2\n10,3', { task: 'classification' }).columns;
    expect(y.labels).toEqual(['9', '10']);
    expect([...y.data]).toEqual([1, 0, 1]);
  });

  it('takes the features asked for, in that order', () => {
    const made = table('a,name,b,y\n1,x,2,3\n4,z,5,6', { features: ['b', 'a'] });
    expect([...made.columns.x.data]).toEqual([2, 1, 5, 4]);
  });

  it('takes a byte order mark, quotes, blanks, empty lines, other delimiters and line ends', () => {
    const made = table('\ufeff"a";"y, really"\r\n\r\n 1 ; "2"\r\n3;4\r\n', {
      delimiter: ';',
      target: 'y, really',
    });
    expect([...made.columns.x.data, ...made.columns.y.data]).toEqual([1, 3, 2, 4]);
  });

  it('takes names for a file without them', () => {
    expect([...table('1,2\n3,4', { header: ['a', 'y'] }).columns.y.data]).toEqual([2, 4]);
  });

  const bad: [string, string, Partial<CsvOptions>, DataErrorCode, ...string[]][] = [
    ['an empty file', '', {}, 'DATA_EMPTY', 'no rows'],
    ['names alone', 'a,y\n', {}, 'DATA_EMPTY', 'no rows below its line of names'],
    ['no feature', 'y\n1', {}, 'DATA_EMPTY', 'no feature columns'],
    ['an unknown target', 'a,b\n1,2', {}, 'DATA_MISSING', 'no column "y"', 'a, b'],
    ['an unknown feature', 'a,y\n1,2', { features: ['c'] }, 'DATA_MISSING', 'no column "c"'],
    ['an empty cell', 'a,y\n1,2\n,3', {}, 'DATA_VALUE', 'line 3, column "a": an empty cell'],
    [
      'text for a number',
      'a,y\n1,2\n\nx1,3',
      {},
      'DATA_VALUE',
      'line 4, column "a": "x1"; expected a number',
    ],
    ['NaN', 'a,y\nNaN,2', {}, 'DATA_VALUE', 'line 2, column "a": "NaN"'],
    ['infinity', 'a,y\nInfinity,2', {}, 'DATA_VALUE', '"Infinity"'],
    ['hexadecimal', 'a,y\n0x10,2', {}, 'DATA_VALUE', '"0x10"'],
    ['a number beyond f32', 'a,y\n1e39,2', {}, 'DATA_VALUE', '"1e39"'],
    [
      'a text after numeric targets',
      'a,y\n1,2\n1,high',
      {},
      'DATA_VALUE',
      'line 3, column "y": "high"',
      'classification',
    ],
    ['an empty class', 'a,y\n1,x\n1,', {}, 'DATA_VALUE', 'line 3, column "y": an empty cell'],
    ['a short row', 'a,y\n1,2\n3', {}, 'DATA_FORMAT', 'line 3'],
    ['an open quote', 'a,y\n1,"2', {}, 'DATA_FORMAT', 'Quote'],
    ['a name twice', 'a,a,y\n1,2,3', {}, 'DATA_FORMAT', 'two columns "a"'],
    ['too few names', '1,2', { header: ['y'] }, 'DATA_SHAPE', '2 columns, but 1 names'],
  ];
  it.each(bad)('refuses %s', (_, content, options, code, ...texts) => {
    expectProblem(
      thrown(() => table(content, options)),
      code,
      'table.csv',
      ...texts,
    );
  });

  it('refuses a missing file and a folder', () => {
    expectProblem(
      thrown(() => csv({ path: 'none.csv', target: 'y' })),
      'DATA_MISSING',
      'none.csv',
    );
    expectProblem(
      thrown(() => csv({ path: folder, target: 'y' })),
      'DATA_UNREADABLE',
      folder,
    );
  });
});
