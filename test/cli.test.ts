import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { data } from 'lockstep';
import { afterAll, describe, expect, test } from 'vitest';
import { configText, events, filesIn, folderWith, lockstep } from './command.ts';

const folder = folderWith({
  'lockstep.config.ts': configText({ epochs: '2 as number' }),
  'same.mjs': configText(),
  'long.mjs': configText({ epochs: '100000' }),
  'diverges.mjs': configText({ optimizer: 'optim.sgd({ lr: 1e30 })', epochs: '3' }),
});
afterAll(() => rmSync(folder, { recursive: true }));

const run = (args: string, env: Readonly<Record<string, string>> = {}) =>
  lockstep(args.split(' '), { cwd: folder, env });

describe('lockstep train --json', () => {
  test('gives events and nothing else, in order', async () => {
    const { code, stdout, stderr } = await run('train --json --out out');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const all = events(stdout);
    const steps = all.filter(({ type }) => type === 'step');
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 18 }, (_, i) => i + 1));
    expect(all.filter(({ type }) => type === 'epoch')).toHaveLength(2);
    expect(all[0]).toMatchObject({
      type: 'start',
      name: 'small',
      parameters: 785 * 24 + 250,
      data: 'digits',
      trainRows: 500,
      validationRows: 130,
      batch: 60,
      shards: 8,
      seed: 3,
      epochs: 2,
      totalSteps: 18,
    });
    expect(all.at(-1)).toMatchObject({
      type: 'done',
      step: 18,
      loss: expect.any(Number),
      metrics: { accuracy: expect.any(Number) },
      validation: { loss: expect.any(Number), metrics: { accuracy: expect.any(Number) } },
      samplesPerSecond: expect.any(Number),
      seconds: expect.any(Number),
      weightsDigest: expect.stringMatching(/^[0-9a-f]{64}$/),
      workers: expect.any(Number),
      nodes: 1,
      shards: 8,
      kernels: expect.stringMatching(/^(wasm|native-(avx512|avx2|neon|sse))$/),
      exact: true,
      interrupted: false,
    });
  });

  test('--out has weights for PyTorch, all events and the definition', async () => {
    const out = join(folder, 'out');
    expect(filesIn(out)).toEqual([
      'checkpoints',
      'checkpoints/checkpoint-000001.json',
      'checkpoints/checkpoint-000001.safetensors',
      ...['metrics.jsonl', 'run.json', 'weights.safetensors'],
    ]);
    const lines = events(readFileSync(join(out, 'metrics.jsonl'), 'utf8'));
    const done = lines.at(-1)!;
    expect([lines[0]?.type, done.type, lines.length]).toEqual(['start', 'done', 1 + 18 + 2 + 1 + 1]);
    const { tensors, metadata } = data.readSafetensorsFile(join(out, 'weights.safetensors'));
    expect(metadata).toMatchObject({ format: 'pt', digest: done.weightsDigest });
    const shapes = Object.fromEntries([...tensors].map(([name, { shape }]) => [name, shape]));
    const parameters = { '0.weight': [24, 784], '0.bias': [24], '3.weight': [10, 24], '3.bias': [10] };
    expect(shapes).toEqual(parameters);
    const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'));
    expect(record).toMatchObject({
      name: 'small',
      definition: {
        ...{ seed: 3, batch: 60, shards: 8, epochs: 2, steps: null, accumulate: 1, arithmetic: 'strict' },
        optimizer: { name: 'adamw' },
        parameters,
        data: { rows: 500, validationRows: 130, contentHash: expect.stringMatching(/^[0-9a-f]{64}$/) },
      },
      result: { weightsDigest: done.weightsDigest },
    });
  });

  test('eval finds the metrics that train found', async () => {
    const done = events(readFileSync(join(folder, 'out/metrics.jsonl'), 'utf8')).at(-1)!;
    for (const args of ['eval --run out', 'eval same.mjs --weights out/weights.safetensors --kernels wasm']) {
      const { code, stdout } = await run(`${args} --json`);
      expect(code).toBe(0);
      const [result] = events(stdout);
      expect({ loss: result?.loss, metrics: result?.metrics }).toEqual(done.validation);
      expect(result).toMatchObject({ type: 'eval', rows: 130, weightsDigest: done.weightsDigest });
    }
    const { code, stdout } = await run('eval --run out');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^loss +[\d.]+\naccuracy +[\d.]+\n/);
  });

  test('gives one digest for any workers and kernels, by .ts or .mjs, and another for another seed', async () => {
    const digests = new Map<string, string[]>();
    for (const args of [
      ...['', '--workers 1', '--workers 3 --kernels wasm', '--kernels native', 'same.mjs --quiet'],
      '--seed 4',
    ]) {
      const { code, stdout, stderr } = await run(`train --json ${args}`.trim());
      // A machine without a C compiler has no native kernels, and says so.
      if (args === '--kernels native' && /not available/.test(stderr)) continue;
      expect({ args, code }).toEqual({ args, code: 0 });
      const digest = String(events(stdout).at(-1)?.weightsDigest);
      digests.set(digest, [...(digests.get(digest) ?? []), args]);
    }
    expect([...digests.values()].map((group) => group.at(-1))).toEqual(['same.mjs --quiet', '--seed 4']);
  });

  test('a run that fails says so in its last line, and keeps its events apart', async () => {
    const { code, stdout, stderr } = await run('train diverges.mjs --json --out failed');
    expect(code).toBe(1);
    expect(events(stdout).at(-1)).toMatchObject({
      type: 'error',
      code: 'LOCKSTEP_TRAINING',
      message: expect.stringMatching(/step \d+/),
    });
    expect(stderr).not.toMatch(/\n {4}at /);
    expect(filesIn(folder)).not.toContain('failed/weights.safetensors');
  });
});

