/** Wrong arguments of losses, metrics and layers: an error that begins with what was called, whatever it is made of. */
import * as a from '@lockstep/autograd';
import { expect, it } from 'vitest';
import { ConfigError } from './common/errors.ts';
import * as loss from './loss/loss.ts';
import * as metrics from './loss/metrics.ts';
import * as nn from './nn.ts';

type Arguments = readonly unknown[];
type Call = (...args: never[]) => unknown;

const x = a.ones([2, 3]);
const y = a.ones([2, 3]);
const rows = a.zeros([2], 'i32');
const reduction = 'sum';
const weight = [1, 1, 1];

/** A call of each that is right, with all options. */
const losses: Readonly<Record<string, Arguments>> = {
  crossEntropy: [x, rows, { reduction, weight, ignoreIndex: 0, labelSmoothing: 0.1 }],
  nll: [x, rows, { reduction, weight, ignoreIndex: 0 }],
  ...{ mse: [x, y, { reduction }], l1: [x, y, { reduction }], huber: [x, y, { reduction, delta: 1 }] },
  ...{ smoothL1: [x, y, { reduction, beta: 1 }], bce: [a.mul(x, 0.5), y, { reduction }] },
  bceWithLogits: [x, y, { reduction, positiveWeight: 1 }],
  klDiv: [x, y, { reduction, logTarget: true }],
  hinge: [x, y, { reduction, margin: 1 }],
  cosineEmbedding: [x, y, a.ones([2]), { reduction, margin: 0 }],
  multiMargin: [x, rows, { reduction, margin: 1 }],
};
const ofRows: Readonly<Record<string, Arguments>> = {
  ...{ accuracy: [x, rows], topK: [x, rows, 2], binaryAccuracy: [x, y], mae: [x, y], mse: [x, y] },
};
const image = a.ones([1, 2, 4, 4]);
const line = a.ones([1, 2, 4]);
const layers: Readonly<Record<string, readonly [nn.Module, a.Tensor]>> = {
  ...{ relu: [nn.relu(), x], tanh: [nn.tanh(), x], softmax: [nn.softmax(), x], gelu: [nn.gelu(), x] },
  ...{ logSoftmax: [nn.logSoftmax(), x], dropout: [nn.dropout(), x], flatten: [nn.flatten(), image] },
  ...{
    linear: [nn.linear(3, 2), x],
    conv2d: [nn.conv2d(2, 3, 2), image],
    conv1d: [nn.conv1d(2, 3, 2), line],
  },
  ...{ convTranspose2d: [nn.convTranspose2d(2, 3, 2), image], maxPool2d: [nn.maxPool2d(2), image] },
  ...{
    maxPool1d: [nn.maxPool1d(2), line],
    avgPool1d: [nn.avgPool1d(2), line],
    avgPool2d: [nn.avgPool2d(2), image],
  },
  ...{
    adaptiveAvgPool2d: [nn.adaptiveAvgPool2d(2), image],
    adaptiveMaxPool2d: [nn.adaptiveMaxPool2d(2), image],
  },
  ...{ upsample2d: [nn.upsample2d(2), image], batchNorm1d: [nn.batchNorm1d(3), x] },
  ...{
    batchNorm2d: [nn.batchNorm2d(2), image],
    layerNorm: [nn.layerNorm(3), x],
    rmsNorm: [nn.rmsNorm(3), x],
  },
  ...{ groupNorm: [nn.groupNorm(1, 2), image], embedding: [nn.embedding(5, 3), rows] },
  ...{
    learnedPositions: [nn.learnedPositions(4, 4), line],
    sinusoidalPositions: [nn.sinusoidalPositions(4, 4), line],
  },
  multiHeadAttention: [nn.multiHeadAttention(4, 2) as nn.Module, line],
  ...{
    rnn: [nn.rnn(4, 2) as never, line],
    lstm: [nn.lstm(4, 2) as never, line],
    gru: [nn.gru(4, 2) as never, line],
  },
};

const shapes = [[], [5, 7], [5], [1, 1, 1, 1], [0], [0, 3], [2, 0]];
const tensors: Arguments = [
  ...[undefined, null, [1, 2], 'x', { output: x }, a.zeros([2, 3], 'bool'), a.zeros([2, 3], 'i32')],
  ...[a.cast(a.zeros([2, 3], 'i32'), 'u8'), a.zeros([5, 7], 'i32'), a.zeros([2], 'bool')],
  ...shapes.map((shape) => a.ones(shape)),
];

function wrong(argument: unknown): Arguments {
  if (argument instanceof a.Tensor) return tensors;
  if (Array.isArray(argument)) return [3, null, [], ['x'], [1], [Number.NaN, 1, 1], {}];
  if (typeof argument === 'number') return [Number.NaN, -1, 99, 'x', null, Infinity, [1], {}, 0.5, 5];
  return typeof argument === 'boolean' ? ['x', null, 3] : ['x', 3, null, {}];
}

function* variants(args: Arguments): Generator<Arguments> {
  for (const [at, argument] of args.entries()) {
    const isOptions =
      typeof argument === 'object' && !Array.isArray(argument) && !(argument instanceof a.Tensor);
    const others = isOptions
      ? Object.entries(argument as object).flatMap(([key, value]) =>
          wrong(value).map((other) => ({ ...(argument as object), [key]: other })),
        )
      : wrong(argument);
    for (const other of others) yield args.with(at, other);
  }
}

const cases: [start: string, Call, Arguments][] = [
  ...Object.entries(losses).map(([name, args]): [string, Call, Arguments] => [
    `loss.${name}: `,
    (loss as unknown as Record<string, Call>)[name]!,
    args,
  ]),
  ...Object.entries(ofRows).map(([name, args]): [string, Call, Arguments] => [
    `metrics.${name}: `,
    (metrics as unknown as Record<string, Call>)[name]!,
    args,
  ]),
  // A layer is shown with its sizes: linear(3, 2).
  ...Object.entries(layers).map(([name, [layer, input]]): [string, Call, Arguments] => [
    name,
    layer as Call,
    [input],
  ]),
];

it('has a call of every loss', () => {
  expect(Object.keys(loss).filter((name) => !(name in losses))).toEqual([]);
});

it.each(cases)('%s', (start, call, args) => {
  const run = call as (...given: Arguments) => unknown;
  expect(() => run(...args)).not.toThrow();
  let refused = 0;
  for (const variant of variants(args)) {
    try {
      run(...variant);
    } catch (error) {
      refused++;
      const { message } = error as Error;
      expect(message.slice(0, start.length)).toBe(start);
      expect(error instanceof a.OpError || error instanceof ConfigError, message).toBe(true);
    }
  }
  expect(refused).toBeGreaterThan(0);
});
