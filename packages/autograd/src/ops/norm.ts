/** Normalisation of rows, each pass one kernel. */
import { ELEMENT_BYTES, normalizeScratchBytes, normalizeWeightKinds } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import { context } from '../core/context.ts';
import type { BackwardRule, KernelOp } from '../core/op.ts';
import { expectDType, formatSpec, inNameOf, OpError, type Spec, sizeOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { type Emitter, materialize, type View } from '../core/view.ts';
import { add, div, mul, sqrt, square, sub } from './elementwise.ts';
import { mean } from './reduce.ts';
import { reshape } from './shape.ts';

export interface NormalizeAttrs {
  /** Subtract the mean. */
  readonly center: boolean;
  readonly eps: number;
}

function expectRows(name: string, inputs: readonly Spec[]): void {
  const [x, ...affine] = inputs as readonly [Spec, ...Spec[]];
  for (const input of inputs) expectDType(name, 'input', input, 'f32');
  const n = x.shape.at(-1) ?? 0;
  if (n === 0) {
    throw new OpError(name, `got ${formatSpec(x)}, expected a last axis with at least one element`);
  }
  for (const parameter of affine) {
    if (parameter.shape.length !== 1 || parameter.shape[0] !== n) {
      throw new OpError(
        name,
        `got ${formatSpec(x)} with ${formatSpec(parameter)}, expected one number per column: [${n}]`,
      );
    }
  }
}

/** Runs `call` for each run of rows that share their weights: all of them, or a segment each where weights differ. */
function eachRun(
  emit: Emitter,
  { shape }: View,
  affine: readonly View[],
  call: (weights: View[], rows: number, at: number) => void,
): void {
  const n = shape.at(-1)!;
  const segments = Math.max(1, ...affine.map((view) => sizeOf(view.shape) / n));
  const rows = sizeOf(shape.slice(0, -1)) / segments;
  const weights = affine.map((view) => materialize(emit, view));
  for (let s = 0; s < segments; s++) {
    const own = weights.map((view) => (sizeOf(view.shape) > n ? offset(view, s * n) : view));
    call(own, rows, s * rows * n);
  }
}

const offset = (view: View, elements: number): View => ({
  ...view,
  address: { ...view.address, offset: view.address.offset + elements * ELEMENT_BYTES },
});

/** x̂ in tensor ops. */
const standardized = (x: Tensor, { center, eps }: NormalizeAttrs) => {
  const shifted = center ? sub(x, mean(x, -1, { keepDims: true })) : x;
  const deviation = sqrt(add(mean(square(shifted), -1, { keepDims: true }), eps));
  return { hat: div(shifted, deviation), deviation };
};

/** dx = (ĝ − mean(ĝ) − x̂ mean(ĝ x̂)) / deviation in tensor ops, for gradients of gradients. */
function slopeByParts(x: Tensor, g: Tensor, attrs: NormalizeAttrs): Tensor {
  const { hat, deviation } = standardized(x, attrs);
  const along = mul(hat, mean(mul(g, hat), -1, { keepDims: true }));
  const rest = attrs.center ? sub(g, mean(g, -1, { keepDims: true })) : g;
  return div(sub(rest, along), deviation);
}

const backward: readonly BackwardRule<NormalizeAttrs>[] = [
  (g, { inputs: [x, weight], attrs }) => {
    if (context().recording) return slopeByParts(x!, weight ? mul(g, asRow(weight, g)) : g, attrs);
    return apply(normalizeGradOp, [x!, g, ...(weight ? [weight] : [])], attrs);
  },
  (g, { inputs: [x], attrs }) => {
    if (context().recording) return mul(g, standardized(x!, attrs).hat);
    return apply(normalizeWeightGradOp, [x!, g], { ...attrs, kind: 'weight' });
  },
  (g, { inputs: [x], attrs }) => {
    if (context().recording) return g;
    return apply(normalizeWeightGradOp, [x!, g], { ...attrs, kind: 'bias' });
  },
];

/** With as many axes as `like`. */
const asRow = (weight: Tensor, like: Tensor): Tensor =>
  reshape(weight, [...new Array<number>(like.rank - 1).fill(1), weight.size]);

export const normalizeOp: KernelOp<NormalizeAttrs> = {
  kind: 'kernel',
  name: 'normalize',
  infer: (inputs) => {
    expectRows('normalize', inputs);
    return inputs[0]!;
  },
  lower: (emit, output, [input, ...affine], { center, eps }) => {
    const x = materialize(emit, input!, output.shape);
    eachRun(emit, output, affine, ([weight, bias], rows, at) =>
      emit.call('normalize', {
        out: offset(output, at).address,
        x: offset(x, at).address,
        weight: (weight ?? x).address,
        bias: (bias ?? x).address,
        rows,
        n: output.shape.at(-1)!,
        weighted: Number(weight !== undefined),
        biased: Number(bias !== undefined),
        center: Number(center),
        eps,
      }),
    );
  },
  backward: (index) => backward[index]!,
};

/** Gradient of `normalize` with respect to x, from x, g and the weight. */
export const normalizeGradOp: KernelOp<NormalizeAttrs> = {
  kind: 'kernel',
  name: 'normalizeGrad',
  infer: ([x, g, ...weight]) => {
    expectRows('normalizeGrad', [x!, ...weight]);
    return g!;
  },
  lower: (emit, output, [input, g, ...affine], { center, eps }) => {
    const [x, grad] = [input!, g!].map((view) => materialize(emit, view, output.shape)) as [View, View];
    eachRun(emit, output, affine, ([weight], rows, at) =>
      emit.call('normalizeGrad', {
        out: offset(output, at).address,
        x: offset(x, at).address,
        weight: (weight ?? x).address,
        grad: offset(grad, at).address,
        rows,
        n: output.shape.at(-1)!,
        weighted: Number(weight !== undefined),
        center: Number(center),
        eps,
      }),
    );
  },
  backward: () => null,
};

export interface NormalizeWeightAttrs extends NormalizeAttrs {
  readonly kind: keyof typeof normalizeWeightKinds;
}

function lowerWeightGrad(
  emit: Emitter,
  output: View,
  inputs: readonly View[],
  { center, eps, kind }: NormalizeWeightAttrs,
  tree: boolean,
): void {
  const leading = tree ? 1 : output.shape.length - 1;
  const segments = leading === 0 ? 1 : Math.max(...inputs.map((view) => view.shape[0]!));
  const [x, grad] = inputs.map((view) =>
    materialize(emit, view, leading === 0 ? view.shape : [segments, ...view.shape.slice(1)]),
  ) as [View, View];
  const n = output.shape.at(-1)!;
  emit.call('normalizeWeightGrad', {
    out: output.address,
    x: x.address,
    grad: grad.address,
    scratch: emit.scratch(normalizeScratchBytes(n)),
    segments,
    rows: sizeOf(x.shape) / n / segments,
    n,
    tree: Number(tree),
    center: Number(center),
    eps,
    kind: normalizeWeightKinds[kind],
  });
}

/** Gradient of `normalize` with respect to weight or bias: sums over the rows of a shard in order. */
export const normalizeWeightGradOp: KernelOp<NormalizeWeightAttrs> = {
  kind: 'kernel',
  name: 'normalizeWeightGrad',
  infer: ([x]) => {
    expectRows('normalizeWeightGrad', [x!]);
    return { shape: x!.shape.slice(-1), dtype: 'f32' };
  },
  lower: (emit, output, inputs, attrs) => lowerWeightGrad(emit, output, inputs, attrs, false),
  lowerTreeSum: (emit, output, inputs, attrs) => {
    lowerWeightGrad(emit, output, inputs, attrs, true);
    return true;
  },
  backward: () => null,
};

/** (x − mean) / √(variance + eps) over the last axis, with the variance of the row itself (divided by n). */
export const standardize = (x: Tensor, eps = 1e-5): Tensor =>
  inNameOf('standardize', () => apply(normalizeOp, [x], { center: true, eps }));

/**
 * Layer normalisation over the last axis (Ba et al., 2016): (x − mean) / √(variance + eps) · weight + bias. x [..., n],
 * weight and bias [n]. Throws OpError.
 */
export const layerNorm = (x: Tensor, weight: Tensor, bias?: Tensor, eps = 1e-5): Tensor =>
  inNameOf('layerNorm', () =>
    apply(normalizeOp, bias ? [x, weight, bias] : [x, weight], { center: true, eps }),
  );

/** RMS normalisation over the last axis (Zhang and Sennrich, 2019): x / √(mean(x²) + eps) [· weight]. Throws OpError. */
export const rmsNorm = (x: Tensor, weight?: Tensor, eps = 1e-6): Tensor =>
  inNameOf('rmsNorm', () => apply(normalizeOp, weight ? [x, weight] : [x], { center: false, eps }));
