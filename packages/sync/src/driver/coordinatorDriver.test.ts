/** The driver between frames and host: what becomes of gradients whose unit is cut anew on the way. */
import {
  checksumOf,
  decodeCoordinatorMessage,
  encodeControl,
  type FrameKey,
  type NodeMessage,
} from '@lockstep/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import type { Report } from '../core/coordinatorTypes.ts';
import { InvariantError } from '../reduce/bucketLedger.ts';
import type { Bucket } from '../reduce/buckets.ts';
import { addFloats, Reducer } from '../reduce/reducer.ts';
import type { ShardRange } from '../reduce/tree.ts';
import { type Connection, type ConnectionEvents, nextConnection } from '../transport/transport.ts';
import { CoordinatorDriver } from './coordinatorDriver.ts';
import type { DataPlane } from './dataPlane.ts';

const SHARDS = 8;
/** Loss, then two buckets of a gradient: one float each. */
const BUCKETS: readonly Bucket[] = [0, 1, 2].map((from) => ({ from, to: from + 1 }));
const EMPTY = { hash: '0'.repeat(64), length: 0, read: () => new Uint8Array(0) };
const FENCE = { run: 1n, incarnation: 1 };

const drivers: CoordinatorDriver[] = [];
afterEach(() => {
  for (const driver of drivers.splice(0)) driver.stop(true);
});

/** A coordinator of two steps, whose plane reduces, and does no more. `plane` replaces parts of it. */
const begin = (plane: Partial<DataPlane> = {}, minNodes = 2) => {
  const reduced: string[] = [];
  const committed: number[] = [];
  const reports: Report[] = [];
  const reducer = new Reducer<Float32Array>({
    buckets: BUCKETS.length,
    keep: (value) => value.slice(),
    add: addFloats,
  });
  const driver = new CoordinatorDriver({
    config: {
      ...FENCE,
      start: 0,
      steps: 2,
      shards: () => SHARDS,
      minNodes,
      heartbeat: 60_000,
      straggler: { factor: 4, least: 60_000, unknown: 60_000 },
    },
    definition: '0'.repeat(64),
    shards: SHARDS,
    parameters: 3,
    contents: { program: EMPTY, data: EMPTY },
    unitBuckets: BUCKETS,
    arithmetic: { name: 'strict', proof: '0'.repeat(64) },
    plane: {
      streams: () => true,
      open: (step, shards, awaited) => reducer.open(step, shards, awaited),
      take: (piece) => {
        const arrival = reducer.put(piece);
        if (arrival.kind === 'kept' && arrival.total) {
          reduced.push(`${piece.step}.${piece.bucket}=${arrival.total}`);
        }
        return arrival;
      },
      apply: async () => {
        reducer.checkAll();
        return 0;
      },
      complete: () => {},
      forget: () => {},
      ...plane,
    },
    host: {
      committed: (step) => void committed.push(step),
      report: (report) => void reports.push(report),
      contributed: () => {},
    },
  });
  drivers.push(driver);
  return { driver, reduced, committed, reports };
};

/** A node's end of a connection, without a network: what is sent is there at once. */
class Node {
  readonly assigned: ShardRange[] = [];
  closed: string | undefined;
  readonly #name: string;
  #session = 0;
  readonly #events: ConnectionEvents;

  constructor(driver: CoordinatorDriver, name: string) {
    this.#name = name;
    const connection: Connection = {
      id: nextConnection(),
      peer: name,
      buffered: 0,
      send: (key, payload) => this.#take(key, payload),
      flushed: () => Promise.resolve(),
      close: (code = 'CLOSED') => {
        this.closed ??= code;
      },
    };
    this.#events = driver.accept(connection);
    const id = Buffer.from(name.padEnd(8)).toString('hex');
    const hello = { name, workers: 1, kernels: 'wasm', arithmetic: 'strict', proof: '0'.repeat(64) } as const;
    this.#control({ type: 'hello', id, attempt: 1, ...hello });
    this.#control({ type: 'ready' });
  }

  lose(): void {
    this.#events.closed({ code: 'CLOSED', message: this.#name });
  }

