/** The driver between frames and host: what becomes of gradients whose unit is cut anew on the way. */
import {
  checksumOf,
  decodeCoordinatorMessage,
  encodeControl,
  type FrameKey,
  type NodeMessage,
} from '@lockstep/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import type { Bucket } from '../buckets.ts';
import type { Report } from '../coordinatorTypes.ts';
import { addFloats } from '../reducer.ts';
import { type Connection, type ConnectionEvents, nextConnection } from '../transport.ts';
import type { ShardRange } from '../tree.ts';
import { CoordinatorDriver } from './coordinatorDriver.ts';
import type { CoordinatorHost } from './coordinatorHost.ts';

const SHARDS = 8;
/** Loss, then two buckets of a gradient: one float each. */
const BUCKETS: readonly Bucket[] = [0, 1, 2].map((from) => ({ from, to: from + 1 }));
const EMPTY = { hash: '0'.repeat(64), length: 0, read: () => new Uint8Array(0) };
const FENCE = { run: 1n, incarnation: 1 };

const drivers: CoordinatorDriver[] = [];
afterEach(() => {
  for (const driver of drivers.splice(0)) driver.stop(true);
});

/** A coordinator of two steps; what its host was told of. `host` replaces parts of it. */
const begin = (host: Partial<CoordinatorHost> = {}, minNodes = 2) => {
  const reduced: string[] = [];
  const committed: number[] = [];
  const reports: Report[] = [];
  const driver: CoordinatorDriver = new CoordinatorDriver({
    config: {
      ...FENCE,
      start: 0,
      steps: 2,
      shards: () => SHARDS,
      minNodes,
      heartbeat: 60_000,
      straggler: { factor: 4, least: 60_000, unknown: 60_000 },
      checkpoint: { steps: Number.MAX_SAFE_INTEGER, time: Number.POSITIVE_INFINITY },
    },
    definition: '0'.repeat(64),
    shards: SHARDS,
    parameters: 3,
    contents: { program: EMPTY, data: EMPTY },
    unitBuckets: BUCKETS,
    modelBuckets: BUCKETS,
    arithmetic: { name: 'strict', proof: '0'.repeat(64) },
    host: {
      isFinite: (value) => value.every(Number.isFinite),
      hasDiverged: () => false,
      reducing: { keep: (value) => value.slice(), add: addFloats },
      model: () => BUCKETS.map(() => Float32Array.of(0)),
      streams: () => true,
      reduced: (step, bucket, [total]) => {
        reduced.push(`${step}.${bucket}=${total}`);
        driver.publish(step + 1, bucket, Float32Array.of(total!));
      },
      apply: () => Promise.resolve(0),
      committed: (step) => void committed.push(step),
      release: () => {},
      report: (report) => void reports.push(report),
      contributed: () => {},
      ...host,
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

describe('a broken invariant ends the run', () => {
  const all = { lo: 0, hi: 4 };
  const rest = { lo: 4, hi: 8 };

  test.each<[string, (driver: () => CoordinatorDriver) => Partial<CoordinatorHost>, RegExp]>([
    [
      'a bucket is published twice',
      (driver) => ({
        reduced: (step, bucket) => {
          driver().publish(step + 1, bucket, Float32Array.of(1));
          driver().publish(step + 1, bucket, Float32Array.of(2));
        },
      }),
      /bucket 0 of the model before step 1 is published a second time/,
    ],
    [
      'a bucket is not published',
      (driver) => ({
        reduced: (step, bucket) => {
          if (bucket !== 1) driver().publish(step + 1, bucket, Float32Array.of(1));
        },
      }),
      /bucket 1 of the model before step 1 is not published/,
    ],
  ])('%s', async (_, host, message) => {
    const begun: ReturnType<typeof begin> = begin(host(() => begun.driver));
    const { driver, committed } = begun;
    const failed = driver.failed.catch((error: unknown) => error);
    const [a, b] = [new Node(driver, 'a'), new Node(driver, 'b')];
    for (const bucket of [0, 1, 2]) {
      a.gradient(0, all, bucket);
      b.gradient(0, rest, bucket);
    }
    expect(await failed).toMatchObject({ name: 'InvariantError', message: expect.stringMatching(message) });
    expect(() => driver.check()).toThrow(message);
    expect(committed).toEqual([]);
    // Nobody is blamed for it, and nothing is taken any more.
    expect([a.closed, b.closed]).toEqual([undefined, undefined]);
    expect(driver.step).toBe(0);
  });
});
