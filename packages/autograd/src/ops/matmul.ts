import { MATMUL_SCRATCH_BYTES } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import type { KernelOp } from '../core/op.ts';
import {
  broadcastShapes,
  contiguousStrides,
  expectFlag,
  expectTensors,
  formatSpec,
  OpError,
  type Shape,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Emitter, expandedStrides, materialize, type View } from '../core/view.ts';
import { reshape, withRank } from './shape.ts';

export interface MatmulAttrs {
  /** Use the transpose of the last two axes. */
  readonly transA: boolean;
  readonly transB: boolean;
}

/** A matrix as the kernel reads it: stored rows `ld` apart, perhaps transposed. */
interface Matrix {
  readonly view: View;
  readonly ld: number;
  readonly transposed: boolean;
}

/** Finds a unit stride in the last two axes, else copies. */
function asMatrix(emit: Emitter, view: View, transposed: boolean): Matrix {
  const [rows, columns] = view.shape.slice(-2) as [number, number];
  const [down, right] = view.strides.slice(-2) as [number, number];
  if ((right === 1 || columns === 1) && (down >= columns || rows === 1)) {
    return { view, ld: Math.max(down, columns), transposed };
  }
  if ((down === 1 || rows === 1) && (right >= rows || columns === 1)) {
    return { view, ld: Math.max(right, rows), transposed: !transposed };
  }
  return { view: materialize(emit, view), ld: columns, transposed };
}

