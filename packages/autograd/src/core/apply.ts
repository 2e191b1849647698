/** The engine's front half: one call applies any op, eagerly or into a trace, and records it for gradients. */
import { context } from './context.ts';
import { executeEagerly } from './eager.ts';
import type { AnyOp, BackwardContext, GradientRule, Op } from './op.ts';
import {
  expectSizes,
  expectTensors,
  expectTypeName,
  formatSpec,
  INTEGERS,
  OpError,
  type Spec,
} from './shape.ts';
import { type Origin, Tensor } from './tensor.ts';

export function apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor {
  expectTensors(op.name, ...inputs);
  const spec = op.infer(inputs, attrs);
  const { trace, scope, recording, observer } = context();
  const label = scope ? `${scope}/${op.name}` : op.name;
  const origin =
    recording && passesGradients(op, inputs, spec) ? new OpOrigin(op, inputs, attrs, label) : undefined;
  const value = trace
    ? trace.op(op as AnyOp, inputs, attrs, spec, label)
    : executeEagerly(op as AnyOp, inputs, attrs as never, spec);
  const unrecorded =
    !origin && inputs.some((input) => input.unrecorded || (input.requiresGrad && !recording));
  const output = new Tensor(value, spec.shape, spec.dtype, { origin, unrecorded });
  if (origin) origin.output = output;
  observer?.(label, inputs, output);
  return output;
}

const ruleOf = <A>(op: Op<A>, index: number): GradientRule<A> =>
  typeof op.backward === 'function' ? op.backward(index) : (op.backward[index] ?? null);

/** Whether gradients flow through this use of an op. Throws OpError where they should, and the op has no rule for it. */
function passesGradients<A>(op: Op<A>, inputs: readonly Tensor[], { dtype }: Spec): boolean {
  if (dtype !== 'f32') return false;
  const rules = inputs.flatMap((input, i) => {
    if (!input.requiresGrad) return [];
    const rule = ruleOf(op, i);
    if (rule !== null) return [rule];
    throw new OpError(
      op.name,
      `got input ${i}, ${formatSpec(input)}, that requires gradients, expected one that does not: the op has no gradient with ` +
        'respect to it; stop gradients with detach(x), or run the op in noGrad(() => …)',
    );
  });
  return rules.some((rule) => rule !== 'flat');
}

class OpOrigin<A> implements Origin, BackwardContext<A> {
  readonly label: string;
  readonly inputs: readonly Tensor[];
  readonly attrs: A;
  readonly op: Op<A>;
  asCalled: Origin['asCalled'];
  output!: Tensor;

  constructor(op: Op<A>, inputs: readonly Tensor[], attrs: A, label: string) {
    this.op = op;
    this.inputs = inputs;
    this.attrs = attrs;
    this.label = label;
  }

  backward(g: Tensor, index: number): Tensor | null {
    const rule = ruleOf(this.op, index);
    return typeof rule === 'function' ? rule(g, this) : null;
  }
}

/**
 * Note [Shortcuts]: A function may compute its result by other ops than it was called for, which leave out one of its inputs:
 * maxPool2d(relu(x)) becomes relu(maxPool2d(x)). The result then keeps both records. Gradients take the shortcut, unless a
 * gradient with respect to the input that it leaves out is asked for: then they go the way that was called. So a shortcut is
 * never visible in a gradient.
 *
 * Here: `result` was made by a shortcut, instead of by `op` on `input`.
 */
export function shortcut<A>(result: Tensor, op: Op<A>, input: Tensor, attrs: A): Tensor {
  if (result.origin instanceof OpOrigin) {
    const called = new OpOrigin(op, [input], attrs, result.origin.label);
    called.output = result;
    result.origin.asCalled = { input, origin: called };
  }
  return result;
}

/**
 * A tensor of numbers: nested or flat arrays, typed arrays (kept, not copied, where the type fits), or one number. Booleans
 * give a bool, an Int32Array an i32, all else an f32, unless `dtype` says otherwise. As i32 and u8 fractions are truncated and
 * numbers that do not fit are refused; as bool all but 0 is true. Throws RangeError, and OpError on a type or shape that is none.
 */
export function tensor(
  values: TensorLike,
  options: { shape?: readonly number[]; dtype?: Spec['dtype'] } = {},
): Tensor {
  const nested: readonly Nested[] | undefined = ArrayBuffer.isView(values) ? undefined : [values];
  const flat = nested ? flatten(nested) : (values as TypedArray);
  const dtype = options.dtype ?? (values instanceof Int32Array ? 'i32' : isBoolean(flat[0]) ? 'bool' : 'f32');
  expectTypeName('tensor', dtype);
  if (options.shape !== undefined) expectSizes('tensor', options.shape);
  const shape = options.shape ?? (nested ? shapeOf(nested).slice(1) : [flat.length]);
  const size = shape.reduce((product, n) => product * n, 1);
  if (size !== flat.length) {
    throw new RangeError(
      `tensor: got ${flat.length} values for shape [${shape.join(', ')}], expected ${size}`,
    );
  }
  return new Tensor(toStorage(flat, dtype), shape, dtype);
}

type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array;
export type TensorLike = Nested | TypedArray;
type Nested = number | boolean | readonly Nested[];

const isBoolean = (value: unknown): boolean => typeof value === 'boolean';

function toStorage(values: ArrayLike<number | boolean>, dtype: Spec['dtype']) {
  if (dtype === 'bool') return Int32Array.from(values, (x) => (Number(x) === 0 ? 0 : 1));
  if (dtype === 'u8') return Int32Array.from(values, (x) => whole(Number(x), dtype));
  if (dtype === 'i32')
    return values instanceof Int32Array ? values : Int32Array.from(values, (x) => whole(Number(x), dtype));
  if (context().precision === 'float64') return Float64Array.from(values, Number);
  return values instanceof Float32Array ? values : Float32Array.from(values, Number);
}

/** Truncated, as `cast` does it. Throws RangeError where the type does not hold the number: an Int32Array would wrap it around. */
function whole(value: number, dtype: 'i32' | 'u8'): number {
  const truncated = Math.trunc(value);
  const [low, high] = INTEGERS[dtype];
  if (truncated >= low && truncated <= high) return truncated;
  throw new RangeError(
    `tensor: got ${value} for ${dtype}, expected numbers from ${low} to ${high}; make an f32 tensor, which cast(x, '${dtype}') ` +
      'converts',
  );
}

function shapeOf(values: readonly Nested[]): number[] {
  const first = values[0];
  return Array.isArray(first) ? [values.length, ...shapeOf(first)] : [values.length];
}

function flatten(values: readonly Nested[]): (number | boolean)[] {
  const shape = shapeOf(values);
  const flat: (number | boolean)[] = [];
  const visit = (part: Nested, axis: number): void => {
    if (typeof part === 'number' || typeof part === 'boolean') {
      if (axis !== shape.length) throw new RangeError(`tensor: nested arrays differ in depth at ${part}`);
      flat.push(part);
      return;
    }
    if (!Array.isArray(part)) {
      throw new RangeError(
        `tensor: got ${String(part)}, expected numbers, booleans or nested arrays of them`,
      );
    }
    if (part.length !== shape[axis]) {
      throw new RangeError(
        `tensor: got a nested array of ${part.length} values at depth ${axis - 1}, expected ${shape[axis] ?? 'a number'}`,
      );
    }
    for (const inner of part) visit(inner, axis + 1);
  };
  visit(values, 0);
  return flat;
}
