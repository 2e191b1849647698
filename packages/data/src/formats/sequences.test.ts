import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  bytes,
  type Column,
  characters,
  contentHash,
  rowSize,
  rowStride,
  series,
  sliceRows,
  split,
  standardize,
  takeRows,
  tokenizer,
  windows,
} from '../index.ts';

/** Row r of a column, as a batch sees it. */
const row = (column: Column, r: number): number[] =>
  Array.from(column.data.subarray(r * rowStride(column), r * rowStride(column) + rowSize(column.shape)));

describe('tokenizers', () => {
  test('characters are numbered in the order of their code points', () => {
    const text = 'hello, wörld 😀';
    const tokens = characters(text);
    expect(tokens.vocabulary.join('')).toBe(' ,dehlorwö😀');
    expect(tokens.size).toBe(11);
    expect(tokens.encode('hello')).toEqual(Uint8Array.of(4, 3, 5, 5, 6));
    expect(tokens.decode(tokens.encode(text))).toBe(text);
    expect(characters(tokens.vocabulary.join('')).vocabulary).toEqual(tokens.vocabulary);
    expect(() => tokens.encode('help')).toThrow('characters: "p" is not among the 11 characters');
    expect(() => tokens.decode([11])).toThrow(
      'characters: got token 11, expected a whole number from 0 to 10',
    );
    expect(() => characters('')).toThrow('got an empty text');
  });

  test('many characters take more than a byte', () => {
    const text = Array.from({ length: 300 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join('');
    const tokens = characters(text);
    expect(tokens.encode(text)).toBeInstanceOf(Int32Array);
    expect(tokens.decode(tokens.encode(text))).toBe(text);
  });

  test('bytes take any text', () => {
    const text = 'naïve 😀';
    expect(bytes().encode('ï')).toEqual(Uint8Array.of(0xc3, 0xaf));
    expect(bytes().decode(bytes().encode(text))).toBe(text);
    expect(bytes().decode(bytes().encode('\uFEFFa'))).toBe('\uFEFFa');
    expect(() => bytes().decode([256])).toThrow('bytes: got token 256');
  });

  test("a library's tokenizer, whether it decodes to text or to bytes", () => {
    const words = ['the', ' cat', ' sat'];
    const library = {
      encode: (text: string) => words.flatMap((word, i) => (text.includes(word) ? [i] : [])),
      decode: (tokens: number[]) => tokens.map((token) => words[token]).join(''),
    };
    const adapted = tokenizer(library, 3);
    expect(adapted.encode('the cat')).toEqual(Uint8Array.of(0, 1));
    expect(adapted.decode([0, 2])).toBe('the sat');
    const inBytes = { ...library, decode: (t: number[]) => new TextEncoder().encode(library.decode(t)) };
    expect(tokenizer(inBytes, 60_000).decode([0, 1])).toBe('the cat');
    expect(tokenizer(inBytes, 60_000).encode('the cat')).toEqual(Int32Array.of(0, 1));
    expect(() => tokenizer(library, 2).encode('the sat')).toThrow('tokenizer: got token 2');
    expect(() => tokenizer(library, 0)).toThrow('tokenizer: got size 0');
  });
});

describe('windows', () => {
  const tokens = Uint8Array.from({ length: 20 }, (_, i) => i);
  const set = windows(tokens, { length: 4, classes: 20, validation: 8 });

  test('are places in the stream, y one token later', () => {
    expect(set.length).toBe(8);
    for (let r = 0; r < 8; r++) {
      expect(row(set.columns.x, r)).toEqual([r, r + 1, r + 2, r + 3]);
      expect(row(set.columns.y, r)).toEqual([r + 1, r + 2, r + 3, r + 4]);
    }
    expect(set.columns.x.data.buffer).toBe(tokens.buffer);
  });

  test('of the validation part see its tokens alone, each once', () => {
    const held = set.validation!;
    expect(held.length).toBe(1);
    expect(row(held.columns.x, 0)).toEqual([12, 13, 14, 15]);
    const all = windows(tokens, { length: 3, classes: 20, validation: 8, validationStride: 2 }).validation!;
    expect(Array.from({ length: all.length }, (_, r) => row(all.columns.y, r)[0])).toEqual([13, 15, 17]);
  });

  test('taken or cut are the same rows', () => {
    const taken = takeRows(set, Int32Array.of(7, 0));
    expect([row(taken.columns.y, 0), row(taken.columns.y, 1)]).toEqual([
      [8, 9, 10, 11],
      [1, 2, 3, 4],
    ]);
    const cut = sliceRows(set, 2, 5);
    expect(cut.length).toBe(3);
    expect(row(cut.columns.x, 2)).toEqual([4, 5, 6, 7]);
    const other = windows(tokens, { length: 4, classes: 20, validation: 8, stride: 2 });
    expect(contentHash(other)).not.toBe(contentHash(set));
  });

  test.each<[() => unknown, string]>([
    [() => windows(tokens, { length: 0, classes: 20 }), 'windows: length is 0'],
    [() => windows(tokens, { length: 4, classes: 20, stride: 0 }), 'windows: stride is 0'],
    [() => windows(tokens, { length: 4, classes: 19, validation: 0 }), 'label 19 in row'],
    [() => windows(tokens, { length: 15, classes: 20 }), '2 tokens to validate on give no window of 15'],
    [
      () => windows(tokens, { length: 20, classes: 20, validation: 0 }),
      '20 tokens to train on give no window',
    ],
    [() => split(set, 0.5), 'are windows that overlap'],
    [
      () => standardize(series({ values: { a: [1, 2, 3, 4] }, target: 'a', window: 1, validation: 0 }), 'x'),
      'Scale the sequence before it is cut',
    ],
  ])('what cannot be, case %#', (make, message) => {
    expect(make).toThrow(message);
  });
});

describe('series', () => {
  const load = Array.from({ length: 12 }, (_, t) => t * t);
  const heat = Array.from({ length: 12 }, (_, t) => 100 - t);

  test('slide over the columns; y follows x', () => {
    const set = series({
      values: { load, heat },
      target: 'load',
      window: 3,
      horizon: 2,
      validation: 4,
      scale: false,
    });
    expect(set.length).toBe(4);
    expect(set.columns.x.shape).toEqual([3, 2]);
    expect(row(set.columns.x, 1)).toEqual([1, 99, 4, 98, 9, 97]);
    expect(row(set.columns.y, 1)).toEqual([16, 25]);
    expect(row(set.columns.y, 3)).toEqual([36, 49]);
    // Validation forecasts from time 8 on, and may see what came before.
    expect(set.validation!.length).toBe(3);
    expect(row(set.validation!.columns.x, 0)).toEqual([25, 95, 36, 94, 49, 93]);
    expect(row(set.validation!.columns.y, 0)).toEqual([64, 81]);
    expect(row(set.validation!.columns.y, 2)).toEqual([100, 121]);
  });

  test('are scaled by the training part alone', () => {
    const set = series({
      values: { load, heat },
      target: 'load',
      inputs: ['heat'],
      window: 2,
      validation: 6,
    });
    const first = load.slice(0, 6);
    const mean = first.reduce((a, b) => a + b) / 6;
    const deviation = Math.sqrt(first.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 6);
    expect(set.scaling.target.mean).toBeCloseTo(mean, 12);
    expect(set.scaling.target.deviation).toBeCloseTo(deviation, 12);
    expect(set.scaling.inputs).toHaveLength(1);
    expect(row(set.columns.y, 0)[0]).toBeCloseTo((4 - mean) / deviation, 6);
    expect(row(set.validation!.columns.y, 5)[0]).toBeCloseTo((121 - mean) / deviation, 5);
  });

  test('from a CSV file, with a stride', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'series-')), 'power.csv');
    writeFileSync(path, ['time,load', ...load.map((x, t) => `${t}:00,${x}`)].join('\n'));
    const set = series({
      path,
      target: 'load',
      inputs: ['load'],
      window: 2,
      stride: 3,
      validation: 0,
      scale: false,
    });
    expect(set.length).toBe(4);
    expect(row(set.columns.x, 2)).toEqual([36, 49]);
    expect(row(set.columns.y, 2)).toEqual([64]);
    expect(set.validation).toBeUndefined();
    expect(() => series({ path, target: 'load', window: 2 })).toThrow('line 2, column "time": "0:00"');
    expect(() => series({ path, target: 'power', inputs: ['load'], window: 2 })).toThrow('no column "power"');
  });

  test.each<[Parameters<typeof series>[0], string]>([
    [{ target: 'a', window: 2 }, 'series: got neither path nor values'],
    [
      { values: { a: [1, 2], b: [1] }, target: 'a', window: 1, validation: 0 },
      'column "b" is 1 numbers, the target has 2',
    ],
    [{ values: { a: [1, 2] }, target: 'a', inputs: ['c'], window: 1 }, 'column "c" is not there'],
    [
      { values: { a: [1, 2] }, target: 'a', window: 2, validation: 0 },
      '2 times to train on give no window of 2 and 1',
    ],
    [{ values: { a: [1, Number.NaN, 2] }, target: 'a', window: 1, validation: 0 }, 'NaN in row'],
    [{ values: { a: [1, 2] }, target: 'a', window: 1.5 }, 'series: window is 1.5'],
  ])('what cannot be, case %#', (options, message) => {
    expect(() => series(options)).toThrow(message);
  });
});
