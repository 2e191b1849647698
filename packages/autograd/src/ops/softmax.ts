/** Softmax and cross-entropy, each one kernel over the last axis. */
import { softmaxKinds } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import type { BackwardRule, KernelOp } from '../core/op.ts';
import {
  axisFromEnd,
  expectDType,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  type Spec,
  sameShape,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Emitter, materialize, type View } from '../core/view.ts';
import { oneHot } from './creation.ts';
import { exp, full, mul, sub } from './elementwise.ts';
import { type Axes, type ReduceOptions, sum } from './reduce.ts';
import { reshape, transpose, unsqueeze } from './shape.ts';
import { lastOf } from './statistics.ts';

type NoAttrs = Record<string, never>;

function overRows(
  name: string,
  kind: keyof typeof softmaxKinds,
  rule: BackwardRule<NoAttrs>,
): KernelOp<NoAttrs> {
  return {
    kind: 'kernel',
    name,
    infer: ([x]) => {
      expectDType(name, 'input', x!, 'f32');
      if (x!.shape.length === 0 || x!.shape.at(-1) === 0) {
        throw new OpError(name, `got ${formatSpec(x!)}, expected a last axis with at least one element`);
      }
      return { shape: kind === 'logSumExp' ? x!.shape.slice(0, -1) : x!.shape, dtype: 'f32' };
    },
    lower: (emit, output, [input]) => {
      const x = materialize(emit, input!);
      emit.call('softmax', {
        out: output.address,
        in: x.address,
        rows: sizeOf(x.shape.slice(0, -1)),
        n: x.shape.at(-1)!,
        kind: softmaxKinds[kind],
      });
    },
    backward: [rule],
  };
}

const rowSum = (x: Tensor): Tensor => sum(x, -1, { keepDims: true });

export const softmaxOp = overRows('softmax', 'softmax', (g, { output: y }) =>
  mul(y, sub(g, rowSum(mul(g, y)))),
);
export const logSoftmaxOp = overRows('logSoftmax', 'logSoftmax', (g, { output: y }) =>
  sub(g, mul(exp(y), rowSum(g))),
);
export const logSumExpOp = overRows('logSumExp', 'logSumExp', (g, { inputs: [x] }) =>
  mul(softmax(x!), unsqueeze(g, -1)),
);

/** Along `axis`: the op sees it as the last one. A scalar counts as one element. */
function along(op: KernelOp<NoAttrs>, x: Tensor, axis: number): Tensor {
  expectDType(op.name, 'input', x, 'f32');
  if (x.rank === 0) return reshape(along(op, reshape(x, [1]), axis), []);
  const isLast = axisFromEnd(op.name, axis, x.rank) === -1;
  if (x.size === 0) return x;
  if (isLast) return apply(op, [x], {});
  return transpose(apply(op, [transpose(x, axis, -1)], {}), axis, -1);
}

/** e^x / Σ e^x along an axis (default: the last). Throws OpError. */
export const softmax = (x: Tensor, axis = -1): Tensor => along(softmaxOp, x, axis);
/** x − log Σ e^x along an axis (default: the last). Throws OpError. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => along(logSoftmaxOp, x, axis);
/** log Σ e^x over `axes` (default: the last one); −∞ where there is nothing. Throws OpError. */
export function logSumExp(x: Tensor, axes: Axes = -1, { keepDims = false }: ReduceOptions = {}): Tensor {
  expectDType('logSumExp', 'input', x, 'f32');
  const { rows, kept, full: whole } = lastOf('logSumExp', x, x.rank === 0 ? [] : axes);
  const shape = keepDims ? whole : kept;
  return rows.shape.at(-1) === 0 ? full(shape, -Infinity) : reshape(apply(logSumExpOp, [rows], {}), shape);
}

function expectLabels(name: string, logits: Spec, labels: Spec): Shape {
  expectDType(name, 'logits', logits, 'f32');
  expectDType(name, 'labels', labels, 'i32');
  const rows = logits.shape.slice(0, -1);
  if (logits.shape.length === 0 || !sameShape(rows, labels.shape)) {
    throw new OpError(
      name,
      `got logits ${formatSpec(logits)} and labels ${formatSpec(labels)}, expected logits [..., classes] and one ` +
        'class number per row',
    );
  }
  if (logits.shape.at(-1) === 0) {
    throw new OpError(name, `got logits ${formatSpec(logits)}, expected at least one class`);
  }
  return rows;
}

const classLimit = ([logits]: readonly Spec[]) => [{ input: 1, limit: logits!.shape.at(-1)! }];

/** All inputs contiguous, and repeated along the leading axis where they are alike in all shards. */
const alignRows = (emit: Emitter, rows: Shape, inputs: readonly View[]): View[] =>
  inputs.map((input) =>
    materialize(emit, input, rows.length === 0 ? input.shape : [rows[0]!, ...input.shape.slice(1)]),
  );

export const crossEntropyOp: KernelOp<NoAttrs> = {
  kind: 'kernel',
  name: 'crossEntropy',
  infer: ([logits, labels]) => ({ shape: expectLabels('crossEntropy', logits!, labels!), dtype: 'f32' }),
  lower: (emit, output, inputs) => {
    const [logits, labels] = alignRows(emit, output.shape, inputs) as [View, View];
    emit.call('crossEntropy', {
      out: output.address,
      logits: logits.address,
      labels: labels.address,
      rows: sizeOf(output.shape),
      n: logits.shape.at(-1)!,
    });
  },
  indexLimits: classLimit,
  backward: [(g, { inputs: [logits, labels] }) => apply(crossEntropyGradOp, [logits!, labels!, g], {}), null],
};

/** Per row: log Σ e^logits − logits[label]. [..., C] and i32 [...] → [...]. Labels must lie in [0, C). */
export const crossEntropyRows = (logits: Tensor, labels: Tensor): Tensor =>
  inNameOf('crossEntropyRows', () => apply(crossEntropyOp, [logits, labels], {}));

/** (softmax(logits) − oneHot(labels)) · g. */
export const crossEntropyGradOp: KernelOp<NoAttrs> = {
  kind: 'kernel',
  name: 'crossEntropyGrad',
  infer: ([logits, labels, g]) => {
    const rows = expectLabels('crossEntropyGrad', logits!, labels!);
    if (!sameShape(rows, g!.shape)) {
      throw new OpError(
        'crossEntropyGrad',
        `got g ${formatSpec(g!)}, expected one number per row of ${formatSpec(logits!)}`,
      );
    }
    return logits!;
  },
  lower: (emit, output, inputs) => {
    const rows = output.shape.slice(0, -1);
    const [logits, labels, grad] = alignRows(emit, rows, inputs) as [View, View, View];
    emit.call('crossEntropyGrad', {
      out: output.address,
      logits: logits.address,
      labels: labels.address,
      grad: grad.address,
      rows: sizeOf(rows),
      n: output.shape.at(-1)!,
    });
  },
  indexLimits: classLimit,
  backward: [
    (h, { inputs: [logits, , g] }) => {
      const s = softmax(logits!);
      const u = mul(h, unsqueeze(g!, -1));
      return mul(s, sub(u, rowSum(mul(s, u))));
    },
    null,
    (h, { inputs: [logits, labels] }) =>
      sum(mul(h, sub(softmax(logits!), oneHot(labels!, logits!.shape.at(-1)!))), -1),
  ],
};
