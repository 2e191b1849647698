/**
 * The time of a step on machines that are not there, from costs that were measured here. Every formula, with its reasons and
 * with what is left out, is in `docs/predict.md`; names here are the names there. Times are milliseconds.
 */

/** What a step costs on this machine: on one worker, if nothing else is said. */
export interface Costs {
  readonly parameters: number;
  /** Rows and shards of a step. */
  readonly batch: number;
  readonly shards: number;
  /** Rows, forward and backward of so many shards as one program, by rising number of shards: from 1 to all. */
  readonly units: readonly { readonly shards: number; readonly time: number }[];
  /** The update of all parameters from u units: u · sum + apply. */
  readonly sum: number;
  readonly apply: number;
  /** What is left of a step: waiting for the main thread. */
  readonly rest: number;
  /** Between so many workers: a barrier, and reading as many floats as there are parameters where another wrote them last. */
  readonly threads: { readonly workers: number; readonly barrier: number; readonly transfer: number };
  /** How much longer the same takes when as many workers are busy as there are cores. */
  readonly busy: number;
  /** Compute times of a step over their mean: means of equally many, rising. */
  readonly jitter: readonly number[];
  /** Frames with their checksums: GB/s of one thread. */
  readonly encode: number;
  readonly decode: number;
}

export interface Cluster {
  /** 1: no network. */
  readonly nodes: number;
  /** Of each node. */
  readonly workers: number;
  /** Star: the coordinator sums and updates. Sliced: each node does it for its slice of the parameters. */
  readonly topology: 'star' | 'sliced';
  /** Batch and shards grow with the workers. */
  readonly weak: boolean;
  /** Of each link, each way (bit/s). */
  readonly bandwidth: number;
  /** One way. */
  readonly latency: number;
  /** Nodes whose link has less. */
  readonly slowLinks?: { readonly count: number; readonly bandwidth: number } | undefined;
  /** In a step a node takes `times` as long with this probability. */
  readonly stragglers?: { readonly probability: number; readonly times: number } | undefined;
  /** Of each machine, per hour. */
  readonly failures: number;
}

/** Stages of the exchange: gradients go in, weights come out, both cut into pieces that follow each other. */
export const stages = [
  'node codec',
  'node out',
  'node in',
  'coordinator in',
  'coordinator codec',
  'coordinator out',
  'update',
] as const;
export type Stage = (typeof stages)[number];

export interface Prediction {
  readonly nodes: number;
  /** Of each node. */
  readonly workers: number;
  readonly batch: number;
  readonly shards: number;
  readonly stepMilliseconds: number;
  readonly samplesPerSecond: number;
  /** Throughput over that of one worker of one node, and that per worker. */
  readonly speedup: number;
  readonly efficiency: number;
  /** They add up to the step. */
  readonly parts: {
    readonly compute: number;
    /** Update and, with more than one node, network. */
    readonly exchange: number;
    readonly rest: number;
    readonly failures: number;
  };
  /** What the step would be shorter without: `compute`, or the longest stage of the exchange. */
  readonly bound: 'compute' | Stage;
  /** Of a step (bytes). */
  readonly nodeBytes: { readonly out: number; readonly in: number };
}

/** Bytes of a bucket: they follow each other through the stages. */
export const PIECE_BYTES = 1 << 18;
/** Of rows, forward and backward: a product gives two gradients on its way back. */
export const FORWARD = 1 / 3;
/** Of each packet on an Ethernet: its bytes on the wire (preamble, gap, headers) over those that it carries of a stream. */
export const PACKET = 1538 / 1448;
/** A unit is computed a second time when its holder is this many times slower than expected. */
export const STRAGGLER_FACTOR = 4;
/** From a node's silent death to its shards being handed out again; a coordinator's restart, and what it goes back. */
export const RECOVERY = { node: 2_000, coordinator: 5_000, checkpoint: 30_000 / 2 };
const HOUR = 3_600_000;

