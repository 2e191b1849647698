/** `lockstep verify`: a finished run is computed again, and what differs from its record is found. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bisectRuns, bisectTrace, type TraceDifference, traceRun } from '@lockstep/cluster';
import { data, defineTraining, loss, metrics, nn, optim, train, verifyRun } from 'lockstep';
import { afterAll, describe, expect, it } from 'vitest';
import { configText, events, folderWith, lockstep } from './command.ts';

const base = {
  seed: 3,
  batch: 60,
  shards: 8,
  epochs: 2,
  data: () => data.digits({ train: 500, validation: 130 }),
  model: () => nn.sequential(nn.linear(784, 24), nn.relu(), nn.dropout(0.2), nn.linear(24, 10)),
  loss: (model: nn.Sequential, { image, label }: DigitsBatch) => loss.crossEntropy(model(image), label),
  metrics: {
    accuracy: (model: nn.Sequential, { image, label }: DigitsBatch) => metrics.accuracy(model(image), label),
  },
  optimizer: optim.adamw({ lr: optim.cosine(1e-2) }),
};
type DigitsBatch = Parameters<Parameters<typeof defineTraining<unknown, 'image' | 'label'>>[0]['loss']>[1];

const definitions = {
  plain: defineTraining(base),
  'accumulated, clipped': defineTraining({
    ...base,
    accumulate: 2,
    shards: 3,
    optimizer: optim.sgd({ lr: 0.05, momentum: 0.9, clipNorm: 0.5 }),
  }),
  'early stopping, running statistics, average': defineTraining({
    ...base,
    epochs: 9,
    earlyStopping: { patience: 1, metric: 'accuracy', mode: 'max' },
    model: () => nn.sequential(nn.linear(784, 24), nn.batchNorm1d(24), nn.relu(), nn.linear(24, 10)),
    optimizer: optim.adamw({ lr: 0.01, average: 0.9 }),
  }),
};
type Name = keyof typeof definitions;

const root = folderWith({ 'c.mjs': configText(), 'c2.mjs': configText({ accumulate: '2' }) });
afterAll(() => rmSync(root, { recursive: true }));

const made = new Map<Name, Promise<string>>();
/** The folder of a finished run. */
async function trained(name: Name): Promise<string> {
  const known = made.get(name);
  if (known) return known;
  const out = join(root, `run ${made.size}`);
  const run = train(definitions[name], { out, checkpointEvery: { steps: 3 }, workers: 2 });
  const done = Promise.resolve(run.then(() => out));
  made.set(name, done);
  return done;
}

/** A copy of a run, with a file that somebody changed. */
async function changed(copy: string, file: string, change: (text: Buffer) => string | Buffer) {
  const path = join(root, copy);
  cpSync(await trained('plain'), path, { recursive: true });
  const before = readFileSync(join(path, file));
  const after = Buffer.from(change(before));
  expect(after.equals(before)).toBe(false);
  writeFileSync(join(path, file), after);
  return path;
}

const flipped = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes);
  copy[copy.length - 3]! ^= 1;
  return copy;
};
const otherLoss = (text: Buffer): string =>
  text.toString().replace(/("step":7,"epoch":1,"loss":\d\.\d{4})(\d)/, (_, before, digit) => {
    return `${before}${(Number(digit) + 1) % 10}`;
  });
const replaced = (before: string | RegExp, after: string) => (text: Buffer) =>
  text.toString().replace(before, after);

describe('a run that was computed right', () => {
  it.each(Object.keys(definitions) as Name[])('%s', async (name) => {
    const folder = await trained(name);
    const found = await verifyRun(definitions[name], { folder, workers: 3, kernels: 'wasm' });
    expect(found).toMatchObject({ verified: true, difference: null, from: 0, to: found.steps });
    expect(found.compared).toMatchObject({ step: found.steps, result: 1 });
    expect(found.compared.state).toBeGreaterThan(0);
    expect(found.compared.weights).toBeGreaterThan(0);
  });

  it('some of its steps', async () => {
    const folder = await trained('plain');
    const begins = new Set<number>();
    for (let i = 0; i < 6; i++) {
      const found = await verifyRun(definitions.plain, { folder, sample: 2, workers: 1 });
      expect(found).toMatchObject({ verified: true, to: Math.min(found.from + 2, 18) });
      expect(found.compared.step).toBe(found.to - found.from);
      begins.add(found.from);
    }
    expect(begins.size).toBeGreaterThan(1);
  });
});

