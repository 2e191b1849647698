/** A whole cluster in one process: coordinator and nodes over in-process connections, on threads of their own. */

import { ClusterExecutor, type ClusterOptions, startNode } from '@lockstep/cluster';
import type { Header } from '@lockstep/protocol';
import {
  type Accept,
  type Connection,
  connectInProcess,
  type Dial,
  type NodeOutcome,
  type Report,
} from '@lockstep/sync';
import { startRun } from '@lockstep/trainer';
import type { TrainingDefinition, TrainOptions } from 'lockstep';
import type { Fields } from '../exactness/data.ts';

export type AnyDefinition = TrainingDefinition<never, Fields>;

export interface NodeWay {
  readonly workers: number;
  readonly kernels: 'wasm' | 'auto';
  /** Changes what the node sends. */
  readonly tamper?: (connection: Connection) => Connection;
  /** Hears of every frame that comes to the node. */
  readonly heard?: (header: Header) => void;
}

export interface ClusterWay {
  readonly nodes: readonly NodeWay[];
  readonly workers?: number;
  readonly options?: Partial<ClusterOptions>;
  readonly train?: TrainOptions;
}

/** What nodes get to hear that the run is over. */
const GRACE_MS = 2_000;

/** Node i is called `node i`. */
export async function clusterRun(definition: AnyDefinition, way: ClusterWay) {
  const { nodes, workers = 1, options, train = {} } = way;
  const ended: Promise<NodeOutcome | string>[] = [];
  const nodeDrivers: ReturnType<typeof startNode>[] = [];
  const reports: Report[] = [];
  const run = startRun(definition, train, async ({ prepared, from }) => {
    const executor = await ClusterExecutor.start(
      prepared,
      { workers, kernels: 'auto' },
      {
        definition: '1'.repeat(64),
        incarnation: 1,
        from,
        ownWorkers: 0,
        minNodes: nodes.length,
        heartbeat: 1000,
        straggler: { factor: 4, least: 1000, unknown: 10_000 },
        diagnose: () => undefined,
        rescue: () => {},
        report: (report) => reports.push(report),
        ...options,
      },
    );
    for (const [i, { tamper, heard, ...node }] of nodes.entries()) {
      const dial = dialTampered(executor.accept, tamper, heard);
      const started = startNode({ dial, name: `node ${i}`, ...node });
      nodeDrivers.push(started);
      ended.push(started.ended.catch(({ code, message }) => String(code ?? message)));
    }
    return executor;
  });
  const result = await run;
  // One that lost its connection shortly before the end tries for ever to find the run again.
  const leaving = setTimeout(() => {
    for (const node of nodeDrivers) node.leave();
  }, GRACE_MS);
  await Promise.all(ended);
  clearTimeout(leaving);
  return { ...result, reports, outcomes: await Promise.all(ended) };
}

const dialTampered =
  (
    coordinator: Accept,
    tamper: NodeWay['tamper'] = (connection) => connection,
    heard?: NodeWay['heard'],
  ): Dial =>
  async (accept) => {
    let made: Connection | undefined;
    connectInProcess(coordinator, (connection) => {
      made = tamper(connection);
      const events = accept(made);
      return {
        ...events,
        frame: (header, payload) => {
          heard?.(header);
          events.frame(header, payload);
        },
      };
    });
    return made!;
  };
