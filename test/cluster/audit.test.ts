/** Nodes that lie: found by audits, named, refused, and nothing of what they did is left in the weights. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterExecutor, type ClusterOptions } from '@lockstep/cluster';
import { resolveVariant } from '@lockstep/kernels';
import { connectInProcess, type Dial } from '@lockstep/sync';
import { startRun } from '@lockstep/trainer';
import {
  data,
  defineTraining,
  loss,
  nn,
  optim,
  type TrainingDefinition,
  type TrainingEvent,
  type TrainOptions,
  train,
} from 'lockstep';
import { afterAll, describe, expect, it } from 'vitest';
import type { AnyDefinition } from './inProcess.ts';
import { LIES, type LieKind, startLiar } from './liars.ts';

const root = mkdtempSync(join(tmpdir(), 'lockstep-audit-'));
afterAll(() => rmSync(root, { recursive: true }));

interface Way {
  readonly audit: ClusterOptions['audit'];
  readonly kind: LieKind;
  /** In which batches. */
  readonly lies?: (batch: number) => boolean;
  readonly train?: TrainOptions;
}

/** Five nodes, one of which lies; all in this process, and none of them trusted. */
async function runWithLiar(definition: AnyDefinition, { audit, kind, lies, train: given = {} }: Way) {
  const events: TrainingEvent[] = [];
  const batches: number[] = [];
  let liar: number | undefined;
  const ended: Promise<unknown>[] = [];
  const on = { event: (event: TrainingEvent) => void events.push(event) };
  const result = await startRun(definition, { ...given, on }, async ({ prepared, from, emit }) => {
    const executor = await ClusterExecutor.start(
      prepared,
      { workers: 1, kernels: 'auto' },
      {
        ...{ definition: '1'.repeat(64), incarnation: 1, from, ownWorkers: 1, minNodes: 5, heartbeat: 1000 },
        straggler: { factor: 4, least: 1000, unknown: 30_000 },
        diagnose: () => undefined,
        rescue: () => {},
        report: (report, step, nodes) => emit({ ...report, step, nodes: nodes.length }),
        ...{ audit, emit },
      },
    );
    const dial: Dial = async (accept) => connectInProcess(executor.accept, accept);
    const parts = { dial, workers: 1, kernels: resolveVariant('auto') };
    // Who lies is the first of five that has work then: whoever is slow on a busy machine may have none.
    for (let i = 0; i < 5; i++) {
      const isLiar = (batch: number): boolean => {
        if (!(lies?.(batch) ?? true)) return false;
        liar ??= i;
        return liar === i;
      };
      const told = (batch: number): void => void batches.push(batch);
      ended.push(startLiar({ ...parts, kind, shardMs: 5, told, lies: isLiar, name: `node ${i}` }).ended);
    }
    return executor;
  });
  const outcomes = await Promise.all(
    ended.map((end) => end.catch((error: { code?: string }) => error.code ?? String(error))),
  );
  return { result, events: [...events], batches, outcomes, liar: liar ?? -1 };
}

/** Large enough that each of five nodes has a share. */
const digits = (over: Partial<TrainingDefinition<nn.Sequential, 'image' | 'label'>>): AnyDefinition =>
  defineTraining<nn.Sequential, 'image' | 'label'>({
    seed: 5,
    batch: 80,
    shards: 8,
    epochs: 15,
    data: () => data.digits({ train: 320, validation: 60 }),
    model: () => nn.sequential(nn.linear(784, 96), nn.relu(), nn.dropout(0.2), nn.linear(96, 10)),
    loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
    optimizer: optim.adamw({ lr: 0.01, average: 0.9 }),
    ...over,
  }) as unknown as AnyDefinition;

const definitions: Record<string, AnyDefinition> = {
  'bucket by bucket': digits({}),
  'accumulated, clipped': digits({
    accumulate: 2,
    optimizer: optim.sgd({ lr: 0.1, momentum: 0.9, clipNorm: 0.5 }),
  }),
};

const steps = (out: string): string[] =>
  readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => /^\{"type":"(step|epoch)"/.test(line))
    .map((line) => JSON.parse(line))
    .map(({ type, step, loss, metrics, validation }) =>
      JSON.stringify({ type, step, loss, metrics, validation }),
    );

describe.each(Object.keys(definitions))('%s', (name) => {
  const definition = definitions[name]!;

  it.each(LIES)('%s: found, refused, and the digest is an honest run’s', async (kind) => {
    const honest = join(root, `honest ${name}`);
    const { weightsDigest } = await train(definition, { out: honest, workers: 1 });
    const out = join(root, `${kind} ${name}`);
    const audit = { rate: 0.3 };
    const found = await runWithLiar(definition, {
      ...{ audit, kind, lies: (batch) => batch >= 3 },
      train: { out, checkpointEvery: { steps: 2 } },
    });
    expect(found.batches.length).toBeGreaterThan(0);
    expect(found.result.weightsDigest).toBe(weightsDigest);
    expect(steps(out)).toEqual(steps(honest));
    const liars = found.events.filter(({ type }) => type === 'liar');
    expect(liars).toMatchObject([{ name: `node ${found.liar}` }]);
    const finished = { reason: 'finished', digest: weightsDigest };
    const expected = found.outcomes.map((_, i) => (i === found.liar ? 'WRONG_RESULTS' : finished));
    expect(found.outcomes).toEqual(expected);
  });
});
