/**
 * Layers that are one instruction each because in parts they would go over memory again and again: normalisation,
 * attention, recurrence. Their formulas are in `native/norm.c`, `native/attention.c` and `native/recurrent.c`.
 */
import {
  define,
  type Extent,
  elements,
  fields,
  oneOf,
  scratchOf,
  segmentCount,
  span,
  type Values,
} from './instruction.ts';
import { MATMUL_SCRATCH_BYTES } from './matmul.ts';
import { ELEMENT_BYTES } from './program.ts';

export const normalizeWeightKinds = { weight: 0, bias: 1 } as const;
export const recurrentKinds = { tanh: 0, relu: 1, lstm: 2, gru: 3 } as const;
export type RecurrentKind = keyof typeof recurrentKinds;
/** Per kind: parts of x, of the states that are kept, and of the slopes, each as wide as the hidden state. */
export const recurrentParts = {
  tanh: { gates: 1, states: 1, slopes: 1 },
  relu: { gates: 1, states: 1, slopes: 1 },
  lstm: { gates: 4, states: 6, slopes: 4 },
  gru: { gates: 3, states: 5, slopes: 4 },
} as const satisfies Record<RecurrentKind, object>;
const partsByCode = Object.values(recurrentParts);

/** Scratch for `normalizeWeightGrad`, in bytes: sums of the subtrees of at most 2¹⁶ segments. */
export const normalizeScratchBytes = (n: number): number => 18 * n * ELEMENT_BYTES;

/** Queries and keys of a block in `native/attention.c`. */
const [QUERIES, KEYS] = [32, 128];
/** Scratch for `attention` and `attentionGrad` with d numbers per head, in bytes: linear in d, whatever the lengths. */
export const attentionScratchBytes = (d: number): number =>
  MATMUL_SCRATCH_BYTES + (2 * QUERIES * KEYS + 4 * QUERIES + (3 * KEYS + QUERIES) * d) * ELEMENT_BYTES;

/** Scratch for `recurrent` and `recurrentGrad`, in bytes. */
export const recurrentScratchBytes = (hidden: number): number =>
  MATMUL_SCRATCH_BYTES + (4 * hidden * hidden + 64 * 6 * hidden) * ELEMENT_BYTES;

const strides = <const N extends string>(name: N) =>
  ({ [`${name}Batch`]: 'u32', [`${name}Head`]: 'u32', [`${name}Row`]: 'u32' }) as {
    readonly [K in `${N}${'Batch' | 'Head' | 'Row'}`]: 'u32';
  };

const attentionShape = {
  ...fields('u32', 'batch', 'heads', 'queries', 'keys', 'd', 'causal', 'masked'),
  scale: 'f32',
  ...strides('q'),
  ...strides('k'),
  ...strides('v'),
  ...strides('out'),
  ...strides('mask'),
} as const;
type AttentionValues = Values<typeof attentionShape>;

/** [batch, heads, rows, width] with strides. */
function operand(
  what: string,
  at: Extent['address'],
  v: AttentionValues,
  [batch, head, row]: readonly [number, number, number],
  [rows, width]: readonly [number, number],
  access: Extent['access'] = 'read',
): Extent {
  return elements(what, at, span([v.batch, batch], [v.heads, head], [rows, row], [width, 1]), access);
}

/** Those by q, k and v may be parts of one packed gradient. */
const gradient = (
  what: string,
  at: Extent['address'],
  v: AttentionValues,
  walk: readonly [number, number, number],
  rows: number,
): Extent => ({ ...operand(what, at, v, walk, [rows, v.d], 'write'), interleaved: true });

