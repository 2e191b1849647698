/** Picking by i32 indexes, and its adjoints. */
import { ELEMENT_BYTES, scatterAddScratchBytes } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import type { KernelOp } from '../core/op.ts';
import {
  axisFromEnd,
  expectDType,
  expectFlag,
  expectTensors,
  formatSpec,
  inNameOf,
  OpError,
  type Spec,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Emitter, materialize, type View } from '../core/view.ts';
import { add } from './elementwise.ts';
import { narrow, pad } from './parts.ts';
import { reshape, transpose } from './shape.ts';

/** How an operand lies when several shards are computed at once: contiguous, `step` elements from shard to shard. */
interface Segmented {
  readonly view: View;
  readonly step: number;
}

/** `leading` axes of each input belong to the shards; where they are all 1 the input is alike in all shards. */
function segmented(emit: Emitter, input: View, leading: number, segments: readonly number[]): Segmented {
  const own = input.shape.slice(0, leading);
  const rest = input.shape.slice(leading);
  const alike = sizeOf(own) === 1;
  const view = materialize(emit, input, alike ? input.shape : [...segments, ...rest]);
  return { view, step: alike ? 0 : sizeOf(rest) };
}

/** Sizes before, at and behind an axis counted from the end, without the `leading` ones. */
const around = (shape: readonly number[], axis: number, leading: number) => {
  const at = shape.length + axis;
  return {
    outer: sizeOf(shape.slice(leading, at)),
    n: shape[at]!,
    inner: sizeOf(shape.slice(at + 1)),
  };
};

const largest = (a: readonly number[], b: readonly number[]): number[] => a.map((n, i) => Math.max(n, b[i]!));

// ─── whole rows ──────────────────────────────────────────────────────────────────────────────────────────────────

export interface TakeAttrs {
  /** Axis of the indexed tensor, counted from the end. */
  readonly axis: number;
  /** Axes of the index; they take the place of the axis. */
  readonly indexRank: number;
}

export const takeOp: KernelOp<TakeAttrs> = {
  kind: 'kernel',
  name: 'take',
  infer: ([x, index], { axis }) => {
    expectDType('take', 'index', index!, 'i32');
    const at = x!.shape.length + axis;
    return { shape: [...x!.shape.slice(0, at), ...index!.shape, ...x!.shape.slice(at + 1)], dtype: x!.dtype };
  },
  lower: (emit, output, [x, index], { axis, indexRank }) => {
    const leading = index!.shape.length - indexRank;
    const segments = output.shape.slice(0, leading);
    const [data, picks] = [
      segmented(emit, x!, leading, segments),
      segmented(emit, index!, leading, segments),
    ];
    emit.call('take', {
      out: output.address,
      in: data.view.address,
      index: picks.view.address,
      segments: sizeOf(segments),
      ...around(data.view.shape, axis, leading),
      count: sizeOf(picks.view.shape.slice(leading)),
      segmentIn: data.step,
      segmentIndex: picks.step,
    });
  },
  indexLimits: ([x], { axis }) => [{ input: 1, limit: x!.shape.at(axis)! }],
  backward: [
    (g, { inputs: [x, index], attrs }) =>
      apply(takeGradOp, [g, index!], { ...attrs, n: x!.shape.at(attrs.axis)! }),
    null,
  ],
};

export interface TakeGradAttrs extends TakeAttrs {
  /** Size of the axis that was indexed. */
  readonly n: number;
}

function lowerTakeGrad(
  emit: Emitter,
  output: View,
  [g, index]: readonly View[],
  { axis, indexRank, n }: TakeGradAttrs,
  tree: boolean,
): void {
  const leading = index!.shape.length - indexRank;
  const segments = largest(g!.shape.slice(0, leading), index!.shape.slice(0, leading));
  const [data, picks] = [segmented(emit, g!, leading, segments), segmented(emit, index!, leading, segments)];
  const { outer, inner } = around(output.shape, axis, leading);
  const [count, total] = [sizeOf(picks.view.shape.slice(leading)), sizeOf(segments)];
  emit.call('scatterAdd', {
    out: output.address,
    in: data.view.address,
    index: picks.view.address,
    scratch: emit.scratch(tree ? scatterAddScratchBytes(n, total * count) : 0),
    segments: total,
    outer,
    n,
    inner,
    count,
    segmentIn: data.step,
    segmentIndex: picks.step,
    tree: Number(tree),
  });
}

