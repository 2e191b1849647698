/** Where a tensor lies in memory, and what an op needs to turn itself into kernel calls. */
import {
  type Address,
  type Chain,
  ELEMENT_BYTES,
  type InstructionName,
  type InstructionValues,
} from '@lockstep/kernels';
import { contiguousStrides, type Shape, sizeOf } from './shape.ts';

/** A strided window on memory; strides count elements. */
export interface View {
  readonly address: Address;
  readonly shape: Shape;
  readonly strides: readonly number[];
}

/** Receives an op's kernel calls. Eager execution and the compiler each implement it. */
export interface Emitter {
  call<N extends InstructionName>(name: N, values: InstructionValues<N>): void;
  elementwise(chain: Omit<Chain, 'scratch'>): void;
  /** Memory that lives for the calls of this op only. */
  temporary(bytes: number): Address;
  /** Shared scratch of at least this size; its content does not outlive one call. */
  scratch(bytes: number): Address;
  /** The step's record and the unit's block (see `random` and `gatherRows` in the instruction set). */
  readonly record: Address;
  readonly unit: Address;
}

export const contiguousView = (address: Address, shape: Shape): View => ({
  address,
  shape,
  strides: contiguousStrides(shape),
});

export function isContiguous({ shape, strides }: View): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

/** Strides that repeat a view over `shape` (same rank; a size of 1 may grow). */
export const expandedStrides = (view: View, shape: Shape): number[] =>
  shape.map((n, i) => (view.shape[i] === 1 && n !== 1 ? 0 : view.strides[i]!));

/** The view itself where it is contiguous, else a copy in temporary memory. */
export function materialize(emit: Emitter, view: View, shape: Shape = view.shape): View {
  const strides = expandedStrides(view, shape);
  const source = { address: view.address, shape, strides };
  if (isContiguous(source)) return contiguousView(view.address, shape);
  const copy = contiguousView(emit.temporary(sizeOf(shape) * ELEMENT_BYTES), shape);
  copyView(emit, source, copy.address);
  return copy;
}

/** Copies a view to contiguous memory. */
export function copyView(emit: Emitter, source: View, target: Address): void {
  emit.elementwise({
    dims: source.shape,
    inputs: [{ address: source.address, strides: source.strides }],
    steps: [],
    outputs: [{ address: target, value: 0 }],
  });
}
