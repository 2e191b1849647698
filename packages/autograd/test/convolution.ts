/** Cases of convolution and pooling. */
import type { Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';
import type { OpCase, OpTest } from './support.ts';

type Numbers = (shape: Shape, low: number, high: number, seed?: number) => Tensor;

/** The table, of inputs by `numbers`. */
export const convolutionTests = (numbers: Numbers) => {
  const of = (title: string, shapes: readonly Shape[], call: OpCase['call'], forwardOnly?: true): OpCase => ({
    title: `${title}: ${shapes.map((shape) => `[${shape.join(', ')}]`).join(' ')}`,
    inputs: shapes.map((shape, i) => numbers(shape, -2, 2, 1 + i)),
    call,
    ...(forwardOnly && { forwardOnly }),
  });

  const convolution = (options: a.ConvOptions) => (x: Tensor, w: Tensor) => a.conv2d(x, w, options);
  const transposed = (options: a.ConvTransposeOptions) => (x: Tensor, w: Tensor) =>
    a.convTranspose2d(x, w, options);
  const weightGrad = (size: a.Pair, options: Partial<a.ConvAttrs>) => (x: Tensor, g: Tensor) =>
    a.apply(a.ops.conv2dWeightGrad, [x, g], {
      ...{ stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 },
      ...{ ...options, size },
    });

  const pools = (f: (x: Tensor, kernel: a.PerAxis, options?: a.PoolOptions) => Tensor): OpCase[] => [
    of('side by side', [[2, 3, 4, 6]], (x) => f(x, 2)),
    of('odd', [[5, 7]], (x) => f(x, 2)),
    of('overlapping', [[2, 5, 6]], (x) => f(x, 3, { stride: [2, 1], padding: 1 })),
    of('ceil mode', [[1, 6, 5]], (x) => f(x, [3, 2], { ceilMode: true })),
    of('one position', [[1, 1, 1]], (x) => f(x, 1)),
    of('no planes', [[0, 2, 2]], (x) => f(x, 2)),
    of('a transposed view', [[4, 6]], (x) => f(a.transpose(x), 2)),
    of('large', [[3, 33, 70]], (x) => f(x, 2), true),
  ];

  const grads = (pool: a.KernelOp<a.PoolAttrs>, ofImage: boolean): OpCase[] => {
    const attrs = (size: a.Pair, kernel: a.Pair, stride = kernel): a.PoolAttrs => ({
      ...{ kernel, stride, padding: [0, 0], dilation: [1, 1], size },
    });
    const call =
      (...given: Parameters<typeof attrs>) =>
      (...xs: Tensor[]): Tensor =>
        a.apply(pool, xs, attrs(...given));
    // Inputs that decide where the greatest is pass no gradient on: they are no variables here.
    const on = (title: string, image: Shape, g: Shape, run: OpCase['call']): OpCase =>
      of(title, [g], (y) => (ofImage ? run(numbers(image, -2, 2, 7), y) : run(y)));
    return [
      on('side by side', [2, 4, 6], [2, 2, 3], call([4, 6], [2, 2])),
      on('odd', [5, 7], [2, 3], call([5, 7], [2, 2])),
      on('overlapping', [3, 5, 5], [3, 2, 2], call([5, 5], [3, 3], [2, 2])),
      on('one position', [1, 1], [1, 1], call([1, 1], [1, 1])),
    ];
  };

  function pick(x: Tensor, y: Tensor, size: a.Pair): Tensor {
    return a.apply(a.ops.maxPool2dPick, [x, y], {
      ...{ kernel: [2, 2], stride: [2, 2], padding: [0, 0], dilation: [1, 1], size },
    });
  }

  return {
    conv2d: {
      ulps: 16,
      ofLargest: true,
      cases: [
        of(
          'no margin',
          [
            [2, 3, 5, 4],
            [2, 3, 3, 2],
          ],
          convolution({}),
        ),
        of(
          'margin and stride',
          [
            [1, 2, 5, 6],
            [3, 2, 3, 3],
          ],
          convolution({ padding: 1, stride: 2 }),
        ),
        of(
          'dilation',
          [
            [1, 1, 7, 6],
            [2, 1, 2, 3],
          ],
          convolution({ dilation: [3, 2], padding: [1, 2] }),
        ),
        of(
          'groups',
          [
            [2, 4, 3, 3],
            [6, 2, 2, 2],
          ],
          convolution({ groups: 2 }),
        ),
        of(
          'same',
          [
            [1, 2, 4, 5],
            [1, 2, 2, 3],
          ],
          convolution({ padding: 'same' }),
        ),
        of(
          'one dimension',
          [
            [2, 3, 7],
            [2, 3, 3],
          ],
          (x, w) => a.conv1d(x!, w!, { padding: 1, stride: 2 }),
        ),
        of(
          'one tap',
          [
            [1, 1, 1, 1],
            [1, 1, 1, 1],
          ],
          convolution({}),
        ),
        of(
          'no rows',
          [
            [0, 2, 3, 3],
            [1, 2, 2, 2],
          ],
          convolution({}),
        ),
        of(
          'permuted views',
          [
            [5, 4, 2, 3],
            [3, 2, 3, 2],
          ],
          (x, w) => a.conv2d(a.permute(x!, [2, 3, 0, 1]), a.permute(w!, [3, 0, 1, 2])),
        ),
        of(
          'large',
          [
            [3, 5, 19, 23],
            [33, 5, 3, 3],
          ],
          convolution({ padding: 1 }),
          true,
        ),
      ],
    },
    conv2dInputGrad: {
      ulps: 16,
      ofLargest: true,
      cases: [
        of(
          'no margin',
          [
            [2, 2, 3, 3],
            [2, 3, 3, 2],
          ],
          transposed({}),
        ),
        of(
          'stride',
          [
            [1, 2, 2, 3],
            [2, 2, 3, 3],
          ],
          transposed({ stride: 2, padding: 1, outputPadding: 1 }),
        ),
        of(
          'dilation',
          [
            [1, 2, 2, 2],
            [2, 1, 2, 2],
          ],
          transposed({ dilation: [2, 3] }),
        ),
        of(
          'groups',
          [
            [1, 4, 2, 2],
            [4, 3, 2, 2],
          ],
          transposed({ groups: 2, stride: [1, 3] }),
        ),
        of(
          'one dimension',
          [
            [2, 3, 4],
            [3, 2, 3],
          ],
          (x, w) => a.convTranspose1d(x!, w!, { stride: 2 }),
        ),
        of(
          'one tap',
          [
            [1, 1, 1, 1],
            [1, 1, 1, 1],
          ],
          transposed({}),
        ),
        of(
          'large',
          [
            [2, 17, 9, 23],
            [17, 6, 3, 3],
          ],
          transposed({ stride: 2, padding: 1 }),
          true,
        ),
      ],
    },
    conv2dWeightGrad: {
      ulps: 16,
      ofLargest: true,
      cases: [
        of(
          'no margin',
          [
            [2, 3, 4, 5],
            [2, 2, 2, 4],
          ],
          weightGrad([3, 2], {}),
        ),
        of(
          'margin and stride',
          [
            [1, 2, 5, 6],
            [1, 3, 3, 3],
          ],
          weightGrad([3, 3], { padding: [1, 1], stride: [2, 2] }),
        ),
        of(
          'groups',
          [
            [2, 4, 3, 3],
            [2, 6, 2, 2],
          ],
          weightGrad([2, 2], { groups: 2 }),
        ),
        of(
          'one tap',
          [
            [1, 1, 1, 1],
            [1, 1, 1, 1],
          ],
          weightGrad([1, 1], {}),
        ),
        of(
          'no rows',
          [
            [0, 2, 3, 3],
            [0, 2, 2, 2],
          ],
          weightGrad([2, 2], {}),
        ),
        of(
          'large',
          [
            [5, 7, 12, 13],
            [5, 33, 12, 13],
          ],
          weightGrad([3, 3], { padding: [1, 1] }),
          true,
        ),
      ],
    },
    maxPool2d: { ulps: 0, cases: pools(a.maxPool2d) },
    maxPool2dPick: {
      ulps: 0,
      cases: [
        of('side by side', [[2, 4, 6]], (y) => pick(numbers([2, 4, 6], -2, 2, 7), y, [2, 3])),
        of('odd', [[5, 7]], (y) => pick(numbers([5, 7], -2, 2, 7), y, [2, 3])),
        of('one window', [[1, 2, 2]], (y) => pick(numbers([1, 2, 2], -2, 2, 7), y, [1, 1])),
      ],
    },
    maxPool2dGrad: { ulps: 1, ofLargest: true, cases: grads(a.ops.maxPool2dGrad, true) },
    sumPool2d: { ulps: 4, ofLargest: true, cases: pools(a.avgPool2d) },
    sumPool2dGrad: { ulps: 2, ofLargest: true, cases: grads(a.ops.sumPool2dGrad, false) },
  } satisfies Record<string, OpTest>;
};
