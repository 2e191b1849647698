/** A node and coordinators that it can't work for: it ends with the reason, instead of trying again or breaking. */
import { type CoordinatorMessage, encodeControl } from '@lockstep/protocol';
import { describe, expect, test } from 'vitest';
import { type Accept, type Connection, connectInProcess } from '../transport/transport.ts';
import { Download } from './download.ts';
import { NodeDriver } from './nodeDriver.ts';
import type { NodeReport, NodeWork } from './nodeWork.ts';

const HASH = '0'.repeat(64);
const welcome: CoordinatorMessage = {
  type: 'welcome',
  attempt: 1,
  heartbeat: 60_000,
  definition: HASH,
  shards: 8,
  steps: 10,
  parameters: 10,
  program: { hash: HASH, bytes: 100 },
  data: { hash: HASH, bytes: 2 ** 34 },
};

const say = (connection: Connection, message: CoordinatorMessage): void =>
  connection.send(
    { type: 'control', run: 1n, incarnation: 1, session: 1, step: 0, lo: 0, hi: 0, offset: 0 },
    encodeControl(message),
  );

/** A node whose coordinator answers the hello so. */
const nodeOf = (answer: (connection: Connection) => void, memoryBytes?: number) => {
  const reports: NodeReport[] = [];
  const coordinator: Accept = (connection) => ({ frame: () => answer(connection), closed: () => {} });
  const node = new NodeDriver({
    hello: {
      ...{ id: '0123456789abcdef', name: 'node', workers: 1, kernels: 'wasm' },
      ...{ arithmetic: 'strict', proof: HASH },
    },
    config: { backoff: { first: 60_000, longest: 60_000 }, patience: 60_000 },
    dial: async (accept) => connectInProcess(coordinator, accept),
    prepare: async (_, fetch) => (await fetch('data')) as unknown as NodeWork,
    report: (report) => reports.push(report),
    ...(memoryBytes !== undefined && { memoryBytes }),
  });
  return { node, reports };
};
const refusalOf = (node: NodeDriver): Promise<unknown> => node.ended.catch((error: unknown) => error);

describe('a claim of more bytes than there is memory is a refusal', () => {
  test('of a whole node', async () => {
    const { node } = nodeOf((connection) => say(connection, welcome), 8 * 2 ** 30);
    expect(await refusalOf(node)).toMatchObject({
      name: 'RefusedError',
      code: 'CONTENT_TOO_LARGE',
      message: expect.stringMatching(/^CONTENT_TOO_LARGE: .*16\.0 GiB.*8\.0 GiB.*more memory/),
    });
  });

  test.each([
    // More than an array can hold, whatever the machine has.
    [2 ** 53 - 1, Number.POSITIVE_INFINITY],
    [2 ** 34, 2 ** 34 - 1],
    [1001, 1000],
  ])('of %d bytes where there are %d', (bytes, memory) =>
    expect(() => new Download(HASH, bytes, memory)).toThrow(/^CONTENT_TOO_LARGE: /),
  );

  test('and as much as there is may come', () => expect(new Download(HASH, 1000, 1000).size).toBe(1000));
});

describe('a coordinator that ends the connection', () => {
  test.each(['BAD_VERSION', 'WRONG_ARITHMETIC'])('%s: the node ends, too', async (code) => {
    const { node, reports } = nodeOf((connection) => connection.close(code, 'use the same version'));
    expect(await refusalOf(node)).toMatchObject({
      name: 'RefusedError',
      code,
      message: expect.stringMatching(new RegExp(`^${code}: .*use the same version`)),
    });
    expect(reports.filter(({ type }) => type === 'disconnected')).toEqual([]);
  });

  test('RESET: the node tries again', async () => {
    const { node, reports } = nodeOf((connection) => connection.close('RESET', 'gone'));
    while (!reports.some(({ type }) => type === 'disconnected')) await new Promise(setImmediate);
    node.leave();
    expect(await node.ended).toEqual({ reason: 'left', digest: null });
  });

  test('refused, with a reason of 1000 characters: all of it', async () => {
    const message = `the known-answer test differs: ${'x'.repeat(960)} end`;
    const { node } = nodeOf((connection) =>
      say(connection, { type: 'refused', code: 'WRONG_ARITHMETIC', message }),
    );
    expect(await refusalOf(node)).toMatchObject({ message: `WRONG_ARITHMETIC: ${message}` });
  });
});
