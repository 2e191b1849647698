/** Element-wise ops: arithmetic, functions, comparisons, choice. NumPy broadcasting. */
import type { MicroOpName } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import type { BackwardRule, ElementwiseOp, Step } from '../core/op.ts';
import {
  broadcastShapes,
  type DType,
  expectConstant,
  expectDType,
  expectSizes,
  expectTensors,
  expectTypeName,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  type Spec,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { withRank } from './shape.ts';

/** Where an op takes a tensor, a number stands for a constant. */
export type Operand = Tensor | number;

type NoAttrs = Record<string, never>;
type Rule = BackwardRule<NoAttrs>;

// ─── constants ───────────────────────────────────────────────────────────────────────────────────────────────────

export interface FullAttrs {
  readonly shape: Shape;
  readonly value: number;
  readonly dtype: DType;
}

export const fullOp: ElementwiseOp<FullAttrs> = {
  kind: 'elementwise',
  name: 'full',
  infer: (_, { shape, value, dtype }) => {
    expectSizes('full', shape);
    expectConstant('full', value, dtype);
    return { shape, dtype };
  },
  steps: (_, { value, dtype }) => [
    { op: 'constant', args: [], ...(dtype === 'f32' ? { imm: value } : { bits: value }) },
  ],
  backward: [],
};

/** A tensor of one value. */
export const full = (shape: Shape, value: number, dtype: DType = 'f32'): Tensor =>
  apply(fullOp, [], { shape, value, dtype });
/** Zeros. Throws OpError on sizes that are none. */
export const zeros = (shape: Shape, dtype: DType = 'f32'): Tensor =>
  inNameOf('zeros', () => full(shape, 0, dtype));
/** Ones. Throws OpError on sizes that are none. */
export const ones = (shape: Shape, dtype: DType = 'f32'): Tensor =>
  inNameOf('ones', () => full(shape, 1, dtype));

/** A tensor of one value with the shape and type of another. */
export function fullOf(x: Spec, value: number): Tensor {
  expectTensors('fullOf', x);
  return inNameOf('fullOf', () => full(x.shape, value, x.dtype));
}

/** Both operands as tensors of one rank. */
function operands(name: string, ...values: Operand[]): Tensor[] {
  const tensors = values.filter((value) => typeof value !== 'number');
  expectTensors(name, ...tensors);
  const dtype = tensors.find((t) => t.dtype !== 'bool')?.dtype ?? 'f32';
  const rank = Math.max(0, ...tensors.map((t) => t.rank));
  if (tensors.length === 0) {
    throw new OpError(name, 'got numbers only, expected at least one tensor; wrap one with tensor(x)');
  }
  return values.map((value) => operand(name, value, rank, dtype));
}

/** A number as a constant of the type of what stands beside it. */
const operand = (name: string, value: Operand, rank: number, dtype: DType): Tensor =>
  typeof value === 'number'
    ? inNameOf(name, () => full(new Array<number>(rank).fill(1), value, dtype))
    : withRank(value, rank);

const inferBroadcast = (name: string, inputs: readonly Spec[], dtype: DType): Spec => ({
  shape: broadcastShapes(
    name,
    inputs.map((input) => input.shape),
  ),
  dtype,
});

// ─── one input ───────────────────────────────────────────────────────────────────────────────────────────────────

/** A function of one f32, and of one i32 where there are steps for it. The steps read value 0. */
function unary(
  name: string,
  steps: readonly Step[] | MicroOpName,
  rule: Rule | null,
  ofIntegers?: readonly Step[],
): ElementwiseOp<NoAttrs> {
  const ofFloats: readonly Step[] = typeof steps === 'string' ? [{ op: steps, args: [0] }] : steps;
  return {
    kind: 'elementwise',
    name,
    infer: ([x]) => {
      expectDType(name, 'input', x!, 'f32', ...(ofIntegers ? (['i32'] as const) : []));
      return x!;
    },
    steps: ([x]) => (x!.dtype === 'f32' ? ofFloats : ofIntegers!),
    backward: [rule],
  };
}

const callable1 =
  (op: ElementwiseOp<NoAttrs>) =>
  (x: Tensor): Tensor =>
    apply(op, [x], {});

const integer = (bits: number): Step => ({ op: 'constant', args: [], bits });
const minusX: readonly Step[] = [integer(0), { op: 'subI', args: [1, 0] }];

export const negOp = unary('neg', 'neg', (g) => neg(g), minusX);
export const absOp = unary('abs', 'abs', (g, { inputs: [x] }) => mul(g, sign(x!)), [
  ...minusX,
  { op: 'maxI', args: [0, 2] },
]);
export const signOp = unary('sign', 'sign', (g) => fullOf(g, 0), [
  ...[integer(-1), integer(1)],
  { op: 'maxI', args: [0, 1] },
  { op: 'minI', args: [3, 2] },
]);
export const floorOp = unary('floor', 'floor', (g) => fullOf(g, 0));
export const ceilOp = unary('ceil', 'ceil', (g) => fullOf(g, 0));
export const roundOp = unary('round', 'round', (g) => fullOf(g, 0));
export const sqrtOp = unary('sqrt', 'sqrt', (g, { output: y }) => div(g, mul(y, 2)));
export const expOp = unary('exp', 'exp', (g, { output: y }) => mul(g, y));
export const expm1Op = unary('expm1', 'expm1', (g, { output: y }) => mul(g, add(y, 1)));
export const logOp = unary('log', 'log', (g, { inputs: [x] }) => div(g, x!));
export const log1pOp = unary('log1p', 'log1p', (g, { inputs: [x] }) => div(g, add(x!, 1)));
export const sinOp = unary('sin', 'sin', (g, { inputs: [x] }) => mul(g, cos(x!)));
export const cosOp = unary('cos', 'cos', (g, { inputs: [x] }) => neg(mul(g, sin(x!))));
export const tanhOp = unary('tanh', 'tanh', (g, { output: y }) => mul(g, sub(1, mul(y, y))));
export const sigmoidOp = unary('sigmoid', 'sigmoid', (g, { output: y }) => mul(g, mul(y, sub(1, y))));
/** d erf(x)/dx = 2/√π · e^(−x²). */
export const erfOp = unary('erf', 'erf', (g, { inputs: [x] }) =>
  mul(g, mul(exp(neg(mul(x!, x!))), 2 / Math.sqrt(Math.PI))),
);
export const reluOp = unary(
  'relu',
  [
    { op: 'constant', args: [], imm: 0 },
    { op: 'max', args: [0, 1] },
  ],
  // Not where(y > 0, g, 0): the gradient at a NaN is g, as in PyTorch.
  (g, { output: y }) => where(le(y, 0), 0, g),
);

/** −x, of f32 or i32. */
export const neg = callable1(negOp);
/** |x|, of f32 or i32; its gradient at 0 is 0. */
export const abs = callable1(absOp);
/** −1, 0 or 1; its gradient is 0 (see `customGradient` for a straight-through one). */
export const sign = callable1(signOp);
/** The largest integer that is not above x; its gradient is 0. */
export const floor = callable1(floorOp);
/** The smallest integer that is not below x; its gradient is 0. */
export const ceil = callable1(ceilOp);
/** To the nearest integer, halves to even. */
export const round = callable1(roundOp);
/** √x; NaN below 0. */
export const sqrt = callable1(sqrtOp);
/** eˣ, at most 2 ulp off. */
export const exp = callable1(expOp);
/** e^x − 1, exact near 0. */
export const expm1 = callable1(expm1Op);
/** Natural logarithm, at most 2 ulp off; −∞ at 0, NaN below. */
export const log = callable1(logOp);
/** log(1 + x), exact near 0. */
export const log1p = callable1(log1pOp);
/** Sine of an angle in radians, at most 2 ulp off. */
export const sin = callable1(sinOp);
/** Cosine of an angle in radians, at most 2 ulp off. */
export const cos = callable1(cosOp);
/** Hyperbolic tangent, at most 2 ulp off. */
export const tanh = callable1(tanhOp);
/** 1 / (1 + e^−x). */
export const sigmoid = callable1(sigmoidOp);
/** Error function 2/√π ∫₀ˣ e^(−t²) dt, at most 2 ulp off. */
export const erf = callable1(erfOp);
/** max(x, 0); the gradient at 0 is 0. */
export const relu = callable1(reluOp);
/** x · x. */
export const square = (x: Tensor): Tensor => inNameOf('square', () => mul(x, x));

// ─── two inputs ──────────────────────────────────────────────────────────────────────────────────────────────────

function arithmetic(
  name: string,
  micro: { f32: MicroOpName; i32?: MicroOpName },
  backward: readonly [Rule | null, Rule | null],
): ElementwiseOp<NoAttrs> {
  return {
    kind: 'elementwise',
    name,
    infer: (inputs) => {
      const [a, b] = inputs as readonly [Spec, Spec];
      const dtype = a.dtype === b.dtype && (a.dtype === 'f32' || a.dtype === 'i32') ? a.dtype : undefined;
      if (!dtype || !(dtype === 'f32' || micro.i32)) {
        throw new OpError(
          name,
          `got ${formatSpec(a)} and ${formatSpec(b)}, expected both f32${micro.i32 ? ' or both i32' : ''}; ` +
            "convert with cast(x, 'f32')",
        );
      }
      return inferBroadcast(name, inputs, dtype);
    },
    steps: ([a]) => [{ op: a!.dtype === 'f32' ? micro.f32 : micro.i32!, args: [0, 1] }],
    backward,
  };
}

const callable2 =
  (op: ElementwiseOp<NoAttrs>) =>
  (a: Operand, b: Operand): Tensor =>
    apply(op, operands(op.name, a, b), {});

export const addOp = arithmetic('add', { f32: 'add', i32: 'addI' }, [(g) => g, (g) => g]);
export const subOp = arithmetic('sub', { f32: 'sub', i32: 'subI' }, [(g) => g, (g) => neg(g)]);
export const mulOp = arithmetic('mul', { f32: 'mul', i32: 'mulI' }, [
  (g, { inputs: [, b] }) => mul(g, b!),
  (g, { inputs: [a] }) => mul(g, a!),
]);
export const divOp = arithmetic('div', { f32: 'div', i32: 'divI' }, [
  (g, { inputs: [, b] }) => div(g, b!),
  (g, { inputs: [, b], output: y }) => neg(div(mul(g, y), b!)),
]);
/** Where both are equal each gets half; beside a NaN each gets all, as in PyTorch. */
const towards = (loses: (a: Tensor, b: Tensor) => Tensor, mine: 0 | 1): Rule => {
  return (g, { inputs }) => {
    const [x, other] = [inputs[mine]!, inputs[1 - mine]!];
    return where(eq(x, other), mul(g, 0.5), where(loses(x, other), 0, g));
  };
};
export const minimumOp = arithmetic('minimum', { f32: 'min', i32: 'minI' }, [
  towards((a, b) => gt(a, b), 0),
  towards((a, b) => gt(a, b), 1),
]);
export const maximumOp = arithmetic('maximum', { f32: 'max', i32: 'maxI' }, [
  towards((a, b) => lt(a, b), 0),
  towards((a, b) => lt(a, b), 1),
]);
/** x^p for x ≥ 0, or any x with an integer p. What `where` does not take is finite: its own gradients are multiplied by it. */
export const powOp = arithmetic('pow', { f32: 'pow' }, [
  (g, { inputs: [x, p] }) => {
    const flat = eq(p!, 0);
    return mul(g, where(flat, 0, mul(p!, pow(x!, where(flat, 1, sub(p!, 1))))));
  },
  (g, { inputs, output: y }) => {
    const [x] = inputs;
    // 0^p is flat for p ≥ 0, and infinite below.
    const flat = logicalAnd(eq(x!, 0), ge(inputs[1]!, 0));
    return mul(g, where(flat, 0, mul(y, log(where(flat, 1, x!)))));
  },
]);

/** a + b, both f32 or both i32; shapes broadcast, as in all functions of two tensors here. Throws OpError. */
export const add = callable2(addOp);
/** a − b. Throws as `add`. */
export const sub = callable2(subOp);
/** a · b, element by element. Throws as `add`. */
export const mul = callable2(mulOp);
/** a / b; of integers: truncated, 0 where b is 0. Throws as `add`. */
export const div = callable2(divOp);
/** The smaller; NaN where either is NaN. Where they are equal each gets half of the gradient. Throws as `add`. */
export const minimum = callable2(minimumOp);
/** The greater; NaN where either is NaN. Where they are equal each gets half of the gradient. Throws as `add`. */
export const maximum = callable2(maximumOp);
/** aᵇ of f32; NaN where a < 0 and b is no whole number, 1 where b is 0. Throws OpError. */
export const pow = callable2(powOp);

// ─── comparisons, logic, choice, conversion ──────────────────────────────────────────────────────────────────────

function comparison(name: string, f32: MicroOpName, i32: MicroOpName, swap = false): ElementwiseOp<NoAttrs> {
  return {
    kind: 'elementwise',
    name,
    infer: (inputs) => {
      const [a, b] = inputs as readonly [Spec, Spec];
      if ((a.dtype === 'f32') !== (b.dtype === 'f32')) {
        throw new OpError(
          name,
          `got ${formatSpec(a)} and ${formatSpec(b)}, expected one type; convert with cast(x, 'f32')`,
        );
      }
      return inferBroadcast(name, inputs, 'bool');
    },
    steps: ([a]) => [{ op: a!.dtype === 'f32' ? f32 : i32, args: swap ? [1, 0] : [0, 1] }],
    backward: [null, null],
  };
}

export const ltOp = comparison('lt', 'lt', 'ltI');
export const leOp = comparison('le', 'le', 'leI');
export const gtOp = comparison('gt', 'lt', 'ltI', true);
export const geOp = comparison('ge', 'le', 'leI', true);
export const eqOp = comparison('eq', 'eq', 'eqI');
export const neOp = comparison('ne', 'ne', 'neI');
/** Where a < b, as bool: f32 with f32, other types with each other. Throws OpError. */
export const lt = callable2(ltOp);
/** Where a ≤ b. Throws as `lt`. */
export const le = callable2(leOp);
/** Where a > b. Throws as `lt`. */
export const gt = callable2(gtOp);
/** Where a ≥ b. Throws as `lt`. */
export const ge = callable2(geOp);
/** Where a = b; a NaN equals nothing. Throws as `lt`. */
export const eq = callable2(eqOp);
/** Where a ≠ b. Throws as `lt`. */
export const ne = callable2(neOp);

function logic(name: string, micro: MicroOpName): ElementwiseOp<NoAttrs> {
  return {
    kind: 'elementwise',
    name,
    infer: (inputs) => {
      inputs.forEach((input, i) => {
        expectDType(name, `input ${i}`, input, 'bool');
      });
      return inferBroadcast(name, inputs, 'bool');
    },
    steps: (inputs) => [{ op: micro, args: inputs.map((_, i) => i) }],
    backward: () => null,
  };
}

export const andOp = logic('logicalAnd', 'and');
export const orOp = logic('logicalOr', 'or');
export const notOp = logic('logicalNot', 'not');
/** Where both bools are true. Throws OpError on other types: compare first, such as `gt(x, 0)`. */
export const logicalAnd = callable2(andOp);
/** Where one of the bools or both are true. Throws as `logicalAnd`. */
export const logicalOr = callable2(orOp);
/** Where the bool is false. Throws as `logicalAnd`. */
export const logicalNot = callable1(notOp);

export const isFiniteOp: ElementwiseOp<NoAttrs> = {
  kind: 'elementwise',
  name: 'isfinite',
  infer: ([x]) => {
    expectDType('isfinite', 'input', x!, 'f32');
    return { shape: x!.shape, dtype: 'bool' };
  },
  steps: () => [{ op: 'isFinite', args: [0] }],
  backward: [null],
};
/** Where x is neither infinite nor NaN. */
export const isfinite = callable1(isFiniteOp);

export const whereOp: ElementwiseOp<NoAttrs> = {
  kind: 'elementwise',
  name: 'where',
  infer: (inputs) => {
    const [condition, a, b] = inputs as readonly [Spec, Spec, Spec];
    expectDType('where', 'condition', condition, 'bool');
    if (a.dtype !== b.dtype) {
      throw new OpError('where', `got ${formatSpec(a)} and ${formatSpec(b)}, expected two of one type`);
    }
    return inferBroadcast('where', inputs, a.dtype);
  },
  steps: () => [{ op: 'select', args: [0, 1, 2] }],
  backward: [
    null,
    (g, { inputs: [condition] }) => where(condition!, g, 0),
    (g, { inputs: [condition] }) => where(condition!, 0, g),
  ],
};

/** a where the condition holds, else b. The gradient of the branch not taken is 0, even if its value is NaN. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  expectTensors('where', condition, ...[a, b].filter((x) => typeof x !== 'number'));
  const rank = Math.max(...[condition, a, b].map((x) => (typeof x === 'number' ? 0 : x.rank)));
  const dtype = [a, b].find((x) => typeof x !== 'number')?.dtype ?? 'f32';
  const [c, x, y] = [condition, a, b].map((value) => operand('where', value, rank, dtype));
  return apply(whereOp, [c!, x!, y!], {});
}

export interface CastAttrs {
  readonly dtype: DType;
}

export const castOp: ElementwiseOp<CastAttrs> = {
  kind: 'elementwise',
  name: 'cast',
  infer: ([x], { dtype }) => {
    expectTypeName('cast', dtype);
    return { shape: x!.shape, dtype };
  },
  steps: ([x], { dtype }) => {
    if (dtype === 'f32') return [{ op: x!.dtype === 'f32' ? 'move' : 'toFloat', args: [0] }];
    if (dtype === 'i32') return [{ op: x!.dtype === 'f32' ? 'toInt' : 'move', args: [0] }];
    if (dtype === 'u8') {
      if (x!.dtype === 'u8' || x!.dtype === 'bool') return [{ op: 'move', args: [0] }];
      const low: Step = { op: 'constant', args: [], bits: 255 };
      if (x!.dtype === 'i32') return [low, { op: 'and', args: [0, 1] }];
      return [low, { op: 'toInt', args: [0] }, { op: 'and', args: [2, 1] }];
    }
    const zero: Step = { op: 'constant', args: [], bits: 0 };
    return x!.dtype === 'bool'
      ? [{ op: 'move', args: [0] }]
      : [zero, { op: x!.dtype === 'f32' ? 'ne' : 'neI', args: [0, 1] }];
  },
  // Asked from f32 to f32 alone: other types have no gradients.
  backward: [(g) => g],
};

/** Another element type: to i32 truncates and saturates, to u8 then keeps the low 8 bits, to bool is x ≠ 0. No gradient. */
export function cast(x: Tensor, dtype: DType): Tensor {
  expectTensors('cast', x);
  return x.dtype === dtype ? x : apply(castOp, [x], { dtype });
}
