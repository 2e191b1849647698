/** serve(): train(), with nodes on other machines. */

import { Sampler } from '@lockstep/data';
import type { KernelVariant } from '@lockstep/kernels';
import { ConfigError } from '@lockstep/nn';
import {
  type Accept,
  type ClosedReason,
  connectInProcess,
  DEFAULT_LIMITS,
  isLoopback,
  type Listener,
  type ListenOptions,
  listen,
} from '@lockstep/sync';
import {
  definitionHash,
  findNonFinite,
  type Run,
  type RunContext,
  resolveKernels,
  resolveWorkers,
  runDefinition,
  startRun,
  type TrainingDefinition,
  type TrainingEvent,
  type TrainOptions,
} from '@lockstep/trainer';
import { ClusterExecutor } from '../coordinator/clusterExecutor.ts';
import { newNodeId, startNode } from '../node/node.ts';
import type { ClusterProfile } from '../wire/profile.ts';
import { dropAccess, keepAccess } from './access.ts';
import { nextIncarnation } from './incarnation.ts';
import { joinCommand } from './joinCommand.ts';
import { Refusals } from './refusals.ts';
import { RunStatus } from './status.ts';

export interface ServeOptions extends Omit<TrainOptions, 'workers' | 'execution' | 'profile'> {
  /** Threads of this machine that compute, too: a node in this process; 0: none. Default `auto`: one per core. */
  readonly workers?: number | 'auto';
  /** Where nodes connect: address, port, token, TLS. */
  readonly listen?: Omit<ListenOptions, 'request' | 'refused'>;
  /** Takes what the nodes' threads do in a few steps, down to kernels. */
  readonly profile?: ClusterProfile | undefined;
  /** So many nodes (this process' own is one) must be ready before the first batch; later on, one is enough. Default 1. */
  readonly minNodes?: number;
  /** Milliseconds between two pings, 50 to 60,000. A node that is silent for two of them is lost. Default 1000. */
  readonly heartbeat?: number;
  /**
   * The part of the units of work, 0 to 1, that this process computes a second time, drawn by chance: the bits must agree before
   * the batch counts. A node whose results are wrong is refused, and what it contributed is computed again. Default: 0.02, or
   * 0 where only this machine can connect (a loopback address).
   */
  readonly audit?: number | undefined;
}

/** See `CoordinatorConfig`. A tenth of a second is less than it takes to notice anything else, and more than a pause of the runtime. */
const STRAGGLER = { factor: 4, least: 100, unknown: 10_000 };
/** The part of the units that is audited where other machines can connect. */
const AUDIT = 0.02;

/**
 * Trains on this machine and on every node that connects (`join`). The weights are those of `train`, whoever computes
 * them. Throws as `train` does, and a TransportError where it cannot listen.
 */
export function serve<M, F extends string>(
  definition: TrainingDefinition<M, F>,
  options: ServeOptions = {},
): Run<M> {
  const { workers = 'auto', minNodes = 1, heartbeat = 1000, listen: where, profile: _, ...rest } = options;
  checkWhole('minNodes', minNodes, 1, 65_535);
  checkWhole('heartbeat', heartbeat, 50, 60_000);
  const audit = options.audit ?? (where?.host === undefined || isLoopback(where.host) ? 0 : AUDIT);
  if (!(audit >= 0 && audit <= 1))
    throw new ConfigError('audit', `got ${audit}, expected a part from 0 to 1`);
  const own = workers === 0 ? 0 : resolveWorkers(workers);
  let running: { readonly workers: number } = { workers: 0 };
  const refusals = new Refusals();
  let listening: Listener | undefined;
  let isOver = false;
  const status = new RunStatus({
    minNodes,
    workers: () => running.workers,
    heldBytes: () => listening?.heldBytes ?? 0,
    refusals: () => refusals.counts,
  });
  const on = {
    ...options.on,
    event: (event: TrainingEvent) => {
      status.event(event);
      if (event.type === 'done') {
        // Nothing follows it.
        isOver = true;
        if (!event.interrupted) dropAccess(options.out);
      }
      return options.on?.event?.(event);
    },
  };
  return startRun(definition, { ...rest, on, workers: Math.max(1, own) }, async (context) => {
    const kernels = resolveKernels(options.kernels);
    const given = { ...options, own, kernels, minNodes, heartbeat, audit };
    const executor = await startExecutor(context, given);
    try {
      running = executor;
      const tell = (event: TrainingEvent | undefined): void => {
        if (event && !isOver) context.emit(event);
      };
      const listener = await listen(
        {
          ...(await keepAccess(where ?? {}, options)),
          limits: { ...limitsFor(context.prepared), ...where?.limits },
          request: status.answer,
          refused: ({ code, address }) => tell(refusals.refused(code, address, performance.now())),
        },
        watching(executor.accept, (reason, peer) => tell(refusals.closed(reason, peer, performance.now()))),
      );
      listening = listener;
      executor.closing.push(() => listener.close());
      const isTokenGiven = where?.token !== undefined;
      context.emit({
        type: 'listening',
        urls: listener.urls,
        command: joinCommand(listener, isTokenGiven),
        needsToken: listener.token !== undefined && isTokenGiven,
        minNodes,
      });
    } catch (error) {
      await executor.close();
      throw error;
    }
    if (own > 0) joinOwn(executor, own, kernels);
    return executor;
  });
}

