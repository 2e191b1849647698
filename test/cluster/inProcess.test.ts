/** The whole cluster in one process: coordinator and nodes over in-process connections, on threads of their own. */
import { connectInProcess, type Dial } from '@lockstep/sync';
import { ClusterExecutor, startNode, startRun } from '@lockstep/trainer';
import { type TrainingDefinition, train } from 'lockstep';
import { describe, expect, it } from 'vitest';
import type { Fields } from '../exactness/data.ts';
import { definitions } from '../exactness/definitions.ts';

type Any = TrainingDefinition<never, Fields>;

interface NodeWay {
  readonly workers: number;
  readonly kernels: 'wasm' | 'auto';
}

async function clusterDigest(definition: Any, nodes: readonly NodeWay[], workers = 1) {
  const started: ReturnType<typeof startNode>[] = [];
  const run = startRun(definition, {}, async ({ prepared, from }) => {
    const executor = await ClusterExecutor.start(
      prepared,
      { workers, kernels: 'auto' },
      {
        definition: '1'.repeat(64),
        incarnation: 1,
        from,
        minNodes: nodes.length,
        heartbeat: 1000,
        straggler: { factor: 4, least: 1000, unknown: 30_000 },
        report: () => {},
      },
    );
    const dial: Dial = async (accept) => connectInProcess(executor.accept, accept);
    for (const [i, node] of nodes.entries()) started.push(startNode({ dial, name: `node ${i}`, ...node }));
    return executor;
  });
  const { weightsDigest, loss, nodes: count } = await run;
  const outcomes = await Promise.all(started.map(({ ended }) => ended));
  return { weightsDigest, loss, count, outcomes };
}

describe('a cluster gives the weights of one machine', () => {
  const ways: readonly (readonly NodeWay[])[] = [
    [{ workers: 1, kernels: 'auto' }],
    [
      { workers: 1, kernels: 'auto' },
      { workers: 2, kernels: 'wasm' },
    ],
    [
      { workers: 2, kernels: 'auto' },
      { workers: 3, kernels: 'wasm' },
      { workers: 1, kernels: 'wasm' },
    ],
  ];
  const entries = Object.entries(definitions as unknown as Record<string, Any>);
  it.each(entries.map(([name, definition], turn) => [name, definition, turn] as const))(
    '%s',
    async (_, definition, turn) => {
      const { weightsDigest, loss } = await train(definition);
      const nodes = ways[turn % ways.length]!;
      const found = await clusterDigest(definition, nodes, 1 + (turn % 2));
      expect(found.weightsDigest).toBe(weightsDigest);
      expect(found.loss).toBe(loss);
      expect(found.outcomes).toEqual(nodes.map(() => ({ reason: 'finished', digest: weightsDigest })));
    },
  );
});