describe('flags', () => {
  test('replace parts of the definition', async () => {
    const { stdout } = await run('train --json --steps 23 --batch 50 --shards 5 --seed 9 --workers 2');
    const all = events(stdout);
    const start = { batch: 50, shards: 5, seed: 9, totalSteps: 23, workers: 2 };
    expect(all[0]).toMatchObject(start);
    expect(all.at(-1)).toMatchObject({ step: 23, epoch: 3 });
  });

  test('--fast-dev-run is two steps and a batch of validation', async () => {
    const { code, stdout } = await run('train --json --fast-dev-run');
    expect({ code, step: events(stdout).at(-1)?.step }).toEqual({ code: 0, step: 2 });
  });

  test('--quiet is the result alone', async () => {
    const { stdout } = await run('train --quiet --steps 2');
    expect(stdout.split('\n')[0]).toMatch(/^training +loss/);
    expect(stdout).toMatch(/\ndigest +[0-9a-f]{64}\n$/);
    const json = await run('train --quiet --json --steps 2');
    expect(events(json.stdout).map(({ type }) => type)).toEqual(['start', 'epoch', 'done']);
  });
});

describe('an interrupted run', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('by %s ends in order, with its weights', async (signal) => {
    let sent = false;
    const { code, stdout } = await lockstep(['train', 'long.mjs', '--json', '--out', signal], {
      cwd: folder,
      onOutput: (output, child) => {
        if (sent || !output.includes('"type":"step"')) return;
        sent = true;
        child.kill(signal);
      },
    });
    expect(code).toBe(130);
    const done = events(stdout).at(-1);
    expect(done).toMatchObject({ type: 'done', interrupted: true });
    const { metadata } = data.readSafetensorsFile(join(folder, signal, 'weights.safetensors'));
    expect(metadata.digest).toBe(done?.weightsDigest);
  });

  test('by a reader that leaves ends in order, too', async () => {
    const { code } = await lockstep(['train', 'long.mjs', '--json', '--out', 'unread'], {
      cwd: folder,
      onOutput: (_, child) => child.stdout?.destroy(),
    });
    expect(code).toBe(130);
    expect(filesIn(join(folder, 'unread'))).toContain('weights.safetensors');
  });
});

describe('for people', () => {
  test('everything fits 80 columns, and without a terminal an epoch is a line', async () => {
    const { code, stdout } = await run('train --workers 2');
    expect(code).toBe(0);
    const lines = stdout.split('\n');
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    expect(lines.filter((line) => /^ +\d+\/2 /.test(line))).toHaveLength(2);
    expect(stdout).toMatch(/0 +linear\(784, 24\) +\[24, 784\], \[24\] +18,840\n/);
    expect(stdout).not.toContain('\r');
  });

  test.each([
    ['--version', /^\d+\.\d+\.\d+\n$/],
    ['--help', /train .*\n[\s\S]*eval .*\n[\s\S]*doctor/],
    ['train --help', /--workers <n>[\s\S]*--json/],
    ['eval --help', /--weights <file>/],
  ])('lockstep %s', async (args, expected) => {
    const { code, stdout } = await run(args);
    expect(code).toBe(0);
    expect(stdout).toMatch(expected);
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });

  test('doctor measures every kind of kernels', async () => {
    const { code, stdout } = await run('doctor --json');
    expect(code).toBe(0);
    const [found] = events(stdout);
    expect(found).toMatchObject({
      type: 'doctor',
      versions: { node: process.versions.node },
      sharedMemory: true,
      kernels: expect.arrayContaining([{ name: 'wasm', gflops: expect.any(Number) }]),
    });
    const human = await run('doctor');
    expect(human.stdout).toMatch(/wasm +[\d.]+ GFLOP\/s/);
  });
});