/** Units that a part of k shards falls apart into, where the cuts are good: a power of two for each one of k in binary. */
export function unitsOf(shards: number): number[] {
  const units = [];
  for (let unit = 1; unit <= shards; unit *= 2) if (Math.floor(shards / unit) % 2 === 1) units.push(unit);
  return units;
}

/** Of one unit: between what was measured on a line, beyond it in proportion. */
export function unitTime({ units }: Costs, shards: number): number {
  const above = units.find((unit) => unit.shards >= shards) ?? units.at(-1)!;
  const below = units.findLast((unit) => unit.shards <= shards);
  if (!below || above.shards <= shards) return (above.time * shards) / above.shards;
  const share = (shards - below.shards) / (above.shards - below.shards);
  return below.time + share * (above.time - below.time);
}

/** The mean of the slowest of n, over the mean of one: n independent draws from `jitter`. */
export function slowest(jitter: readonly number[], n: number): number {
  const { length } = jitter;
  let mean = 0;
  for (let i = 0; i < length; i++) mean += jitter[i]! * (((i + 1) / length) ** n - (i / length) ** n);
  return length === 0 ? 1 : mean;
}

/** In a step, between the workers of a node: two barriers, the others' part of the weights, and of `units` gradients. */
function threadsTime({ threads }: Costs, workers: number, units: number): number {
  if (workers === 1) return 0;
  const barrier = (threads.barrier * (workers - 1)) / Math.max(1, threads.workers - 1);
  return 2 * barrier + (threads.transfer * (workers - 1 + Math.max(0, units - 1))) / workers;
}

/** How `shards` lie on `holders`. */
interface Shares {
  /** Units of the fullest holder. */
  readonly most: readonly number[];
  /** Holders that have any. */
  readonly used: number;
  /** Units of all. */
  readonly units: number;
}

function share(units: readonly number[], holders: number): Shares {
  if (holders === 1) return { most: units, used: 1, units: units.length };
  const shards = units.reduce((sum, unit) => sum + unit, 0);
  const least = Math.floor(shards / holders);
  const larger = shards - least * holders;
  const most = unitsOf(larger > 0 ? least + 1 : least);
  return {
    most,
    used: Math.min(shards, holders),
    units:
      larger > 0 ? larger * most.length + (holders - larger) * unitsOf(least).length : holders * most.length,
  };
}

export function predict(costs: Costs, cluster: Cluster): Prediction {
  const { nodes, workers, weak, failures } = cluster;
  const all = nodes * workers;
  const times = weak ? all : 1;
  const [batch, shards] = [costs.batch * times, costs.shards * times];
  const onNodes = share([shards], nodes);
  const onWorkers = share(onNodes.most, workers);
  const busy = onWorkers.used > 1 ? costs.busy : 1;
  const compute =
    onWorkers.most.reduce((sum, unit) => sum + unitTime(costs, unit), 0) *
    busy *
    slowest(costs.jitter, onNodes.used * onWorkers.used) *
    lateness(cluster, onNodes.used);
  const rest = costs.rest + threadsTime(costs, workers, onWorkers.units);
  const { exchange, hidden, bound, nodeBytes } =
    nodes === 1
      ? {
          exchange: (updateTime(costs, onWorkers.units) / workers) * busy,
          hidden: 0,
          bound: 'update' as const,
          nodeBytes: { out: 0, in: 0 },
        }
      : exchangeOf(costs, cluster, onNodes, onWorkers, compute);
  const undisturbed = compute + exchange + rest;
  const step = undisturbed / (1 - lostShare(undisturbed, nodes, failures));
  const speedup = (batch / step) * (baseline(costs) / costs.batch);
  return {
    ...{ nodes, workers, batch, shards, stepMilliseconds: step, samplesPerSecond: (1000 * batch) / step },
    ...{ speedup, efficiency: speedup / all, nodeBytes },
    parts: { compute, exchange, rest, failures: step - undisturbed },
    bound: compute - hidden >= exchange ? 'compute' : bound,
  };
}

