/**
 * The command is killed (SIGKILL) at random moments, and goes on with other workers and kernels: the digest stays the
 * same. Every kill is counted, by what the process was at; the counts are shown with the test.
 */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { availableVariants } from '@lockstep/kernels';
import { afterAll, describe, expect, it, test } from 'vitest';
import { configText, events, folderWith, lockstep } from '../command.ts';

const KILLS = 5;

/** Each with dropout and a short last batch: about three seconds. `every`: steps between two checkpoints, 10 by default. */
const configs: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'adamw, cosine': { epochs: '300' },
  'two batches for one step, clipped': {
    epochs: '300',
    accumulate: '2',
    optimizer: 'optim.sgd({ lr: 0.05, momentum: 0.9, clipNorm: 0.5 })',
  },
  'early stopping, the best weights': {
    epochs: '5000',
    earlyStopping: "{ patience: 150, metric: 'accuracy', mode: 'max' }",
    optimizer: 'optim.adam({ lr: 2e-3 })',
  },
  'one shard, a number of steps': { shards: '1', epochs: '9999', steps: '2500', batch: '70' },
  'products of several panels and pieces, a batch of 1100': {
    ...{ every: '3', batch: '1100', epochs: '9999', steps: '45' },
    data: '() => data.digits({ train: 1300, validation: 130 })',
    model: '() => nn.sequential(nn.linear(784, 1030), nn.relu(), nn.dropout(0.2), nn.linear(1030, 10))',
  },
};

const folder = folderWith({
  ...Object.fromEntries(
    Object.values(configs).map(({ every: _, ...fields }, i) => [`c${i}.mjs`, configText(fields)] as const),
  ),
  'short.mjs': configText({ epochs: '1' }),
  'rate.mjs': configText({ epochs: '1', optimizer: 'optim.adamw({ lr: optim.cosine(2e-2) })' }),
  'gelu.mjs': configText({
    epochs: '1',
    model: '() => nn.sequential(nn.linear(784, 24), nn.gelu(), nn.dropout(0.2), nn.linear(24, 10))',
  }),
  'data.mjs': configText({ epochs: '1', data: '() => data.digits({ train: 501, validation: 130 })' }),
});
afterAll(() => rmSync(folder, { recursive: true }));

const variants = availableVariants();

/** Numbers from 0 to 1 by mulberry32. */
const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

const run = (args: string, options: Partial<Parameters<typeof lockstep>[1]> = {}) =>
  lockstep(args.split(' '), { cwd: folder, ...options });

/** How a run ends when it is left alone. */
const undisturbed = (i: number) => {
  ends[i] ??= run(`train c${i}.mjs --json --quiet --workers 2`).then(({ stdout }) => events(stdout).at(-1));
  return ends[i];
};
const ends: Promise<ReturnType<typeof events>[number] | undefined>[] = [];

const checkpointsOf = (out: string): string[] => {
  const path = join(folder, out, 'checkpoints');
  return existsSync(path) ? readdirSync(path) : [];
};

