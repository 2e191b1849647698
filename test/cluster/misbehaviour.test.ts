/** Nodes that send what they must not: refused by a stable code, or named in an alarm; the honest ones train on. */
import { encodeControl, type FrameKey } from '@lockstep/protocol';
import { type Connection, dial } from '@lockstep/sync';
import { optim, type RefusedEvent, serve, train } from 'lockstep';
import { expect, test } from 'vitest';
import { classification } from '../exactness/definitions.ts';
import { type AnyDefinition, clusterRun, type NodeWay } from './inProcess.ts';

const definition = classification({ epochs: 4 }) as unknown as AnyDefinition;
const honest: NodeWay = { workers: 1, kernels: 'auto' };

/** Sends other payloads, where `change` gives some; all else goes through. */
const sending =
  (change: (key: FrameKey, payload: Uint8Array) => Uint8Array | undefined) =>
  (connection: Connection): Connection => ({
    id: connection.id,
    peer: connection.peer,
    get buffered() {
      return connection.buffered;
    },
    send: (key, payload) => connection.send(key, change(key, payload) ?? payload),
    flushed: () => connection.flushed(),
    close: (code, message) => connection.close(code, message),
  });

const withFloat = (payload: Uint8Array, at: number, value: number): Uint8Array => {
  const floats = new Float32Array(payload.slice().buffer);
  floats[at] = value;
  return new Uint8Array(floats.buffer);
};

test.each<[string, string, (key: FrameKey, payload: Uint8Array) => Uint8Array | undefined]>([
  [
    'NaN in a gradient',
    'NOT_FINITE',
    ({ step }, payload) => (step >= 1 ? withFloat(payload, 3, Number.NaN) : payload),
  ],
  [
    'an infinity at the end of one',
    'NOT_FINITE',
    ({ step }, payload) =>
      step >= 1 ? withFloat(payload, payload.length / 4 - 1, Number.POSITIVE_INFINITY) : payload,
  ],
  ['one float too few', 'BAD_RANGE', ({ step }, payload) => (step >= 1 ? payload.subarray(4) : payload)],
])('%s: %s', async (_, code, change) => {
  const { weightsDigest } = await train(definition);
  const liar = {
    ...honest,
    tamper: sending((key, payload) => (key.type === 'gradient' ? change(key, payload) : undefined)),
  };
  const found = await clusterRun(definition, { nodes: [honest, liar] });
  expect(found.weightsDigest).toBe(weightsDigest);
  expect(found.outcomes).toEqual([{ reason: 'finished', digest: weightsDigest }, code]);
  expect(found.reports).toContainEqual(expect.objectContaining({ type: 'lost', name: 'node 1' }));
});

test('a node whose arithmetic is another is refused at once', async () => {
  const other = sending((key, payload) => {
    const text = Buffer.from(payload).toString('latin1');
    const at = key.type === 'control' ? text.indexOf('proof') : -1;
    if (at < 0) return undefined;
    const changed = payload.slice();
    // The last digit of the proof, which is the last thing of a hello or stands before the next key.
    const end = /[0-9a-f]{64}/.exec(text)!.index + 63;
    changed[end] = changed[end] === 0x30 ? 0x31 : 0x30;
    return changed;
  });
  const { weightsDigest } = await train(definition);
  const way = { nodes: [honest, { ...honest, tamper: other }], options: { minNodes: 1 } };
  const found = await clusterRun(definition, way);
  expect(found.weightsDigest).toBe(weightsDigest);
  expect(found.outcomes).toEqual([{ reason: 'finished', digest: weightsDigest }, 'WRONG_ARITHMETIC']);
});

test('whoever speaks without saying who it is is shown out, and told of', async () => {
  const told: RefusedEvent[] = [];
  const end = new AbortController();
  await serve(definition, {
    ...{ workers: 0, listen: { port: 0 }, signal: end.signal },
    on: {
      listening: async ({ urls }) => {
        const nothing = () => ({ frame: () => {}, closed: () => {} });
        const stranger = await dial({ url: urls[0]! }, nothing);
        const nobody = { run: 0n, incarnation: 0, session: 0, step: 0, lo: 0, hi: 0, offset: 0 };
        stranger.send({ type: 'control', ...nobody }, encodeControl({ type: 'pong' }));
      },
      refused: (event) => {
        told.push(event);
        end.abort();
      },
    },
  });
  const message = expect.stringContaining('expected a hello');
  expect(told).toEqual([expect.objectContaining({ code: 'CONTROL_UNKNOWN', count: 1, message })]);
});

test('bits that differ raise an alarm that names who sent them; the first count', async () => {
  const { weightsDigest } = await train(definition);
  const twice = (connection: Connection): Connection => ({
    ...sending(() => undefined)(connection),
    send: (key, payload) => {
      connection.send(key, payload);
      if (key.type === 'gradient') connection.send(key, withFloat(payload, 0, 1));
    },
  });
  const found = await clusterRun(definition, { nodes: [honest, { ...honest, tamper: twice }] });
  expect(found.weightsDigest).toBe(weightsDigest);
  const alarm = { type: 'alarm', names: ['node 1', 'node 1'] };
  expect(found.reports).toContainEqual(expect.objectContaining(alarm));
});

test('a node that answers, but returns no gradient any more, holds the run up once', async () => {
  const { weightsDigest } = await train(definition);
  const mute = (connection: Connection): Connection => ({
    ...sending(() => undefined)(connection),
    send: (key, payload) => {
      if (key.type !== 'gradient' || key.step < 3) connection.send(key, payload);
    },
  });
  const found = await clusterRun(definition, {
    nodes: [honest, { ...honest, tamper: mute }, honest],
    options: { straggler: { factor: 4, least: 100, unknown: 10_000 } },
  });
  expect(found.weightsDigest).toBe(weightsDigest);
  const helped = found.reports.flatMap((report) => (report.type === 'straggler' ? [report] : []));
  // On busy cores it may have lost its share before it fell silent, and is never waited for. `liveness.test.ts` holds the lateness
  // to a clock of its own.
  // At most in one step: from then on it is asked for nothing that a step waits for.
  const steps = helped.flatMap(({ late, step }) => (late.includes('node 1') ? [step] : []));
  expect(new Set(steps).size).toBeLessThanOrEqual(1);
  expect(found.outcomes).toEqual(found.outcomes.map(() => ({ reason: 'finished', digest: weightsDigest })));
});

test('a run that diverges ends with the reason, whoever computed it', async () => {
  const diverging = classification({ optimizer: optim.sgd({ lr: 1e38 }) });
  const messageOf = (run: PromiseLike<unknown>) => run.then(String, ({ message }: Error) => message);
  const message = await messageOf(train(diverging));
  expect(message).toContain('from finite numbers');
  expect(await messageOf(serve(diverging, { workers: 1, listen: { port: 0 } }))).toBe(message);
});
