/** The engine's front half: one call applies any op, eagerly or into a trace, and records it for gradients. */
import { context } from './context.ts';
import { executeEagerly } from './eager.ts';
import type { AnyOp, BackwardContext, Op } from './op.ts';
import { expectTensors, type Spec } from './shape.ts';
import { type Origin, Tensor } from './tensor.ts';

export function apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor {
  expectTensors(op.name, ...inputs);
  const spec = op.infer(inputs, attrs);
  const { trace, scope, recording, observer } = context();
  const label = scope ? `${scope}/${op.name}` : op.name;
  const value = trace
    ? trace.op(op as AnyOp, inputs, attrs, spec, label)
    : executeEagerly(op as AnyOp, inputs, attrs as never, spec);
  const origin =
    recording && inputs.some((input, i) => input.requiresGrad && ruleOf(op, i))
      ? new OpOrigin(op, inputs, attrs, label)
      : undefined;
  const output = new Tensor(value, spec.shape, spec.dtype, { origin });
  if (origin) origin.output = output;
  observer?.(label, inputs, output);
  return output;
}

const ruleOf = <A>(op: Op<A>, index: number) =>
  typeof op.backward === 'function' ? op.backward(index) : (op.backward[index] ?? null);

class OpOrigin<A> implements Origin, BackwardContext<A> {
  readonly label: string;
  readonly inputs: readonly Tensor[];
  readonly attrs: A;
  readonly op: Op<A>;
  output!: Tensor;

  constructor(op: Op<A>, inputs: readonly Tensor[], attrs: A, label: string) {
    this.op = op;
    this.inputs = inputs;
    this.attrs = attrs;
    this.label = label;
  }

  backward(g: Tensor, index: number): Tensor | null {
    const rule = ruleOf(this.op, index);
    return rule ? rule(g, this) : null;
  }
}

/**
 * A tensor of numbers: nested or flat arrays, typed arrays (kept, not copied, where the type fits), or one number. Booleans
 * give a bool, an Int32Array an i32, all else an f32, unless `dtype` says otherwise; numbers become what `cast` makes of
 * them. Throws RangeError.
 */
export function tensor(
  values: TensorLike,
  options: { shape?: readonly number[]; dtype?: Spec['dtype'] } = {},
): Tensor {
  const nested: readonly Nested[] | undefined = ArrayBuffer.isView(values) ? undefined : [values];
  const flat = nested ? flatten(nested) : (values as TypedArray);
  const dtype = options.dtype ?? (values instanceof Int32Array ? 'i32' : isBoolean(flat[0]) ? 'bool' : 'f32');
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
  if (dtype === 'u8') return Int32Array.from(values, (x) => Number(x) & 255);
  if (dtype === 'i32') return values instanceof Int32Array ? values : Int32Array.from(values, Number);
  if (context().precision === 'float64') return Float64Array.from(values, Number);
  return values instanceof Float32Array ? values : Float32Array.from(values, Number);
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
