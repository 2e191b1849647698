/** Wrong use of ops: one message that names the op, what it got and what it expected. */
import { describe, expect, it } from 'vitest';
import * as a from './index.ts';

const x = a.ones([2, 3]);
const y = a.ones([4, 5]);
const i = a.zeros([2, 3], 'i32');
const b = a.zeros([2, 3], 'bool');
const scalar = a.ones([]);

/** [what, call, op, got, expected] */
const cases: readonly (readonly [string, () => unknown, string, string, string])[] = [
  ['shapes that do not broadcast', () => a.add(x, y), 'add', '[2, 3] and [4, 5]', 'equal or 1'],
  ['broadcast of three', () => a.where(b, x, a.ones([2])), 'where', '[2, 3]', 'equal or 1'],
  ['two types', () => a.mul(x, i), 'mul', 'f32[2, 3] and i32[2, 3]', 'both f32 or both i32'],
  ['numbers only', () => a.add(1, 2), 'add', 'numbers only', 'at least one tensor'],
  ['a fraction beside integers', () => a.add(i, 0.5), 'full', '0.5 for i32', 'an integer'],
  ['arithmetic of bytes', () => a.add(a.cast(i, 'u8'), 1), 'add', 'u8[2, 3]', "cast(x, 'f32')"],
  ['arithmetic of bools', () => a.sub(b, b), 'sub', 'bool[2, 3]', 'both f32'],
  ['integers where f32 only', () => a.pow(i, i), 'pow', 'i32[2, 3]', 'both f32'],
  ['a function of integers', () => a.exp(i), 'exp', 'i32[2, 3]', 'f32'],
  ['comparison of two types', () => a.lt(x, i), 'lt', 'f32[2, 3] and i32[2, 3]', 'one type'],
  ['logic of numbers', () => a.logicalAnd(b, x), 'logicalAnd', 'f32[2, 3]', 'bool'],
  ['a condition of numbers', () => a.where(x, x, x), 'where', 'f32[2, 3]', 'bool'],
  ['branches of two types', () => a.where(b, x, i), 'where', 'f32[2, 3] and i32[2, 3]', 'one type'],
  ['isfinite of integers', () => a.isfinite(i), 'isFinite', 'i32[2, 3]', 'f32'],
  ['reshape to another size', () => a.reshape(x, [4]), 'reshape', '[4]', 'as many elements'],
  ['reshape with a fraction', () => a.reshape(x, [4, -1]), 'reshape', '[4, -1]', 'as many elements'],
  ['reshape of nothing', () => a.reshape(a.ones([0]), [0, -1]), 'reshape', '[0, -1]', 'as many elements'],
  ['two inferred sizes', () => a.reshape(x, [-1, -1]), 'reshape', '[6, 6]', 'one size may be -1'],
  ['sizes that are not whole', () => a.reshape(x, [1.5, 4]), 'reshape', '[1.5, 4]', 'as many elements'],
  ['an axis twice', () => a.permute(x, [0, 0]), 'permute', '[-2, -2]', 'each axis once'],
  ['too few axes', () => a.permute(x, [0]), 'permute', '[-2]', 'each axis once'],
  ['an axis out of range', () => a.transpose(x, 0, 2), 'transpose', 'axis 2', 'from -2 to 1'],
  ['expand of a size', () => a.expand(x, [2, 6]), 'expand', '[2, 6]', 'equal sizes'],
  ['expand to fewer axes', () => a.expand(x, [3]), 'expand', '[3]', 'equal sizes'],
  ['unsqueeze too far', () => a.unsqueeze(x, 3), 'unsqueeze', 'axis 3', 'from -3 to 2'],
  ['squeeze of a size', () => a.squeeze(x, 0), 'squeeze', 'axis 0', 'size 1'],
  ['a slice with no step', () => a.slice(x, [0, 2, 0]), 'slice', '[0, 2, 0]', 'a step above 0'],
  ['an element out of range', () => a.slice(x, 2), 'slice', '2 for axis 0', 'from -2 to 1'],
  ['ranges for too many axes', () => a.slice(x, null, null, null), 'slice', '3 ranges', 'at most 2'],
  ['narrow beyond the end', () => a.narrow(x, 1, 2, 2), 'narrow', 'start 2 and length 2', 'its 3 elements'],
  ['split into other sizes', () => a.split(x, [1, 1], 1), 'split', '[1, 1]', 'add up to 3'],
  ['split into nothings', () => a.split(x, 0), 'split', 'sizes 0', 'above 0'],
  ['no chunks', () => a.chunk(x, 0), 'chunk', '0 chunks', 'above 0'],
  ['padding below nothing', () => a.pad(x, [[-1, 0]]), 'pad', '[[-1, 0]]', 'narrow or slice'],
  [
    'padding of too many axes',
    () =>
      a.pad(a.ones([2]), [
        [0, 1],
        [1, 0],
      ]),
    'pad',
    'f32[2]',
    'at most 1',
  ],
  ['a fraction around integers', () => a.pad(i, [[1, 1]], 0.5), 'pad', '0.5', 'an integer'],
  ['concat of nothing', () => a.concat([]), 'concat', 'no tensors', 'at least one'],
  ['concat of two widths', () => a.concat([x, y]), 'concat', 'f32[2, 3], f32[4, 5]', 'equal sizes'],
  ['concat of two types', () => a.concat([x, i]), 'concat', 'f32[2, 3], i32[2, 3]', 'one type'],
  ['stack of two shapes', () => a.stack([x, y]), 'stack', 'f32[2, 3], f32[4, 5]', 'one shape'],
  ['flip of no such axis', () => a.flip(x, 2), 'flip', 'axis 2', 'from -2 to 1'],
  ['roll by a half', () => a.roll(x, 0.5), 'roll', 'shift 0.5', 'a whole number'],
  ['repeat of too few axes', () => a.repeat(x, [2]), 'repeat', '[2] for f32[2, 3]', 'at least 2'],
  ['diagonal of a rectangle', () => a.diagonal(x), 'diagonal', 'f32[2, 3]', 'one size'],
  ['an index of f32', () => a.take(x, a.ones([2])), 'take', 'f32[2]', 'i32'],
  ['an index of rank 2', () => a.indexSelect(x, 0, i), 'indexSelect', 'i32[2, 3]', 'i32[n]'],
  ['gather of too many', () => a.gather(x, 0, a.zeros([2, 4], 'i32')), 'gather', 'i32[2, 4]', 'no larger'],
  ['gather by f32', () => a.gather(x, 0, x), 'gather', 'f32[2, 3]', 'i32'],
  [
    'scatterAdd of too few',
    () => a.scatterAdd(x, 0, i, a.ones([2, 1])),
    'scatterAdd',
    'f32[2, 1]',
    'no larger',
  ],
  [
    'indexAdd of another shape',
    () => a.indexAdd(x, 0, a.zeros([4], 'i32'), y),
    'indexAdd',
    'source f32[4, 5]',
    '4 elements',
  ],
  ['sort of a scalar', () => a.argsort(scalar), 'argsort', 'f32[]', 'at least one axis'],
  ['more than there are', () => a.topK(x, 4), 'narrow', 'length 4', 'its 3 elements'],
  ['cumsum of integers', () => a.cumsum(i), 'cumsum', 'i32[2, 3]', 'f32'],
  ['a product of integers', () => a.prod(i), 'prod', 'i32[2, 3]', 'f32'],
  ['a norm of order 0', () => a.norm(x, 0, { p: 0 }), 'norm', 'p = 0', 'above 0'],
  ['softmax along no axis', () => a.softmax(x, 2), 'softmax', 'axis 2', 'from -2 to 1'],
  ['outer of matrices', () => a.outer(x, x), 'outer', 'f32[2, 3]', 'two vectors'],
  ['dot of two sizes', () => a.dot(a.ones([2]), a.ones([3])), 'dot', 'f32[2] and f32[3]', 'one size'],
  ['einsum without names', () => a.einsum('i,jk->k', x, y), 'einsum', "'i,jk->k'", 'a name for each axis'],
  ['einsum of too few tensors', () => a.einsum('ij,jk->ik', x), 'einsum', 'f32[2, 3]', 'one term per tensor'],
  ['einsum to nowhere', () => a.einsum('ij->k', x), 'einsum', "'ij->k'", 'known from a tensor'],
  ['einsum with digits', () => a.einsum('i1->i', x), 'einsum', "'i1->i'", 'letters'],
  ['einsum of two sizes', () => a.einsum('ij,jk->ik', x, y), 'einsum', '[3] and [4]', 'equal or 1'],
  ['tril of a vector', () => a.tril(a.ones([3])), 'tril', 'f32[3]', 'matrices'],
  ['eye of a fraction', () => a.eye(1.5), 'eye', '1.5', 'a whole number'],
  ['arange without end', () => a.arange(0, 1, 0), 'arange', 'step 0', 'other than 0'],
  ['linspace of a fraction', () => a.linspace(0, 1, 2.5), 'linspace', '2.5', 'a whole number'],
  ['a softplus upside down', () => a.softplus(x, -1), 'softplus', 'beta -1', 'above 0'],
  ['a gelu of integers', () => a.gelu(i), 'gelu', 'i32[2, 3]', 'f32'],
  ['bernoulli beyond 1', () => a.bernoulli([2], 1.5), 'bernoulli', 'p = 1.5', 'from 0 to 1'],
  ['randint of nothing', () => a.randint([2], 3, 3), 'randint', '3 to 3', '1 to 16777216 apart'],
  ['permutation of a half', () => a.permutation(0.5), 'permutation', '0.5', 'a whole number'],
  ['sum over no such axis', () => a.sum(x, 2), 'sum', 'axis 2', 'from -2 to 1'],
  ['an axis of a scalar', () => a.sum(scalar, 0), 'sum', 'axis 0', 'no axis'],
  ['a fraction of an axis', () => a.sum(x, 0.5), 'sum', 'axis 0.5', 'from -2 to 1'],
  ['sum of integers', () => a.sum(i), 'sum', 'i32[2, 3]', 'f32'],
  ['largest of nothing', () => a.max(a.ones([0, 3]), 0), 'max', 'f32[0, 3]', 'at least one element'],
  ['index in nothing', () => a.argmax(a.ones([3, 0])), 'argmax', 'f32[3, 0]', 'at least one element'],
  ['inner sizes', () => a.matmul(x, y), 'matmul', 'f32[2, 3] and f32[4, 5]', 'equal inner sizes'],
  ['inner sizes, vector', () => a.matmul(x, a.ones([2])), 'matmul', 'f32[2, 3]', 'equal inner sizes'],
  ['product of integers', () => a.matmul(i, x), 'matmul', 'i32[2, 3]', 'f32'],
  ['product with a scalar', () => a.matmul(x, scalar), 'matmul', 'f32[]', 'at least one axis'],
  [
    'batches that differ',
    () => a.matmul(a.ones([2, 3, 4]), a.ones([5, 4, 3])),
    'matmul',
    '[2]',
    'equal or 1',
  ],
  ['softmax of a scalar', () => a.softmax(scalar), 'softmax', 'f32[]', 'at least one element'],
  ['softmax of nothing', () => a.logSoftmax(a.ones([2, 0])), 'logSoftmax', 'f32[2, 0]', 'at least one'],
  ['labels of f32', () => a.crossEntropyRows(x, a.ones([2])), 'crossEntropy', 'f32[2]', 'i32'],
  ['labels per row', () => a.crossEntropyRows(x, i), 'crossEntropy', 'i32[2, 3]', 'one class number per row'],
  ['gradient of a vector', () => a.gradients(x, [x]), 'gradients', 'f32[2, 3]', 'a scalar'],
  ['backward without variables', () => a.backward(scalar), 'backward', 'no tensor', 'variable(values)'],
  ['item of many', () => x.item(), 'item', 'f32[2, 3]', 'one element'],
];

describe('errors of ops', () => {
  it.each(cases)('%s', (_, call, op, got, expected) => {
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
    ['a seed that is not whole', () => a.withSeed(1.5, () => 0), 'got 1.5, expected an integer'],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(RangeError);
    expect(call).toThrow(message);
  });
});
