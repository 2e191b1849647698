/** Where a tensor lies in memory, and what an op needs to turn itself into kernel calls. */
import {
  type Address,
  type Chain,
  COPY_RANK,
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
  const whole = contiguousView(target, source.shape);
  if (walks(source, whole).length > COPY_RANK) {
    copyInto(emit, source, whole);
    return;
  }
  emit.elementwise({
    dims: source.shape,
    inputs: [{ address: source.address, strides: source.strides }],
    steps: [],
    outputs: [{ address: target, value: 0 }],
  });
}

/** Dimensions of a copy with the steps of source and target, those of size 1 dropped, neighbours merged. */
function walks(source: View, target: View): { size: number; from: number; to: number }[] {
  const merged: { size: number; from: number; to: number }[] = [];
  source.shape.forEach((size, i) => {
    if (size === 1) return;
    const walk = { size, from: source.strides[i]!, to: target.strides[i]! };
    const outer = merged.at(-1);
    if (outer && outer.from === walk.from * size && outer.to === walk.to * size) {
      merged[merged.length - 1] = { ...walk, size: outer.size * size };
    } else merged.push(walk);
  });
  return merged;
}

/** Copies a view to another window of the same shape; strides of the source may be negative. They must not overlap. */
export function copyInto(emit: Emitter, source: View, target: View): void {
  const merged = walks(source, target);
  if (merged.length > COPY_RANK) {
    const [size, from, to] = [source.shape[0]!, source.strides[0]!, target.strides[0]!];
    const rest = ({ shape, strides }: View, address: Address): View => ({
      address,
      shape: shape.slice(1),
      strides: strides.slice(1),
    });
    for (let i = 0; i < size; i++) {
      copyInto(
        emit,
        rest(source, moved(source.address, i * from)),
        rest(target, moved(target.address, i * to)),
      );
    }
    return;
  }
  const all = [...new Array(COPY_RANK - merged.length).fill({ size: 1, from: 0, to: 0 }), ...merged];
  emit.call('copy', {
    out: target.address,
    in: source.address,
    ...(Object.fromEntries(
      all.flatMap(({ size, from, to }, d) => [
        [`n${d}`, size],
        [`outStride${d}`, to],
        [`inStride${d}`, from],
      ]),
    ) as CopyWalks),
  });
}

type CopyWalks = Omit<InstructionValues<'copy'>, 'out' | 'in'>;

/** The address so many elements further on. */
export const moved = ({ region, offset }: Address, count: number): Address => ({
  region,
  offset: offset + count * ELEMENT_BYTES,
});
