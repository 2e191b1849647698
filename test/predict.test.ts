/** `lockstep predict` as its users run it: a trained run, inputs of every kind, JSON out. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { data } from 'lockstep';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { configText, events, folderWith, lockstep } from './command.ts';

const TABLE = 'a,b,kind\n0,10,cat\n1,20,dog\n2,10,cat\n3,20,dog\n2,20,dog\n1,10,cat\n';
const configs = {
  'image.mjs': configText({ epochs: '1' }),
  'table.mjs': configText({
    ...{ batch: '3', shards: '2', epochs: '60', metrics: '{}' },
    data: "() => data.standardize(data.csv({ path: 'table.csv', target: 'kind' }), 'x')",
    model: '() => nn.linear(2, 2)',
    loss: '(model, { x, y }) => loss.crossEntropy(model(x), y)',
    optimizer: 'optim.adam({ lr: 0.3 })',
  }),
  'text.mjs': configText({
    ...{ batch: '8', epochs: '20', metrics: '{}' },
    data: "() => { const t = data.characters('ab'); return data.windows(t.encode('ab'.repeat(40)), { length: 4, classes: 2, labels: t.vocabulary }); }",
    model: '() => nn.sequential(nn.embedding(2, 4), nn.linear(4, 2))',
    loss: '(model, { x, y }) => loss.crossEntropy(model(x), y)',
    // The last axis but one are places of the text: what comes after the last.
    predict: '(model, { x }) => model(x).transpose(1, 2).transpose(0, 2).slice([-1, null]).reshape([-1, 2])',
    optimizer: 'optim.adam({ lr: 0.1 })',
  }),
  'read.mjs': configText({
    ...{ batch: '4', shards: '2', epochs: '1', metrics: '{}' },
    data: '() => data.arrays({ x: [[1, 2], [3, 4], [5, 6], [7, 8]], y: [[1], [2], [3], [4]] })',
    model: '() => nn.linear(2, 1)',
    loss: '(model, { x, y }) => loss.mse(model(x), y)',
    predict: '(model, { x }) => x',
    read: '({ text }) => data.arrays({ x: text.split(";").map((row) => row.split(",").map(Number)) })',
    optimizer: 'optim.sgd({ lr: 0.01 })',
  }),
};
const folder = folderWith({ ...configs, 'table.csv': TABLE });
afterAll(() => rmSync(folder, { recursive: true }));

const { image } = data.digits({ train: 500, validation: 130 }).validation!.columns;
const pixels = (i: number): Uint8Array => Uint8Array.from(image.data.subarray(784 * i, 784 * (i + 1)));

beforeAll(async () => {
  for (const name of ['image', 'table', 'text', 'read']) {
    const { code, stderr } = await lockstep(['train', `${name}.mjs`, '--out', name, '--quiet'], {
      cwd: folder,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  }
  for (const i of [0, 1]) await data.writePng(join(folder, `${i}.png`), { data: pixels(i), shape: [28, 28] });
  data.writeNpy(join(folder, 'both.npy'), {
    data: Uint8Array.of(...pixels(0), ...pixels(1)),
    shape: [2, 784],
  });
}, 60_000);

interface Line {
  readonly input: string;
  readonly row: number;
  readonly output: readonly number[];
  readonly class?: number;
  readonly label?: string;
}

async function predictions(...words: string[]): Promise<Line[]> {
  const { code, stdout, stderr } = await lockstep(['predict', ...words], { cwd: folder });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = events(stdout);
  expect(lines.every(({ type }) => type === 'prediction')).toBe(true);
  return lines as unknown as Line[];
}

describe('predict', () => {
  test('images: the same as their bytes in an array, whatever the workers and kernels', async () => {
    const images = await predictions('image.mjs', '--run', 'image', '--input', '0.png', '1.png');
    expect(images.map(({ input, row }) => [input, row])).toEqual([
      ['0.png', 0],
      ['1.png', 0],
    ]);
    for (const { output, class: found } of images) {
      expect(output).toHaveLength(10);
      expect(found).toBe(output.indexOf(Math.max(...output)));
    }
    const ways = [[], ['--workers', '1', '--kernels', 'wasm'], ['--workers', '3']];
    for (const way of ways) {
      const rows = await predictions('image.mjs', '--run', 'image', '--input', 'both.npy', ...way);
      expect(rows.map(({ input, row }) => [input, row])).toEqual([
        ['both.npy', 0],
        ['both.npy', 1],
      ]);
      expect(rows.map(({ output }) => output)).toEqual(images.map(({ output }) => output));
    }
  });

  test('a table, scaled as the training data, with the names of classes', async () => {
    const file = folderWith({ 'new.csv': 'b,a\n10,1\n20,2\n' });
    const rows = await predictions('table.mjs', '--run', 'table', '--input', join(file, 'new.csv'));
    rmSync(file, { recursive: true });
    expect(rows.map(({ label }) => label)).toEqual(['cat', 'dog']);
  });

  test('weights alone take the columns from the data', async () => {
    const weights = join('table', 'weights.safetensors');
    const file = folderWith({ 'new.csv': 'b,a\n20,0\n' });
    const rows = await predictions('table.mjs', '--weights', weights, '--input', join(file, 'new.csv'));
    rmSync(file, { recursive: true });
    expect(rows).toMatchObject([{ class: 1, label: 'dog' }]);
  });

  test('texts of any length', async () => {
    const rows = await predictions('text.mjs', '--run', 'text', '--text', 'a', 'aab', 'abababa');
    expect(rows.map(({ input, label }) => [input, label])).toEqual([
      ['a', 'b'],
      ['aab', 'a'],
      ['abababa', 'b'],
    ]);
  });

  test('rows as the definition reads them', async () => {
    const rows = await predictions('read.mjs', '--run', 'read', '--text', '1,2;3,4.5');
    expect(rows.map(({ row, output }) => [row, output])).toEqual([
      [0, [1, 2]],
      [1, [3, 4.5]],
    ]);
  });

  test.each<[string, string[], RegExp]>([
    ['no weights', ['--input', '0.png'], /predict: no weights; give --run DIR.*--weights FILE/],
    ['a run that is not there', ['--run', 'none', '--input', '0.png'], /none\/run\.json.*train --out/],
    ['nothing to read', ['image.mjs', '--run', 'image'], /no input; give --input FILE.*--text TEXT/],
    ['a file that is not there', ['image.mjs', '--run', 'image', '--input', 'x.png'], /no file x\.png/],
    [
      'a kind that nobody knows',
      ['image.mjs', '--run', 'image', '--input', 'x.jpg'],
      /x\.jpg.*expected \.png, \.csv/,
    ],
    [
      'a table for images',
      ['image.mjs', '--run', 'image', '--input', 'table.csv'],
      /3 columns; expected 784/,
    ],
    [
      'something else as PNG',
      ['image.mjs', '--run', 'image', '--input', 'fake.png'],
      /fake\.png is not a PNG file/,
    ],
    ['text for images', ['image.mjs', '--run', 'image', '--text', 'a'], /the model takes numbers, not text/],
    [
      'unknown characters',
      ['text.mjs', '--run', 'text', '--text', 'abc'],
      /"c" is not among the 2 characters/,
    ],
    [
      'weights of another model',
      ['table.mjs', '--weights', join('image', 'weights.safetensors'), '--input', 'table.csv'],
      /0\.weight/,
    ],
    ['a hook that fails', ['read.mjs', '--run', 'read', '--input', '0.png'], /read\.mjs:\d+.*split/],
  ])('refuses %s', async (_, words, says) => {
    const before = folderWith({ 'fake.png': 'no image' });
    const named = words.map((word) => (word === 'fake.png' ? join(before, word) : word));
    const { code, stdout, stderr } = await lockstep(['predict', ...named], { cwd: folder });
    rmSync(before, { recursive: true });
    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch(/\n +at /);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});