describe('a record that is wrong', () => {
  const kinds: [string, string, (text: Buffer) => string | Buffer, object][] = [
    ['a loss', 'metrics.jsonl', otherLoss, { kind: 'step', step: 7, rightUntil: 6 }],
    ['a state', 'metrics.jsonl', replaced(/"sha256":"../, '"sha256":"--'), { kind: 'state' }],
    [
      'a digest',
      'metrics.jsonl',
      replaced(/"weightsDigest":"../, '"weightsDigest":"--'),
      { kind: 'weights', step: 9 },
    ],
    ['a bit of the weights', 'weights.safetensors', flipped, { kind: 'file' }],
  ];
  it.each(kinds)('%s', async (name, file, change, difference) => {
    const folder = await changed(name, file, change);
    const found = await verifyRun(definitions.plain, { folder, workers: 2 });
    expect(found).toMatchObject({ verified: false, difference });
  });

  it('two runs: the first step in which they differ, and whose record is right', async () => {
    const folder = await trained('plain');
    const other = await changed('other', 'metrics.jsonl', otherLoss);
    const options = { folder, workers: 2, kernels: 'auto' } as const;
    expect(await bisectRuns(definitions.plain, { ...options, other })).toMatchObject({
      same: false,
      recorded: { kind: 'step', step: 7 },
      right: { first: true, second: false },
      difference: null,
    });
    expect(await bisectRuns(definitions.plain, { ...options, other: folder })).toMatchObject({ same: true });
  });
});

describe('two machines', () => {
  const tensors = ['0.weight', '0.bias', '3.weight', '3.bias'];
  const sizes = [24 * 784, 32, 10 * 24, 16];
  const trace = join(root, 'trace');

  it('the trace of a machine that computes right does not differ', async () => {
    const options = { folder: await trained('plain'), trace, workers: 2 };
    expect(await traceRun(definitions.plain, options)).toMatchObject({ verified: true });
    const found = await bisectTrace(definitions.plain, { ...options, workers: 1, kernels: 'wasm' });
    expect(found).toMatchObject({ same: true, difference: null, to: 18 });
  });

  it.each<[batch: number, shard: number, tensor: string]>([
    [0, 0, '0.weight'],
    [7, 3, '3.weight'],
    [11, 7, '3.bias'],
  ])('wrong bits from batch %i on, in shard %i of %s', async (batch, shard, tensor) => {
    const options = { folder: await trained('plain'), trace, workers: 2 };
    const at = sizes.slice(0, tensors.indexOf(tensor)).reduce((sum, size) => sum + size, 0) + 5;
    const wrong = await traceRun(definitions.plain, {
      ...options,
      spoil: (job, each, vector) => {
        if (job.index < batch || each !== shard) return;
        // After loss and metrics, which take a line of 16.
        const bits = new Uint32Array(vector.buffer, vector.byteOffset + 64, vector.length - 16);
        bits[at]! ^= 0x3c000000;
      },
    });
    expect(wrong.verified).toBe(false);
    const found = await bisectTrace(definitions.plain, options);
    const difference: TraceDifference = { step: batch + 1, batch, shard, tensor, tensors: [tensor] };
    expect(found).toMatchObject({ same: false, difference });
  });
});

describe('the command', () => {
  const run = async (args: string) => {
    const { code, stdout, stderr } = await lockstep(args.split(' '), { cwd: root });
    return { code, stderr, stdout };
  };

  it('ends with 0 where all holds, with 1 where it does not, and with 2 when it is misused', async () => {
    await run('train c.mjs --quiet --out o --steps 12');
    const right = await run('verify o c.mjs --json');
    expect(right).toMatchObject({ code: 0, stderr: '' });
    expect(events(right.stdout)).toMatchObject([{ type: 'verify', verified: true, to: 12 }]);

    cpSync(join(root, 'o'), join(root, 'p'), { recursive: true });
    const path = join(root, 'p', 'metrics.jsonl');
    writeFileSync(path, otherLoss(readFileSync(path)));
    const wrong = await run('verify p c.mjs');
    expect(wrong).toMatchObject({ code: 1, stdout: expect.stringContaining('DIFFERS at step 7') });
    const bisected = await run('verify o c.mjs --json --bisect p');
    expect(events(bisected.stdout)).toMatchObject([{ type: 'bisect', same: false, recorded: { step: 7 } }]);
    expect(bisected.code).toBe(1);

    for (const [args, message] of [
      ['verify nothing c.mjs', /cannot read .*run\.json/],
      ['verify o c2.mjs', /is of another definition: accumulate was 1, is 2/],
      ['verify o c.mjs --bisect o --sample 2', /--bisect goes with neither/],
      ['verify o c.mjs --bisect c.mjs', /c\.mjs can't be read/],
      ['verify o c.mjs --bisect absent', /no file or folder absent/],
    ] as const) {
      const { code, stderr } = await run(args);
      expect(stderr).toMatch(message);
      expect(code).toBe(2);
    }
  });
});
