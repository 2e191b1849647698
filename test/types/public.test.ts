/** The public face: every op, and nothing of the inside. */
import * as a from '@lockstep/autograd';
import * as lockstep from 'lockstep';
import { expect, it } from 'vitest';

/** Functions that only other ops, optimizers and the trainer use. */
const INTERNAL = ['fullOf', 'sumTo', 'withRank', 'blockSquares'];
const exported = Object.keys(lockstep);

it('every op that users call is exported, with what they need around it', () => {
  const ofTensors = Object.getOwnPropertyNames(a.Tensor.prototype);
  const functions = Object.entries(a).flatMap(([name, value]) =>
    typeof value === 'function' && (ofTensors.includes(name) || name in a.ops) ? [name] : [],
  );
  expect(functions.filter((name) => !INTERNAL.includes(name) && !exported.includes(name))).toEqual([]);
  expect(exported).toEqual(
    expect.arrayContaining(['tensor', 'withRandom', 'gradients', 'nn', 'defineTraining', 'train', 'predict']),
  );
});

it.each([
  ...['Trace', 'apply', 'ops', 'context', 'seedWords', 'setEagerKernels', 'withTrace', 'withStatistics'],
  ...[
    'withObserver',
    'mergeBuffer',
    'materialize',
    'copyView',
    'contiguousView',
    'expectTensors',
    'inNameOf',
  ],
  ...INTERNAL,
])('%s is internal', (name) => {
  expect(exported).not.toContain(name);
});

it('types of the inside are internal', () => {
  // @ts-expect-error: what receives kernel calls
  type One = lockstep.Emitter;
  // @ts-expect-error: a window on memory
  type Two = lockstep.View;
  // @ts-expect-error: a node of a traced step
  type Three = lockstep.GraphNode;
  expect(undefined as One | Two | Three).toBeUndefined();
});
