import { describe, expect, test } from 'vitest';
import {
  admits,
  type Coordinator,
  type CoordinatorConfig,
  type CoordinatorEvent,
  coordinate,
  createCoordinator,
  type Effect,
  expects,
  nextWake,
} from '../index.ts';

const config: CoordinatorConfig = {
  run: 7n,
  incarnation: 3,
  start: 0,
  steps: 3,
  shards: () => 8,
  minNodes: 1,
  heartbeat: 2000,
  straggler: { factor: 3, least: 50, unknown: 1000 },
};

/** A coordinator, its clock and what it wanted last, in words. */
class Bench {
  readonly state: Coordinator;
  now = 0;

  constructor(over: Partial<CoordinatorConfig> = {}) {
    this.state = createCoordinator({ ...config, ...over }, 0);
  }

  tell(event: CoordinatorEvent, after = 0): string[] {
    this.now += after;
    return coordinate(this.state, event, this.now).map(words);
  }

  /** Nodes a, b, ... join and are ready, in the order of their sessions 1, 2, ... */
  join(...names: string[]): string[] {
    return names.flatMap((name) => {
      this.tell({ type: 'join', peer: 0, id: name, name });
      return this.tell({ type: 'ready', session: this.state.sessions });
    });
  }

  /** A session returns a unit of the step, which need not be the open one, or the first to come. */
  unit(session: number, lo: number, hi: number, after = 0, step = this.state.step): string[] {
    const unit = { session, step, lo, hi };
    return [
      ...this.tell({ type: 'returned', ...unit, agrees: true }, after),
      ...this.tell({ type: 'unit', ...unit }),
    ];
  }

  /** Everybody computes its share in the time that it takes, and sends each of its units in `unit`. */
  work(times: Readonly<Record<number, number>>, unit = 0): string[] {
    const { step } = this.state;
    const begin = this.now;
    const units = this.state.open.units.map(({ lo, hi, holders }) => ({
      lo,
      hi,
      session: holders[0]!.session,
    }));
    const end = (session: number): number =>
      times[session]! + unit * units.filter((each) => each.session === session).length;
    units.sort((a, b) => end(a.session) - end(b.session));
    const sessions = new Set(units.map(({ session }) => session));
    for (const session of sessions)
      this.tell({ type: 'computed', session, step, milliseconds: times[session]! });
    for (const { session, lo, hi } of units) {
      this.now = begin + end(session);
      this.unit(session, lo, hi);
    }
    return this.tell({ type: 'applied', step: this.state.step });
  }
}

const words = (effect: Effect): string => {
  switch (effect.do) {
    case 'assign':
      return `${effect.session}: ${effect.units.map(({ lo, hi }) => `${lo}-${hi}`).join(' ')}${effect.isRedundant ? ' redundant' : ''}`;
    case 'apply':
      return `apply ${effect.units.map(({ lo, hi }) => `${lo}-${hi}`).join(' ')}`;
    case 'report':
      return `report ${effect.report.type}`;
    case 'close':
      return `close ${effect.session} ${effect.reason}`;
    case 'welcome':
    case 'ping':
      return `${effect.do} ${effect.session}`;
    case 'publish':
      return `publish ${effect.step} to ${effect.session}`;
    default:
      return `${effect.do} ${effect.step}`;
  }
};

