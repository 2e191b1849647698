/** Wrong use of ops that come in families, of layers that are one op, and of those that gradients use. */
import * as a from '../src/index.ts';
import * as functions from '../src/ops/index.ts';
import type { ErrorCase } from './errors.ts';

const x = a.ones([2, 3]);
const y = a.ones([4, 5]);
const i = a.zeros([2, 3], 'i32');
const b = a.zeros([2, 3], 'bool');

/** Functions of one f32 tensor: what they say to another type. */
const ofFloats = [
  ...[
    'neg',
    'abs',
    'sign',
    'floor',
    'ceil',
    'round',
    'sqrt',
    'rsqrt',
    'square',
    'exp',
    'expm1',
    'log',
    'log1p',
  ],
  ...[
    'sin',
    'cos',
    'tanh',
    'sigmoid',
    'erf',
    'relu',
    'leakyRelu',
    'elu',
    'gelu',
    'silu',
    'softplus',
    'hardswish',
  ],
  ...[
    'mish',
    'softmax',
    'logSoftmax',
    'logSumExp',
    'standardize',
    'rmsNorm',
    'sort',
    'argsort',
    'cumsum',
    'prod',
  ],
  ...['sum', 'mean', 'max', 'min', 'argmax', 'argmin', 'variance', 'std', 'norm'],
] as const;
/** Over axes: what they say to one that is not there. */
const overAxes = [
  ...[
    'sum',
    'mean',
    'prod',
    'max',
    'min',
    'argmax',
    'argmin',
    'variance',
    'std',
    'norm',
    'logSumExp',
    'any',
    'all',
  ],
  ...['softmax', 'logSoftmax', 'cumsum', 'argsort', 'sort', 'flip'],
] as const;
const compared = ['lt', 'le', 'gt', 'ge', 'eq', 'ne'] as const;
const calculated = ['add', 'sub', 'mul', 'div', 'minimum', 'maximum', 'pow'] as const;
const f = { ...functions };
const image = a.ones([1, 2, 4, 4]);
const tokens = a.ones([2, 3, 4]);
const { ops } = a;
const pooling = { kernel: [2, 2], stride: [2, 2], padding: [0, 0], dilation: [1, 1], size: [2, 2] } as const;
const convolving = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, size: [3, 3] } as const;
const attending = { causal: false, scale: 1 };
const headed = a.ones([1, 4, 2, 3]);

