/** All parameters in one vector: the order and the gaps are fixed by the model, so that slices can be owned by anyone. */
import type { Parameter } from '@lockstep/autograd';
import { ALIGNMENT, ELEMENT_BYTES } from '@lockstep/kernels';

export interface FlatEntry {
  readonly name: string;
  readonly parameter: Parameter;
  /** First element in the vector. */
  readonly offset: number;
  readonly size: number;
}

export interface FlatLayout {
  readonly entries: readonly FlatEntry[];
  /** Elements with padding (zeros, which no optimizer changes in a way that matters). */
  readonly size: number;
}

/** Blocks of a global norm; slices are made of whole blocks. */
export const NORM_BLOCK = 1024;

const LINE = ALIGNMENT / ELEMENT_BYTES;

export function flatLayout(parameters: ReadonlyMap<string, Parameter>): FlatLayout {
  let offset = 0;
  const entries = [...parameters].map(([name, parameter]) => {
    const entry = { name, parameter, offset, size: parameter.size };
    offset += Math.ceil(entry.size / LINE) * LINE;
    return entry;
  });
  return { entries, size: offset };
}

/** Contiguous slices of whole blocks for the workers; the last ones may be empty. */
export function slices(size: number, workers: number): { from: number; to: number }[] {
  const blocks = Math.ceil(size / NORM_BLOCK);
  return Array.from({ length: workers }, (_, worker) => ({
    from: Math.min(size, Math.floor((blocks * worker) / workers) * NORM_BLOCK),
    to: Math.min(size, Math.floor((blocks * (worker + 1)) / workers) * NORM_BLOCK),
  }));
}

/** The parameters' numbers as one vector. */
export function gather(layout: FlatLayout, out: Float32Array = new Float32Array(layout.size)): Float32Array {
  for (const { parameter, offset } of layout.entries) out.set(parameter.data(), offset);
  return out;
}

/** Gives the parameters the numbers of a vector (copied). */
export function scatter(layout: FlatLayout, vector: Float32Array): void {
  for (const { parameter, offset, size } of layout.entries) {
    parameter.value = Float32Array.from(vector.subarray(offset, offset + size));
  }
}
