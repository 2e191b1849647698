/** Nodes that are idle, slow, new, or come and go: what a run loses to them, on a clock of its own. */
import { describe, expect, test } from 'vitest';
import {
  type Coordinator,
  type CoordinatorEvent,
  coordinate,
  createCoordinator,
  type Effect,
  nextWake,
  type Report,
  type ShardRange,
} from '../index.ts';

interface NodeWay {
  readonly name: string;
  /** Nodes of a host share its cores; default: one of its own. */
  readonly host?: string;
  /** Milliseconds of one core for a shard. */
  readonly shardMs: number;
  /** From computed to there. */
  readonly wireMs?: number;
  /** When it joins. Default: 0. */
  readonly at?: number;
  /** From its welcome until it is ready. */
  readonly readyMs?: number;
  /** Its first units take so many times as long. */
  readonly cold?: { readonly units: number; readonly times: number };
  /** It answers, but computes nothing from then on, or until then. */
  readonly hangs?: readonly [from: number, to: number];
  /** It computes, but returns nothing from then on. */
  readonly mute?: number;
  /** It is so many times slower from then on, until then. */
  readonly slow?: readonly [from: number, to: number, times: number];
  /** Its connection ends after so long; it comes back as a new process at once. */
  readonly staysMs?: number;
}

interface Task {
  readonly host: string;
  left: number;
  readonly done: () => void;
}

const SHARDS = 8;
const UPDATE_MS = 0.2;
/** Two who compute on one core take so many times as long as one after the other. */
const CONTENTION = 1.4;
const NEVER = Number.POSITIVE_INFINITY;

/** A coordinator and nodes. A core is shared evenly by those who compute on it. */
class Cluster {
  now = 0;
  readonly state: Coordinator;
  readonly reports: (Report & { readonly at: number })[] = [];
  /** When a step was done. */
  readonly steps: number[] = [];
  readonly #timers: { readonly at: number; readonly run: () => void }[] = [];
  readonly #tasks = new Set<Task>();
  readonly #nodes = new Map<number, Node>();
  readonly #complete = new Set<string>();
  #wake = NEVER;