describe('a process killed at random moments', () => {
  it.for(Object.entries(configs).map(([name, { every = '10' }], i) => [name, i, every] as const))(
    '%s',
    async ([, i, every], { annotate }) => {
      const expected = await undisturbed(i);
      const next = random(i + 1);
      const seen = { 'before the first checkpoint': 0, 'while one was written': 0, 'between them': 0 };
      const steps: number[] = [];
      const command = (life: number): string =>
        `train c${i}.mjs --json --quiet --out o${i} --resume --checkpoint-every ${every} --workers ${1 + ((i + life) % 3)} ` +
        `--kernels ${variants[(i + life) % variants.length]}`;
      for (let life = 0; life < KILLS; life++) {
        // The first before a checkpoint can be; the others around some checkpoint.
        const sight = life === 0 ? '"type":"start"' : '"type":"checkpoint"';
        const sights = life === 0 ? 1 : 1 + Math.floor(next() * 3);
        let sighted = false;
        const { code, stdout } = await run(command(life), {
          onOutput: (output, child) => {
            if (sighted || output.split(sight).length <= sights) return;
            sighted = true;
            setTimeout(() => child.kill('SIGKILL'), next() * 20);
          },
        });
        expect(code).toBe(null);
        const [start] = events(stdout.slice(0, stdout.indexOf('\n')));
        steps.push((start?.resumed as { step: number } | null)?.step ?? 0);
        const files = checkpointsOf(`o${i}`);
        if (!files.some((name) => name.endsWith('.json'))) seen['before the first checkpoint']++;
        else seen[files.some((name) => name.endsWith('.part')) ? 'while one was written' : 'between them']++;
      }
      const { code, stdout, stderr } = await run(command(KILLS));
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const done = events(stdout).at(-1);
      const { weightsDigest, step, loss, metrics, validation } = expected!;
      expect(done).toMatchObject({ weightsDigest, step, loss, metrics, validation });
      // It went on, and never back.
      expect(steps).toEqual([...steps].sort((a, b) => a - b));
      expect(steps.at(-1)).toBeGreaterThan(0);
      const counts = Object.entries(seen).map(([when, count]) => `${count} ${when}`);
      await annotate(
        `${KILLS} kills, ${counts.join(', ')}; gone on from steps ${steps.join(', ')} of ${step}`,
      );
    },
  );
});

