import type { GraphNode } from './graph.ts';
import { type DType, formatSpec, OpError, type Shape, sizeOf } from './shape.ts';

export type TensorData = Float32Array | Int32Array | Float64Array;

/** How a tensor came to be, for the backward pass. */
export interface Origin {
  readonly label: string;
  readonly inputs: readonly Tensor[];
  /** An entry of the table of ops, or none: an origin of another kind. */
  readonly op?: object;
  /** Where the op took a shortcut that leaves out `input`: the way through it. See Note [Shortcuts]. */
  readonly asCalled?: { readonly input: Tensor; readonly origin: Origin } | undefined;
  /** Gradient with respect to input `index`, from the gradient with respect to the output; null: none. */
  backward(g: Tensor, index: number): Tensor | null;
}

/** Elements at each end of a long axis that a tensor shows of itself. */
const SHOWN = 3;

/**
 * An n-dimensional array. Eager tensors hold numbers; while a step is traced they stand for a node of the graph.
 * A tensor never changes its shape or type; only a `Parameter` changes its numbers.
 */
export class Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  /** Numbers (row-major), or the graph node while tracing. Not for users: see `data()` and `item()`. */
  value: TensorData | GraphNode;
  /** Whether gradients flow to this tensor. */
  requiresGrad: boolean;
  /** Set by `backward()` on the leaves that require gradients. */
  grad: Tensor | undefined;
  readonly origin: Origin | undefined;
  /** Made of tensors that require gradients, by ops that were not recorded: a gradient through it would be a silent 0. */
  readonly unrecorded: boolean;

  constructor(
    value: TensorData | GraphNode,
    shape: Shape,
    dtype: DType,
    options: { requiresGrad?: boolean; origin?: Origin | undefined; unrecorded?: boolean } = {},
  ) {
    this.value = value;
    this.shape = shape;
    this.dtype = dtype;
    this.requiresGrad = options.requiresGrad ?? options.origin !== undefined;
    this.origin = options.origin;
    this.unrecorded = options.unrecorded ?? false;
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get isTraced(): boolean {
    return !ArrayBuffer.isView(this.value);
  }

  /** The numbers in row-major order (not a copy: treat as read-only). Throws OpError while tracing. */
  data(): TensorData {
    if (ArrayBuffer.isView(this.value)) return this.value;
    throw new OpError(
      'data',
      `the value of ${formatSpec(this)} is not known while the step is traced: user code runs once and becomes a ` +
        `graph, so it cannot branch on data. Use where(condition, a, b), minimum, maximum or clamp instead of if and ` +
        `loops over values; return numbers that you want to see as metrics`,
    );
  }

  /** The only element of a tensor of size 1. Throws OpError otherwise, or while tracing. */
  item(): number {
    const data = this.data();
    if (data.length !== 1) {
      throw new OpError(
        'item',
        `got ${formatSpec(this)}, expected one element; reduce it first or use data()`,
      );
    }
    return data[0]!;
  }

  /** Lets `if (loss > 1)` work eagerly and fail with a reason while tracing. */
  [Symbol.toPrimitive](hint: string): number | string {
    return hint === 'string' ? this.toString() : this.item();
  }

  /** Type, shape and numbers, six digits each; of long axes both ends. */
  toString(): string {
    if (this.isTraced) return `Tensor(${formatSpec(this)}, traced)`;
    const data = this.data();
    const number = (x: number): string =>
      this.dtype === 'bool' ? String(x !== 0) : String(Number(x.toPrecision(6)));
    const part = ([n, ...rest]: Shape, at: number, depth: number): string => {
      if (n === undefined) return number(data[at]!);
      const all = Array.from({ length: n }, (_, i) => i);
      const shown = n > 2 * SHOWN ? [...all.slice(0, SHOWN), -1, ...all.slice(-SHOWN)] : all;
      const items = shown.map((i) => (i < 0 ? '…' : part(rest, at + i * sizeOf(rest), depth + 1)));
      return `[${items.join(rest.length === 0 ? ', ' : `,\n${' '.repeat(depth)}`)}]`;
    };
    const numbers = part(this.shape, 0, 1);
    return `Tensor(${formatSpec(this)}${this.rank > 1 ? `,\n${numbers}` : `: ${numbers}`})`;
  }

  /** What `console.log` shows. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /** Lets go of the numbers now instead of at the next garbage collection (`using x = …`). */
  [Symbol.dispose](): void {
    if (!this.isTraced) this.value = new Float32Array(0);
  }
}

/** How a buffer follows: keep · before + add · seen. */
export interface BufferRule {
  readonly keep: number;
  readonly add: number;
}

/** A tensor of the model that gradients do not change, but `updateBuffer` does: a running statistic. Its name is its path in the model. */
export class StateBuffer extends Tensor {
  readonly rule: BufferRule;

  constructor(value: Float32Array, shape: Shape, rule: BufferRule) {
    super(value, shape, 'f32');
    this.rule = rule;
  }
}

/** A tensor that training changes. Its name is its path in the model (`0.weight`). */
export class Parameter extends Tensor {
  constructor(value: Float32Array, shape: Shape) {
    super(value, shape, 'f32', { requiresGrad: true });
  }
}