/** Sums rows of g into zeros [..., n, ...] at their indexes, in the order of the index. */
export const takeGradOp: KernelOp<TakeGradAttrs> = {
  kind: 'kernel',
  name: 'takeGrad',
  infer: ([g, index], { axis, indexRank, n }) => {
    expectDType('takeGrad', 'rows', g!, 'f32');
    expectDType('takeGrad', 'index', index!, 'i32');
    const behind = g!.shape.length + axis + 1;
    return { shape: [...g!.shape.slice(0, behind - indexRank), n, ...g!.shape.slice(behind)], dtype: 'f32' };
  },
  lower: (emit, output, inputs, attrs) => lowerTakeGrad(emit, output, inputs, attrs, false),
  lowerTreeSum: (emit, output, inputs, attrs) => {
    lowerTakeGrad(emit, output, inputs, attrs, true);
    return true;
  },
  indexLimits: (_, { n }) => [{ input: 1, limit: n }],
  backward: [
    (h, { inputs: [, index], attrs: { axis, indexRank } }) => apply(takeOp, [h, index!], { axis, indexRank }),
    null,
  ],
};

/**
 * The elements of `axis` that an i32 index of any shape names; the index's axes take the place of `axis`. An index out
 * of range gives NaN. [V, D] and [B, T] → [B, T, D]. Throws OpError.
 */
export function take(x: Tensor, index: Tensor, axis = 0): Tensor {
  expectTensors('take', x, index);
  return apply(takeOp, [x, index], { axis: axisFromEnd('take', axis, x.rank), indexRank: index.rank });
}

function expectVector(op: string, index: Spec): void {
  if (index.shape.length !== 1) {
    throw new OpError(
      op,
      `got index ${formatSpec(index)}, expected i32[n]; take(x, index, axis) takes any shape`,
    );
  }
}

/** The elements of `axis` that an i32 vector names (PyTorch's index_select). Throws OpError. */
export function indexSelect(x: Tensor, axis: number, index: Tensor): Tensor {
  expectTensors('indexSelect', x, index);
  expectVector('indexSelect', index);
  return inNameOf('indexSelect', () => take(x, index, axis));
}

/** x with the rows of `source` added at `index` along `axis`, in the order of the index. Throws OpError. */
export function indexAdd(x: Tensor, axis: number, index: Tensor, source: Tensor): Tensor {
  expectTensors('indexAdd', x, index, source);
  expectVector('indexAdd', index);
  const at = axisFromEnd('indexAdd', axis, x.rank);
  const n = x.shape[x.rank + at]!;
  const fits =
    source.rank === x.rank &&
    source.shape.every((size, i) => size === (i === x.rank + at ? index.shape[0] : x.shape[i]));
  if (!fits) {
    throw new OpError(
      'indexAdd',
      `got ${formatSpec(x)}, index ${formatSpec(index)} and source ${formatSpec(source)}, expected a source of the ` +
        `tensor's shape with ${index.shape[0]} elements along axis ${axis}`,
    );
  }
  return inNameOf('indexAdd', () =>
    add(x, apply(takeGradOp, [source, index], { axis: at, indexRank: 1, n })),
  );
}

// ─── an index for each element ───────────────────────────────────────────────────────────────────────────────────

export interface GatherAttrs {
  /** Counted from the end. */
  readonly axis: number;
}

/** Both inputs have the same shape but for the axis. */
function expectAlike(op: string, x: Spec, index: Spec, axis: number): void {
  expectDType(op, 'index', index, 'i32');
  const rank = x.shape.length;
  const fits =
    index.shape.length === rank && index.shape.every((n, i) => i === rank + axis || n === x.shape[i]);
  if (!fits) {
    throw new OpError(
      op,
      `got ${formatSpec(x)} and index ${formatSpec(index)} along axis ${axis}, expected equal sizes in all other axes`,
    );
  }
}

