/** Cases of the fused layers for the comparison of kernels and reference. */

import { type fused, recurrentKinds, recurrentParts } from '../src/instructions/fused.ts';
import type { Address } from '../src/instructions/program.ts';
import type { ProgramBuilder } from '../src/program/builder.ts';

interface FusedCase {
  readonly title: string;
  readonly outputs: number;
  readonly ulps: number;
  readonly inputs: readonly Float32Array[];
  readonly write: (builder: ProgramBuilder, output: Address, inputs: Address[]) => void;
}

/** Sums cancel: small elements may be this far from the exact value, in their own ulps. */
const CANCELLING = 1 << 17;

const numbers = (n: number, low = -2, high = 2, seed = 1): Float32Array =>
  Float32Array.from(
    { length: n },
    (_, i) => low + (high - low) * ((seed * 0.754877 + (i + 1) * 0.618034) % 1),
  );
const scratch = (builder: ProgramBuilder): Address => ({
  region: builder.addRegion('scratch', 'write'),
  offset: 0,
});
const after = (address: Address, elements: number): Address => ({
  ...address,
  offset: address.offset + elements * 4,
});

const rowShapes = [
  [5, 37],
  [3, 128],
  [4, 1],
  [0, 8],
] as const;
const flags = [
  { weighted: 1, biased: 1, center: 1 },
  { weighted: 1, biased: 0, center: 0 },
  { weighted: 0, biased: 0, center: 1 },
];
const normRows = (
  write: (b: ProgramBuilder, out: Address, inputs: Address[], v: Record<string, number>) => void,
): FusedCase[] =>
  rowShapes.flatMap(([rows, n]) =>
    flags.map((flag) => ({
      title: `${rows} × ${n}, ${JSON.stringify(flag)}`,
      outputs: rows * n,
      ulps: 64,
      inputs: [numbers(rows * n), numbers(n, 0.5, 2, 2), numbers(n, -1, 1, 3), numbers(rows * n, -1, 1, 4)],
      write: (b, out, inputs) => write(b, out, inputs, { rows, n, ...flag, eps: 1e-5 }),
    })),
  );

const weightGrads: FusedCase[] = [0, 1].flatMap((tree) =>
  [0, 1].flatMap((kind) =>
    [1, 3, 8].map((segments) => ({
      title: `kind ${kind}, tree ${tree}, ${segments} segments`,
      outputs: (tree ? 1 : segments) * 37,
      ulps: 64,
      inputs: [numbers(segments * 5 * 37), numbers(segments * 5 * 37, -1, 1, 4)],
      write: (b, out, [x, grad]) =>
        b.call('normalizeWeightGrad', {
          ...{ out, x: x!, grad: grad!, scratch: scratch(b), segments, rows: 5, n: 37, tree, kind },
          center: 1,
          eps: 1e-5,
        }),
    })),
  ),
);

interface Heads {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly d: number;
  readonly causal: number;
  readonly masked: number;
}
const heads: readonly Heads[] = [
  { batch: 2, heads: 2, queries: 7, keys: 7, d: 5, causal: 1, masked: 0 },
  { batch: 1, heads: 3, queries: 40, keys: 150, d: 16, causal: 0, masked: 1 },
  { batch: 1, heads: 1, queries: 300, keys: 300, d: 8, causal: 1, masked: 0 },
  { batch: 2, heads: 1, queries: 1, keys: 1, d: 1, causal: 0, masked: 0 },
  { batch: 1, heads: 1, queries: 3, keys: 0, d: 4, causal: 0, masked: 0 },
];
/** [batch, T, heads, d] for q, k, v and the rest; one mask for all. */
const attentionValues = (v: Heads) => {
  const of = <const N extends string>(name: N, rows: number) =>
    ({
      [`${name}Batch`]: rows * v.heads * v.d,
      [`${name}Head`]: v.d,
      [`${name}Row`]: v.heads * v.d,
    }) as { readonly [K in `${N}${'Batch' | 'Head' | 'Row'}`]: number };
  return {
    ...{ ...v, scale: 0.7, maskBatch: 0, maskHead: 0, maskRow: v.keys },
    ...{ ...of('q', v.queries), ...of('k', v.keys), ...of('v', v.keys), ...of('out', v.queries) },
    ...{ ...of('grad', v.queries), ...of('dq', v.queries), ...of('dk', v.keys), ...of('dv', v.keys) },
  };
};
const attentionCases = (backward: boolean): FusedCase[] =>
  heads.map((v) => {
    const [ofQueries, ofKeys] = [v.queries, v.keys].map((rows) => v.batch * rows * v.heads * v.d) as [
      number,
      number,
    ];
    const mask = numbers(v.queries * v.keys, -1, 1, 5).fill(-Infinity, 3, 6);
    const inputs = [numbers(ofQueries), numbers(ofKeys, -2, 2, 2), numbers(ofKeys, -2, 2, 3), mask];
    return {
      title: Object.values(v).join(' '),
      outputs: backward ? ofQueries + 2 * ofKeys : ofQueries,
      ulps: CANCELLING,
      inputs: backward ? [...inputs, numbers(ofQueries, -1, 1, 6), numbers(ofQueries, -1, 1, 7)] : inputs,
      write: (b, out, [q, k, value, mask, output, grad]) => {
        const operands = { q: q!, k: k!, v: value!, mask: mask!, scratch: scratch(b) };
        const values = attentionValues(v);
        if (!backward) {
          b.call('attention', { out, ...operands, ...values });
          return;
        }
        const [dk, dv] = [after(out, ofQueries), after(out, ofQueries + ofKeys)];
        b.call('attentionGrad', { dq: out, dk, dv, out: output!, grad: grad!, ...operands, ...values });
      },
    };
  });