  constructor(nodes: readonly NodeWay[], minNodes: number) {
    this.state = createCoordinator(
      {
        run: 1n,
        incarnation: 1,
        start: 0,
        steps: Number.MAX_SAFE_INTEGER,
        shards: () => SHARDS,
        minNodes,
        heartbeat: 1000,
        straggler: { factor: 4, least: 100, unknown: 60_000 },
      },
      0,
    );
    for (const node of nodes) this.at(node.at ?? 0, () => this.#join(node, 0));
  }

  at(at: number, run: () => void): void {
    let place = this.#timers.length;
    while (place > 0 && this.#timers[place - 1]!.at > at) place--;
    this.#timers.splice(place, 0, { at, run });
  }

  /** Steps of the next milliseconds. */
  run(milliseconds: number): number {
    const [end, before] = [this.now + milliseconds, this.steps.length];
    while (this.#advance(end));
    return this.steps.length - before;
  }

  compute(host: string, milliseconds: number, done: () => void): Task {
    const task = { host, left: milliseconds, done };
    this.#tasks.add(task);
    return task;
  }

  drop(task: Task | undefined): void {
    if (task) this.#tasks.delete(task);
  }

  /** All of a unit came from a session. */
  deliver(session: number, step: number, { lo, hi }: ShardRange): void {
    const unit = { session, step, lo, hi };
    this.tell({ type: 'returned', ...unit, agrees: true });
    const key = `${step} ${lo}-${hi}`;
    if (step !== this.state.open.step || this.#complete.has(key)) return;
    this.#complete.add(key);
    this.tell({ type: 'unit', ...unit });
  }

  tell(event: CoordinatorEvent): void {
    for (const effect of coordinate(this.state, event, this.now)) this.#do(effect);
    const wake = nextWake(this.state, this.now);
    if (wake >= this.#wake && this.#wake > this.now) return;
    this.#wake = wake;
    if (wake === NEVER) return;
    this.at(wake, () => {
      if (this.#wake !== wake) return;
      this.#wake = NEVER;
      this.tell({ type: 'tick' });
    });
  }

  #do(effect: Effect): void {
    switch (effect.do) {
      case 'ping':
        this.at(this.now, () => this.tell({ type: 'heard', session: effect.session }));
        break;
      case 'assign':
        this.#nodes.get(effect.session)?.assign(effect.step, effect.units);
        break;
      case 'apply':
        this.at(this.now + UPDATE_MS, () => {
          this.steps.push(this.now);
          this.#complete.clear();
          this.tell({ type: 'applied', step: effect.step });
        });
        break;
      case 'report':
        this.reports.push({ ...effect.report, at: this.now });
        break;
    }
  }

  #join(way: NodeWay, life: number): void {
    this.tell({ type: 'join', peer: 0, id: `${way.name} ${life}`, name: way.name });
    const session = this.state.sessions;
    const node = new Node(this, way, session);
    this.#nodes.set(session, node);
    this.at(this.now + (way.readyMs ?? 0), () => this.tell({ type: 'ready', session }));
    if (way.staysMs === undefined) return;
    this.at(this.now + way.staysMs, () => {
      node.end();
      this.tell({ type: 'lost', session });
      this.#join(way, life + 1);
    });
  }

  /** To the next thing that happens; false: not before the end. */
  #advance(end: number): boolean {
    const counts = new Map<string, number>();
    for (const { host } of this.#tasks) counts.set(host, (counts.get(host) ?? 0) + 1);
    for (const [host, count] of counts) if (count > 1) counts.set(host, CONTENTION * count);
    let first: Task | undefined;
    let until = Math.min(end, this.#timers[0]?.at ?? NEVER);
    for (const task of this.#tasks) {
      const at = this.now + task.left * counts.get(task.host)!;
      if (at > until || (at === until && first)) continue;
      [first, until] = [task, at];
    }
    for (const task of this.#tasks) task.left -= (until - this.now) / counts.get(task.host)!;
    this.now = until;
    if (first) {
      this.#tasks.delete(first);
      first.done();
    } else if (this.#timers[0] !== undefined && this.#timers[0].at <= until) {
      this.#timers.shift()!.run();
    }
    return this.now < end;
  }
}

class Node {
  readonly #cluster: Cluster;
  readonly #way: NodeWay;
  readonly #session: number;
  #step = -1;
  readonly #queue: (readonly ShardRange[])[] = [];
  #task: Task | undefined;
  #computed = 0;
  #isEnded = false;

  constructor(cluster: Cluster, way: NodeWay, session: number) {
    this.#cluster = cluster;
    this.#way = way;
    this.#session = session;
  }

  /** Work of an older step is given up. */
  assign(step: number, units: readonly ShardRange[]): void {
    if (step > this.#step) {
      this.#queue.length = 0;
      this.#cluster.drop(this.#task);
      this.#task = undefined;
      this.#step = step;
    }
    this.#queue.push(units);
    if (this.#task === undefined) this.#next();
  }

  end(): void {
    this.#isEnded = true;
    this.#cluster.drop(this.#task);
  }

  #next(): void {
    const units = this.#queue.shift();
    this.#task = undefined;
    if (units !== undefined) this.#compute(this.#step, units, 0, this.#cluster.now);
  }

  #compute(step: number, units: readonly ShardRange[], index: number, begin: number): void {
    const { host = this.#way.name, shardMs, cold, hangs, slow, wireMs = 0 } = this.#way;
    const { now } = this.#cluster;
    const unit = units[index]!;
    const isIn = (span: readonly [from: number, to: number, ...unknown[]] | undefined): boolean =>
      span !== undefined && now >= span[0] && now < span[1];
    if (isIn(hangs)) {
      this.#task = this.#cluster.compute('nowhere', NEVER, () => {});
      const task = this.#task;
      if (hangs![1] < NEVER) {
        this.#cluster.at(hangs![1], () => {
          if (this.#task === task) this.#compute(step, units, index, begin);
        });
      }
      return;
    }
    const times = (cold && this.#computed < cold.units ? cold.times : 1) * (isIn(slow) ? slow![2] : 1);
    this.#task = this.#cluster.compute(host, (unit.hi - unit.lo) * shardMs * times, () => {
      this.#computed++;
      const isLast = index + 1 === units.length;
      if (isLast) {
        const milliseconds = this.#cluster.now - begin;
        this.#cluster.tell({ type: 'computed', session: this.#session, step, milliseconds });
      }
      this.#cluster.at(this.#cluster.now + wireMs, () => {
        if (this.#isEnded || this.#cluster.now >= (this.#way.mute ?? NEVER)) return;
        this.#cluster.deliver(this.#session, step, unit);
      });
      if (isLast) this.#next();
      else this.#compute(step, units, index + 1, begin);
    });
  }
}

const good = (name: string, shardMs: number, more: Partial<NodeWay> = {}): NodeWay => ({
  name,
  shardMs,
  ...more,
});

/** Steps of a run with more nodes, as a part of those without them; after so long. */
const against = (
  nodes: readonly NodeWay[],
  more: readonly NodeWay[],
  milliseconds: number,
  { minNodes = 1, after = 0 } = {},
): { readonly part: number; readonly cluster: Cluster } => {
  const without = new Cluster(nodes, Math.min(minNodes, nodes.length));
  const cluster = new Cluster([...nodes, ...more], minNodes);
  for (const each of [without, cluster]) each.run(after);
  return { part: cluster.run(milliseconds) / without.run(milliseconds), cluster };
};

/** Shards that a node has in the open step. */
const shareOf = ({ state }: Cluster, name: string): number => {
  const found = [...state.members.values()].find((member) => member.name === name);
  return state.open.units
    .filter(({ holders }) => holders.some(({ session, isHelper }) => session === found?.session && !isHelper))
    .reduce((sum, { lo, hi }) => sum + hi - lo, 0);
};

describe.each([0.1, 1, 20, 200])('shards of %d ms', (shardMs) => {
  const two = [good('a', shardMs), good('b', shardMs)];
  /** Time for a few hundred steps, and for a coordinator that looks after a tenth of a second to do so. */
  const time = Math.max(2500, 300 * 4 * shardMs);

  test.each<[string, Partial<NodeWay>, number]>([
    ['from the start', {}, 3],
    ['that joins later', { at: 1000 }, 1],
  ])('an idle node %s costs at most a tenth', (_, way, minNodes) => {
    const idle = good('idle', shardMs, { ...way, hangs: [0, NEVER] });
    expect(against(two, [idle], time, { minNodes }).part).toBeGreaterThan(0.9);
  });

  test.each<[string, (from: number) => Partial<NodeWay>]>([
    ['idle', (from) => ({ hangs: [from, NEVER] })],
    ['mute', (from) => ({ mute: from })],
  ])('nodes that become %s, one after the other, and the last goes on', (_, way) => {
    const idle = [5000, 9000].map((from) => good(`idle ${from}`, shardMs, way(from)));
    const cluster = new Cluster([good('a', shardMs), ...idle], 3);
    cluster.run(10_000 + 40 * 8 * shardMs);
    const steps = cluster.run(time);
    expect(steps).toBeGreaterThan(0.9 * new Cluster([good('a', shardMs)], 1).run(time));
  });

  test.each<[string, Partial<NodeWay>]>([
    ['computes on cores of its own', {}],
    ['computes on the same core', { host: 'a' }],
    ['is idle', { hangs: [0, NEVER] }],
    ['is cold each time, on the same core', { host: 'a', cold: { units: 3, times: 20 } }],
  ])('a node that joins again every second and %s costs at most 5 %%', (_, way) => {
    const flapping = good('flapping', shardMs, { staysMs: 1000, ...way });
    const long = Math.max(3 * time, shardMs < 1 ? 0 : 20_000);
    expect(against([good('a', shardMs)], [flapping], long).part).toBeGreaterThan(0.95);
    expect(against(two, [flapping], long, { minNodes: 2 }).part).toBeGreaterThan(0.95);
  });

  test.each<[string, Partial<NodeWay>, number]>([
    ['on the same core, from the start', { host: 'a' }, 2],
    ['on the same core, that joins', { host: 'a', at: 1000 }, 1],
    ['a hundred times slower, that joins', { shardMs: 100 * shardMs, at: 1000 }, 1],
    ['a hundred times slower, from the start', { shardMs: 100 * shardMs }, 2],
    ['with a link that takes ten steps', { wireMs: 80 * shardMs, at: 1000 }, 1],
  ])('a slow node costs at most 5 %%: %s', (_, way, minNodes) => {
    // Who is there from the start is first taken for useful, for a hundred steps.
    const after = minNodes === 2 ? 150 * SHARDS * shardMs * CONTENTION : 0;
    const { part, cluster } = against([good('a', shardMs)], [good('slow', shardMs, way)], 3 * time, {
      ...{ minNodes, after },
    });
    expect(part).toBeGreaterThan(0.95);
    // On the same core it does not matter which of them.
    expect(Math.max(shareOf(cluster, 'a'), way.host ? shareOf(cluster, 'slow') : 0)).toBe(SHARDS);
  });

  test('a node that helps has its share soon, though all takes it long at first', () => {
    const cold = good('b', shardMs, { at: 1000, cold: { units: 1, times: 20 } });
    const cluster = new Cluster([good('a', shardMs), cold], 1);
    cluster.run(1200 + 40 * SHARDS * shardMs);
    expect(shareOf(cluster, 'b')).toBe(4);
    expect(cluster.run(time)).toBeGreaterThan(1.6 * new Cluster([good('a', shardMs)], 1).run(time));
  });
});

test('a node whose programs take long to compile costs nothing meanwhile', () => {
  const compiling = good('b', 1, { at: 1000, readyMs: 15_000 });
  const { part } = against([good('a', 1)], [compiling], 15_500);
  expect(part).toBe(1);
});

test('a node that was slow for a while has a share again', () => {
  const cluster = new Cluster([good('a', 1), good('b', 1, { slow: [0, 4000, 1000] })], 2);
  cluster.run(4000);
  expect(shareOf(cluster, 'a')).toBe(SHARDS);
  cluster.run(20_000);
  expect(shareOf(cluster, 'b')).toBe(4);
});

test('nodes that pause for a while have their shares again at once', () => {
  const nodes = [good('a', 1), good('b', 1, { hangs: [2000, 2300] }), good('c', 1)];
  const cluster = new Cluster(nodes, 3);
  cluster.run(2400);
  expect(shareOf(cluster, 'b')).toBeGreaterThan(1);
  expect(cluster.reports.some(({ type }) => type === 'aside')).toBe(false);
});

test('when all are slow nobody is late', () => {
  const slow = [2000, 6000, 30] as const;
  const cluster = new Cluster([good('a', 1, { slow }), good('b', 1, { slow })], 2);
  cluster.run(10_000);
  // One of them may have been done already with the step in which it begins or ends.
  expect(cluster.reports.filter(({ type }) => type === 'straggler').length).toBeLessThanOrEqual(2);
  expect(cluster.reports.filter(({ type }) => type === 'aside')).toEqual([]);
});

test('whoever has no share in a turn helps when all others return nothing', () => {
  for (let mute = 390; mute < 460; mute += 3) {
    // After a hundred steps each is left out for a few.
    const cluster = new Cluster([good('a', 1, { mute }), good('b', 1)], 2);
    cluster.run(2000);
    expect(cluster.run(1000), `mute from ${mute} ms on`).toBeGreaterThan(100);
  }
});

test('the only node is waited for', () => {
  const cluster = new Cluster([good('a', 1, { hangs: [1000, 120_000] })], 1);
  cluster.run(119_000);
  const done = cluster.steps.length;
  expect(cluster.run(2000)).toBeGreaterThan(50);
  expect(cluster.steps[done]! - 120_000).toBeLessThan(20);
  expect(cluster.reports.filter(({ type }) => type === 'aside')).toEqual([]);
});

test('of five nodes two, three or four are idle', () => {
  for (const count of [2, 3, 4]) {
    const nodes = Array.from({ length: 5 }, (_, i) =>
      good(`n${i}`, 1, i < count ? { hangs: [1000, NEVER] } : {}),
    );
    const cluster = new Cluster(nodes, 5);
    cluster.run(3000);
    const steps = cluster.run(10_000);
    expect(steps).toBeGreaterThan(0.9 * new Cluster(nodes.slice(count), 5 - count).run(10_000));
  }
});

test('nodes that join together are tried together, and all have shares in the end', () => {
  const nodes = Array.from({ length: 8 }, (_, i) => good(`n${i}`, 5, { at: 100 * i }));
  const cluster = new Cluster(nodes, 1);
  cluster.run(10_000);
  expect(nodes.map(({ name }) => shareOf(cluster, name))).toEqual(nodes.map(() => 1));
});
