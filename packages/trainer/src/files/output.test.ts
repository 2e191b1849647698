import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digits, readSafetensors, writeSafetensors } from '@lockstep/data';
import { loss, metrics, nn, optim } from '@lockstep/nn';
import { afterAll, describe, expect, test } from 'vitest';
import { defineTraining } from '../define/definition.ts';
import { evaluate } from '../evaluate.ts';
import { train } from '../train.ts';
import type { RunRecord } from './output.ts';
import { readWeights } from './weights.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-output-'));
afterAll(() => rmSync(folder, { recursive: true }));

const definition = defineTraining({
  seed: 5,
  batch: 32,
  steps: 6,
  data: () => digits({ train: 100, validation: 50 }),
  model: () => nn.sequential(nn.linear(784, 8), nn.relu(), nn.linear(8, 10)),
  loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
  metrics: { accuracy: (model, { image, label }) => metrics.accuracy(model(image), label) },
  optimizer: optim.sgd({ lr: 0.1 }),
});

const recordIn = (out: string): RunRecord => JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'));

describe('out', () => {
  test('has the weights that train returns, in a folder made for them', async () => {
    const out = join(folder, 'a', 'b');
    const { weights, weightsDigest } = await train(definition, { workers: 2, out });
    expect(readdirSync(out).sort()).toEqual([
      'checkpoints',
      'metrics.jsonl',
      'run.json',
      'weights.safetensors',
    ]);
    const stored = readSafetensors(join(out, 'weights.safetensors'));
    for (const [name, { data }] of weights) expect(stored.get(name)?.data).toEqual(data);
    expect(recordIn(out)).toMatchObject({
      definition: { seed: 5, epochs: null, steps: 6, optimizer: { name: 'sgd' }, initialWeights: null },
      result: { weightsDigest },
    });
  });

  test('is replaced by the next run in the same folder, which can go on from its weights', async () => {
    const out = join(folder, 'again');
    const first = await train(definition, { out });
    const initialWeights = readWeights(join(out, 'weights.safetensors'));
    const second = await train(definition, { out, initialWeights });
    expect(second.weightsDigest).not.toBe(first.weightsDigest);
    expect(recordIn(out)).toMatchObject({
      definition: { initialWeights: first.weightsDigest },
      result: { weightsDigest: second.weightsDigest },
    });
  });

  test('of a run that failed holds its events alone', async () => {
    const out = join(folder, 'left');
    const on = {
      step: ({ step }: { step: number }) => {
        if (step === 2) throw new Error('no');
      },
    };
    await expect(train(definition, { out, on })).rejects.toThrow('no');
    expect(readdirSync(out)).toEqual(['unfinished.jsonl']);
    await train(definition, { out });
    expect(readdirSync(out).sort()).toEqual([
      'checkpoints',
      'metrics.jsonl',
      'run.json',
      'weights.safetensors',
    ]);
  });

  test('is not made for a run that cannot be, nor kept for one without a step', async () => {
    const out = join(folder, 'none', 'deep');
    await expect(train({ ...definition, batch: 0 }, { out })).rejects.toThrow('batch is 0');
    expect(existsSync(join(folder, 'none'))).toBe(false);
    const on = {
      start: () => {
        throw new Error('no');
      },
    };
    await expect(train(definition, { out, on })).rejects.toThrow('no');
    expect(existsSync(join(folder, 'none'))).toBe(false);
  });

  test('must be a folder', async () => {
    const out = join(folder, 'file');
    writeFileSync(out, '');
    await expect(train(definition, { out })).rejects.toMatchObject({ code: 'DATA_UNREADABLE' });
    expect(readFileSync(out, 'utf8')).toBe('');
  });
});

describe('evaluate', () => {
  test('measures what train measured, in every way of running', async () => {
    const { weights, validation } = await train(definition);
    for (const options of [{ workers: 3 }, { kernels: 'wasm' }, { execution: 'eager' }] as const) {
      const result = await evaluate(definition, { weights, ...options });
      expect({ loss: result.loss, metrics: result.metrics }).toEqual(validation);
      expect(result.rows).toBe(50);
    }
  });

  test('says what does not fit', async () => {
    const { weights } = await train(definition, { fastDevRun: true });
    const path = join(folder, 'f64.safetensors');
    writeSafetensors(path, [['0.weight', { shape: [1], data: new Float64Array(1) }]]);
    await expect(evaluate(definition, { weights: path })).rejects.toThrow('0.weight is F64, expected F32');
    const held = { ...definition, data: () => digits({ train: 100, validation: 0 }) };
    await expect(evaluate(held, { weights })).rejects.toThrow('has no validation part');
    await expect(evaluate(definition, { weights: new Map() })).rejects.toThrow('missing 0.weight');
  });
});

describe('dataDir', () => {
  test('reaches data()', async () => {
    const seen: (string | undefined)[] = [];
    const data: typeof definition.data = ({ dir }) => {
      seen.push(dir);
      return digits({ train: 64, validation: 10 });
    };
    await train({ ...definition, data }, { fastDevRun: true, dataDir: 'somewhere' });
    await train({ ...definition, data }, { fastDevRun: true });
    expect(seen).toEqual(['somewhere', undefined]);
  });

  test('is refused where data() does not look at it', async () => {
    await expect(train(definition, { dataDir: 'somewhere' })).rejects.toThrow('data() takes none');
  });
});
