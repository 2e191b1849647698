/** Functions of one tensor that are made of several steps: each one pass over memory, with a gradient of its own. */
import type { MicroOpName } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import type { BackwardRule, ElementwiseOp, Step } from '../core/op.ts';
import { expectDType, expectReal, expectTensors, inNameOf, OpError } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import {
  add,
  div,
  exp,
  ge,
  gt,
  le,
  logicalAnd,
  maximum,
  minimum,
  mul,
  neg,
  type Operand,
  sigmoid,
  sub,
  tanh,
  where,
} from './elementwise.ts';

/** Writes down the steps of a chain: every call is a step and gives the number of its value. Value 0 is the input. */
interface Recorder {
  (op: MicroOpName, ...args: number[]): number;
  constant(value: number): number;
}

function record(body: (step: Recorder, x: number) => void): Step[] {
  const steps: Step[] = [];
  const step = (op: MicroOpName, ...args: number[]): number => steps.push({ op, args });
  step.constant = (imm: number): number => steps.push({ op: 'constant', args: [], imm });
  body(step, 0);
  return steps;
}

function activation<A>(
  name: string,
  body: (step: Recorder, x: number, attrs: A) => void,
  rule: BackwardRule<A>,
): ElementwiseOp<A> {
  return {
    kind: 'elementwise',
    name,
    infer: ([x]) => {
      expectDType(name, 'input', x!, 'f32');
      return x!;
    },
    steps: (_, attrs) => record((step, x) => body(step, x, attrs)),
    backward: [rule],
  };
}

type NoAttrs = Record<string, never>;

export const rsqrtOp = activation<NoAttrs>(
  'rsqrt',
  (step, x) => step('div', step.constant(1), step('sqrt', x)),
  (g, { inputs: [x], output: y }) => mul(g, mul(div(y, x!), -0.5)),
);

export interface SlopeAttrs {
  readonly slope: number;
}
export const leakyReluOp = activation<SlopeAttrs>(
  'leakyRelu',
  (step, x, { slope }) => {
    const below = step('mul', x, step.constant(slope));
    step('select', step('lt', step.constant(0), x), x, below);
  },
  (g, { inputs: [x], attrs: { slope } }) => where(gt(x!, 0), g, mul(g, slope)),
);

export interface AlphaAttrs {
  readonly alpha: number;
}
export const eluOp = activation<AlphaAttrs>(
  'elu',
  (step, x, { alpha }) => {
    const zero = step.constant(0);
    const below = step('mul', step('expm1', x), step.constant(alpha));
    step('select', step('lt', zero, x), x, below);
  },
  // eˣ of the branch not taken may be infinite, and 0 · ∞ is no gradient.
  (g, { inputs: [x], attrs: { alpha } }) => {
    const positive = gt(x!, 0);
    return mul(g, where(positive, 1, mul(exp(where(positive, 0, x!)), alpha)));
  },
);

/**
 * A function with a kernel of its own, and its slope as another: the compiler lets them share one pass. What the slope's slope
 * is, tensor ops say.
 */
function sloped(name: 'gelu' | 'geluTanh' | 'silu' | 'mish', second: (x: Tensor) => Tensor) {
  const slope = activation<NoAttrs>(
    `${name}Slope`,
    (step, x) => step(`${name}Slope`, x),
    (g, { inputs: [x] }) => mul(g, second(x!)),
  );
  const value = activation<NoAttrs>(
    name,
    (step, x) => step(name, x),
    (g, { inputs: [x] }) => mul(g, apply(slope, [x!], {})),
  );
  return { value, slope };
}

/** y = x Φ(x), y″ = (2 − x²) φ(x). */
export const { value: geluOp, slope: geluSlopeOp } = sloped('gelu', (x) => {
  const squared = mul(x, x);
  return mul(mul(exp(mul(squared, -0.5)), sub(2, squared)), 1 / Math.sqrt(2 * Math.PI));
});

/** y = x (1 + tanh u) / 2 = x σ(v) with v = 2u = √(8/π) (x + 0.044715 x³); y″ = σ σ̄ (2v′ + x v″ + x v′² (σ̄ − σ)). */
const GELU_LINEAR = Math.sqrt(8 / Math.PI);
const GELU_CUBIC = GELU_LINEAR * 0.044715;
export const { value: geluTanhOp, slope: geluTanhSlopeOp } = sloped('geluTanh', (x) => {
  const squared = mul(x, x);
  const v = mul(x, add(mul(squared, GELU_CUBIC), GELU_LINEAR));
  const v1 = add(mul(squared, 3 * GELU_CUBIC), GELU_LINEAR);
  const bend = add(mul(v1, 2), mul(squared, 6 * GELU_CUBIC));
  const [s, rest] = [sigmoid(v), sigmoid(neg(v))];
  return mul(mul(s, rest), add(bend, mul(mul(x, mul(v1, v1)), sub(rest, s))));
});

