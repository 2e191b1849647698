import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type Column,
  characters,
  column,
  csv,
  labels,
  type NdArray,
  readRows,
  series,
  standardize,
  windows,
  writeNpy,
  writePng,
} from '../index.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-rows-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);
const file = (name: string, text: string): { path: string } => {
  writeFileSync(at(name), text);
  return { path: at(name) };
};
const png = async (name: string, image: NdArray): Promise<{ path: string }> => {
  await writePng(at(name), image);
  return { path: at(name) };
};

const bytes = (shape: readonly number[]): Column => column(new Uint8Array(), { shape, scale: 1 / 255 });
const floats = (shape: readonly number[]): Column => column(new Float32Array(), { shape });
const grey = { data: Uint8Array.of(0, 50, 100, 255), shape: [2, 2] };
const red = { data: Uint8Array.of(255, 0, 0, 10, 20, 30), shape: [1, 2, 3] };
const clear = { data: Uint8Array.of(200, 100, 50, 128, 200, 100, 50, 0), shape: [1, 2, 4] };

describe('images', () => {
  test.each<[string, NdArray, number[], number[]]>([
    ['a square as one axis', grey, [4], [0, 50, 100, 255]],
    ['planes of one channel', grey, [1, 2, 2], [0, 50, 100, 255]],
    ['height and width', grey, [2, 2], [0, 50, 100, 255]],
    ['grey in three channels', grey, [3, 2, 2], [...grey.data, ...grey.data, ...grey.data]],
    ['channel by channel', red, [3, 1, 2], [255, 10, 0, 20, 0, 30]],
    ['colours as grey', red, [1, 2], [76, 18]],
    ['transparent is black', clear, [3, 1, 2], [100, 0, 50, 0, 25, 0]],
  ])('%s', async (name, image, shape, expected) => {
    const rows = await readRows(bytes(shape), await png(`${name}.png`, image));
    expect([...rows.data]).toEqual(expected);
    expect(rows).toMatchObject({ dtype: 'u8', as: 'f32', shape, scale: Math.fround(1 / 255) });
  });
});

describe('tables', () => {
  const table = file('train.csv', 'a,b,y\n1,10,0\n2,30,1\n3,50,0\n').path;
  const { x } = standardize(csv({ path: table, target: 'y' }), 'x').columns;

  test('a row per line, by name, standardized as the training data were', async () => {
    const rows = await readRows(x, file('new.csv', 'b,c,a\n50,7,3\n10,8,1\n'));
    expect([...rows.data]).toEqual([...x.data.subarray(4, 6), ...x.data.subarray(0, 2)]);
    const again = standardize({ ...standardize(csv({ path: table, target: 'y' }), 'x') }, 'x').columns.x;
    const twice = await readRows(again, file('new.csv', 'a,b\n3,50\n'));
    twice.data.forEach((value, i) => {
      expect(value).toBeCloseTo(again.data[4 + i]!, 6);
    });
  });

  test('without names by place', async () => {
    const rows = await readRows(floats([2]), file('plain.csv', '1,2\n3,4\n'));
    expect([...rows.data]).toEqual([1, 2, 3, 4]);
    expect([...(await readRows(floats([]), file('one.csv', 'v\n5\n6\n'))).data]).toEqual([5, 6]);
  });

  test('the last times of a series are one row', async () => {
    const values = { p: [1, 2, 3, 4, 5, 6, 7, 8], q: [8, 6, 7, 5, 3, 0, 9, 1] };
    const set = series({ values, target: 'p', window: 3, validation: 0 });
    const lines = values.p.map((p, t) => `${values.q[t]},${p}`);
    const { data, shape } = await readRows(
      set.columns.x,
      file('s.csv', `q,p\n${lines.slice(0, 6).join('\n')}\n`),
    );
    expect(shape).toEqual([3, 2]);
    expect([...data]).toEqual([...set.columns.x.data.subarray(6, 12)]);
  });

  test('arrays, of rows or of one', async () => {
    const data = Float32Array.of(1, 10, 2, 30);
    writeNpy(at('rows.npy'), { data, shape: [2, 2] });
    writeNpy(at('row.npy'), { data: data.subarray(0, 2), shape: [2] });
    expect([...(await readRows(x, { path: at('rows.npy') })).data]).toEqual([...x.data.subarray(0, 4)]);
    expect([...(await readRows(x, { path: at('row.npy') })).data]).toEqual([...x.data.subarray(0, 2)]);
  });
});

