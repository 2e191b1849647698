/** Reductions over axes. Their order of additions depends on the shape alone (see the `reduce` instruction). */
import { reduceKinds } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import type { BackwardRule, KernelOp } from '../core/op.ts';
import {
  axisFromEnd,
  expectDType,
  expectFlag,
  expectNumbers,
  expectTensors,
  expectWhole,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { materialize, moved } from '../core/view.ts';
import { cast, div, eq, mul } from './elementwise.ts';
import { narrow } from './parts.ts';
import { expand, reshape } from './shape.ts';

/** A run of neighbouring axes, counted from the end: first ≤ axis ≤ last. */
export interface RunAttrs {
  readonly first: number;
  readonly last: number;
}

/** Reduces a run of axes to size 1. */
function reduction(
  name: string,
  kind: keyof typeof reduceKinds,
  rule: BackwardRule<RunAttrs> | null,
): KernelOp<RunAttrs> {
  const toIndex = kind === 'argmax' || kind === 'argmin';
  return {
    kind: 'kernel',
    name,
    infer: ([x], { first, last }) => {
      expectDType(name, 'input', x!, 'f32');
      const rank = x!.shape.length;
      const shape = x!.shape.map((n, i) => (i - rank >= first && i - rank <= last ? 1 : n));
      const reduced = sizeOf(x!.shape.slice(rank + first, rank + last + 1));
      if (reduced === 0 && kind !== 'sum' && kind !== 'prod') {
        throw new OpError(name, `got ${formatSpec(x!)}, expected at least one element to reduce`);
      }
      return { shape, dtype: toIndex ? 'i32' : 'f32' };
    },
    lower: (emit, output, [input], { first, last }) => {
      const x = materialize(emit, input!);
      const rank = x.shape.length;
      emit.call('reduce', {
        out: output.address,
        in: x.address,
        outer: sizeOf(x.shape.slice(0, rank + first)),
        n: sizeOf(x.shape.slice(rank + first, rank + last + 1)),
        inner: sizeOf(x.shape.slice(rank + last + 1)),
        kind: reduceKinds[kind],
      });
    },
    backward: [rule],
  };
}

/** Several equal extremes share the gradient, as PyTorch's amax and amin do. */
const toExtreme: BackwardRule<RunAttrs> = (g, { inputs: [x], output: y, attrs }) => {
  const hit = cast(eq(x!, y), 'f32');
  return mul(hit, div(g, apply(sumOp, [hit], attrs)));
};

export const sumOp = reduction('sum', 'sum', (g, { inputs: [x] }) => expand(g, x!.shape));
export const maxOp = reduction('max', 'max', toExtreme);
export const minOp = reduction('min', 'min', toExtreme);
export const argmaxOp = reduction('argmax', 'argmax', null);
export const argminOp = reduction('argmin', 'argmin', null);

export interface ReduceOptions {
  /** Keep reduced axes at size 1. Default false. */
  readonly keepDims?: boolean;
}

/** Runs of neighbouring axes, last first; all axes where none are given. */
function runsOf(name: string, axes: number | readonly number[] | undefined, rank: number): RunAttrs[] {
  const list = axes === undefined ? Array.from({ length: rank }, (_, i) => i) : [axes].flat();
  const sorted = [...new Set(list.map((axis) => axisFromEnd(name, axis, rank)))].sort((a, b) => b - a);
  const runs: { first: number; last: number }[] = [];
  for (const axis of sorted) {
    const run = runs.at(-1);
    if (run && run.first === axis + 1) run.first = axis;
    else runs.push({ first: axis, last: axis });
  }
  return runs;
}

/** One axis or several, negative ones from the end. */
export type Axes = number | readonly number[];

function reduceBy(
  op: KernelOp<RunAttrs>,
  x: Tensor,
  axes: Axes | undefined,
  { keepDims = false }: ReduceOptions,
) {
  expectTensors(op.name, x);
  expectFlag(op.name, 'keepDims', keepDims);
  const runs = runsOf(op.name, axes, x.rank);
  const reduced = runs.reduce((value, run) => apply(op, [value], run), x);
  if (keepDims) return reduced;
  const isReduced = (i: number): boolean =>
    runs.some((run) => i - x.rank >= run.first && i - x.rank <= run.last);
  return reshape(
    reduced,
    x.shape.filter((_, i) => !isReduced(i)),
  );
}

/** Sum over `axes` (default: all). */
export const sum = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  reduceBy(sumOp, x, axes, options);
/** Largest value over `axes` (default: all); NaN if there is one. */
export const max = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  reduceBy(maxOp, x, axes, options);
/** Smallest value over `axes` (default: all); NaN if there is one. */
export const min = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  reduceBy(minOp, x, axes, options);
/** i32 index of the first largest value along `axis` (default: the last; of all elements: `argmax(x.reshape([-1]))`); of a NaN if there is one. */
export const argmax = (x: Tensor, axis = -1, options: ReduceOptions = {}): Tensor =>
  reduceBy(argmaxOp, oneOf('argmax', x), axis, x.rank === 0 ? {} : options);
/** i32 index of the first smallest value along `axis` (default: the last); of a NaN if there is one. */
export const argmin = (x: Tensor, axis = -1, options: ReduceOptions = {}): Tensor =>
  reduceBy(argminOp, oneOf('argmin', x), axis, x.rank === 0 ? {} : options);

/** A scalar as a vector of one element, as PyTorch takes it along an axis. */
function oneOf(op: string, x: Tensor): Tensor {
  expectTensors(op, x);
  return x.rank === 0 ? reshape(x, [1]) : x;
}

/** Mean over `axes` (default: all): the sum divided by the count. */
export function mean(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  return inNameOf('mean', () => {
    const total = sum(x, axes, options);
    return div(total, total.size === 0 ? 1 : x.size / total.size);
  });
}

/** Sums broadcast axes away: the inverse of broadcasting to `x.shape` from `shape`. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  expectTensors('sumTo', x);
  expectNumbers('sumTo', 'shape', shape);
  const extra = x.rank - shape.length;
  const axes = [...x.shape.keys()].filter((i) => i < extra || (shape[i - extra] === 1 && x.shape[i] !== 1));
  return inNameOf('sumTo', () => reshape(axes.length === 0 ? x : sum(x, axes, { keepDims: true }), shape));
}

export interface BlockAttrs {
  readonly block: number;
}

export const blockSquaresOp: KernelOp<BlockAttrs> = {
  kind: 'kernel',
  name: 'blockSquares',
  infer: ([x], { block }) => {
    expectDType('blockSquares', 'input', x!, 'f32');
    if (x!.shape.length !== 1) throw new OpError('blockSquares', `got ${formatSpec(x!)}, expected a vector`);
    return { shape: [Math.ceil(x!.shape[0]! / block)], dtype: 'f32' };
  },
  lower: (emit, output, [input], { block }) => {
    const x = materialize(emit, input!);
    const n = x.shape.at(-1)!;
    for (let row = 0; row < sizeOf(x.shape.slice(0, -1)); row++) {
      const out = moved(output.address, row * output.shape.at(-1)!);
      emit.call('sumOfSquares', { out, in: moved(x.address, row * n), n, block });
    }
  },
  backward: [
    (g, { inputs: [x], attrs: { block } }) => {
      const each = reshape(expand(reshape(g, [g.size, 1]), [g.size, block]), [g.size * block]);
      return mul(mul(narrow(each, 0, 0, x!.size), x!), 2);
    },
  ],
};

/** Sums of squares of blocks of a vector [n] → [⌈n / block⌉], for norms that do not depend on who sums. */
export function blockSquares(x: Tensor, block: number): Tensor {
  expectWhole('blockSquares', 'block', block, 1);
  return apply(blockSquaresOp, [x], { block });
}
