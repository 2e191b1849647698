/** A run that goes back ends as one that didn't: the digest, and each step once in metrics.jsonl. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { optim } from '@lockstep/nn';
import { afterAll, describe, expect, it } from 'vitest';
import { classifier } from '../../test/points.ts';
import { startExecutor, startRun, train } from '../train.ts';
import type { BatchJob, Executor, ExecutorState, Sums } from './executor.ts';
import { Rewind } from './rewind.ts';

const root = mkdtempSync(join(tmpdir(), 'lockstep-rewind-'));
afterAll(() => rmSync(root, { recursive: true }));

/** Once batch `at` is done, all from batch `back` on turns out to be wrong; and so it is. */
interface Doubt {
  readonly at: number;
  readonly back: number;
}

/** An executor that finds out, later, that it was wrong. */
class Doubting implements Executor {
  readonly ahead = 4;
  readonly #inner: Executor;
  readonly #left: Doubt[];
  readonly #keeps: readonly number[];
  readonly #jobs: BatchJob[] = [];
  rewound = 0;

  constructor(inner: Executor, doubts: readonly Doubt[]) {
    this.#inner = inner;
    this.#left = [...doubts];
    this.#keeps = doubts.map(({ back }) => back);
  }

  get kernels() {
    return this.#inner.kernels;
  }
  get workers() {
    return this.#inner.workers;
  }
  setOrder = (epoch: number, order: Int32Array) => this.#inner.setOrder(epoch, order);
  submit(job: BatchJob): void {
    this.#jobs.push(job);
    this.#inner.submit(job);
  }
  async drain(keep: number): Promise<Sums[]> {
    const sums = await this.#inner.drain(keep);
    const done = this.#jobs.splice(0, sums.length);
    const [doubt] = this.#left;
    if (!doubt || !done.some(({ index }) => index >= doubt.at)) return sums;
    this.#left.shift();
    await this.#inner.drain(0);
    this.#jobs.length = 0;
    for (const vector of this.#inner.state().values()) vector.fill(Number.NaN);
    this.#inner.setState(new Map([...this.#inner.state()].map(([name, v]) => [name, v.fill(1e30)])));
    throw new Rewind(doubt.back, (kept) => [
      { type: 'rewind', step: 0, nodes: 1, kept, reason: 'audit' } as const,
    ]);
  }
  async rewind(batch: number): Promise<void> {
    this.rewound++;
    expect(batch).toBeLessThanOrEqual(this.#keeps[this.rewound - 1]!);
  }
  doubts = () => this.#keeps;
  refused = () => this.#inner.refused();
  validate = () => this.#inner.validate();
  weights = () => this.#inner.weights();
  setWeights = (weights: Float32Array) => this.#inner.setWeights(weights);
  state = () => this.#inner.state();
  setState = (state: ExecutorState) => this.#inner.setState(state);
  close = () => this.#inner.close();
}

const steps = (folder: string): string[] =>
  readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => /^\{"type":"(step|epoch)"/.test(line))
    .map((line) => line.replace(/"(samplesPerSecond|seconds)":[^,}]+/g, ''));

const definitions = {
  plain: classifier({ epochs: 5 }),
  'two batches for one step, clipped': classifier({
    epochs: 5,
    accumulate: 2,
    optimizer: optim.sgd({ lr: 0.1, momentum: 0.9, clipNorm: 0.5 }),
  }),
  'early stopping with the best weights': classifier({
    epochs: 30,
    earlyStopping: { patience: 2 },
    optimizer: optim.adamw({ lr: 0.3 }),
  }),
  'a rate that follows the validations': classifier({
    epochs: 8,
    optimizer: optim.sgd({ lr: optim.plateau(0.5, { patience: 0, factor: 0.5 }), momentum: 0.5 }),
  }),
};

const doubts: Record<string, readonly Doubt[]> = {
  'once, to the start': [{ at: 9, back: 0 }],
  'into the same epoch': [{ at: 7, back: 6 }],
  'over epochs, three times': [
    { at: 12, back: 7 },
    { at: 13, back: 3 },
    { at: 17, back: 12 },
  ],
};

describe.each(Object.entries(definitions))('%s', (_, definition) => {
  it.each(Object.entries(doubts))('%s', async (when, list) => {
    const honest = join(root, `honest ${Math.random()}`);
    const expected = await train(definition, { workers: 1, out: honest });
    for (const checkpointEvery of [undefined, { steps: 2 }]) {
      const out = join(root, `${when} ${Math.random()}`);
      let executor: Doubting | undefined;
      const run = await startRun(definition, { workers: 1, out, checkpointEvery }, async ({ prepared }) => {
        executor = new Doubting(await startExecutor(prepared, { workers: 1 }), list);
        return executor;
      });
      expect(executor?.rewound).toBe(list.length);
      expect(run.weightsDigest).toBe(expected.weightsDigest);
      expect(run).toMatchObject({ loss: expected.loss, step: expected.step, epoch: expected.epoch });
      expect(steps(out)).toEqual(steps(honest));
      // What is left was computed after the last time, or before what was wrong.
      expect(readdirSync(join(out, 'checkpoints')).length).toBeGreaterThan(0);
    }
  });
});

it('without a folder, the run goes back to its start', async () => {
  const definition = definitions.plain;
  const expected = await train(definition, { workers: 1 });
  const run = await startRun(definition, { workers: 1 }, async ({ prepared }) => {
    return new Doubting(await startExecutor(prepared, { workers: 1 }), [{ at: 9, back: 5 }]);
  });
  expect(run.weightsDigest).toBe(expected.weightsDigest);
});