describe('the coordinator', () => {
  test('a run from its start to its end', () => {
    const bench = new Bench({ steps: 1 });
    expect(bench.tell({ type: 'join', peer: 5, id: 'a', name: 'a' })).toEqual(['welcome 1', 'report join']);
    expect(bench.tell({ type: 'ready', session: 1 })).toEqual(['publish 0 to 1', 'open 0', '1: 0-8']);
    expect(bench.unit(1, 0, 8, 10)).toEqual(['apply 0-8']);
    expect(bench.tell({ type: 'applied', step: 0 })).toEqual([]);
    expect(bench.tell({ type: 'stop' })).toEqual(['close 1 finished']);
    expect(bench.tell({ type: 'stop' })).toEqual([]);
  });

  test('a step whose sums came in units of an earlier cut is over: who has its weights cannot compute the rest', () => {
    const bench = new Bench({ minNodes: 2 });
    bench.join('a', 'b');
    bench.unit(1, 0, 4);
    expect(bench.tell({ type: 'whole', step: 1 })).toEqual([]);
    expect(bench.tell({ type: 'whole', step: 0 })).toEqual(['apply 0-4 4-8']);
    expect(bench.tell({ type: 'whole', step: 0 })).toEqual([]);
    expect(bench.unit(2, 4, 8)).toEqual([]);
  });

  test('nothing begins before there are enough nodes that are ready', () => {
    const bench = new Bench({ minNodes: 2 });
    expect(bench.join('a')).toEqual(['publish 0 to 1']);
    bench.tell({ type: 'join', peer: 0, id: 'b', name: 'b' });
    expect(bench.tell({ type: 'ready', session: 2 })).toEqual([
      'publish 0 to 2',
      'open 0',
      '1: 0-4',
      '2: 4-8',
    ]);
  });

  test('shares follow the measured speed, and stay while they are nearly as good', () => {
    const bench = new Bench({ steps: 10, minNodes: 2 });
    bench.join('a', 'b');
    // What happens first says little.
    for (const _ of [1, 2]) expect(bench.work({ 1: 100, 2: 300 })).not.toContain('report rebalance');
    expect(bench.work({ 1: 100, 2: 300 })).toEqual([
      'publish 3 to 1',
      'publish 3 to 2',
      'open 3',
      'report rebalance',
      '1: 0-4 4-6',
      '2: 6-8',
    ]);
    // A little noise does not cut anew.
    for (const _ of [1, 2, 3, 4, 5]) {
      expect(bench.work({ 1: 152, 2: 148 })).not.toContain('report rebalance');
    }
  });

  test('shares are cut into more units only where that is worth their way', () => {
    const rebalances = (unit: number): boolean => {
      const bench = new Bench({ steps: 10, minNodes: 2 });
      bench.join('a', 'b');
      return [1, 2, 3, 4].some(() => bench.work({ 1: 100, 2: 300 }, unit).includes('report rebalance'));
    };
    // All for one takes 200 ms and one unit, four and four 300 ms and one: worth it until a unit takes 600 ms.
    expect([0, 100, 500, 1000].map(rebalances)).toEqual([true, true, true, false]);
  });

  test('the shards of a lost node go to the others, also to nobody for a while', () => {
    const bench = new Bench({ minNodes: 3 });
    bench.join('a', 'b', 'c');
    const [first] = bench.state.open.units;
    expect(first).toMatchObject({ lo: 0, hi: 2, holders: [{ session: 1 }] });
    const after = bench.tell({ type: 'lost', session: 1 });
    expect(after.slice(0, 2)).toEqual(['report lost', 'report reassign']);
    expect(after.slice(2)).toEqual(['2: 0-1', '3: 1-2']);
    bench.tell({ type: 'lost', session: 2 });
    expect(bench.tell({ type: 'lost', session: 3 })).toEqual(['report lost', 'report stall']);
    expect(bench.join('d')).toEqual(['publish 0 to 4', 'report reassign', 'report resume', '4: 0-8']);
  });

  test('what a lost node had delivered is kept', () => {
    const bench = new Bench({ minNodes: 2 });
    bench.join('a', 'b');
    bench.unit(1, 0, 4);
    expect(bench.tell({ type: 'lost', session: 1 })).toEqual(['report lost']);
    expect(bench.unit(2, 4, 8)).toEqual(['apply 0-4 4-8']);
  });

  test('a late unit is computed a second time, and the first result wins', () => {
    const bench = new Bench({ steps: 10, minNodes: 2 });
    bench.join('a', 'b');
    bench.work({ 1: 100, 2: 100 });
    bench.unit(1, 0, 4, 100);
    // 3 × 100 ms after the assignment b is late.
    expect(bench.tell({ type: 'tick' }, 199)).toEqual([]);
    expect(nextWake(bench.state, bench.now)).toBe(bench.now + 1);
    expect(bench.tell({ type: 'tick' }, 1)).toEqual(['report straggler', '1: 4-8']);
    expect(bench.unit(1, 4, 8, 50)).toEqual(['apply 0-4 4-8']);
    expect(bench.unit(2, 4, 8)).toEqual([]);
    bench.tell({ type: 'applied', step: 1 });
    const share = (session: number): number =>
      bench.state.open.pending(session).reduce((n, { lo, hi }) => n + hi - lo, 0);
    expect(share(2)).toBe(share(1));
    // A straggler gets less when it has been late a few times.
    for (const step of [2, 3, 4]) {
      bench.tell({ type: 'computed', session: 1, step, milliseconds: 90 });
      bench.unit(1, 0, 4, 100);
      bench.tell({ type: 'tick' }, 200);
      bench.unit(1, 4, 8, 50);
      bench.tell({ type: 'applied', step });
    }
    expect(share(2)).toBeLessThan(share(1));
  });

  test('a node that stops is helped by the measure of the others, once', () => {
    const bench = new Bench({ steps: 10, minNodes: 2 });
    bench.join('a', 'b');
    bench.work({ 1: 40, 2: 40 });
    bench.unit(1, 0, 4, 40);
    // Three times the 40 ms that a took for as much.
    expect(bench.tell({ type: 'tick' }, 79)).toEqual([]);
    expect(nextWake(bench.state, bench.now)).toBe(bench.now + 1);
    expect(bench.tell({ type: 'tick' }, 1)).toEqual(['report straggler', '1: 4-8']);
    expect(bench.unit(1, 4, 8, 40)).toEqual(['apply 0-4 4-8']);
    for (const step of [2, 3, 4]) {
      expect(bench.tell({ type: 'applied', step: step - 1 })).toEqual([
        `publish ${step} to 1`,
        `open ${step}`,
        '1: 0-8',
      ]);
      bench.unit(1, 0, 8, 80);
    }
  });

  describe('trials', () => {
    /** a computes alone; b joins in the middle of step 1. */
    const joined = (): Bench => {
      const bench = new Bench({ steps: 1000 });
      bench.join('a');
      bench.work({ 1: 80 });
      expect(bench.join('b')).toEqual(['publish 1 to 2', '2: 0-8 redundant']);
      return bench;
    };

    test('a newcomer returns two redundant units, then steps with and without it are compared', () => {
      const bench = joined();
      bench.unit(1, 0, 8, 80);
      // The first may take as long as it likes: no step waits for it, and it is not sent what it does not need.
      for (const step of [2, 3, 4, 5]) {
        expect(bench.tell({ type: 'applied', step: step - 1 })).toEqual([
          `publish ${step} to 1`,
          `open ${step}`,
          '1: 0-8',
        ]);
        bench.unit(1, 0, 8, 80);
      }
      expect(bench.unit(2, 0, 8, 0, 1)).toEqual([]);
      expect(bench.tell({ type: 'applied', step: 5 }).slice(1)).toEqual([
        'open 6',
        '1: 0-8',
        'publish 6 to 2',
        '2: 0-8 redundant',
      ]);
      bench.tell({ type: 'computed', session: 2, step: 6, milliseconds: 40 }, 40);
      // It is first, and counts.
      expect(bench.unit(2, 0, 8)).toEqual(['apply 0-8']);
      const shares: string[] = [];
      for (let step = 6; step < 40; step++) {
        const effects = bench.tell({ type: 'applied', step });
        shares.push(effects.filter((each) => /^\d: /.test(each)).join(', '));
        if (bench.state.open.units.length > 1) bench.unit(2, 4, 8, 40);
        else bench.unit(1, 0, 8, 80);
        if (bench.state.phase === 'open') bench.unit(1, 0, 4);
      }
      const turn = (count: number, share: string): string[] => Array.from({ length: count }, () => share);
      // Three steps of each, and one in which all is new.
      expect(shares.slice(0, 3)).toEqual(turn(3, '1: 0-8'));
      expect(shares.slice(3)).toEqual(turn(31, '1: 0-4, 2: 4-8'));
    });

    test('checksums are kept while a redundant unit is awaited', () => {
      const bench = joined();
      const { now, state } = bench;
      bench.unit(1, 0, 8, 80);
      const effects = coordinate(state, { type: 'applied', step: 1 }, now + 80);
      expect(effects).toContainEqual({ do: 'open', step: 2, awaited: [1] });
      expect(expects(state, 2, 1, { lo: 0, hi: 8 })).toBe(true);
    });

    test('a newcomer that returns other bits is tried again much later, and has no share', () => {
      const bench = joined();
      bench.tell({ type: 'returned', session: 2, step: 1, lo: 0, hi: 8, agrees: false }, 10);
      const asked: number[] = [];
      for (let step = 1; step < 250; step++) {
        bench.unit(1, 0, 8, 80);
        const effects = bench.tell({ type: 'applied', step });
        expect(effects).toContain('1: 0-8');
        if (effects.includes('2: 0-8 redundant')) asked.push(step);
      }
      expect(asked).toEqual([200]);
    });

    test('one that returns nothing is asked again, ever more rarely, and people are told', () => {
      const bench = joined();
      const asked: number[] = [];
      const told: string[] = [];
      for (let step = 1; step < 600; step++) {
        bench.unit(1, 0, 8, 80);
        const effects = bench.tell({ type: 'applied', step });
        if (effects.includes('2: 0-8 redundant')) asked.push(bench.now);
        told.push(...effects.filter((each) => each.startsWith('report')));
      }
      // After 10 s, then after 20.
      expect(asked).toEqual([10_080, 30_080]);
      expect(told).toEqual(['report aside']);
    });

    test('a late unit is a trial: when it is there, the node has a share again', () => {
      const bench = new Bench({ steps: 100, minNodes: 2 });
      bench.join('a', 'b');
      bench.work({ 1: 40, 2: 40 });
      bench.unit(1, 0, 4, 40);
      bench.tell({ type: 'tick' }, 80);
      bench.unit(1, 4, 8, 40);
      expect(bench.tell({ type: 'applied', step: 1 })).toContain('1: 0-8');
      bench.unit(2, 4, 8, 10, 1);
      bench.unit(1, 0, 8, 70);
      expect(bench.tell({ type: 'applied', step: 2 }).slice(-2)).toEqual(['1: 0-4', '2: 4-8']);
    });

    test('the only node is never late, nor are all of them; one of many never', () => {
      const alone = new Bench();
      alone.join('a');
      expect(alone.tell({ type: 'heard', session: 1 }, 1e6)).toEqual([]);
      expect(nextWake(alone.state, alone.now)).toBeLessThanOrEqual(alone.now + 2000);
      const three = new Bench({ steps: 9, minNodes: 3 });
      three.join('a', 'b', 'c');
      three.work({ 1: 20, 2: 20, 3: 20 });
      for (let i = 0; i < 100; i++) {
        for (const session of [1, 2, 3]) three.tell({ type: 'heard', session }, 10);
        expect(three.tell({ type: 'tick' }).filter((each) => !each.startsWith('ping'))).toEqual([]);
      }
      expect(three.work({ 1: 20, 2: 30, 3: 50 })).toContain('open 2');
    });

    test('who has no share helps when nobody else can', () => {
      const bench = new Bench({ steps: 100, minNodes: 2 });
      bench.join('a', 'b');
      bench.work({ 1: 40, 2: 40 });
      expect(bench.join('c')).toEqual(['publish 1 to 3', '3: 0-4 redundant']);
      bench.work({ 1: 40, 2: 40 });
      bench.unit(1, 0, 4, 40);
      bench.tell({ type: 'lost', session: 1 });
      expect(bench.tell({ type: 'tick' }, 79)).toEqual([]);
      expect(bench.tell({ type: 'tick' }, 1)).toEqual(['report straggler', 'publish 2 to 3', '3: 4-8']);
      expect(bench.unit(3, 4, 8, 40)).toEqual(['apply 0-4 4-8']);
    });

    test('when all who have shares stop, those who have none compute', () => {
      const bench = new Bench({ steps: 100, minNodes: 2 });
      bench.join('a', 'b');
      bench.work({ 1: 40, 2: 40 });
      // Both stop now.
      expect(bench.join('c')).toEqual(['publish 1 to 3', '3: 0-4 redundant']);
      expect(bench.unit(3, 0, 4, 100)).toEqual([]);
      // Both are late after three times that, and c computes what is missing.
      expect(bench.tell({ type: 'tick' }, 200)).toEqual(['report straggler', '3: 4-8']);
      expect(bench.unit(3, 4, 8, 100)).toEqual(['apply 0-4 4-8']);
      expect(bench.tell({ type: 'applied', step: 1 })).toEqual(['publish 2 to 3', 'open 2', '3: 0-8']);
    });
  });

  test('who has computed, but is held back on the wire, helps a late one', () => {
    const bench = new Bench({ steps: 10, minNodes: 2 });
    bench.join('a', 'b');
    bench.work({ 1: 100, 2: 100 });
    bench.tell({ type: 'computed', session: 1, step: 1, milliseconds: 90 }, 100);
    // Both are late: b still computes, and a waits for it.
    expect(bench.tell({ type: 'tick' }, 200)).toEqual(['report straggler', '1: 4-8']);
    bench.tell({ type: 'computed', session: 1, step: 1, milliseconds: 90 }, 90);
    bench.unit(1, 4, 8);
    expect(bench.unit(1, 0, 4)).toEqual(['apply 0-4 4-8']);
  });

  test('a leaving node finishes what it holds', () => {
    const bench = new Bench({ minNodes: 2 });
    bench.join('a', 'b');
    expect(bench.tell({ type: 'leave', session: 2 })).toEqual([]);
    expect(bench.unit(2, 4, 8)).toEqual(['close 2 left', 'report leave']);
    expect(bench.unit(1, 0, 4)).toEqual(['apply 0-4 4-8']);
    expect(bench.tell({ type: 'applied', step: 0 })).toEqual(['publish 1 to 1', 'open 1', '1: 0-8']);
  });

  test('silence of two heartbeats is death; before, there are pings', () => {
    const bench = new Bench();
    bench.join('a');
    expect(nextWake(bench.state, 0)).toBe(2000);
    expect(bench.tell({ type: 'tick' }, 2000)).toEqual(['ping 1']);
    expect(bench.tell({ type: 'heard', session: 1 }, 10)).toEqual([]);
    expect(bench.tell({ type: 'tick' }, 3990)).toEqual(['ping 1']);
    expect(bench.tell({ type: 'tick' }, 10)).toEqual(['close 1 silent', 'report lost', 'report stall']);
  });

  test('a tick at the time that was asked for is never for nothing, however times round', () => {
    for (let i = 1; i <= 1000; i++) {
      const bench = new Bench({ heartbeat: 100 });
      bench.now = i / 7;
      bench.join('a');
      bench.tell({ type: 'heard', session: 1 }, i / 11);
      const wake = nextWake(bench.state, bench.now);
      bench.tell({ type: 'tick' }, 0);
      bench.now = wake;
      bench.tell({ type: 'tick' });
      expect(nextWake(bench.state, bench.now)).toBeGreaterThan(wake);
    }
  });

  test('the same process again replaces its old connection', () => {
    const bench = new Bench();
    bench.join('a');
    expect(bench.tell({ type: 'join', peer: 9, id: 'a', name: 'a' })).toEqual([
      'close 1 replaced',
      'report lost',
      'report stall',
      'welcome 2',
      'report join',
    ]);
  });

  test('who joins while weights are updated gets them afterwards, with a redundant unit', () => {
    const bench = new Bench();
    bench.join('a');
    bench.unit(1, 0, 8);
    expect(bench.join('b')).toEqual([]);
    expect(bench.tell({ type: 'applied', step: 0 })).toEqual([
      'publish 1 to 1',
      'open 1',
      '1: 0-8',
      'publish 1 to 2',
      '2: 0-8 redundant',
    ]);
  });

  test('an interruption gives the open step up, and lets nodes come back', () => {
    const bench = new Bench();
    bench.join('a');
    expect(bench.tell({ type: 'stop' })).toEqual(['close 1 interrupted']);
    expect(bench.unit(1, 0, 8)).toEqual([]);
  });

  test('what is applied after an interruption opens nothing', () => {
    const bench = new Bench();
    bench.join('a');
    bench.unit(1, 0, 8);
    expect(bench.tell({ type: 'stop' })).toEqual(['close 1 interrupted']);
    expect(bench.tell({ type: 'applied', step: 0 })).toEqual([]);
  });

  test.each([
    ['this session', { run: 7n, incarnation: 3, session: 1 }, true],
    ['another run', { run: 8n, incarnation: 3, session: 1 }, false],
    ['an earlier life', { run: 7n, incarnation: 2, session: 1 }, false],
    ['a session that is over', { run: 7n, incarnation: 3, session: 2 }, false],
    ['nobody', { run: 7n, incarnation: 3, session: 0 }, false],
  ])('the fence: %s', (_, fence, expected) => {
    const bench = new Bench();
    bench.join('a', 'b');
    bench.tell({ type: 'lost', session: 2 });
    expect(admits(bench.state, fence)).toBe(expected);
  });

  test('gradients are looked at when they were asked for, or can be late duplicates', () => {
    const bench = new Bench({ minNodes: 2 });
    bench.join('a', 'b');
    bench.work({ 1: 1, 2: 1 });
    expect(expects(bench.state, 1, 1, { lo: 0, hi: 4 })).toBe(true);
    expect(expects(bench.state, 2, 1, { lo: 0, hi: 4 })).toBe(false);
    expect(expects(bench.state, 1, 1, { lo: 0, hi: 2 })).toBe(false);
    expect(expects(bench.state, 1, 2, { lo: 0, hi: 4 })).toBe(false);
    expect(expects(bench.state, 2, 0, { lo: 0, hi: 4 })).toBe(true);
  });

  test('a node that joins again and again leaves no trace for each time', () => {
    const bench = new Bench();
    bench.join('a');
    for (let i = 0; i < 20_000; i++) {
      bench.tell({ type: 'join', peer: i, id: 'b', name: 'b' });
      bench.tell({ type: 'lost', session: bench.state.sessions });
    }
    expect(bench.state.sessions).toBe(20_001);
    expect(bench.state.names.size).toBeLessThanOrEqual(4096);
    expect(bench.state.members.size).toBe(1);
    expect([bench.state.names.get(1), bench.state.names.get(20_001)]).toEqual(['a', 'b']);
  });

  test('an alarm names both nodes, also one that is gone', () => {
    const bench = new Bench({ minNodes: 2 });
    bench.join('a', 'b');
    bench.tell({ type: 'lost', session: 1 });
    const event = { type: 'conflict', step: 0, lo: 0, hi: 4, sessions: [1, 2] } as const;
    expect(coordinate(bench.state, event, 0)).toEqual([
      { do: 'report', report: { type: 'alarm', step: 0, lo: 0, hi: 4, names: ['a', 'b'] } },
    ]);
  });

  test('a run that was at its end opens nothing', () => {
    const bench = new Bench({ start: 3 });
    expect(bench.tell({ type: 'tick' })).toEqual([]);
    expect(bench.join('a')).toEqual([]);
    expect(bench.tell({ type: 'stop' })).toEqual(['close 1 finished']);
    expect(() => new Bench({ start: 4 })).toThrow('expected 0 <= start <= steps');
  });
});
