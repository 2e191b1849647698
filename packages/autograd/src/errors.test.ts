/** Wrong use of ops: one message that names the op, what it got and what it expected. */
import { describe, expect, it } from 'vitest';
import { errorCases, speaksAs } from '../test/errors.ts';
import * as a from './index.ts';

describe('errors of ops', () => {
  // What functions say is held by names.test.ts: here are what they got and expect, of ops and of what they are made of.
  it('has a case for every op', () => {
    const spoken = new Set(errorCases.map(([, , op]) => op));
    const silent = Object.values(a.ops).flatMap(({ name }) =>
      spoken.has(speaksAs[name] ?? name) ? [] : [name],
    );
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

  it('says so where something is no tensor', () => {
    const x = a.ones([2, 3]);
    const values: [unknown, string][] = [
      [[1, 2], 'got an array, expected a tensor; make one with tensor(values)'],
      [undefined, 'got undefined, expected a tensor; did a function forget to return it?'],
      [{ output: x }, 'got an object { output }, expected a tensor; take one of its fields'],
      [new Float32Array(2), 'got Float32Array, expected a tensor; make one'],
      [Math.abs, 'got a function abs, expected a tensor'],
    ];
    const calls: Record<string, (y: a.Tensor) => unknown> = {
      ...{ relu: a.relu, softmax: a.softmax, reshape: (y) => a.reshape(y, [-1]), transpose: a.transpose },
      ...{
        mul: (y) => a.mul(x, y),
        matmul: (y) => a.matmul(x, y),
        sum: a.sum,
        cumsum: a.cumsum,
        norm: a.norm,
      },
      ...{
        concat: (y) => a.concat([x, y]),
        slice: (y) => a.slice(y, 0),
        take: (y) => a.take(x, y),
        tril: a.tril,
      },
      ...{ where: (y) => a.where(y, x, x), einsum: (y) => a.einsum('ij,jk->ik', x, y), argsort: a.argsort },
      ...{
        conv2d: (y) => a.conv2d(a.ones([1, 1, 1, 1]), y),
        maxPool2d: (y) => a.maxPool2d(y, 2),
        layerNorm: (y) => a.layerNorm(x, y),
      },
      ...{
        cast: (y) => a.cast(y, 'i32'),
        clamp: (y) => a.clamp(y, 0, 1),
        variable: a.variable,
        detach: a.detach,
      },
    };
    for (const [name, call] of Object.entries(calls)) {
      for (const [value, message] of values) {
        const run = (): unknown => call(value as a.Tensor);
        expect(run, name).toThrow(a.OpError);
        expect(run, name).toThrow(message);
      }
    }
  });

  it.each<[string, () => unknown]>([
    ['reshape: got shape 6,', () => a.reshape(a.ones([2, 3]), 6 as never)],
    ['permute: got axes 1,', () => a.permute(a.ones([2, 3]), 1 as never)],
    ['zeros: got shape 2,', () => a.zeros(2 as never)],
    ['concat: got tensors f32[2],', () => a.concat(a.ones([2]) as never)],
    ['split: got sizes undefined,', () => a.split(a.ones([2]), undefined as never)],
    ['gradients: got sources f32[],', () => a.gradients(a.ones([]), a.ones([]) as never)],
    ['einsum: got no equation,', () => a.einsum(a.ones([2]) as never)],
  ])('%s expected an array', (message, call) => {
    expect(call).toThrow(a.OpError);
    expect(call).toThrow(message);
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
    [
      'an i32 of 32 bits',
      () => a.tensor([3e9], { dtype: 'i32' }),
      'got 3000000000 for i32, expected numbers from -2147483648',
    ],
    ['an i32 that is no number', () => a.tensor([Number.NaN], { dtype: 'i32' }), 'got NaN for i32'],
    [
      'an infinite i32',
      () => a.tensor(Float32Array.of(-Infinity), { dtype: 'i32' }),
      'got -Infinity for i32',
    ],
    [
      'a byte of nine bits',
      () => a.tensor([1, 257], { dtype: 'u8' }),
      'got 257 for u8, expected numbers from 0 to 255',
    ],
    ['a byte below 0', () => a.tensor(Int32Array.of(-1), { dtype: 'u8' }), 'got -1 for u8'],
    ['a seed that is not whole', () => a.withRandom({ seed: 1.5 }, () => 0), 'got 1.5, expected an integer'],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(RangeError);
    expect(call).toThrow(message);
  });
});