interface BatchAxis {
  readonly size: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

/** Batch axes with the step of each operand, neighbours merged where all three allow it. */
function batchAxes(a: View, b: View, cShape: Shape): BatchAxis[] {
  const shape = cShape.slice(0, -2);
  const strides = (view: View): number[] => expandedStrides(view, [...shape, ...view.shape.slice(-2)]);
  const [sa, sb, sc] = [strides(a), strides(b), contiguousStrides(cShape)];
  const merged: BatchAxis[] = [];
  shape.forEach((size, i) => {
    const axis = { size, a: sa[i]!, b: sb[i]!, c: sc[i]! };
    const outer = merged.at(-1);
    if (size === 1) return;
    const fits = outer && (['a', 'b', 'c'] as const).every((x) => outer[x] === axis[x] * size);
    if (fits) merged[merged.length - 1] = { ...axis, size: outer.size * size };
    else merged.push(axis);
  });
  return merged;
}

const single: BatchAxis = { size: 1, a: 0, b: 0, c: 0 };

/** `segments`: the first leading axis is summed by the shard tree. */
function lowerMatmul(
  emit: Emitter,
  output: View,
  inputs: readonly View[],
  attrs: MatmulAttrs,
  summed: boolean,
) {
  if (sizeOf(output.shape) === 0) return;
  const a = asMatrix(emit, inputs[0]!, attrs.transA);
  const b = asMatrix(emit, inputs[1]!, attrs.transB);
  const [m0, n] = output.shape.slice(-2) as [number, number];
  const k = inputs[0]!.shape.at(attrs.transA ? -2 : -1)!;
  const leading = Math.max(a.view.shape[0]!, b.view.shape[0]!);
  const segments = summed ? leading : 1;
  const dropFirst = (view: View): View => (summed ? { ...view, shape: [1, ...view.shape.slice(1)] } : view);
  const axes = batchAxes(dropFirst(a.view), dropFirst(b.view), output.shape);
  let m = m0;
  // One B for neighbouring As: a taller matrix (this is what makes a batch of shards cost as much as one batch).
  for (let axis = axes.at(-1); axis && axis.b === 0 && !a.transposed && !summed; axis = axes.at(-1)) {
    if (axis.a !== m * a.ld || axis.c !== m * n) break;
    m *= axis.size;
    axes.pop();
  }
  if (axes.length > 2) {
    const full = (view: View): View =>
      materialize(emit, view, [...output.shape.slice(0, -2), ...view.shape.slice(-2)]);
    lowerMatmul(emit, output, inputs.map(full), attrs, summed);
    return;
  }
  const [outer, inner] = axes.length === 2 ? (axes as [BatchAxis, BatchAxis]) : [single, axes[0] ?? single];
  const segmentStride = (view: View): number => (summed && view.shape[0] !== 1 ? view.strides[0]! : 0);
  emit.call('matmul', {
    c: output.address,
    a: a.view.address,
    b: b.view.address,
    scratch: emit.scratch(MATMUL_SCRATCH_BYTES),
    m,
    n,
    k,
    lda: a.ld,
    ldb: b.ld,
    ldc: n,
    transA: Number(a.transposed),
    transB: Number(b.transposed),
    batch0: outer.size,
    batch1: inner.size,
    strideA0: outer.a,
    strideA1: inner.a,
    strideB0: outer.b,
    strideB1: inner.b,
    strideC0: outer.c,
    strideC1: inner.c,
    segments,
    segmentA: segmentStride(a.view),
    segmentB: segmentStride(b.view),
  });
}

export const matmulOp: KernelOp<MatmulAttrs> = {
  kind: 'kernel',
  name: 'matmul',
  infer: (inputs, { transA, transB }) => {
    const [a, b] = inputs as readonly [Tensor, Tensor];
    const fail = (expected: string): never => {
      throw new OpError('matmul', `got ${formatSpec(a)} and ${formatSpec(b)}, expected ${expected}`);
    };
    if (a.dtype !== 'f32' || b.dtype !== 'f32') fail("f32; convert with cast(x, 'f32')");
    const rank = a.shape.length;
    const [m, ka] = transA
      ? [a.shape[rank - 1]!, a.shape[rank - 2]!]
      : [a.shape[rank - 2]!, a.shape[rank - 1]!];
    const [kb, n] = transB
      ? [b.shape[rank - 1]!, b.shape[rank - 2]!]
      : [b.shape[rank - 2]!, b.shape[rank - 1]!];
    if (ka !== kb)
      fail(`equal inner sizes, got ${ka} and ${kb}; transpose one of them if its rows are its columns`);
    return {
      shape: [...broadcastShapes('matmul', [a.shape.slice(0, -2), b.shape.slice(0, -2)]), m, n],
      dtype: 'f32',
    };
  },
  lower: (emit, output, inputs, attrs) => lowerMatmul(emit, output, inputs, attrs, false),
  lowerTreeSum: (emit, output, inputs, attrs) => {
    lowerMatmul(emit, output, inputs, attrs, true);
    return true;
  },
  // With C = op(A) op(B): dA = dC op(B)ᵀ and dB = op(A)ᵀ dC, transposed back where A or B was.
  backward: [
    (g, { inputs: [, b], attrs: { transA, transB } }) =>
      transA ? product(b!, g, transB, true) : product(g, b!, false, !transB),
    (g, { inputs: [a], attrs: { transA, transB } }) =>
      transB ? product(g, a!, true, transA) : product(a!, g, !transA, false),
  ],
};

const product = (a: Tensor, b: Tensor, transA: boolean, transB: boolean): Tensor =>
  apply(matmulOp, [a, b], { transA, transB });

export interface MatmulOptions {
  /** Use A transposed in its last two axes. */
  readonly transA?: boolean;
  readonly transB?: boolean;
}

/**
 * Matrix product over the last two axes, [..., M, K] × [..., K, N] → [..., M, N]; other axes broadcast. A vector
 * counts as one row on the left and as one column on the right, as in PyTorch. Each element adds over K in order.
 */
export function matmul(a: Tensor, b: Tensor, { transA = false, transB = false }: MatmulOptions = {}): Tensor {
  expectTensors('matmul', a, b);
  expectFlag('matmul', 'transA', transA);
  expectFlag('matmul', 'transB', transB);
  if (a.rank === 0 || b.rank === 0) {
    throw new OpError(
      'matmul',
      `got ${formatSpec(a)} and ${formatSpec(b)}, expected at least one axis each; use mul`,
    );
  }
  if (a.rank === 1) {
    const row = matmul(reshape(a, [1, a.size]), b, { transB });
    return reshape(row, b.rank === 1 ? [] : row.shape.filter((_, i) => i !== row.rank - 2));
  }
  if (b.rank === 1)
    return reshape(
      matmul(a, reshape(b, [b.size, 1]), { transA }),
      transA ? vectorShape(a, -1) : vectorShape(a, -2),
    );
  if (b.rank === 2 && a.rank > 2 && !transA) {
    // One tall matrix instead of a batch: its weight gradient is then one product, too.
    const rows = sizeOf(a.shape.slice(0, -1));
    const flat = product(reshape(a, [rows, a.shape.at(-1)!]), b, false, transB);
    return reshape(flat, [...a.shape.slice(0, -1), flat.shape[1]!]);
  }
  const rank = Math.max(a.rank, b.rank);
  return product(withRank(a, rank), withRank(b, rank), transA, transB);
}

const vectorShape = (a: Tensor, rowAxis: number): number[] => [...a.shape.slice(0, -2), a.shape.at(rowAxis)!];
