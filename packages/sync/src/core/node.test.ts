import { describe, expect, test } from 'vitest';
import {
  createNode,
  type NodeEffect,
  type NodeEvent,
  type NodeState,
  nodeAdmits,
  nodeWake,
  operate,
} from '../index.ts';

const fence = { run: 7n, incarnation: 3, session: 5 };
const welcome = (attempt: number, session = 5): NodeEvent => ({
  type: 'welcome',
  fence: { ...fence, session },
  attempt,
  heartbeat: 2000,
});
const start = (): NodeState =>
  createNode({ id: 'a', backoff: { first: 100, longest: 1000 }, patience: 500 }, 0);
const words = (effect: NodeEffect): string =>
  effect.do === 'compute'
    ? `compute ${effect.step}: ${effect.units.map(({ lo, hi }) => `${lo}-${hi}`).join(' ')}`
    : effect.do === 'send'
      ? effect.message
      : effect.do;
/** Tells events at their times; what the last one made the node do. */
const tell = (state: NodeState, ...events: readonly (readonly [now: number, event: NodeEvent])[]): string[] =>
  events.map(([now, event]) => operate(state, event, now).map(words)).at(-1)!;
const joined = (): NodeState => {
  const state = start();
  tell(state, [0, { type: 'tick' }], [1, { type: 'dialed', attempt: 1 }], [2, welcome(1)]);
  return state;
};
const assign = (step: number, lo: number, hi: number): NodeEvent => ({
  type: 'assign',
  step,
  units: [{ lo, hi }],
});

describe('a node', () => {
  test('connects, introduces itself, prepares, is ready', () => {
    const state = start();
    expect(tell(state, [0, { type: 'tick' }])).toEqual(['dial']);
    expect(tell(state, [1, { type: 'dialed', attempt: 1 }])).toEqual(['hello']);
    expect(nodeAdmits(state, fence)).toBe(false);
    expect(tell(state, [2, welcome(1)])).toEqual(['prepare']);
    expect(nodeAdmits(state, fence)).toBe(true);
    expect(tell(state, [3, { type: 'prepared', attempt: 1 }])).toEqual(['ready']);
    expect(tell(state, [4, { type: 'ping' }])).toEqual(['pong']);
  });

  test('computes when work and weights of one step are there, in either order', () => {
    const state = joined();
    expect(tell(state, [3, { type: 'weights', step: 4 }])).toEqual([]);
    expect(tell(state, [4, assign(4, 0, 2)])).toEqual(['compute 4: 0-2']);
    expect(tell(state, [5, assign(4, 6, 8)])).toEqual([]);
    expect(tell(state, [6, { type: 'computed', step: 4 }])).toEqual(['compute 4: 6-8']);
    expect(tell(state, [7, assign(5, 0, 4)])).toEqual(['abandon']);
    expect(tell(state, [8, assign(4, 0, 4)])).toEqual([]);
    expect(tell(state, [9, { type: 'computed', step: 4 }])).toEqual([]);
    expect(tell(state, [9, { type: 'weights', step: 4 }])).toEqual([]);
    expect(tell(state, [9, { type: 'weights', step: 5 }])).toEqual(['compute 5: 0-4']);
  });

  test('a lost connection costs work and weights, never the node', () => {
    const state = joined();
    tell(state, [3, { type: 'weights', step: 4 }], [4, assign(4, 0, 2)]);
    expect(tell(state, [5, { type: 'closed', attempt: 1 }])).toEqual(['abandon', 'hangUp']);
    expect(nodeAdmits(state, fence)).toBe(false);
    expect(nodeWake(state)).toBeGreaterThanOrEqual(5 + 50);
    expect(nodeWake(state)).toBeLessThanOrEqual(5 + 100);
    expect(tell(state, [200, { type: 'tick' }])).toEqual(['dial']);
    tell(state, [201, { type: 'dialed', attempt: 2 }], [202, welcome(2, 6)]);
    expect(nodeAdmits(state, fence)).toBe(false);
    expect(tell(state, [203, assign(4, 0, 2)])).toEqual([]);
  });

  test('a welcome of an earlier connection is none', () => {
    const state = joined();
    tell(
      state,
      [5, { type: 'closed', attempt: 1 }],
      [200, { type: 'tick' }],
      [201, { type: 'dialed', attempt: 2 }],
    );
    expect(tell(state, [202, welcome(1)])).toEqual([]);
    expect(nodeAdmits(state, fence)).toBe(false);
    expect(tell(state, [203, welcome(2, 6)])).toEqual(['prepare']);
  });

  test('pauses grow up to the longest, and differ from node to node', () => {
    const pauses = (id: string): number[] => {
      const state = createNode({ id, backoff: { first: 100, longest: 1000 }, patience: 500 }, 0);
      return Array.from({ length: 8 }, () => {
        const at = nodeWake(state);
        operate(state, { type: 'tick' }, at);
        operate(state, { type: 'closed', attempt: state.attempt }, at);
        return nodeWake(state) - at;
      });
    };
    for (const [i, pause] of pauses('a').entries()) {
      const longest = Math.min(1000, 100 * 2 ** i);
      expect(pause).toBeGreaterThanOrEqual(longest / 2);
      expect(pause).toBeLessThanOrEqual(longest);
    }
    expect(pauses('a')).toEqual(pauses('a'));
    expect(pauses('a')).not.toEqual(pauses('b'));
  });

  test('an attempt that nobody answered has taken its pause', () => {
    const state = createNode({ id: 'a', backoff: { first: 100, longest: 1000 }, patience: 1000 }, 0);
    let at = 0;
    for (let attempt = 1; attempt <= 8; attempt++) {
      expect(tell(state, [at, { type: 'tick' }])).toEqual(['dial']);
      expect(tell(state, [at + 1000, { type: 'tick' }])).toEqual(['hangUp']);
      at += 1000;
      expect(nodeWake(state)).toBe(at);
    }
    // One that is refused at once has not.
    expect(tell(state, [at, { type: 'tick' }])).toEqual(['dial']);
    tell(state, [at + 1, { type: 'closed', attempt: state.attempt }]);
    expect(nodeWake(state)).toBeGreaterThanOrEqual(at + 500);
  });

  test.each<[string, (state: NodeState) => void, number]>([
    ['no answer to a dial', (state) => tell(state, [0, { type: 'tick' }]), 500],
    ['no welcome', (state) => tell(state, [0, { type: 'tick' }], [1, { type: 'dialed', attempt: 1 }]), 500],
    [
      'no ping for two heartbeats',
      (s) => tell(s, [0, { type: 'tick' }], [1, { type: 'dialed', attempt: 1 }], [2, welcome(1)]),
      4002,
    ],
  ])('is patient, but not for ever: %s', (_, prepare, at) => {
    const state = start();
    prepare(state);
    expect(nodeWake(state)).toBe(at);
    expect(tell(state, [at - 1, { type: 'tick' }])).toEqual([]);
    expect(tell(state, [at, { type: 'tick' }])).toEqual(['hangUp']);
  });

  test('ends when the run is over, or when it left and was let go', () => {
    const over = joined();
    expect(tell(over, [3, { type: 'finished' }])).toEqual(['hangUp', 'end']);
    expect(tell(over, [4, { type: 'tick' }])).toEqual([]);
    expect(nodeWake(over)).toBe(Number.POSITIVE_INFINITY);
    const leaving = joined();
    expect(tell(leaving, [3, { type: 'leave' }])).toEqual(['leave']);
    expect(tell(leaving, [4, { type: 'closed', attempt: 1 }])).toEqual(['hangUp', 'end']);
  });
});
