import { expect, test } from 'vitest';
import { HeldBytes, type Holder, PeerMemory } from './heldBytes.ts';

/** Holds bytes since a time; notes when it is dropped. */
class Peer implements Holder {
  waitingSince: number;
  reason: string | undefined;
  readonly #held: HeldBytes;
  readonly #bytes: number;

  constructor(held: HeldBytes, bytes: number, waitingSince: number) {
    [this.#held, this.#bytes, this.waitingSince] = [held, bytes, waitingSince];
    held.enter(this);
    held.add(bytes);
  }

  drop(code: string, message: string): void {
    this.reason = `${code}: ${message}`;
    this.#held.leave(this);
    this.#held.add(-this.#bytes);
  }
}

test.each<[string, number, [bytes: number, since: number][], number[]]>([
  [
    'what fits stays',
    100,
    [
      [50, 1],
      [50, 2],
    ],
    [],
  ],
  [
    'who has waited longest goes, not who holds most',
    100,
    [
      [80, 3],
      [10, 1],
      [20, 2],
    ],
    [1],
  ],
  [
    'as many as it takes, in this order',
    100,
    [
      [60, 4],
      [30, 2],
      [50, 1],
      [70, 3],
    ],
    [2, 1, 3],
  ],
  [
    'who has nothing that waits stays, whatever else',
    100,
    [
      [90, Number.POSITIVE_INFINITY],
      [20, 5],
    ],
    [1],
  ],
  [
    'all of them, where it must be',
    0,
    [
      [1, 1],
      [1, 2],
    ],
    [0, 1],
  ],
])('%s', (_, ceiling, peers, dropped) => {
  const held = new HeldBytes(ceiling);
  const made = peers.map(([bytes, since]) => new Peer(held, bytes, since));
  held.relieve();
  expect(made.flatMap(({ reason }, i) => (reason === undefined ? [] : [i]))).toEqual(dropped.sort());
  expect(held.total).toBeLessThanOrEqual(Math.max(ceiling, 90));
  for (const i of dropped) expect(made[i]!.reason).toMatch(/^MEMORY_LIMIT: .* the limit is \d+; /);
});

test('a bucket of weights that goes to many is counted once, until the last of them has it', () => {
  const held = new HeldBytes(Number.POSITIVE_INFINITY);
  const memories = Array.from({ length: 50 }, () => new PeerMemory(held, false));
  const payload = new Uint8Array(1 << 20);
  const frame = { type: 'weights', header: new Uint8Array(48), payload, since: 1 } as const;
  for (const memory of memories) memory.waits(frame);
  expect(held.total).toBe((1 << 20) + 50 * 512);
  for (const memory of memories.slice(1)) memory.left(frame);
  expect(held.total).toBe((1 << 20) + 512);
  memories[0]!.dropped(frame);
  expect(held.total).toBe(0);
});

test.each([
  ['control', false, 1000 + 512, 1000 + 512],
  ['control', true, 1000 + 512, 2 * 1000 + 48 + 512],
  // Views of what the run keeps anyway.
  ['data', false, 512, 512],
  ['program', true, 512, 1000 + 48 + 512],
] as const)(
  'a %s frame, with TLS %s: %d bytes while it waits, %d on its way',
  (type, isSecure, waiting, leaving) => {
    const held = new HeldBytes(Number.POSITIVE_INFINITY);
    const memory = new PeerMemory(held, isSecure);
    const frame = { type, header: new Uint8Array(48), payload: new Uint8Array(1000), since: 1 };
    memory.waits(frame);
    expect(held.total).toBe(waiting);
    memory.leaves(frame);
    expect(held.total).toBe(leaving);
    memory.left(frame);
    expect(held.total).toBe(0);
  },
);

test('a message that is not whole waits since its beginning', () => {
  const held = new HeldBytes(Number.POSITIVE_INFINITY);
  const memory = new PeerMemory(held, false);
  expect(memory.incomingSince).toBe(Number.POSITIVE_INFINITY);
  memory.keeps(100);
  const since = memory.incomingSince;
  expect(since).toBeLessThanOrEqual(performance.now());
  memory.keeps(5000);
  expect([memory.incomingSince, held.total]).toEqual([since, 5000]);
  memory.keeps(0);
  expect([memory.incomingSince, held.total]).toEqual([Number.POSITIVE_INFINITY, 0]);
});