describe('text', () => {
  const { vocabulary, size, encode } = characters('to be or not');
  const { x } = windows(encode('to be or not'), {
    ...{ length: 4, classes: size, labels: vocabulary, validation: 0 },
  }).columns;

  test('is its last tokens, as many as fit', async () => {
    expect(await readRows(x, { text: 'not to be' })).toMatchObject({ shape: [4], data: encode('o be') });
    expect(await readRows(x, { text: 'be' })).toMatchObject({ shape: [2], data: encode('be'), as: 'i32' });
    expect((await readRows(x, file('t.txt', 'or'))).data).toEqual(encode('or'));
  });

  test('bytes have no names', async () => {
    const set = windows(new TextEncoder().encode('naïve text'), { length: 4, classes: 256, validation: 0 });
    const { data } = await readRows(set.columns.x, { text: 'ïv' });
    expect([...data]).toEqual([0xc3, 0xaf, 0x76]);
  });
});

describe('refuses', async () => {
  const small = await png('small.png', grey);
  writeNpy(at('wide.npy'), { data: new Float32Array(6), shape: [2, 3] });
  writeNpy(at('half.npy'), { data: Float32Array.of(0.5, 1), shape: [2] });
  const named = column(new Float32Array(), { shape: [2], features: ['a', 'b'] });
  const tokens = labels([0, 1, 2]);
  const text = { ...tokens, shape: [4], labels: ['a', 'b', ' '], classes: 3 };
  const words = { ...text, labels: ['the', 'cat', 'sat'] };
  test.each<[string, Column, Parameters<typeof readRows>[1], string, RegExp]>([
    [
      'another kind',
      bytes([4]),
      { path: 'a.jpg' },
      'DATA_FORMAT',
      /a\.jpg: .*ends in \.jpg; expected \.png, \.csv/,
    ],
    ['no kind', bytes([4]), { path: 'a' }, 'DATA_FORMAT', /ends in nothing/],
    ['no file', bytes([4]), { path: 'none.png' }, 'DATA_MISSING', /none\.png/],
    ['another size', bytes([1, 28, 28]), small, 'DATA_SHAPE', /2 × 2 pixels; expected 28 × 28/],
    [
      'an image for numbers',
      floats([4]),
      small,
      'DATA_OPTION',
      /takes f32 \[4\], not the bytes of an image.*"read"/,
    ],
    ['an image for no square', bytes([5]), small, 'DATA_OPTION', /takes u8 \[5\]/],
    [
      'a missing column',
      named,
      file('m.csv', 'a,c\n1,2\n'),
      'DATA_MISSING',
      /no column "b"; its columns: a, c/,
    ],
    ['too few columns', named, file('f.csv', '1\n2\n'), 'DATA_SHAPE', /1 columns; expected 2: a, b/],
    ['too many columns', floats([2]), file('w.csv', '1,2,3\n'), 'DATA_SHAPE', /3 columns; expected 2/],
    [
      'words',
      named,
      file('v.csv', 'a,b\n1,two\n'),
      'DATA_VALUE',
      /line 2, column "b": "two"; expected a number/,
    ],
    ['names alone', named, file('e.csv', 'a,b\n'), 'DATA_EMPTY', /no rows/],
    [
      'too few times',
      floats([3, 2]),
      file('t.csv', '1,2\n3,4\n'),
      'DATA_SHAPE',
      /2 lines; expected at least 3/,
    ],
    [
      'an array of another shape',
      named,
      { path: at('wide.npy') },
      'DATA_SHAPE',
      /\[2, 3\]; expected \[rows, 2\]/,
    ],
    [
      'halves of bytes',
      bytes([2]),
      { path: at('half.npy') },
      'DATA_VALUE',
      /0\.5; expected whole numbers from 0 to 255/,
    ],
    [
      'an unknown character',
      text,
      { text: 'a cab' },
      'DATA_VALUE',
      /"a cab": "c" is not among the 3 characters/,
    ],
    ['no text', text, { text: '' }, 'DATA_EMPTY', /an empty text/],
    [
      'text for words',
      words,
      { text: 'the' },
      'DATA_OPTION',
      /takes 3 tokens without characters, not text.*"labels"/,
    ],
    ['text for numbers', floats([2]), { text: 'the' }, 'DATA_OPTION', /takes numbers, not text/],
  ])('%s', async (_, like, source, code, message) => {
    const failure = readRows(like, source);
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toMatchObject({ code });
  });
});
