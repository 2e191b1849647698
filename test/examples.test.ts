/** The examples as a reader runs them: each in a process of its own, in a short form, with the numbers that it promises. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { data } from 'lockstep';
import { describe, expect, test } from 'vitest';

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'apps/examples');
const run = promisify(execFile);

/** What an example prints; throws with its output when it fails. */
async function example(...words: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [join(folder, 'run.mjs'), ...words], { timeout: 60_000 });
  return stdout;
}

/** The numbers of the line that begins with `label`. */
function numbersOf(output: string, label: string): number[] {
  const line = output.split('\n').find((line) => line.trim().startsWith(label));
  if (line === undefined) throw new Error(`no line "${label}" in:\n${output}`);
  const rest = line.slice(line.indexOf(label) + label.length).replaceAll(',', '');
  return (rest.match(/-?\d+(\.\d+)?(e[+-]?\d+)?/g) ?? []).map(Number);
}

describe('backprop', () => {
  test.each([
    ['xor', [], 4],
    ['xor', ['--hidden', '4', '--seed', '7'], 4],
    ['encoder', ['--epochs', '1000'], 8],
  ] as const)('%s %j: by hand is autograd, and it is learned', async (task, options, patterns) => {
    const output = await example('backprop', '--task', task, '--show', '8', ...options);
    expect(numbersOf(output, 'largest difference between by hand and autograd:')[0]).toBeLessThan(1e-6);
    const [byHand, trained] = numbersOf(output, 'epoch 1000');
    expect(trained).toBeCloseTo(byHand!, 4);
    expect(numbersOf(output, 'learned')).toEqual([patterns, patterns]);
  });

  test('one hidden unit is too few for XOR', async () => {
    const [learned] = numbersOf(await example('backprop', '--hidden', '1'), 'learned');
    expect(learned).toBeLessThan(4);
  });

  test.each([
    [['--hiden', '4'], /Unknown option '--hiden'.*--hidden/s],
    [['--lr', 'fast'], /--lr: got fast, expected a number/],
    [['--task', 'and'], /--task: got and, expected xor, parity, encoder/],
    [['--hidden', '1.5'], /nn.linear: got outFeatures = 1.5, expected an integer/],
  ])('%j is refused with one message', async (options, message) => {
    const failure = await example('backprop', ...options).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 2, stderr: expect.stringMatching(message) });
    expect((failure as { stderr: string }).stderr).not.toMatch(/\n {4}at /);
  });
});

describe('regression', () => {
  test('a hidden layer beats a line, which beats the mean', async () => {
    const output = await example('regression');
    const share = (label: string): number => numbersOf(output, label)[1]!;
    expect(share('the mean price')).toBe(1);
    expect(share('a line')).toBeLessThan(0.4);
    expect(share('a hidden layer of 32')).toBeLessThan(0.12);
  });

  test('its table is what its generator writes', async () => {
    const temporary = mkdtempSync(join(tmpdir(), 'lockstep-'));
    try {
      await example('regression/make', '--out', join(temporary, 'houses.csv'));
      const [made, kept] = [temporary, join(folder, 'regression')].map((place) =>
        readFileSync(join(place, 'houses.csv'), 'utf8'),
      );
      expect(made).toBe(kept);
    } finally {
      rmSync(temporary, { recursive: true });
    }
  });
});

test('digits: one digest', async () => {
  const output = await example('digits', '--epochs', '1');
  expect(new Set(output.match(/[0-9a-f]{16}…/g)).size).toBe(1);
  expect(output).toContain('one digest: the same bits');
});

test('custom-gradient: straight through learns what sign cannot; a clipped gradient is that of Huber', async () => {
  const output = await example('custom-gradient', '--epochs', '2');
  const [frozen, low] = numbersOf(output, 'sign   ');
  const [moved, high] = numbersOf(output, 'straightThroughSign   ');
  expect(frozen).toBe(0);
  expect(moved).toBeGreaterThan(0.1);
  expect(high).toBeGreaterThan(low! + 20);
  expect(numbersOf(output, 'the same, gradient clipped')).toEqual(numbersOf(output, '2 · Huber'));
  expect(numbersOf(output, 'the same, gradient clipped')[0]).toBeCloseTo(2, 0);
  expect(numbersOf(output, 'mean squared error')[0]).toBeGreaterThan(3);
});

test('lstm-forecast: better than as today', async () => {
  const output = await example('lstm-forecast', '--epochs', '2', '--hidden', '24');
  expect(numbersOf(output, 'share of the naive error')[0]).toBeLessThan(0.9);
});

test('char-gpt: learns from any text, and writes with its characters', async () => {
  const text = join(folder, 'backprop/README.md');
  const output = await example('char-gpt', '--text', text, '--steps', '60', '--characters', '20');
  const [last] = numbersOf(output, 'loss');
  expect(last).toBeLessThan(3.5);
});

test('autoencoder: draws images again from few numbers, better than the mean image', async () => {
  const temporary = mkdtempSync(join(tmpdir(), 'lockstep-'));
  try {
    const out = join(temporary, 'images.png');
    const output = await example('autoencoder', '--epochs', '8', '--out', out);
    const [naive, found] = [
      numbersOf(output, 'the mean image')[0]!,
      numbersOf(output, 'the autoencoder')[0]!,
    ];
    expect(found / naive).toBeLessThan(0.75);
    const { data: pixels, shape } = await data.readPng(out);
    expect(shape).toEqual([2 * 28, 10 * 28, 1]);
    // Halves of the picture are alike, and not the same.
    const half = pixels.length / 2;
    const apart = pixels.subarray(0, half).reduce((sum, x, i) => sum + Math.abs(x - pixels[half + i]!), 0);
    expect(apart / half / 255).toBeGreaterThan(0.01);
    expect(apart / half / 255).toBeLessThan(naive);
  } finally {
    rmSync(temporary, { recursive: true });
  }
});

test.each(['digits', 'regression', 'autoencoder', 'custom-gradient'])(
  'the command trains %s by its config',
  async (name) => {
    const command = join(folder, '../cli/dist/main.js');
    const config = join(folder, name, 'lockstep.config.ts');
    const { stdout } = await run(process.execPath, [command, 'train', config, '--epochs', '1', '--json']);
    const last = JSON.parse(stdout.trim().split('\n').at(-1)!);
    expect(last).toMatchObject({ type: 'done', epoch: 1, exact: true });
  },
);

test('an example that is a config alone says how to run it', async () => {
  await expect(example('cnn-mnist')).rejects.toMatchObject({
    code: 2,
    stderr:
      'example: cnn-mnist is a config for the command: npm start -- apps/examples/cnn-mnist/lockstep.config.ts\n',
  });
});

test('an unknown example is refused with the names of all', async () => {
  await expect(example('nothing')).rejects.toMatchObject({
    code: 2,
    stderr:
      'example: got nothing, expected one of: autoencoder, backprop, char-gpt, custom-gradient, digits, lstm-forecast, regression\n',
  });
});