async function startExecutor<M, F extends string>(
  { prepared, emit, from, signal }: RunContext<M, F>,
  options: ServeOptions & {
    own: number;
    kernels: KernelVariant;
    minNodes: number;
    heartbeat: number;
    audit: number;
  },
): Promise<ClusterExecutor> {
  const { own, kernels, minNodes, heartbeat, audit } = options;
  const { batch, seed, shuffle, dropLast } = prepared.definition;
  const sampler = new Sampler({ length: prepared.data.length, batch, seed, shuffle, dropLast });
  const executor: ClusterExecutor = await ClusterExecutor.start(
    prepared,
    { workers: Math.max(1, own), kernels },
    {
      definition: definitionHash(runDefinition(prepared, options)),
      incarnation: await nextIncarnation(options.out),
      from,
      ownWorkers: own,
      minNodes,
      heartbeat,
      straggler: STRAGGLER,
      signal,
      audit: { rate: audit },
      renew: () => nextIncarnation(options.out),
      emit,
      profile: options.profile,
      diagnose: (weights, suspect) => findNonFinite(prepared, weights, sampler, suspect),
      rescue: () => joinOwn(executor, 1, kernels),
      report: (report, step, nodes) => emit({ ...report, step, nodes: nodes.length }),
    },
  );
  return executor;
}

/** The node of this process. What it would fetch is here. */
function joinOwn(executor: ClusterExecutor, workers: number, kernels: KernelVariant): void {
  const id = newNodeId();
  executor.trust(id);
  const node = startNode({
    dial: async (accept) => connectInProcess(executor.accept, accept),
    id,
    name: 'this machine',
    workers,
    kernels,
    ...executor.own,
  });
  executor.closing.push(async () => {
    // An interrupted run can be found again, but not by this process.
    node.leave();
    await node.ended;
  });
}

/** What a slow node may be behind, in models: the one that is computed with, the next one, and as much on its way. */
const MODELS_HELD = 4;

/** Bounds of what waits for nodes, where they follow from the size of the model. */
function limitsFor<M, F extends string>({ layout }: RunContext<M, F>['prepared']) {
  const modelBytes = (layout.size + layout.bufferSize) * Float32Array.BYTES_PER_ELEMENT;
  return {
    buffered: Math.max(DEFAULT_LIMITS.buffered, MODELS_HELD * modelBytes),
    held: DEFAULT_LIMITS.held + MODELS_HELD * modelBytes,
  };
}

/** Also tells why connections ended. */
const watching =
  (accept: Accept, ended: (reason: ClosedReason, peer: string) => void): Accept =>
  (connection) => {
    const { frame, closed } = accept(connection);
    return {
      frame,
      closed: (reason) => {
        ended(reason, connection.peer);
        closed(reason);
      },
    };
  };

function checkWhole(what: string, got: number, least: number, most: number): void {
  if (Number.isInteger(got) && got >= least && got <= most) return;
  throw new ConfigError(what, `got ${got}, expected a whole number from ${least} to ${most}`);
}