/** A step of one worker. */
export const baseline = (costs: Costs): number =>
  unitTime(costs, costs.shards) + updateTime(costs, 1) + costs.rest;

/** By one worker. */
const updateTime = ({ sum, apply }: Costs, units: number): number => units * sum + apply;

/** How much longer the slowest of so many nodes takes, when stragglers' work is done by others after a while. */
const lateness = ({ stragglers }: Cluster, nodes: number): number =>
  stragglers === undefined
    ? 1
    : 1 +
      (1 - (1 - stragglers.probability) ** nodes) * (Math.min(stragglers.times, STRAGGLER_FACTOR + 1) - 1);

/** The share of all time that failures take; 1 when the run does not get on at all. */
function lostShare(step: number, nodes: number, failures: number): number {
  const coordinator = RECOVERY.coordinator + RECOVERY.checkpoint;
  const perHour = failures * (nodes === 1 ? coordinator : nodes * (RECOVERY.node + step) + coordinator);
  return Math.min(1, perHour / HOUR);
}

/**
 * Gradients to those who sum them, the update, weights back: pieces overlap, so the slowest stage sets the pace. Backward is a
 * stage, too, where gradients leave while it runs. What this adds to computing, and how much of computing would be hidden by
 * the rest of it.
 */
function exchangeOf(
  costs: Costs,
  { workers, topology, bandwidth, latency, slowLinks }: Cluster,
  onNodes: Shares,
  onWorkers: Shares,
  compute: number,
): { exchange: number; hidden: number; bound: Stage; nodeBytes: Prediction['nodeBytes'] } {
  const vector = 4 * costs.parameters;
  const [own, { used, units }] = [onNodes.most.length, onNodes];
  const star = topology === 'star';
  const slow = slowLinks && slowLinks.count > 0 ? Math.min(bandwidth, slowLinks.bandwidth) : bandwidth;
  const onLink = (bytes: number, bits: number): number => (8000 * PACKET * bytes) / bits;
  const codec = (encoded: number, decoded: number): number =>
    encoded / costs.encode / 1e6 + decoded / costs.decode / 1e6;
  // Of a sliced node's own slice nothing travels.
  const others = star ? 1 : (used - 1) / used;
  const out = star ? own * vector : (own + 1) * others * vector;
  const into = star ? vector : ((units - own) / used + others) * vector;
  const update = updateTime(costs, units) / workers;
  const times: Record<Stage, number> = {
    'node codec': codec(out, into),
    'node out': onLink(out, slow),
    'node in': onLink(into, slow),
    'coordinator in': star ? onLink(units * vector, bandwidth) : 0,
    'coordinator codec': star ? codec(used * vector, units * vector) : 0,
    'coordinator out': star ? onLink(used * vector, bandwidth) : 0,
    update: star ? update : update / used,
  };
  const bound = stages.reduce((worst, stage) => (times[stage] > times[worst] ? stage : worst));
  const total = stages.reduce((sum, stage) => sum + times[stage], 0);
  const pieces = Math.max(1, Math.ceil(vector / PIECE_BYTES));
  // Several workers of a node add what they hold of a unit before anything leaves.
  const within = onWorkers.units > own ? (onWorkers.units * costs.sum) / workers : 0;
  const backward = workers > 1 ? 0 : compute * (1 - FORWARD);
  const inPieces = (longest: number, sum: number): number => longest + (sum - longest) / pieces;
  const alone = inPieces(times[bound], total);
  const whole = inPieces(Math.max(times[bound], backward), total + backward);
  return {
    exchange: within + whole - backward + 2 * latency,
    hidden: backward - (whole - alone),
    bound,
    nodeBytes: { out, in: into },
  };
}
