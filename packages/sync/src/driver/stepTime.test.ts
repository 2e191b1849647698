import { describe, expect, test } from 'vitest';
import { type StepTime, StepTimer } from './stepTime.ts';

const total = ({ compute, wait, update, network }: StepTime): number => compute + wait + update + network;

/** What is told, in order: [time, what]. */
type Told = (timer: StepTimer, now: number) => void;
const assign =
  (session: number, units = 1): Told =>
  (timer, now) =>
    timer.assign(session, units, now);
const unit =
  (session: number): Told =>
  (timer, now) =>
    timer.unit(session, now);
const computed =
  (session: number, milliseconds: number): Told =>
  (timer) =>
    timer.computed(session, milliseconds);
/** Adding that ends now. */
const busy =
  (milliseconds: number): Told =>
  (timer, now) =>
    timer.busy(now - milliseconds, now);

test('time is idle before the first step and from a stall to its end, whatever is told twice', () => {
  const timer = new StepTimer(100);
  const idle = [timer.idle(130)];
  timer.open(140);
  timer.open(170);
  idle.push(timer.idle(200));
  timer.attended(false, 200);
  idle.push(timer.idle(205));
  timer.attended(false, 210);
  timer.attended(true, 250);
  idle.push(timer.idle(300));
  timer.open(310);
  timer.attended(true, 320);
  idle.push(timer.idle(400));
  expect(idle).toEqual([30, 40, 45, 90, 90]);
});

describe('the time of a step falls apart into its parts', () => {
  test.each<[string, [number, Told][], [whole: number, idle: number, end: number], StepTime]>([
    [
      'one node: 70 ms of computing, 20 ms on the way, 10 ms of updates',
      [
        [1000, assign(1)],
        [1090, computed(1, 70)],
        [1090, unit(1)],
      ],
      [1090, 0, 1100],
      { compute: 70, wait: 0, update: 10, network: 20 },
    ],
    [
      'the faster of two nodes waits for the slower one',
      [
        [1000, assign(1)],
        [1000, assign(2)],
        [1040, computed(1, 30)],
        [1040, unit(1)],
        [1100, computed(2, 90)],
        [1100, unit(2)],
      ],
      [1100, 0, 1100],
      { compute: 60, wait: 30, update: 0, network: 10 },
    ],
    [
      'adding that computing hides is not counted, adding after it is',
      [
        [1000, assign(1, 2)],
        [1030, busy(10)],
        [1030, unit(1)],
        [1085, computed(1, 60)],
        [1090, busy(5)],
        [1090, unit(1)],
      ],
      [1090, 0, 1100],
      { compute: 60, wait: 0, update: 15, network: 25 },
    ],
    [
      'a step that the coordinator holds back',
      [
        [1000, assign(1)],
        [1050, computed(1, 50)],
        [1050, unit(1)],
      ],
      [1050, 40, 1100],
      { compute: 50, wait: 40, update: 10, network: 0 },
    ],
    [
      'a node that comes late, and one that gave nothing',
      [
        [1000, assign(1)],
        [1060, assign(2)],
        [1090, computed(2, 20)],
        [1090, unit(2)],
      ],
      [1090, 0, 1100],
      { compute: 20, wait: 60, update: 10, network: 10 },
    ],
    [
      'a node that is given more when it is done',
      [
        [1000, assign(1)],
        [1020, computed(1, 15)],
        [1020, unit(1)],
        [1050, assign(1)],
        [1080, computed(1, 25)],
        [1080, unit(1)],
      ],
      [1080, 0, 1100],
      { compute: 40, wait: 30, update: 20, network: 10 },
    ],
    [
      'a node that claims to have computed for longer than it had work',
      [
        [1000, assign(1)],
        [1090, computed(1, 1e9)],
        [1090, unit(1)],
      ],
      [1090, 0, 1100],
      { compute: 90, wait: 0, update: 10, network: 0 },
    ],
  ])('%s', (_, told, [whole, idle, end], expected) => {
    const timer = new StepTimer(0);
    timer.open(1000);
    for (const [now, tell] of told) tell(timer, now);
    const time = timer.close(whole, idle, end);
    expect(time).toEqual(expected);
    expect(total(time)).toBe(100);
  });

  test('of a session that nobody knows nothing is taken', () => {
    const timer = new StepTimer(0);
    timer.computed(7, 5);
    timer.unit(7, 5);
    timer.open(10);
    timer.assign(1, 1, 10);
    timer.unit(1, 20);
    expect(timer.close(20, 0, 20)).toEqual({ compute: 0, wait: 0, update: 0, network: 10 });
  });
});
