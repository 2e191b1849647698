/** Cases of the layers that are one op. */
import type { OpName, Shape, Tensor } from '../src/index.ts';
import * as a from '../src/index.ts';
import type { OpCase, OpTest } from './support.ts';

type Numbers = (shape: Shape, low: number, high: number, seed?: number) => Tensor;

/** Sizes of q, k and v, with the heads last but one, and of a mask. */
const heads: readonly (readonly [q: Shape, k: Shape, mask?: Shape])[] = [
  [
    [2, 4, 2, 2],
    [2, 4, 2, 2],
  ],
  [
    [1, 4, 2, 3],
    [1, 3, 2, 3],
    [1, 2, 4, 3],
  ],
  [
    [2, 1, 1, 1],
    [2, 1, 1, 1],
    [1, 1, 1, 1],
  ],
  [
    [1, 2, 1, 17],
    [1, 3, 1, 17],
    [1, 1, 2, 1],
  ],
];

const recurrentKinds = [
  ['tanh', 1],
  ['relu', 1],
  ['lstm', 4],
  ['gru', 3],
] as const;
/** Rows, steps, hidden. */
const sequences = [
  [2, 4, 3],
  [1, 3, 17],
  [3, 1, 1],
] as const;

type Names = Extract<OpName, `${'normalize' | 'attention' | 'selfAttention' | 'recurrent'}${string}`>;

export const fusedTests = (numbers: Numbers): { readonly [K in Names]: OpTest } => {
  const title = (...shapes: Shape[]): string => shapes.map((shape) => `[${shape}]`).join(' ');
  const on = (shapes: readonly Shape[], call: OpCase['call'], more = ''): OpCase => ({
    title: `${title(...shapes)} ${more}`,
    inputs: shapes.map((shape, i) => numbers(shape, -1, 1.5, i + 1)),
    call,
  });
  const normalized = (f: (x: Tensor) => Tensor): OpCase[] =>
    ([[7], [2, 3, 5], [3, 19], [0, 4]] as const).map((shape) => on([shape], f));
  const affine: OpCase[] = ([[7], [2, 3, 5], [3, 1], [2, 16]] as const).flatMap((shape) => {
    const n = shape.at(-1)!;
    return [
      on([shape, [n], [n]], (x, w, b) => a.layerNorm(x, w, b, 1e-3), 'layer norm'),
      on([shape, [n]], (x, w) => a.rmsNorm(x, w, 1e-3), 'rms norm'),
    ];
  });
  const attrs = { center: true, eps: 1e-3 };
  const constant = (x: Tensor): Tensor => numbers(x.shape, -1, 1, 7);

  const attending = heads.flatMap(([q, k, mask]) =>
    [false, true].map((causal): OpCase => {
      return on(
        mask ? [q, k, k, mask] : [q, k, k],
        (...xs) => a.apply(a.ops.attention, xs, { causal, scale: 0.6 }),
        `causal ${causal}, mask ${mask}`,
      );
    }),
  );
  const packed: OpCase[] = [
    [2, 4, 3, 2, 2] as const,
    [1, 40, 3, 1, 4] as const,
    [3, 1, 3, 2, 1] as const,
  ].map((shape) => ({
    ...on([shape], (x) => a.selfAttention(x, { causal: shape[0] < 3 })),
    ...(shape[1] > 9 ? { forwardOnly: true } : {}),
  }));
  return {
    normalize: {
      ulps: 32,
      ofLargest: true,
      cases: [...normalized((x) => a.standardize(x, 1e-3)), ...normalized((x) => a.rmsNorm(x)), ...affine],
    },
    normalizeGrad: {
      ulps: 32,
      ofLargest: true,
      differentiable: 'refused',
      cases: normalized((x) => a.apply(a.ops.normalizeGrad, [x, constant(x)], attrs)),
    },
    normalizeWeightGrad: {
      ulps: 32,
      ofLargest: true,
      differentiable: 'refused',
      cases: (['weight', 'bias'] as const).flatMap((kind) =>
        normalized((x) => a.apply(a.ops.normalizeWeightGrad, [x, constant(x)], { ...attrs, kind })),
      ),
    },
    attention: { ulps: 32, ofLargest: true, cases: attending },
    attentionGrad: {
      ulps: 64,
      ofLargest: true,
      differentiable: 'refused',
      cases: ([0, 1, 2] as const).flatMap((part) =>
        heads.map(([q, k]) =>
          on(
            [q, k, k],
            (x, y, z) => {
              const output = a.apply(a.ops.attention, [x, y, z], { causal: false, scale: 0.6 });
              const inputs = [x, y, z, output, constant(x)];
              return a.apply(a.ops.attentionGrad, inputs, { causal: false, scale: 0.6, part });
            },
            `part ${part}`,
          ),
        ),
      ),
    },
    selfAttention: {
      ulps: 32,
      ofLargest: true,
      cases: [
        ...packed,
        on([[1, 4, 3, 2, 2]], (x) => a.selfAttention(x, { mask: a.tensor([1, 0, 1, 1], { dtype: 'bool' }) })),
        ...[
          [1, 2, 4, 4],
          [4, 4],
          [2, 1, 4],
        ].map((mask) =>
          on([[2, 4, 3, 2, 2], mask], (x, m) => a.selfAttention(x, { mask: m }), 'with a learnt mask'),
        ),
        on(
          [[1, 3, 3, 1, 2], [3]],
          (x, m) => a.selfAttention(x, { mask: m, causal: true }),
          'with a learnt mask',
        ),
      ],
    },
    recurrent: {
      ulps: 64,
      ofLargest: true,
      differentiable: 'refused',
      cases: recurrentKinds.flatMap(([kind, gates]) =>
        sequences.map(([rows, steps, hidden]) =>
          on(
            [
              [rows, steps, gates * hidden],
              [gates * hidden, hidden],
            ],
            (x, w) =>
              a.apply(a.ops.recurrent, [x, w], {
                ...{ kind, reverse: steps === 3, biased: false, initial: false },
              }),
            kind,
          ),
        ),
      ),
    },
    recurrentGrad: {
      ulps: 64,
      ofLargest: true,
      differentiable: 'refused',
      cases: recurrentKinds.flatMap(([kind, gates]) =>
        sequences.map(([rows, steps, hidden]) =>
          on(
            [
              [rows, steps, gates * hidden],
              [gates * hidden, hidden],
              [rows, steps, hidden],
            ],
            (x, w, g) => {
              const attrs = { kind, reverse: false, initial: false } as const;
              const states = a.noGrad(() => a.apply(a.ops.recurrent, [x, w], { ...attrs, biased: false }));
              return a.apply(a.ops.recurrentGrad, [states, w, g], {
                ...{ ...attrs, cells: false, wanted: 'slopes' },
              });
            },
            kind,
          ),
        ),
      ),
    },
    selfAttentionGrad: {
      ulps: 64,
      ofLargest: true,
      differentiable: 'refused',
      cases: packed.map(({ title, inputs }) => ({
        title,
        inputs,
        call: (x) => {
          const output = a.selfAttention(x, { causal: true, scale: 0.6 });
          const inputs = [x, output, constant(output)];
          return a.apply(a.ops.selfAttentionGrad, inputs, { causal: true, scale: 0.6 });
        },
      })),
    },
  };
};