function attentionExtents(
  v: AttentionValues & { readonly [K in 'q' | 'k' | 'v' | 'out' | 'mask' | 'scratch']: Extent['address'] },
  access: Extent['access'],
): Extent[] {
  oneOf('causal', v.causal, 2);
  oneOf('masked', v.masked, 2);
  return [
    operand('q', v.q, v, [v.qBatch, v.qHead, v.qRow], [v.queries, v.d]),
    operand('k', v.k, v, [v.kBatch, v.kHead, v.kRow], [v.keys, v.d]),
    operand('v', v.v, v, [v.vBatch, v.vHead, v.vRow], [v.keys, v.d]),
    operand('out', v.out, v, [v.outBatch, v.outHead, v.outRow], [v.queries, v.d], access),
    ...(v.masked
      ? [operand('mask', v.mask, v, [v.maskBatch, v.maskHead, v.maskRow], [v.queries, v.keys])]
      : []),
    scratchOf(v.scratch, attentionScratchBytes(v.d)),
  ];
}

export const fused = {
  /** out[r, :] = (x[r, :] − mean) / √(variance + eps) · weight + bias; not `center`: without the mean. */
  normalize: define({
    code: 40,
    fields: {
      ...fields('addr', 'out', 'x', 'weight', 'bias'),
      ...fields('u32', 'rows', 'n', 'weighted', 'biased', 'center'),
      eps: 'f32',
    },
    extents: (v) => {
      oneOf('weighted', v.weighted, 2);
      oneOf('biased', v.biased, 2);
      oneOf('center', v.center, 2);
      return [
        elements('out', v.out, v.rows * v.n, 'write'),
        elements('x', v.x, v.rows * v.n),
        elements('weight', v.weight, v.weighted * v.n),
        elements('bias', v.bias, v.biased * v.n),
      ];
    },
  }),
  /** The gradient of `normalize` with respect to x, from `grad`, that with respect to its output. */
  normalizeGrad: define({
    code: 41,
    fields: {
      ...fields('addr', 'out', 'x', 'weight', 'grad'),
      ...fields('u32', 'rows', 'n', 'weighted', 'center'),
      eps: 'f32',
    },
    extents: (v) => {
      oneOf('weighted', v.weighted, 2);
      oneOf('center', v.center, 2);
      return [
        elements('out', v.out, v.rows * v.n, 'write'),
        elements('x', v.x, v.rows * v.n),
        elements('weight', v.weight, v.weighted * v.n),
        elements('grad', v.grad, v.rows * v.n),
      ];
    },
  }),
  /**
   * Gradients of `normalize` with respect to weight or bias (`normalizeWeightKinds`): out[s, :] sums over the rows of
   * segment s in order; with `tree` out[:] is summed over the segments, too.
   */
  normalizeWeightGrad: define({
    code: 42,
    fields: {
      ...fields('addr', 'out', 'x', 'grad', 'scratch'),
      ...fields('u32', 'segments', 'rows', 'n', 'tree', 'center'),
      eps: 'f32',
      kind: 'u32',
    },
    extents: (v) => {
      segmentCount(v.segments);
      oneOf('tree', v.tree, 2);
      oneOf('center', v.center, 2);
      oneOf('kind', v.kind, 2);
      const size = v.segments * v.rows * v.n;
      return [
        elements('out', v.out, (v.tree ? 1 : v.segments) * v.n, 'write'),
        elements('x', v.x, size),
        elements('grad', v.grad, size),
        scratchOf(v.scratch, normalizeScratchBytes(v.n)),
      ];
    },
  }),
  /**
   * Scaled dot-product attention over [batch, heads, T, d], each operand with its strides: out = softmax(scale · q kᵀ +
   * mask) v. `causal`: query i sees the keys 0 … i. A query that sees no key gives 0.
   */
  attention: define({
    code: 43,
    fields: { ...fields('addr', 'out', 'q', 'k', 'v', 'mask', 'scratch'), ...attentionShape },
    extents: (v) => attentionExtents(v, 'write'),
  }),
  /** Gradients of `attention` with respect to q, k and v, from `grad`, that with respect to its output `out`. */
  attentionGrad: define({
    code: 44,
    fields: {
      ...fields('addr', 'dq', 'dk', 'dv', 'q', 'k', 'v', 'out', 'grad', 'mask', 'scratch'),
      ...attentionShape,
      ...strides('grad'),
      ...strides('dq'),
      ...strides('dk'),
      ...strides('dv'),
    },
    extents: (v) => [
      ...attentionExtents(v, 'read'),
      operand('grad', v.grad, v, [v.gradBatch, v.gradHead, v.gradRow], [v.queries, v.d]),
      gradient('dq', v.dq, v, [v.dqBatch, v.dqHead, v.dqRow], v.queries),
      gradient('dk', v.dk, v, [v.dkBatch, v.dkHead, v.dkRow], v.keys),
      gradient('dv', v.dv, v, [v.dvBatch, v.dvHead, v.dvRow], v.keys),
    ],
  }),
  /**
   * A recurrent layer over whole sequences: x [rows, steps, gates · hidden] is the input's part of the gates, w [gates ·
   * hidden, hidden] and bias that of the state. `initial`: starts at h0 and c0 [rows, hidden] instead of zeros. `reverse`:
   * from the last step to the first. out [rows, steps, states · hidden] keeps h first (see `recurrentParts`).
   */
  recurrent: define({
    code: 45,
    fields: {
      ...fields('addr', 'out', 'x', 'w', 'bias', 'h0', 'c0', 'scratch'),
      ...fields('u32', 'rows', 'steps', 'hidden', 'kind', 'initial', 'biased', 'reverse'),
    },
    extents: (v) => {
      oneOf('kind', v.kind, 4);
      oneOf('initial', v.initial, 2);
      oneOf('biased', v.biased, 2);
      oneOf('reverse', v.reverse, 2);
      const { gates, states } = partsByCode[v.kind]!;
      const state = v.rows * v.hidden;
      return [
        elements('out', v.out, state * v.steps * states, 'write'),
        elements('x', v.x, state * v.steps * gates),
        elements('w', v.w, gates * v.hidden * v.hidden),
        elements('bias', v.bias, v.biased * gates * v.hidden),
        elements('h0', v.h0, v.initial * state),
        elements('c0', v.c0, v.kind === recurrentKinds.lstm ? v.initial * state : 0),
        scratchOf(v.scratch, recurrentScratchBytes(v.hidden)),
      ];
    },
  }),
  /**
   * Back through time: the slopes [rows, steps, slopes · hidden] of the gates before their functions, and those of h0 and
   * c0 [rows, hidden]; from what `recurrent` kept and `grad` [rows, steps, hidden], or with `cells` [rows, steps, 2 ·
   * hidden] for h and c.
   */
  recurrentGrad: define({
    code: 46,
    fields: {
      ...fields('addr', 'out', 'dh0', 'dc0', 'states', 'w', 'grad', 'h0', 'c0', 'scratch'),
      ...fields('u32', 'rows', 'steps', 'hidden', 'kind', 'initial', 'reverse', 'cells'),
    },
    extents: (v) => {
      oneOf('kind', v.kind, 4);
      oneOf('initial', v.initial, 2);
      oneOf('reverse', v.reverse, 2);
      oneOf('cells', v.cells, 2);
      const { gates, states, slopes } = partsByCode[v.kind]!;
      const isLstm = v.kind === recurrentKinds.lstm;
      if (v.cells && !isLstm) throw new Error('cells is 1, expected 0: only an lstm has cells');
      const state = v.rows * v.hidden;
      return [
        elements('out', v.out, state * v.steps * slopes, 'write'),
        elements('dh0', v.dh0, state, 'write'),
        elements('dc0', v.dc0, state, 'write'),
        elements('states', v.states, state * v.steps * states),
        elements('w', v.w, gates * v.hidden * v.hidden),
        elements('grad', v.grad, state * v.steps * (1 + v.cells)),
        elements('h0', v.h0, v.initial * state),
        elements('c0', v.c0, isLstm ? v.initial * state : 0),
        scratchOf(v.scratch, recurrentScratchBytes(v.hidden)),
      ];
    },
  }),
} as const;