export const families: readonly ErrorCase[] = [
  ...ofFloats.map((op) => [`${op} of bools`, () => f[op](b), op, 'bool[2, 3]', 'f32'] as const),
  ...overAxes.map(
    (op) => [`${op} over no such axis`, () => f[op](x, 3), op, 'axis 3', 'from -2 to 1'] as const,
  ),
  ...compared.flatMap((op) => [
    [`${op} of two types`, () => f[op](x, i), op, 'f32[2, 3] and i32[2, 3]', 'one type'] as const,
    [`${op} of two shapes`, () => f[op](x, y), op, '[2, 3] and [4, 5]', 'equal or 1'] as const,
  ]),
  ...calculated.flatMap((op) => [
    [`${op} of two types`, () => f[op](x, i), op, 'f32[2, 3] and i32[2, 3]', 'both f32'] as const,
    [`${op} of two shapes`, () => f[op](x, y), op, '[2, 3] and [4, 5]', 'equal or 1'] as const,
  ]),
  ['logicalOr of numbers', () => a.logicalOr(b, x), 'logicalOr', 'f32[2, 3]', 'bool'],
  ['logicalNot of numbers', () => a.logicalNot(x), 'logicalNot', 'f32[2, 3]', 'bool'],
  ['bounds of other shapes', () => a.clamp(x, y, 1), 'clamp', '[2, 3] and [4, 5]', 'equal or 1'],
  ['a size of a half', () => a.full([2, 0.5], 1), 'full', '[2, 0.5]', 'whole numbers'],
  ['a size below nothing', () => a.zeros([-1]), 'zeros', '[-1]', 'whole numbers'],
  ['random numbers of no size', () => a.rand([1.5]), 'rand', '[1.5]', 'whole numbers'],
  ['normal numbers of no size', () => a.randn([-2]), 'randn', '[-2]', 'whole numbers'],
  ['classes of a half', () => a.oneHot(i, 2.5), 'oneHot', '2.5', 'a whole number'],
  ['one-hot rows of floats', () => a.oneHot(x, 3), 'oneHot', 'f32[2, 3]', 'i32 or u8'],
  ['flatten from nowhere', () => a.flatten(x, 3), 'flatten', 'axis 3', 'from -2 to 1'],
  ['triu of a vector', () => a.triu(a.ones([3])), 'triu', 'f32[3]', 'matrices'],
  [
    'a weight of another size',
    () => a.layerNorm(x, a.ones([2])),
    'layerNorm',
    'f32[2]',
    'one number per column: [3]',
  ],
  ['norm of nothing', () => a.rmsNorm(a.ones([2, 0])), 'rmsNorm', 'f32[2, 0]', 'at least one element'],
  ['a vector of blocks', () => a.blockSquares(x, 2), 'blockSquares', 'f32[2, 3]', 'a vector'],

  ['images of rank 2', () => a.conv2d(x, image), 'conv2d', 'f32[2, 3]', '[rows, channels, height, width]'],
  ['other channels', () => a.conv2d(image, a.ones([3, 5, 2, 2])), 'conv2d', 'f32[3, 5, 2, 2]', '5 channels'],
  [
    'groups that do not divide',
    () => a.conv2d(image, image, { groups: 3 }),
    'conv2d',
    '3 groups',
    'a divisor',
  ],
  ['a stride of 0', () => a.conv2d(image, image, { stride: 0 }), 'conv2d', 'stride 0', 'at least 1'],
  ['images of integers', () => a.conv2d(a.cast(image, 'i32'), image), 'conv2d', 'i32[1, 2, 4, 4]', 'f32'],
  ['a matrix along time', () => a.conv1d(x, tokens), 'conv1d', 'f32[2, 3]', 'three axes'],
  [
    'images up from rank 2',
    () => a.convTranspose2d(x, image),
    'convTranspose2d',
    'f32[2, 3]',
    'height, width]',
  ],
  [
    'a matrix up along time',
    () => a.convTranspose1d(x, tokens),
    'convTranspose1d',
    'f32[2, 3]',
    'three axes',
  ],
  ...(['maxPool2d', 'avgPool2d', 'adaptiveMaxPool2d', 'adaptiveAvgPool2d', 'upsample2d'] as const).flatMap(
    (op) => [
      [`${op} of integers`, () => f[op](i, 1), op, 'i32[2, 3]', 'f32'] as const,
      [`${op} of a vector`, () => f[op](a.ones([3]), 1), op, 'f32[3]', '[..., height, width]'] as const,
      [`${op} by a half`, () => f[op](image, 0.5), op, '0.5', 'an integer of at least 1'] as const,
    ],
  ),
  ['a window that does not fit', () => a.maxPool2d(image, 5), 'maxPool2d', '5 × 5', 'fits into the image'],
  [
    'padding beyond half',
    () => a.avgPool2d(image, 2, { padding: 2 }),
    'avgPool2d',
    'padding 2',
    'at most half',
  ],
  ['a matrix of windows', () => a.maxPool1d(x, 2), 'maxPool1d', 'f32[2, 3]', 'three axes'],
  ['a matrix of means', () => a.avgPool1d(x, 2), 'avgPool1d', 'f32[2, 3]', 'three axes'],
  [
    'an unknown mode',
    () => a.upsample2d(x, 2, { mode: 'cubic' as never }),
    'upsample2d',
    'cubic',
    'bilinear',
  ],

  [
    'two ranks',
    () => a.scaledDotProductAttention(x, x, tokens),
    'scaledDotProductAttention',
    'f32[2, 3, 4]',
    'rank 2 to 4',
  ],
  [
    'sizes that differ',
    () => a.scaledDotProductAttention(x, y, y),
    'scaledDotProductAttention',
    'q f32[2, 3], k f32[4, 5]',
    'q and k of one size',
  ],
  [
    'keys without values',
    () => a.scaledDotProductAttention(x, x, a.ones([4, 3])),
    'scaledDotProductAttention',
    'v f32[4, 3]',
    'as many keys as values',
  ],
  [
    'batches that do not meet',
    () => a.scaledDotProductAttention(tokens, a.ones([3, 3, 4]), tokens),
    'scaledDotProductAttention',
    '[2] and [3]',
    'equal or 1',
  ],
  [
    'heads that differ',
    () => a.apply(ops.attention, [headed, image, headed], attending),
    'attention',
    'f32[1, 2, 4, 4]',
    'equal batch',
  ],
  [
    'a mask of five axes',
    () => a.selfAttention(a.ones([1, 2, 3, 1, 2]), { mask: a.ones([1, 1, 1, 1, 1]) }),
    'selfAttention',
    'f32[1, 1, 1, 1, 1]',
    'at most four',
  ],
  [
    'dropout of all',
    () => a.selfAttention(a.ones([1, 2, 3, 1, 2]), { dropout: 1 }),
    'selfAttention',
    'dropout 1',
    'below 1',
  ],
  [
    'nothing packed',
    () => a.selfAttention(tokens),
    'selfAttention',
    'f32[2, 3, 4]',
    '[batch, T, 3, heads, size]',
  ],
  [
    'a weight of no gates',
    () => a.recurrent(tokens, x, { kind: 'lstm' }),
    'recurrent',
    'f32[2, 3]',
    '4 · hidden',
  ],
  [
    'gates of another size',
    () => a.recurrent(tokens, a.ones([3, 3]), { kind: 'tanh' }),
    'recurrent',
    'f32[2, 3, 4]',
    '[batch, steps, 3]',
  ],

  // Ops that only other ops' gradients use.
  [
    'rows of integers',
    () => a.apply(ops.takeGrad, [i, i], { axis: -1, indexRank: 1, n: 2 }),
    'takeGrad',
    'i32[2, 3]',
    'f32',
  ],
  [
    'elements of integers',
    () => a.apply(ops.gatherGrad, [i, i], { axis: -1, n: 2 }),
    'gatherGrad',
    'i32[2, 3]',
    'f32',
  ],
  ...(['geluSlope', 'geluTanhSlope', 'siluSlope', 'mishSlope'] as const).map(
    (op) => [`${op} of integers`, () => a.apply(ops[op], [i], {}), op, 'i32[2, 3]', 'f32'] as const,
  ),
  ['gelu by tanh', () => a.gelu(i, { approximate: 'tanh' }), 'gelu', 'i32[2, 3]', 'f32'],
  [
    'labels of bools',
    () => a.apply(ops.crossEntropyGrad, [x, b, x], {}),
    'crossEntropyGrad',
    'bool[2, 3]',
    'i32',
  ],
  [
    'conv2d backwards',
    () => a.apply(ops.conv2dInputGrad, [x, x], convolving),
    'conv2dInputGrad',
    'f32[2, 3]',
    'height',
  ],
  [
    'conv2d by weights',
    () => a.apply(ops.conv2dWeightGrad, [x, x], convolving),
    'conv2dWeightGrad',
    'f32[2, 3]',
    'height',
  ],
  [
    'a greatest of others',
    () => a.apply(ops.maxPool2dPick, [x, y], pooling),
    'maxPool2dPick',
    'f32[4, 5]',
    'planes',
  ],
  [
    'greatest backwards',
    () => a.apply(ops.maxPool2dGrad, [image, x], pooling),
    'maxPool2dGrad',
    'f32[2, 3]',
    'planes',
  ],
  ['sums of bools', () => a.apply(ops.sumPool2d, [b], pooling), 'sumPool2d', 'bool[2, 3]', 'f32'],
  ['sums backwards', () => a.apply(ops.sumPool2dGrad, [b], pooling), 'sumPool2dGrad', 'bool[2, 3]', 'f32'],
  [
    'rows of bools',
    () => a.apply(ops.normalize, [b], { center: true, eps: 0 }),
    'normalize',
    'bool[2, 3]',
    'f32',
  ],
  [
    'norm backwards',
    () => a.apply(ops.normalizeGrad, [b, x], { center: true, eps: 0 }),
    'normalizeGrad',
    'bool[2, 3]',
    'f32',
  ],
  [
    'norm by weights',
    () => a.apply(ops.normalizeWeightGrad, [b, x], { center: true, eps: 0, kind: 'bias' }),
    'normalizeWeightGrad',
    'bool[2, 3]',
    'f32',
  ],
  [
    'attention backwards',
    () => a.apply(ops.attentionGrad, [headed, headed, x, x, x], { ...attending, part: 0 }),
    'attentionGrad',
    'f32[2, 3]',
    'equal batch',
  ],
  [
    'attention to itself backwards',
    () => a.apply(ops.selfAttentionGrad, [x, x, x], attending),
    'selfAttentionGrad',
    'f32[2, 3]',
    '[batch, T, 3, heads, size]',
  ],
  [
    'recurrence backwards',
    () =>
      a.apply(ops.recurrentGrad, [i, x, x], {
        kind: 'tanh',
        reverse: false,
        initial: false,
        cells: false,
        wanted: 'slopes',
      }),
    'recurrentGrad',
    'i32[2, 3]',
    'f32',
  ],
  ['placed nowhere', () => a.pad(x, [[0.5, 0]]), 'pad', '0.5', 'whole'],
];