/** y = x σ(x), y″ = σ σ̄ (2 + x (σ̄ − σ)). */
export const { value: siluOp, slope: siluSlopeOp } = sloped('silu', (x) => {
  const [s, rest] = [sigmoid(x), sigmoid(neg(x))];
  return mul(mul(s, rest), add(mul(x, sub(rest, s)), 2));
});

/** y = x t with t = tanh(ln(1 + eˣ)); t′ = (1 − t²) σ, y″ = 2t′ + x t″ = t′ (2 + x (σ̄ − 2tσ)). */
export const { value: mishOp, slope: mishSlopeOp } = sloped('mish', (x) => {
  const t = tanh(softplus(x));
  const [s, rest] = [sigmoid(x), sigmoid(neg(x))];
  const t1 = mul(sub(1, mul(t, t)), s);
  return mul(t1, add(mul(x, sub(rest, mul(mul(t, s), 2))), 2));
});

export interface BetaAttrs {
  readonly beta: number;
}
export const softplusOp = activation<BetaAttrs>(
  'softplus',
  (step, x, { beta }) => step('softplus', x, step.constant(beta)),
  (g, { inputs: [x], attrs: { beta } }) => mul(g, sigmoid(mul(x!, beta))),
);

/** x · (min(max(x + 3, 0), 6) / 6). */
export const hardswishOp = activation<NoAttrs>(
  'hardswish',
  (step, x) => {
    const six = step.constant(6);
    const gate = step('min', step('max', step('add', x, step.constant(3)), step.constant(0)), six);
    step('mul', x, step('div', gate, six)); // x · 6 may be infinite
  },
  (g, { inputs: [x] }) => {
    const middle = add(div(x!, 3), 0.5);
    return mul(g, where(le(x!, -3), 0, where(ge(x!, 3), 1, middle)));
  },
);

const unary =
  (op: ElementwiseOp<NoAttrs>) =>
  (x: Tensor): Tensor =>
    apply(op, [x], {});

/** 1 / √x. */
export const rsqrt = unary(rsqrtOp);
/** x for x > 0, else slope · x (Maas et al., 2013). */
export function leakyRelu(x: Tensor, slope = 0.01): Tensor {
  expectReal('leakyRelu', 'slope', slope);
  return apply(leakyReluOp, [x], { slope });
}
/** x for x > 0, else alpha · (eˣ − 1) (Clevert et al., 2016). */
export function elu(x: Tensor, alpha = 1): Tensor {
  expectReal('elu', 'alpha', alpha);
  return apply(eluOp, [x], { alpha });
}
/** x · sigmoid(x), also called swish (Elfwing et al., 2018). */
export const silu = unary(siluOp);
/** x · clamp(x + 3, 0, 6) / 6 (Howard et al., 2019). */
export const hardswish = unary(hardswishOp);
/** x · tanh(softplus(x)) (Misra, 2019). */
export const mish = unary(mishOp);

export interface GeluOptions {
  /** `none`: by erf (default). `tanh`: the approximation of GPT-2. */
  readonly approximate?: 'none' | 'tanh';
}

/** x · Φ(x) with the normal distribution function Φ (Hendrycks and Gimpel, 2016). */
export function gelu(x: Tensor, { approximate = 'none' }: GeluOptions = {}): Tensor {
  if (approximate !== 'none' && approximate !== 'tanh') {
    throw new OpError('gelu', `got approximate ${String(approximate)}, expected 'none' or 'tanh'`);
  }
  return inNameOf('gelu', () => apply(approximate === 'tanh' ? geluTanhOp : geluOp, [x], {}));
}

/** log(1 + e^βx) / β without overflow. Throws OpError. */
export function softplus(x: Tensor, beta = 1): Tensor {
  if (!(beta > 0)) throw new OpError('softplus', `got beta ${beta}, expected a number above 0`);
  return apply(softplusOp, [x], { beta });
}

// ─── bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────

export interface BoundsAttrs {
  readonly low: number;
  readonly high: number;
}

/** min(max(x, low), high) of numbers: unlike with tensors the gradient passes where x equals a bound, as in PyTorch. */
export const clampOp = activation<BoundsAttrs>(
  'clamp',
  (step, x, { low, high }) => step('min', step('max', x, step.constant(low)), step.constant(high)),
  (g, { inputs: [x], attrs: { low, high } }) => where(logicalAnd(ge(x!, low), le(x!, high)), g, 0),
);

/** x between `low` and `high`. */
export function clamp(x: Tensor, low: Operand, high: Operand): Tensor {
  expectTensors('clamp', x);
  return typeof low === 'number' && typeof high === 'number' && x.dtype === 'f32'
    ? apply(clampOp, [x], { low, high })
    : inNameOf('clamp', () => minimum(maximum(x, low), high));
}
