/** Wrong use of ops: one message that names the op, what it got and what it expected. */
import { describe, expect, it } from 'vitest';
import { errorCases, speaksAs } from '../test/errors.ts';
import * as a from './index.ts';
import * as functions from './ops/index.ts';

describe('errors of ops', () => {
  it('has a case for every op and every function', () => {
    const spoken = new Set(errorCases.map(([, , op]) => op));
    const names = [
      ...Object.entries(functions).flatMap(([name, value]) => (typeof value === 'function' ? [name] : [])),
      ...Object.values(a.ops).map((op) => op.name),
    ];
    // What takes anything: a cast, and a tensor as it is.
    const silent = names.filter((name) => name !== 'cast' && !spoken.has(speaksAs[name] ?? name));
    expect(silent).toEqual([]);
  });

  it.each(errorCases)('%s', (_, call, op, got, expected) => {
    let error: unknown;
    try {
      call();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(a.OpError);
    const { message, code } = error as a.OpError;
    expect(code).toBe('LOCKSTEP_OP');
    expect(message.startsWith(`${op}: `), message).toBe(true);
    expect(message).toContain(got);
    expect(message).toContain(expected);
  });

  it.each([
    [
      'too few values',
      () => a.tensor([1, 2, 3], { shape: [2, 2] }),
      'got 3 values for shape [2, 2], expected 4',
    ],
    ['ragged rows', () => a.tensor([[1, 2], [3]]), 'got a nested array of 1 values at depth 1, expected 2'],
    ['depths that differ', () => a.tensor([[1], 2]), 'differ in depth'],
    ['a text', () => a.tensor([1, '2' as never]), 'got 2, expected numbers, booleans'],
    ['nothing', () => a.tensor(undefined as never), 'got undefined, expected numbers'],
    ['a seed that is not whole', () => a.withSeed(1.5, () => 0), 'got 1.5, expected an integer'],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(RangeError);
    expect(call).toThrow(message);
  });
});
