/** A batch that has changed weights is finished, whoever is there: between two batches alone a run can be left. */
import { rmSync } from 'node:fs';
import { startNode } from '@lockstep/cluster';
import type { FrameKey } from '@lockstep/protocol';
import { type Connection, type Dial, dial } from '@lockstep/sync';
import { nn, optim, serve, type TrainingEvent, train } from 'lockstep';
import { expect, test } from 'vitest';
import { folderWith } from '../command.ts';
import { CLASSES, FEATURES } from '../exactness/data.ts';
import { classification } from '../exactness/definitions.ts';

/** The weights lie in four buckets; each is updated as soon as its sum is there. */
const definition = classification({
  epochs: 10,
  model: () =>
    nn.sequential(
      nn.linear(FEATURES, 700),
      nn.relu(),
      nn.linear(700, 600),
      nn.tanh(),
      nn.linear(600, CLASSES),
    ),
  optimizer: optim.adam({ lr: 0.01 }),
});

const BATCH = 5;

/** A connection on which only some frames go out. */
const sending = (connection: Connection, goesOut: (key: FrameKey) => boolean): Connection => ({
  id: connection.id,
  peer: connection.peer,
  get buffered() {
    return connection.buffered;
  },
  send: (key, payload) => {
    if (goesOut(key)) connection.send(key, payload);
  },
  flushed: () => connection.flushed(),
  close: (code, message) => connection.close(code, message),
});

/** A node that keeps back the last of its gradient of one batch. When it sees that weights have changed, its end has come. */
const dying = (url: string, atItsEnd: () => void): Dial => {
  let isDead = false;
  let pieces = 0;
  return async (accept) => {
    if (isDead) throw Object.assign(new Error('it is dead'), { code: 'DEAD', isFinal: true });
    let made: Connection | undefined;
    await dial({ url }, (connection) => {
      made = sending(connection, (key) => key.type !== 'gradient' || key.step < BATCH || ++pieces < 4);
      const events = accept(made);
      return {
        ...events,
        frame: (header, payload) => {
          if (header.type === 'weights' && header.step > BATCH && !isDead) {
            isDead = true;
            atItsEnd();
            connection.close();
          }
          events.frame(header, payload);
        },
      };
    });
    return made!;
  };
};

test.each([
  ['when nobody is left, the run is interrupted', 'later'],
  ['when the run is interrupted, somebody is there, but not for long', 'before'],
] as const)('%s', async (_, when) => {
  const out = folderWith();
  try {
    const interruption = new AbortController();
    const told: TrainingEvent[] = [];
    const result = await serve(definition, {
      ...{ workers: 0, out, listen: { port: 0 }, signal: interruption.signal },
      on: {
        event: (event) => {
          told.push(event);
          if (event.type === 'listening') {
            const atItsEnd = () => when === 'before' && interruption.abort();
            startNode({ dial: dying(event.urls[0]!, atItsEnd), name: 'dying', workers: 1, kernels: 'auto' });
          }
          if (event.type === 'stall') interruption.abort();
        },
      },
    });
    // Five batches are done when it dies; of the sixth some weights have changed.
    expect(result).toMatchObject({ interrupted: true, step: BATCH + 1 });
    expect(
      told.flatMap((event) => (event.type === 'join' || event.type === 'lost' ? [event.name] : [])),
    ).toEqual(['dying', 'dying', 'this machine']);
    const { weightsDigest } = await train(definition);
    expect(await train(definition, { out, resume: true })).toMatchObject({
      weightsDigest,
      interrupted: false,
    });
  } finally {
    rmSync(out, { recursive: true });
  }
});

/** A node that is gone when it is to give the first of a gradient. */
const vanishing = (url: string): Dial => {
  let isGone = false;
  return async (accept) => {
    if (isGone) throw Object.assign(new Error('it is gone'), { code: 'GONE', isFinal: true });
    let made: Connection | undefined;
    await dial({ url }, (connection) => {
      made = sending(connection, ({ type, step }) => {
        isGone ||= type === 'gradient' && step >= BATCH;
        if (isGone) connection.close();
        return !isGone;
      });
      return accept(made);
    });
    return made!;
  };
};

test('a batch that is given up is in no checkpoint', async () => {
  const out = folderWith();
  try {
    const interruption = new AbortController();
    const saved: number[] = [];
    const result = await serve(definition, {
      ...{ workers: 0, out, listen: { port: 0 }, signal: interruption.signal },
      // Due after the batch that nobody computes.
      checkpointEvery: { steps: BATCH + 1 },
      on: {
        listening: ({ urls }) =>
          startNode({ dial: vanishing(urls[0]!), name: 'vanishing', workers: 1, kernels: 'auto' }),
        stall: () => interruption.abort(),
        checkpoint: ({ step }) => saved.push(step),
      },
    });
    expect(result).toMatchObject({ interrupted: true, step: BATCH });
    expect(saved).toEqual([BATCH]);
  } finally {
    rmSync(out, { recursive: true });
  }
});