export const gatherOp: KernelOp<GatherAttrs> = {
  kind: 'kernel',
  name: 'gather',
  infer: ([x, index], { axis }) => {
    expectAlike('gather', x!, index!, axis);
    return { shape: index!.shape, dtype: x!.dtype };
  },
  lower: (emit, output, [x, index], { axis }) => {
    if (output.shape.includes(0)) return;
    // One axis of shards is told apart; what is alike in all of them is not repeated.
    const leading = 1;
    const outer = (view: View): View => (output.shape.length + axis === 0 ? unsqueezed(view) : view);
    const segments = outer(output).shape.slice(0, leading);
    const data = segmented(emit, outer(x!), leading, segments);
    const picks = segmented(emit, outer(index!), leading, segments);
    emit.call('gather', {
      out: output.address,
      in: data.view.address,
      index: picks.view.address,
      segments: sizeOf(segments),
      ...around(data.view.shape, axis, leading),
      count: picks.view.shape.at(axis)!,
      segmentIn: data.step,
      segmentIndex: picks.step,
    });
  },
  indexLimits: ([x], { axis }) => [{ input: 1, limit: x!.shape.at(axis)! }],
  backward: [
    (g, { inputs: [x, index], attrs: { axis } }) =>
      apply(gatherGradOp, [g, index!], { axis, n: x!.shape.at(axis)! }),
    null,
  ],
};

const unsqueezed = (view: View): View => ({
  ...view,
  shape: [1, ...view.shape],
  strides: [0, ...view.strides],
});

export interface GatherGradAttrs extends GatherAttrs {
  readonly n: number;
}

/** Sums the elements of g into zeros, each at its index along the axis, in order. */
export const gatherGradOp: KernelOp<GatherGradAttrs> = {
  kind: 'kernel',
  name: 'gatherGrad',
  infer: ([g, index], { axis, n }) => {
    expectDType('gatherGrad', 'elements', g!, 'f32');
    expectAlike('gatherGrad', g!, index!, axis);
    return { shape: g!.shape.map((size, i) => (i === g!.shape.length + axis ? n : size)), dtype: 'f32' };
  },
  lower: (emit, output, [g, index], { axis, n }) => {
    if (output.shape.includes(0)) return;
    const leading = 1;
    const outer = (view: View): View => (output.shape.length + axis === 0 ? unsqueezed(view) : view);
    const segments = outer(output).shape.slice(0, leading);
    const data = segmented(emit, outer(g!), leading, segments);
    const picks = segmented(emit, outer(index!), leading, segments);
    const sizes = around(picks.view.shape, axis, leading);
    emit.call('gatherAdd', {
      out: output.address,
      in: data.view.address,
      index: picks.view.address,
      segments: sizeOf(segments),
      ...sizes,
      n,
      count: sizes.n,
      segmentIn: data.step,
      segmentIndex: picks.step,
    });
  },
  indexLimits: (_, { n }) => [{ input: 1, limit: n }],
  backward: [(h, { inputs: [, index], attrs: { axis } }) => apply(gatherOp, [h, index!], { axis }), null],
};

/** Cut to the index's sizes in all axes but one. */
function cutTo(op: string, x: Tensor, index: Tensor, axis: number): Tensor {
  if (index.rank !== x.rank || index.shape.some((n, i) => i !== x.rank + axis && n > x.shape[i]!)) {
    throw new OpError(
      op,
      `got ${formatSpec(x)} and index ${formatSpec(index)} along axis ${axis}, expected as many axes and no larger ` +
        'size in the others',
    );
  }
  return index.shape.reduce((part, n, i) => (i === x.rank + axis ? part : narrow(part, i, 0, n)), x);
}

/**
 * out[.., j, ..] = x[.., index[.., j, ..], ..] along `axis`, an i32 index for each element (PyTorch's gather). An index
 * out of range gives NaN. Throws OpError.
 */
export function gather(x: Tensor, axis: number, index: Tensor): Tensor {
  expectTensors('gather', x, index);
  const at = axisFromEnd('gather', axis, x.rank);
  return apply(gatherOp, [cutTo('gather', x, index, at), index], { axis: at });
}