  /** Sends a bucket of a unit: the sum of `step + 1` times the bucket's hundred and the shard's number, over its shards. */
  gradient(step: number, { lo, hi }: ShardRange, bucket: number): void {
    const value = Float32Array.of(0);
    for (let shard = lo; shard < hi; shard++) value[0]! += (step + 1) * (100 * bucket + shard);
    this.#send({ type: 'gradient', step, lo, hi, offset: bucket }, new Uint8Array(value.buffer));
  }

  #take({ type, session }: FrameKey, payload: Uint8Array): void {
    if (type !== 'control') return;
    this.#session = session;
    const message = decodeCoordinatorMessage(payload);
    if (message.type === 'assign') this.assigned.push(...message.units.map(([lo, hi]) => ({ lo, hi })));
  }

  #control(message: NodeMessage): void {
    this.#send({ type: 'control' }, encodeControl(message));
  }

  #send(key: Partial<FrameKey> & Pick<FrameKey, 'type'>, payload: Uint8Array): void {
    const header = { ...FENCE, session: this.#session, step: 0, lo: 0, hi: 0, offset: 0, ...key };
    this.#events.frame({ ...header, length: payload.length, checksum: checksumOf(payload) }, payload);
  }
}

const sums = (step: number): string[] =>
  BUCKETS.map((_, bucket) => `${step}.${bucket}=${(step + 1) * (SHARDS * 100 * bucket + 28)}`);

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a unit that is cut anew', () => {
  test('its buckets that were complete already are reduced, applied and published once', async () => {
    const { driver, reduced, committed, reports } = begin({}, 3);
    const [a, b, c] = ['a', 'b', 'c'].map((name) => new Node(driver, name)) as [Node, Node, Node];
    const all = { lo: 0, hi: 2 };
    expect(a.assigned).toEqual([all]);
    for (const bucket of [0, 1, 2]) {
      for (const node of [b, c]) for (const unit of node.assigned) node.gradient(0, unit, bucket);
    }
    const [before, of] = [b.assigned.length, c.assigned.length];
    a.gradient(0, all, 0);
    a.gradient(0, all, 2);
    expect(reduced).toEqual([sums(0)[0], sums(0)[2]]);
    a.lose();
    expect([b.assigned.slice(before), c.assigned.slice(of)]).toEqual([
      [{ lo: 0, hi: 1 }],
      [{ lo: 1, hi: 2 }],
    ]);
    for (const bucket of [0, 1, 2]) {
      b.gradient(0, { lo: 0, hi: 1 }, bucket);
      c.gradient(0, { lo: 1, hi: 2 }, bucket);
    }
    await settled();
    expect(reduced.toSorted()).toEqual(sums(0));
    expect(committed).toEqual([0]);
    expect(reports.map(({ type }) => type)).toContain('reassign');
    driver.check();
  });
});

const boom = (): never => {
  throw new InvariantError('step 0: boom');
};

describe('an error of the data plane ends the run', () => {
  test.each<[string, Partial<DataPlane>]>([
    ['as a piece is taken', { take: boom }],
    ['as a step is applied', { apply: async () => boom() }],
    ['as a step is opened', { open: boom }],
  ])('%s', async (_, plane) => {
    const { driver, committed } = begin(plane);
    const failed = driver.failed.catch((error: unknown) => error);
    const [a, b] = [new Node(driver, 'a'), new Node(driver, 'b')];
    for (const bucket of [0, 1, 2]) {
      a.gradient(0, { lo: 0, hi: 4 }, bucket);
      b.gradient(0, { lo: 4, hi: 8 }, bucket);
    }
    expect(await failed).toMatchObject({
      name: 'InvariantError',
      message: expect.stringMatching(/boom.*resume/),
    });
    expect(() => driver.check()).toThrow('step 0: boom');
    expect(committed).toEqual([]);
    expect(driver.step).toBe(0);
    // Nobody is blamed for it, and nothing is taken any more.
    expect([a.closed, b.closed]).toEqual([undefined, undefined]);
  });
});
