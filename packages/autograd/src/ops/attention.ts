/**
 * Scaled dot-product attention, a kernel each way that never stores Tq × Tk numbers. Inside, all operands are [B, T, H, D]:
 * what a projection gives, seen as heads, needs no copy.
 */
import { attentionScratchBytes, ELEMENT_BYTES } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import { context, isTraining } from '../core/context.ts';
import type { BackwardRule, KernelOp } from '../core/op.ts';
import {
  broadcastShapes,
  expectDType,
  expectFlag,
  expectReal,
  expectTensors,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  type Spec,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { contiguousView, type Emitter, expandedStrides, materialize, type View } from '../core/view.ts';
import { arange } from './creation.ts';
import { add, cast, eq, ge, gt, le, mul, sub, where } from './elementwise.ts';
import { matmul } from './matmul.ts';
import { narrow, pad, slice } from './parts.ts';
import { rand } from './random.ts';
import { max, sum } from './reduce.ts';
import { expand, permute, reshape, unsqueeze, withRank } from './shape.ts';
import { softmax } from './softmax.ts';

export interface AttentionAttrs {
  /** Query i sees the keys 0 … i. */
  readonly causal: boolean;
  /** Factor of the scores. */
  readonly scale: number;
}

// ─── kernel calls ────────────────────────────────────────────────────────────────────────────────────────────────

/** A view as the kernel walks it: one batch axis, and numbers that lie together in the last axis. */
interface Walk {
  readonly view: View;
  readonly batch: number;
}

/** Merges the leading axis with the batch; copies where that is not possible. `last`: axes behind the batch. */
function walk(emit: Emitter, source: View, batch: Shape, last = 3): Walk {
  const shape = [...batch, ...source.shape.slice(-last)];
  const view = { address: source.address, shape, strides: expandedStrides(source, shape) };
  const sizes = shape.slice(0, -last);
  const strides = view.strides.slice(0, -last);
  const merges = sizes.every((n, i) => {
    const next = sizes.slice(i + 1).findIndex((size) => size > 1);
    return n === 1 || next === -1 || strides[i] === sizes[i + 1 + next]! * strides[i + 1 + next]!;
  });
  const innermost = sizes.findLastIndex((n) => n > 1);
  const together = shape.at(-1) === 1 || view.strides.at(-1) === 1;
  const forwards = view.strides.every((stride) => stride >= 0);
  if (merges && together && forwards) return { view, batch: innermost === -1 ? 0 : strides[innermost]! };
  const copy = materialize(emit, view);
  return { view: copy, batch: sizeOf(shape.slice(-last)) };
}

const strides = <const N extends string>(
  name: N,
  { view, batch }: Walk,
  [row, head]: readonly [-3 | -2, -3 | -2],
) =>
  ({
    [`${name}Batch`]: batch,
    [`${name}Head`]: view.strides.at(head)!,
    [`${name}Row`]: view.strides.at(row)!,
  }) as { readonly [K in `${N}${'Batch' | 'Head' | 'Row'}`]: number };
const heads = <const N extends string>(name: N, operand: Walk) => strides(name, operand, [-3, -2]);

/** One of q, k, v in a packed view [..., T, 3, H, D]. */
function unpack(packed: View, part: 0 | 1 | 2): View {
  const at = packed.shape.length - 3;
  const without = <T>(list: readonly T[]): T[] => list.filter((_, i) => i !== at);
  const { region, offset } = packed.address;
  return {
    address: { region, offset: offset + part * packed.strides[at]! * ELEMENT_BYTES },
    shape: without(packed.shape),
    strides: without(packed.strides),
  };
}

/** The sizes, q, k, v and the mask that forward and backward share; `like` has the batch axes. */
function shared(
  emit: Emitter,
  like: Shape,
  [q, k, v]: readonly [View, View, View],
  mask: View | undefined,
  { causal, scale }: AttentionAttrs,
) {
  const batch = like.slice(0, -3);
  const [queries, count, d] = q.shape.slice(-3) as [number, number, number];
  const keys = k.shape.at(-3)!;
  const [walkQ, walkK, walkV] = [q, k, v].map((view) => walk(emit, view, batch)) as [Walk, Walk, Walk];
  const repeated = mask && {
    ...mask,
    shape: [...mask.shape.slice(0, -3), count, queries, keys],
    strides: expandedStrides(mask, [...mask.shape.slice(0, -3), count, queries, keys]),
  };
  const bias = repeated ? walk(emit, repeated, batch) : walkQ;
  return {
    ...{ q: walkQ.view.address, k: walkK.view.address, v: walkV.view.address, mask: bias.view.address },
    ...{ batch: sizeOf(batch), heads: count, queries, keys, d },
    ...{ causal: Number(causal), masked: Number(mask !== undefined), scale },
    ...{ ...heads('q', walkQ), ...heads('k', walkK), ...heads('v', walkV) },
    ...strides('mask', bias, [-2, -3]),
    scratch: emit.scratch(attentionScratchBytes(d)),
  };
}

function lowerForward(
  emit: Emitter,
  output: View,
  parts: readonly [View, View, View],
  mask: View | undefined,
  attrs: AttentionAttrs,
): void {
  const out = walk(emit, output, output.shape.slice(0, -3));
  emit.call('attention', {
    out: output.address,
    ...shared(emit, output.shape, parts, mask, attrs),
    ...heads('out', out),
  });
}

interface Backward {
  readonly parts: readonly [View, View, View];
  readonly slopes: readonly [View, View, View];
  readonly output: View;
  readonly grad: View;
  readonly mask: View | undefined;
}

function lowerBackward(
  emit: Emitter,
  { parts, slopes, output, grad, mask }: Backward,
  attrs: AttentionAttrs,
) {
  const like = slopes[0].shape;
  const batch = like.slice(0, -3);
  const [out, g] = [output, grad].map((view) => walk(emit, view, batch)) as [Walk, Walk];
  const [dq, dk, dv] = slopes.map((view) => walk(emit, view, batch)) as [Walk, Walk, Walk];
  emit.call('attentionGrad', {
    ...{ dq: dq.view.address, dk: dk.view.address, dv: dv.view.address },
    ...{ out: out.view.address, grad: g.view.address },
    ...shared(emit, like, parts, mask, attrs),
    ...{ ...heads('out', out), ...heads('grad', g) },
    ...{ ...heads('dq', dq), ...heads('dk', dk), ...heads('dv', dv) },
  });
}

// ─── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────

function expectHeads(name: string, q: Spec, k: Spec, v: Spec, mask: Spec | undefined): void {
  for (const input of [q, k, v, ...(mask ? [mask] : [])]) expectDType(name, 'input', input, 'f32');
  const [b, , h, d] = q.shape;
  const fits = (x: Spec): boolean =>
    x.shape.length === 4 && x.shape[0] === b && x.shape[2] === h && x.shape[3] === d;
  if (![q, k, v].every(fits) || k.shape[1] !== v.shape[1]) {
    throw new OpError(
      name,
      `got q ${formatSpec(q)}, k ${formatSpec(k)} and v ${formatSpec(v)} as [batch, T, heads, size], expected equal ` +
        'batch, heads and size, and as many keys as values',
    );
  }
  const full = [b!, h!, q.shape[1]!, k.shape[1]!];
  if (mask && !(mask.shape.length === 4 && mask.shape.every((n, i) => n === 1 || n === full[i]))) {
    throw new OpError(
      name,
      `got a mask ${formatSpec(mask)}, expected one that broadcasts to [batch, heads, queries, keys] = [${full.join(', ')}]`,
    );
  }
}

/** q, k and v of a packed shape [B, T, 3, H, D]. */
function expectPacked(name: string, packed: Spec, mask: Spec | undefined): Spec {
  if (packed.shape.length !== 5 || packed.shape[2] !== 3) {
    throw new OpError(name, `got ${formatSpec(packed)}, expected [batch, T, 3, heads, size]`);
  }
  const part: Spec = { shape: packed.shape.filter((_, i) => i !== 2), dtype: packed.dtype };
  expectHeads(name, part, part, part, mask);
  return part;
}

// ─── in tensor ops ───────────────────────────────────────────────────────────────────────────────────────────────

const toHeads = (x: Tensor): Tensor => permute(x, [0, 2, 1, 3]);

/** softmax(scale · q kᵀ + mask), [B, H, Tq, Tk]. */
function probabilities(
  q: Tensor,
  k: Tensor,
  mask: Tensor | undefined,
  { causal, scale }: AttentionAttrs,
): Tensor {
  const scores = mul(matmul(toHeads(q), toHeads(k), { transB: true }), scale);
  const biased = mask ? add(scores, mask) : scores;
  if (!causal) return mask ? softmaxOfSome(biased) : softmax(biased);
  const sees = le(unsqueeze(arange(k.shape[1]!, 'i32'), 0), unsqueeze(arange(q.shape[1]!, 'i32'), 1));
  const seen = where(sees, biased, -Infinity);
  return mask ? softmaxOfSome(seen) : softmax(seen);
}

/** Softmax of rows of which some may see nothing at all, and get zeros. */
function softmaxOfSome(scores: Tensor): Tensor {
  const any = gt(max(scores, -1, { keepDims: true }), -Infinity);
  return where(any, softmax(where(any, scores, 0)), 0);
}

/** Attention in tensor ops, where something is asked that the kernels do not give. */
function attentionByParts(
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  mask: Tensor | undefined,
  attrs: AttentionAttrs,
  dropout: number,
): Tensor {
  const p = probabilities(q, k, mask, attrs);
  const kept = dropout > 0 ? where(ge(rand(p.shape), dropout), mul(p, 1 / (1 - dropout)), 0) : p;
  return toHeads(matmul(kept, toHeads(v)));
}

/** The probabilities and the gradient with respect to scale · q kᵀ + mask, [B, H, Tq, Tk]. */
function scoresByParts(
  g: Tensor,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  mask: Tensor | undefined,
  attrs: AttentionAttrs,
): { p: Tensor; toScores: Tensor } {
  const p = probabilities(q, k, mask, attrs);
  const dp = matmul(toHeads(g), toHeads(v), { transB: true });
  return { p, toScores: mul(p, sub(dp, sum(mul(p, dp), -1, { keepDims: true }))) };
}

/** The gradients with respect to q, k, v in tensor ops, for gradients of gradients. */
function slopesByParts(
  g: Tensor,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  mask: Tensor | undefined,
  attrs: AttentionAttrs,
): [Tensor, Tensor, Tensor] {
  const { p, toScores } = scoresByParts(g, [q, k, v], mask, attrs);
  const ds = mul(toScores, attrs.scale);
  return [
    toHeads(matmul(ds, toHeads(k))),
    toHeads(matmul(ds, toHeads(q), { transA: true })),
    toHeads(matmul(p, toHeads(g), { transA: true })),
  ];
}

// ─── q, k and v apart ────────────────────────────────────────────────────────────────────────────────────────────

const towards =
  (part: 0 | 1 | 2): BackwardRule<AttentionAttrs> =>
  (g, { inputs, output, attrs }) => {
    const [q, k, v, mask] = inputs as readonly [Tensor, Tensor, Tensor, Tensor?];
    if (context().recording) return slopesByParts(g, [q, k, v], mask, attrs)[part];
    const operands = mask ? [q, k, v, output, g, mask] : [q, k, v, output, g];
    return apply(attentionGradOp, operands, { ...attrs, part });
  };
/** A mask that is learnt gets its gradient in tensor ops, [B, H, Tq, Tk]; the engine sums it to the mask's shape. */
const towardsMask: BackwardRule<AttentionAttrs> = (g, { inputs, attrs }) => {
  const [q, k, v, mask] = inputs as readonly [Tensor, Tensor, Tensor, Tensor];
  return scoresByParts(g, [q, k, v], mask, attrs).toScores;
};
const towardsPart = [towards(0), towards(1), towards(2), towardsMask];

/** Inputs q, k, v [B, T, H, D] and perhaps a mask that broadcasts to [B, H, Tq, Tk]. */
export const attentionOp: KernelOp<AttentionAttrs> = {
  kind: 'kernel',
  name: 'attention',
  infer: ([q, k, v, mask]) => {
    expectHeads('attention', q!, k!, v!, mask);
    return q!;
  },
  lower: (emit, output, [q, k, v, mask], attrs) => lowerForward(emit, output, [q!, k!, v!], mask, attrs),
  backward: towardsPart,
};

export interface AttentionGradAttrs extends AttentionAttrs {
  /** With respect to q, k or v. */
  readonly part: 0 | 1 | 2;
}

/** Inputs q, k, v, output, g and perhaps a mask. */
export const attentionGradOp: KernelOp<AttentionGradAttrs> = {
  kind: 'kernel',
  name: 'attentionGrad',
  infer: ([q, k, v, , , mask], { part }) => {
    expectHeads('attentionGrad', q!, k!, v!, mask);
    return [q, k, v][part]!;
  },
  lower: (emit, target, [q, k, v, output, grad, mask], { part, ...attrs }) => {
    const parts = [q!, k!, v!] as const;
    // The kernel gives all three; the other two are thrown away.
    const slopes = parts.map((view, i): View => {
      const shape = [...target.shape.slice(0, -3), ...view.shape.slice(-3)];
      return i === part ? target : contiguousView(emit.temporary(sizeOf(shape) * ELEMENT_BYTES), shape);
    }) as [View, View, View];
    lowerBackward(emit, { parts, slopes, output: output!, grad: grad!, mask }, attrs);
  },
  backward: () => null,
};

// ─── q, k and v in one tensor ────────────────────────────────────────────────────────────────────────────────────

/** Inputs packed [B, T, 3, H, D] and perhaps a mask. */
export const selfAttentionOp: KernelOp<AttentionAttrs> = {
  kind: 'kernel',
  name: 'selfAttention',
  infer: ([packed, mask]) => expectPacked('selfAttention', packed!, mask),
  lower: (emit, output, [packed, mask], attrs) =>
    lowerForward(emit, output, [unpack(packed!, 0), unpack(packed!, 1), unpack(packed!, 2)], mask, attrs),
  backward: [
    (g, { inputs: [packed, mask], output, attrs }) => {
      if (context().recording) return packedSlopes(g, packed!, mask, attrs);
      return apply(selfAttentionGradOp, mask ? [packed!, output, g, mask] : [packed!, output, g], attrs);
    },
    (g, { inputs: [packed, mask], attrs }) => {
      const part = (i: number): Tensor => slice(packed!, null, null, i);
      return scoresByParts(g, [part(0), part(1), part(2)], mask, attrs).toScores;
    },
  ],
};

/** In tensor ops: q, k and v are picked by products with unit vectors, so that each step has a gradient. */
function packedSlopes(g: Tensor, packed: Tensor, mask: Tensor | undefined, attrs: AttentionAttrs): Tensor {
  const third = (i: number): Tensor => reshape(unitMask(i), [1, 1, 3, 1, 1]);
  const pick = (i: number): Tensor => sum(mul(packed, third(i)), 2);
  const slopes = slopesByParts(g, [pick(0), pick(1), pick(2)], mask, attrs);
  return slopes.map((slope, i) => mul(unsqueeze(slope, 2), third(i))).reduce(add);
}
const unitMask = (i: number): Tensor => cast(eq(arange(3, 'i32'), i), 'f32');

/** Inputs packed, output, g and perhaps a mask. */
export const selfAttentionGradOp: KernelOp<AttentionAttrs> = {
  kind: 'kernel',
  name: 'selfAttentionGrad',
  infer: ([packed, , , mask]) => {
    expectPacked('selfAttentionGrad', packed!, mask);
    return packed!;
  },
  lower: (emit, target, [packed, output, grad, mask], attrs) => {
    const of = (view: View) => [unpack(view, 0), unpack(view, 1), unpack(view, 2)] as const;
    lowerBackward(
      emit,
      { parts: of(packed!), slopes: of(target), output: output!, grad: grad!, mask },
      attrs,
    );
  },
  backward: () => null,
};

// ─── what users call ─────────────────────────────────────────────────────────────────────────────────────────────

export interface AttentionOptions {
  /**
   * What to add to the scores (f32), or where a query may see a key (bool); broadcasts to [..., Tq, Tk]. Default: all may.
   */
  readonly mask?: Tensor;
  /** Query i sees the keys 0 … i only. Default false. */
  readonly causal?: boolean;
  /** Factor of the scores. Default 1 / √size. */
  readonly scale?: number;
  /**
   * Share of the probabilities that become 0 while training, the others growing by 1 / (1 − dropout): from 0 to below 1,
   * default 0. Not in validation and predictions (see `isTraining`), unlike PyTorch's function. Above 0 memory grows with
   * Tq · Tk, since the probabilities are kept.
   */
  readonly dropout?: number;
}

/** A mask as numbers to add, with four axes. */
function asBias(name: string, mask: Tensor | undefined): Tensor | undefined {
  if (mask === undefined) return undefined;
  expectDType(name, 'mask', mask, 'bool', 'f32');
  const bias = mask.dtype === 'bool' ? where(mask, 0, -Infinity) : mask;
  if (bias.rank > 4) {
    throw new OpError(
      name,
      `got a mask ${formatSpec(mask)}, expected at most four axes: [batch, heads, Tq, Tk]`,
    );
  }
  return withRank(bias, 4);
}

function expectDropout(name: string, { dropout = 0 }: AttentionOptions): number {
  if (typeof dropout === 'number' && dropout >= 0 && dropout < 1) return isTraining() ? dropout : 0;
  throw new OpError(name, `got dropout ${dropout}, expected a share from 0 to below 1`);
}

function attrsOf(name: string, size: number, { causal = false, scale }: AttentionOptions): AttentionAttrs {
  expectFlag(name, 'causal', causal);
  if (scale !== undefined) expectReal(name, 'scale', scale);
  return { causal, scale: scale ?? 1 / Math.sqrt(size) };
}

/**
 * softmax(q kᵀ / √size + mask) v over q [..., Tq, size], k [..., Tk, size] and v [..., Tk, n], as PyTorch's function of this
 * name (Vaswani et al., 2017): [..., Tq, n]; the axes in front broadcast. Memory is linear in T. A query that sees no key
 * gives zeros. Throws OpError.
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const name = 'scaledDotProductAttention';
  for (const x of [q, k, v]) expectDType(name, 'input', x, 'f32');
  const ranks = [q, k, v].map((x) => x.rank);
  if (q.rank < 2 || q.rank > 4 || new Set(ranks).size !== 1) {
    throw new OpError(
      name,
      `got ${[q, k, v].map(formatSpec).join(', ')}, expected three tensors of rank 2 to 4: [batch, heads, T, size]`,
    );
  }
  const [size, width] = [q.shape.at(-1)!, v.shape.at(-1)!];
  if (k.shape.at(-1) !== size || k.shape.at(-2) !== v.shape.at(-2)) {
    throw new OpError(
      name,
      `got q ${formatSpec(q)}, k ${formatSpec(k)} and v ${formatSpec(v)}, expected q and k of one size [..., T, size], and as ` +
        'many keys as values',
    );
  }
  const batch = broadcastShapes(
    name,
    [q, k, v].map((x) => x.shape.slice(0, -2)),
  );
  // The kernels know one size: zeros beside q and k change no score, and what they make of v is cut off.
  const widest = Math.max(size, width);
  const [q4, k4, v4] = [q, k, v].map((x) => {
    const wide = pad(x, [[0, widest - x.shape.at(-1)!]]);
    return toHeads(withHeads(expand(wide, [...batch, ...wide.shape.slice(-2)])));
  }) as [Tensor, Tensor, Tensor];
  const { mask } = options;
  const bias = asBias(name, mask?.rank === 3 && q.rank === 3 ? unsqueeze(mask, 1) : mask);
  const attrs = attrsOf(name, size, options);
  const dropout = expectDropout(name, options);
  const byParts = dropout > 0 || bias?.requiresGrad;
  const y = inNameOf(name, () =>
    byParts
      ? attentionByParts([q4, k4, v4], bias, attrs, dropout)
      : apply(attentionOp, bias ? [q4, k4, v4, bias] : [q4, k4, v4], attrs),
  );
  return narrow(reshape(toHeads(y), [...batch, q.shape.at(-2)!, widest]), -1, 0, width);
}

/** [T, D] and [B, T, D] get a head of their own. */
const withHeads = (x: Tensor): Tensor =>
  x.rank === 4 ? x : reshape(x, [x.rank === 3 ? x.shape[0]! : 1, 1, ...x.shape.slice(-2)]);

/**
 * Attention of a sequence with itself, from one projection: packed [batch, T, 3, heads, size] (q, k, v) → [batch, T, heads,
 * size]. Nothing is copied. Throws OpError.
 */
export function selfAttention(packed: Tensor, options: AttentionOptions = {}): Tensor {
  const name = 'selfAttention';
  expectTensors(name, packed);
  const bias = asBias(name, options.mask);
  const attrs = attrsOf(name, packed.shape.at(-1) ?? 1, options);
  const dropout = expectDropout(name, options);
  if (dropout === 0) return apply(selfAttentionOp, bias ? [packed, bias] : [packed], attrs);
  expectPacked(name, packed, bias);
  const part = (i: number): Tensor => slice(packed, null, null, i);
  return attentionByParts([part(0), part(1), part(2)], bias, attrs, dropout);
}