/**
 * x with each element of `source` added at its index along `axis` (PyTorch's scatter_add): the elements that meet are
 * added in their order along the axis. An index out of range is skipped. Throws OpError.
 */
export function scatterAdd(x: Tensor, axis: number, index: Tensor, source: Tensor): Tensor {
  expectTensors('scatterAdd', x, index, source);
  const at = axisFromEnd('scatterAdd', axis, x.rank);
  const n = x.shape[x.rank + at]!;
  cutTo('scatterAdd', x, index, at);
  const part = narrow(
    cutTo('scatterAdd', source, index, at),
    at,
    0,
    Math.min(index.shape.at(at)!, source.shape.at(at)!),
  );
  return inNameOf('scatterAdd', () => {
    const sums = apply(gatherGradOp, [part, index], { axis: at, n });
    const rest = x.shape.map((size, i) => [0, size - sums.shape[i]!] as const);
    return add(x, pad(sums, rest));
  });
}

// ─── sorting ─────────────────────────────────────────────────────────────────────────────────────────────────────

export interface ArgsortAttrs {
  readonly descending: boolean;
}

export const argsortOp: KernelOp<ArgsortAttrs> = {
  kind: 'kernel',
  name: 'argsort',
  infer: ([x]) => {
    expectDType('argsort', 'input', x!, 'f32');
    if (x!.shape.length === 0)
      throw new OpError('argsort', `got ${formatSpec(x!)}, expected at least one axis`);
    return { shape: x!.shape, dtype: 'i32' };
  },
  lower: (emit, output, [input], { descending }) => {
    const x = materialize(emit, input!);
    const n = x.shape.at(-1)!;
    emit.call('argsort', {
      out: output.address,
      in: x.address,
      scratch: emit.scratch(n * ELEMENT_BYTES),
      rows: sizeOf(x.shape.slice(0, -1)),
      n,
      descending: Number(descending),
    });
  },
  backward: [null],
};

export interface SortOptions {
  /** Largest first. Default false. */
  readonly descending?: boolean;
}

/** The i32 indexes that sort along `axis`; equal elements keep their order, a NaN is the largest. Throws OpError. */
export function argsort(x: Tensor, axis = -1, { descending = false }: SortOptions = {}): Tensor {
  expectTensors('argsort', x);
  expectFlag('argsort', 'descending', descending);
  if (x.rank === 0) return inNameOf('argsort', () => reshape(argsort(reshape(x, [1]), axis), []));
  const isLast = axisFromEnd('argsort', axis, x.rank) === -1;
  if (isLast) return apply(argsortOp, [x], { descending });
  return transpose(apply(argsortOp, [transpose(x, axis, -1)], { descending }), axis, -1);
}

/** The elements along `axis` in order; gradients go back to where they came from. A scalar is one element. Throws OpError. */
export const sort = (x: Tensor, axis = -1, options: SortOptions = {}): Tensor =>
  inNameOf('sort', () => {
    expectTensors('sort', x);
    if (x.rank === 0) return reshape(sort(reshape(x, [1]), axis, options), []);
    return gather(x, axis, argsort(x, axis, options));
  });

/**
 * The `count` largest elements along `axis`, largest first (of equal ones the first), and their i32 indexes. Of a scalar 0 or 1.
 * Throws OpError.
 */
export function topK(x: Tensor, count: number, axis = -1): { values: Tensor; indices: Tensor } {
  return inNameOf('topK', () => {
    expectTensors('topK', x);
    const n = x.rank === 0 ? 1 : x.shape.at(axisFromEnd('topK', axis, x.rank))!;
    if (!Number.isInteger(count) || count < 0 || count > n) {
      throw new OpError(
        'topK',
        `got count ${count} along axis ${axis} of ${formatSpec(x)}, expected a whole number from 0 to ${n}`,
      );
    }
    if (x.rank === 0) {
      const { values, indices } = topK(reshape(x, [1]), count, axis);
      const shape = count === 1 ? [] : [0];
      return { values: reshape(values, shape), indices: reshape(indices, shape) };
    }
    const indices = narrow(argsort(x, axis, { descending: true }), axis, 0, count);
    return { values: gather(x, axis, indices), indices };
  });
}
