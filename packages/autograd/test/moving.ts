/** Cases of the ops that move elements: shapes, parts, indexes, order. */
import type { OpName, Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';
import { labels, name, numbers, type OpTest, on, one } from './support.ts';

/** i32 indexes below n that come again; each place has its own. */
const indexes = (shape: Shape, n: number): Tensor => labels(shape, n);

/** [shape of the tensor, axis, shape of the index] */
const picks: readonly (readonly [Shape, number, Shape])[] = [
  [[7], 0, [3]],
  [[5, 4], 0, [2, 3]],
  [[2, 5, 3], 1, [9]],
  [[2, 3, 5], -1, [4]],
  [[3, 4], 0, []],
  [[1, 2], 0, [3]],
  [[3, 2], 1, [0]],
  [[9, 35], 0, [20]],
];
/** The same with an index for each element. */
const elementPicks: readonly (readonly [Shape, number, Shape])[] = [
  [[7], 0, [3]],
  [[5, 4], 0, [9, 4]],
  [[2, 5, 3], 1, [2, 7, 3]],
  [[2, 3, 5], -1, [2, 3, 4]],
  [[3, 1], 0, [1, 1]],
  [[3, 2], 1, [3, 0]],
];
const taken = (shape: Shape, axis: number, index: Shape): Shape => {
  const at = axis < 0 ? axis + shape.length : axis;
  return [...shape.slice(0, at), ...index, ...shape.slice(at + 1)];
};

export const movingTests = {
  reshape: {
    ulps: 0,
    cases: [
      on([7], (x) => a.reshape(x, [1, 7, 1]), 'more axes'),
      on([2, 3, 5], (x) => a.reshape(x, [5, -1]), 'an inferred size'),
      on([2, 3, 5], (x) => a.reshape(a.transpose(x), [6, 5]), 'a transposed tensor'),
      on([1], (x) => a.reshape(x, []), 'to a scalar'),
      on([0, 3], (x) => a.reshape(x, [3, 0]), 'nothing'),
    ],
  },
  permute: {
    ulps: 0,
    cases: [
      on([2, 3, 5], (x) => a.permute(x, [2, 0, 1]), 'a cycle'),
      on([3, 7], (x) => a.transpose(x), 'a transpose'),
      on([2, 3, 1, 4], (x) => a.permute(x, [-1, 1, 0, 2]), 'rank 4'),
      on([1, 1], (x) => a.transpose(x), 'a transpose'),
      on([0, 3], (x) => a.transpose(x), 'nothing'),
    ],
  },
  expand: {
    ulps: 0,
    cases: [
      on([7, 1], (x) => a.expand(x, [7, 3]), 'columns'),
      on([3, 1], (x) => a.expand(x, [2, 3, 4]), 'a new axis'),
      on([], (x) => a.expand(x, [3]), 'a scalar'),
      on([1, 3], (x) => a.expand(x, [0, 3]), 'to nothing'),
    ],
  },
  slice: {
    ulps: 0,
    cases: [
      on([7], (x) => a.slice(x, [1, -1, 2]), 'every second'),
      on([4, 3, 5], (x) => a.slice(x, null, 1, [2, null]), 'rank 3'),
      on([2, 3, 5], (x) => a.narrow(a.transpose(x), 1, 2, 3), 'part of a transposed tensor'),
      on([3, 4], (x) => a.slice(a.slice(x, [1, 3]), [1, 2], [null, null, 3]), 'a slice of a slice'),
      on([3, 2], (x) => a.slice(x, [2, 2]), 'nothing'),
      on([1], (x) => a.slice(x, 0), 'the only element'),
      on([4, 4], (x) => a.diagonal(x), 'the diagonal'),
      on([3, 2, 3], (x) => a.diagonal(x, 0, 2), 'the diagonal of outer axes'),
      on([2, 7], (x) => a.concat(a.split(x, 3, 1).reverse(), 1), 'split and joined'),
      on([5, 2], (x) => a.concat(a.chunk(x, 3).reverse()), 'chunks'),
      { ...on([40, 65], (x) => a.slice(x, [3, 38], [1, 64, 3]), 'many'), forwardOnly: true },
    ],
  },
  place: {
    ulps: 0,
    cases: [
      on([7], (x) => a.pad(x, [[2, 1]]), 'both ends'),
      on(
        [2, 3, 5],
        (x) =>
          a.pad(
            x,
            [
              [1, 0],
              [0, 2],
            ],
            -0.5,
          ),
        'two axes, a value',
      ),
      on(
        [3, 2],
        (x) =>
          a.pad(a.transpose(x), [
            [1, 1],
            [0, 3],
          ]),
        'a transposed tensor',
      ),
      on(
        [0, 3],
        (x) =>
          a.pad(
            x,
            [
              [1, 1],
              [0, 0],
            ],
            2,
          ),
        'nothing',
      ),
      on([1], (x) => a.pad(x, [[0, 0]]), 'nowhere'),
      on([1, 3], (x) => a.pad(a.expand(x, [4, 3]), [[0, 1]]), 'a repeated row'),
      one('integers', [], () => a.pad(labels([2, 2], 9), [[1, 1]], -7)),
    ],
  },
  concat: {
    ulps: 0,
    cases: [
      one('[7] [2]', [numbers([7], -2, 2), numbers([2], -2, 2, 2)], (x, y) => a.concat([x, y])),
      one('three, rank 3', [numbers([2, 3, 5], -2, 2), numbers([2, 1, 5], -2, 2, 2)], (x, y) =>
        a.concat([x, y, x], 1),
      ),
      one('the last axis', [numbers([2, 3], -2, 2), numbers([2, 0], -2, 2, 2)], (x, y) =>
        a.concat([x, y], -1),
      ),
      one('a transposed tensor', [numbers([2, 3], -2, 2), numbers([1, 2], -2, 2, 2)], (x, y) =>
        a.concat([a.transpose(x), y]),
      ),
      one('stack', [numbers([3, 2], -2, 2), numbers([3, 2], -2, 2, 2)], (x, y) => a.stack([x, y], -1)),
      one('stack of scalars', [numbers([], -2, 2), numbers([], -2, 2, 2)], (x, y) => a.stack([x, y])),
      on([5, 3], (x) => a.roll(x, 2, 0), 'roll'),
      on([5, 3], (x) => a.roll(x, -4), 'roll of all elements'),
      on([5, 3], (x) => a.roll(x, [1, -2], [0, 1]), 'roll of two axes'),
    ],
  },
  flip: {
    ulps: 0,
    cases: [
      on([7], (x) => a.flip(x, 0), 'a vector'),
      on([2, 3, 5], (x) => a.flip(x, [0, -1]), 'two axes'),
      on([3, 4], (x) => a.flip(a.transpose(x), 0), 'a transposed tensor'),
      on([1, 3], (x) => a.flip(a.expand(x, [4, 3]), [0, 1]), 'a repeated row'),
      on([0, 3], (x) => a.flip(x, 0), 'nothing'),
      on([1], (x) => a.flip(x, 0), 'one element'),
    ],
  },
  take: {
    ulps: 0,
    cases: [
      ...picks.map(([shape, axis, index]) =>
        on(shape, (x) => a.take(x, indexes(index, shape.at(axis)!), axis), `axis ${axis}, ${name(index)}`),
      ),
      on([5, 2], (x) => a.indexSelect(a.transpose(x), 1, indexes([7], 5)), 'a transposed tensor'),
      {
        ...one('out of range', [numbers([3, 2], -2, 2)], (x) => a.take(x, a.tensor(Int32Array.of(2, -1, 3)))),
        forwardOnly: true,
      },
    ],
  },
  takeGrad: {
    ulps: 4,
    ofLargest: true,
    cases: picks.map(([shape, axis, index]) =>
      one(`${name(shape)}, axis ${axis}, ${name(index)}`, [numbers(taken(shape, axis, index), -2, 2)], (g) =>
        a.apply(a.ops.takeGrad, [g, indexes(index, shape.at(axis)!)], {
          axis: axis < 0 ? axis : axis - shape.length,
          indexRank: index.length,
          n: shape.at(axis)!,
        }),
      ),
    ),
  },
  gather: {
    ulps: 0,
    cases: [
      ...elementPicks.map(([shape, axis, index]) =>
        on(shape, (x) => a.gather(x, axis, indexes(index, shape.at(axis)!)), `axis ${axis}, ${name(index)}`),
      ),
      on([4, 5], (x) => a.gather(x, 0, indexes([2, 3], 4)), 'a smaller index'),
    ],
  },
  gatherGrad: {
    ulps: 4,
    ofLargest: true,
    cases: [
      ...elementPicks.map(([shape, axis, index]) =>
        one(`${name(shape)}, axis ${axis}, ${name(index)}`, [numbers(index, -2, 2)], (g) =>
          a.apply(a.ops.gatherGrad, [g, indexes(index, shape.at(axis)!)], {
            axis: axis < 0 ? axis : axis - shape.length,
            n: shape.at(axis)!,
          }),
        ),
      ),
      one('scatterAdd', [numbers([4, 3], -2, 2), numbers([5, 3], -2, 2, 2)], (x, y) =>
        a.scatterAdd(x, 0, indexes([5, 2], 4), y),
      ),
      one('indexAdd', [numbers([4, 3], -2, 2), numbers([4, 6], -2, 2, 2)], (x, y) =>
        a.indexAdd(x, 1, indexes([6], 3), y),
      ),
    ],
  },
  argsort: {
    ulps: 0,
    differentiable: false,
    cases: [
      on([7], (x) => a.argsort(x), 'a vector'),
      on([2, 5, 3], (x) => a.argsort(x, 1, { descending: true }), 'middle axis'),
      on([3, 1], (x) => a.argsort(x), 'one column'),
      on([0, 3], (x) => a.argsort(x), 'nothing'),
      one('equal elements and a NaN', [a.tensor([2, 1, Number.NaN, 1, 2])], (x) => a.argsort(x)),
    ],
  },
} satisfies { readonly [K in OpName]?: OpTest };