const sequences = Object.keys(recurrentKinds).flatMap((kind) =>
  [
    { rows: 3, steps: 4, hidden: 5, initial: 0, reverse: 1 },
    { rows: 70, steps: 2, hidden: 19, initial: 1, reverse: 0 },
    { rows: 1, steps: 1, hidden: 1, initial: 1, reverse: 0 },
  ].map((v) => ({ kind: kind as keyof typeof recurrentKinds, ...v })),
);
const recurrentCases: FusedCase[] = sequences.flatMap(({ kind, ...v }) =>
  [0, 1].map((biased) => {
    const { gates, states } = recurrentParts[kind];
    const state = v.rows * v.hidden;
    return {
      title: `${kind} ${Object.values(v)}, bias ${biased}`,
      outputs: state * v.steps * states,
      ulps: CANCELLING,
      inputs: [
        numbers(state * v.steps * gates),
        numbers(gates * v.hidden * v.hidden, -0.5, 0.5, 2),
        numbers(gates * v.hidden, -1, 1, 3),
        numbers(state, -1, 1, 4),
        numbers(state, -1, 1, 5),
      ],
      write: (b, out, [x, w, bias, h0, c0]) =>
        b.call('recurrent', {
          ...{ out, x: x!, w: w!, bias: bias!, h0: h0!, c0: c0!, scratch: scratch(b) },
          ...{ ...v, kind: recurrentKinds[kind], biased },
        }),
    };
  }),
);
const recurrentGrads: FusedCase[] = sequences.flatMap(({ kind, ...v }) =>
  (kind === 'lstm' ? [0, 1] : [0]).map((cells) => {
    const { gates, states, slopes } = recurrentParts[kind];
    const state = v.rows * v.hidden;
    return {
      title: `${kind} ${Object.values(v)}, cells ${cells}`,
      outputs: state * (v.steps * slopes + 2),
      ulps: CANCELLING,
      inputs: [
        numbers(state * v.steps * states, 0.1, 0.9),
        numbers(gates * v.hidden * v.hidden, -0.5, 0.5, 2),
        numbers(state * v.steps * (1 + cells), -1, 1, 3),
        numbers(state, -1, 1, 4),
        numbers(state, -1, 1, 5),
      ],
      write: (b, out, [kept, w, grad, h0, c0]) => {
        const dh0 = after(out, state * v.steps * slopes);
        b.call('recurrentGrad', {
          ...{ out, dh0, dc0: after(dh0, state), states: kept!, w: w!, grad: grad!, h0: h0!, c0: c0! },
          ...{ ...v, kind: recurrentKinds[kind], cells, scratch: scratch(b) },
        });
      },
    };
  }),
);

export const fusedCases: { readonly [N in keyof typeof fused]: readonly FusedCase[] } = {
  normalize: normRows((b, out, [x, weight, bias], v) =>
    b.call('normalize', { out, x: x!, weight: weight!, bias: bias!, ...v } as never),
  ),
  normalizeGrad: normRows((b, out, [x, weight, , grad], { biased: _, ...v }) =>
    b.call('normalizeGrad', { out, x: x!, weight: weight!, grad: grad!, ...v } as never),
  ).map((test) => ({ ...test, ulps: CANCELLING })),
  normalizeWeightGrad: weightGrads,
  attention: attentionCases(false),
  attentionGrad: attentionCases(true),
  recurrent: recurrentCases,
  recurrentGrad: recurrentGrads,
};

const someHeads = attentionValues({ batch: 2, heads: 2, queries: 3, keys: 4, d: 5, causal: 1, masked: 1 });
/** Operands of one small call of each. */
export const fusedOperands: { readonly [N in keyof typeof fused]: Readonly<Record<string, number>> } = {
  normalize: { rows: 3, n: 5, weighted: 1, biased: 1, center: 1, eps: 1e-5 },
  normalizeGrad: { rows: 3, n: 5, weighted: 1, center: 1, eps: 1e-5 },
  normalizeWeightGrad: { segments: 3, rows: 2, n: 5, tree: 1, center: 1, eps: 1e-5, kind: 0 },
  attention: someHeads,
  attentionGrad: someHeads,
  recurrent: { rows: 2, steps: 3, hidden: 5, kind: 2, initial: 1, biased: 1, reverse: 0 },
  recurrentGrad: { rows: 2, steps: 3, hidden: 5, kind: 2, initial: 1, reverse: 1, cells: 1 },
};
