/** Shapes, element types and their rules. */

export type Shape = readonly number[];

/**
 * Every element has 4 bytes: `f32`, `i32`, `bool` (i32 0 or 1) or `u8` (i32 0 to 255, for pixels and bytes).
 *
 * Note [Types]: Nothing converts by itself; numbers take the type of the tensor beside them. f32 and i32 have arithmetic; all
 * types compare (f32 with f32, the others with each other), select, index where they are i32, and change shape.
 * `cast` to i32 truncates and saturates, to u8 then keeps the low 8 bits, to bool is x ≠ 0, to f32 rounds.
 */
export type DType = 'f32' | 'i32' | 'bool' | 'u8';

/** What is known of a tensor before it has a value. */
export interface Spec {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Wrong use of an op: the message says which op, what it got, what it expected, and the way out. */
export class OpError extends Error {
  override readonly name = 'OpError';
  readonly code = 'LOCKSTEP_OP';

  /** The message without the op. */
  readonly problem: string;

  constructor(op: string, problem: string) {
    super(`${op}: ${problem}`);
    this.problem = problem;
  }
}

const isTensor = (value: unknown): value is Spec =>
  typeof (value as Partial<Spec> | null | undefined)?.dtype === 'string';

/** What stands where a tensor should: for people. */
function describe(value: unknown): string {
  if (isTensor(value)) return formatSpec(value);
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'function') return `a function ${value.name}`.trimEnd();
  if (typeof value !== 'object' || value === null) return String(value);
  const fields = Object.keys(value).slice(0, 4).join(', ');
  return ArrayBuffer.isView(value) ? value.constructor.name : `an object { ${fields} }`;
}

/** Throws OpError on what is no tensor: code that nobody checks the types of may pass anything. */
export function expectTensors(op: string, ...values: readonly unknown[]): void {
  for (const value of values) {
    if (isTensor(value)) continue;
    const isData = typeof value === 'number' || Array.isArray(value) || ArrayBuffer.isView(value);
    const isObject = typeof value === 'object' && value !== null && !isData;
    const wayOut = isData
      ? 'make one with tensor(values)'
      : isObject
        ? 'take one of its fields'
        : 'did a function forget to return it?';
    throw new OpError(op, `got ${describe(value)}, expected a tensor; ${wayOut}`);
  }
}

/** Runs a function that is made of ops: what they refuse is refused in its name. */
export function inNameOf<T>(op: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof OpError ? new OpError(op, error.problem) : error;
  }
}

export const sizeOf = (shape: Shape): number => shape.reduce((product, n) => product * n, 1);

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((n, i) => n === b[i]);

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

export const formatSpec = (spec: Spec): string => `${spec.dtype}${formatShape(spec.shape)}`;

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i]!;
  }
  return strides;
}

/** The shape that all of `shapes` broadcast to (NumPy's rule). Throws OpError. */
export function broadcastShapes(op: string, shapes: readonly Shape[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    let size = 1;
    for (const shape of shapes) {
      const n = shape[axis - rank + shape.length] ?? 1;
      if (n === 1 || n === size) continue;
      if (size !== 1) {
        throw new OpError(
          op,
          `got shapes ${shapes.map(formatShape).join(' and ')}, expected sizes that are equal or 1 in each ` +
            `dimension counted from the right; reshape or expand one of them`,
        );
      }
      size = n;
    }
    return size;
  });
}

/** An axis counted from the end: −rank … −1. Throws OpError when it is out of range. */
export function axisFromEnd(op: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    const range =
      rank === 0 ? 'no axis, because the tensor is a scalar' : `an axis from ${-rank} to ${rank - 1}`;
    throw new OpError(op, `got axis ${axis}, expected ${range}`);
  }
  return axis < 0 ? axis : axis - rank;
}

const DTYPES: readonly unknown[] = ['f32', 'i32', 'bool', 'u8'] satisfies DType[];

/** Throws OpError on what is not the name of an element type. */
export function expectTypeName(op: string, dtype: unknown): void {
  if (DTYPES.includes(dtype)) return;
  throw new OpError(op, `got type ${describe(dtype)}, expected 'f32', 'i32', 'bool' or 'u8'`);
}

/** Throws OpError on an option that is neither true nor false. */
export function expectFlag(op: string, what: string, value: unknown): void {
  if (typeof value === 'boolean') return;
  throw new OpError(op, `got ${what} ${describe(value)}, expected true or false`);
}

/** Throws OpError on what is not a number. */
export function expectReal(op: string, what: string, value: unknown): void {
  if (typeof value === 'number' && !Number.isNaN(value)) return;
  throw new OpError(op, `got ${what} ${describe(value)}, expected a number`);
}

/** A whole number of at least `least`. Throws OpError. */
export function expectWhole(op: string, what: string, value: unknown, least: number): void {
  if (Number.isInteger(value) && (value as number) >= least) return;
  throw new OpError(op, `got ${what} ${describe(value)}, expected an integer of at least ${least}`);
}

/** Throws OpError where there is no array: `permute(x, 0, 1)` instead of `permute(x, [0, 1])`. */
export function expectArray(op: string, what: string, value: unknown): void {
  if (Array.isArray(value)) return;
  throw new OpError(op, `got ${what} ${describe(value)}, expected an array such as [2, 3]`);
}

/** The least and the greatest number that an element holds, by type. */
export const INTEGERS = {
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u8: [0, 255],
  bool: [0, 1],
} as const;

/** A constant of a type: any number as f32, else an integer that the type holds. Throws OpError instead of wrapping around. */
export function expectConstant(op: string, value: number, dtype: DType): void {
  expectTypeName(op, dtype);
  if (typeof value !== 'number') throw new OpError(op, `got value ${describe(value)}, expected a number`);
  if (dtype === 'f32') return;
  const [low, high] = INTEGERS[dtype];
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw new OpError(
    op,
    `got ${value} for ${dtype}, expected an integer from ${low} to ${high}; convert with cast(x, 'f32')`,
  );
}

/** An array of numbers. Throws OpError. */
export function expectNumbers(op: string, what: string, value: unknown): void {
  expectArray(op, what, value);
  const wrong = (value as unknown[]).find((n) => typeof n !== 'number');
  if (wrong === undefined && !(value as unknown[]).includes(undefined)) return;
  throw new OpError(op, `got ${what} with ${describe(wrong)}, expected numbers, such as [2, 3]`);
}

/** Sizes of something new: whole numbers from 0 on. Throws OpError. */
export function expectSizes(op: string, shape: Shape): void {
  expectNumbers(op, 'shape', shape);
  if (shape.every((n) => Number.isInteger(n) && n >= 0)) return;
  throw new OpError(op, `got shape ${formatShape(shape)}, expected whole numbers from 0 on`);
}

export function expectDType(op: string, what: string, spec: Spec, ...allowed: DType[]): void {
  expectTensors(op, spec);
  if (!allowed.includes(spec.dtype)) {
    throw new OpError(
      op,
      `got ${what} ${formatSpec(spec)}, expected ${allowed.join(' or ')}; convert it with cast(x, '${allowed[0]}')`,
    );
  }
}