describe('--resume', () => {
  /** Ends a run by a signal as soon as it trains. */
  const interrupted = (out: string, signal: NodeJS.Signals) => {
    let sent = false;
    return run(`train c0.mjs --json --out ${out}`, {
      onOutput: (output, child) => {
        if (sent || !output.includes('"type":"step"')) return;
        sent = true;
        child.kill(signal);
      },
    });
  };

  test.each(['SIGINT', 'SIGTERM'] as const)(
    'goes on from where %s ended a run, and twice',
    async (signal) => {
      const first = await interrupted(signal, signal);
      expect(first.code).toBe(130);
      const all = events(first.stdout);
      const { step } = all.at(-1)!;
      expect(all.filter(({ type }) => type === 'checkpoint').at(-1)).toMatchObject({ step });
      const args = `train c0.mjs --out ${signal} --resume --workers 1`;
      const second = await run(`${args} --json`);
      expect(events(second.stdout)[0]).toMatchObject({ resumed: { step } });
      const done = events(second.stdout).at(-1);
      expect(done?.weightsDigest).toBe((await undisturbed(0))?.weightsDigest);
      // Of both processes, each step once.
      const lines = events(readFileSync(join(folder, signal, 'metrics.jsonl'), 'utf8'));
      expect(lines.flatMap(({ type, step }) => (type === 'step' ? [step] : []))).toEqual(
        Array.from({ length: 2700 }, (_, i) => i + 1),
      );
      if (signal === 'SIGTERM') return;
      const third = await run(args);
      expect(third.stdout).toContain('resuming after step 2,700, from checkpoints/checkpoint-');
      expect(third.stdout).toContain(done?.weightsDigest);
    },
  );

  test('refuses another definition, and says what changed', async () => {
    await run('train short.mjs --out changed --quiet');
    const cases: [string, RegExp][] = [
      [
        'short.mjs --seed 4 --batch 50 --shards 5',
        /seed was 3, is 4; batch was 60, is 50; shards was 8, is 5/,
      ],
      ['rate.mjs', /optimizer\.lr.* was 0\.01, is 0\.02/],
      ['gelu.mjs', /the step of model, loss and metrics was “relu/],
      ['data.mjs', /data\.rows was 500, is 501; .*the data changed/],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await run(`train ${args} --out changed --resume`);
      expect({ args, code, stderr }).toMatchObject({ code: 2, stderr: expect.stringMatching(message) });
      expect(stderr).toMatch(/changed\/checkpoints\/checkpoint-000001\.json is of another definition/);
    }
  });

  test('starts from scratch where there is no checkpoint', async () => {
    const { code, stdout } = await run('train short.mjs --out fresh --resume');
    expect(code).toBe(0);
    expect(stdout).toContain('no checkpoint yet');
  });

  test('needs a folder', async () => {
    const { code, stderr } = await run('train short.mjs --resume');
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/resume: .*give out/) });
  });

  test.each<[string, (manifest: string, tensors: string) => void]>([
    ['tensors that are cut off', (_, tensors) => truncateSync(tensors, 5000)],
    ['no tensors', (_, tensors) => rmSync(tensors)],
    ['a manifest that is cut off', (manifest) => truncateSync(manifest, 100)],
    ['no manifest', (manifest) => rmSync(manifest)],
  ])('the newest checkpoint has %s: it is named wherever the older one is', async (what, damage) => {
    const out = what.replaceAll(' ', '-');
    await run(`train short.mjs --out ${out} --checkpoint-every 3`);
    const newest = checkpointsOf(out)
      .filter((name) => name.endsWith('.json'))
      .at(-1)!;
    const manifest = join(folder, out, 'checkpoints', newest);
    damage(manifest, manifest.replace('.json', '.safetensors'));
    const file = `checkpoints/${newest}`;
    const { code, stdout, stderr } = await run(`train short.mjs --out ${out} --resume`);
    expect(code).toBe(0);
    expect(stderr).toContain(`${file} is damaged and was passed over: `);
    expect(stdout).toMatch(
      /resuming after step \d+, from checkpoints\/checkpoint-0+\d\.json, since .* can't be used/,
    );
    const lines = events(readFileSync(join(folder, out, 'metrics.jsonl'), 'utf8'));
    const started = lines.findLast(({ type }) => type === 'start');
    expect(started?.resumed).toMatchObject({ skipped: [{ file, reason: expect.any(String) }] });
  });

  test('passes over a damaged checkpoint, names it and leaves it', async () => {
    const expected = await run('train short.mjs --out damaged --checkpoint-every 3 --json');
    const files = checkpointsOf('damaged');
    const newest = files.filter((name) => name.endsWith('.json')).at(-1)!;
    const tensors = join(folder, 'damaged/checkpoints', newest.replace('json', 'safetensors'));
    truncateSync(tensors, 5000);
    const { code, stdout } = await run('train short.mjs --out damaged --resume --json');
    expect(code).toBe(0);
    const [damaged, start] = events(stdout);
    expect(damaged).toMatchObject({ type: 'checkpointDamaged', file: `checkpoints/${newest}` });
    expect(start?.resumed).toMatchObject({ step: expect.any(Number) });
    expect(events(stdout).at(-1)?.weightsDigest).toBe(events(expected.stdout).at(-1)?.weightsDigest);
    expect(statSync(tensors).size).toBe(5000);
    for (const name of checkpointsOf('damaged'))
      if (name.endsWith('.safetensors')) truncateSync(join(folder, 'damaged/checkpoints', name), 100);
    const refused = await run('train short.mjs --out damaged --resume');
    expect(refused).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/none of the checkpoints .* is whole/),
    });
  });
});

test.skipIf(process.platform === 'win32')(
  'a file system that refuses is told loudly, and training goes on',
  async () => {
    // No file above 100 or 200 KB (shells count in different blocks): a checkpoint is longer, the weights are not.
    const { code, stdout, stderr } = await lockstep(
      'train short.mjs --out full --checkpoint-every 3'.split(' '),
      { cwd: folder, through: ['sh', '-c', 'ulimit -f 200 && exec "$0" "$@"'] },
    );
    expect(code).toBe(0);
    expect(stderr).toMatch(/lockstep: no checkpoint of step \d+: EFBIG.*Training goes on/);
    expect(stdout).toMatch(/digest +[0-9a-f]{64}/);
    expect(checkpointsOf('full')).toEqual([]);
  },
);
