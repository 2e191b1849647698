/** The numbers of a checkpoint as named tensors, one per parameter: any reader of safetensors can look into it. */
import { DataError, type StoredTensor, type TensorToStore } from '@lockstep/data';
import type { ExecutorState } from '../../run/executor.ts';

/** Vectors by name: a state, and `best` for the best weights. */
export type Vectors = ReadonlyMap<string, Float32Array>;

/** What of a run's layout (`FlatLayout`) matters here: which vectors there are, and what lies where in them. */
export interface TensorLayout {
  readonly size: number;
  readonly entries: readonly ParameterPlace[];
  readonly trainedSize: number;
  readonly trained: readonly ParameterPlace[];
  readonly bufferSize: number;
  readonly buffers: readonly (Omit<Place, 'shape'> & { readonly buffer: Pick<Place, 'shape'> })[];
}

type ParameterPlace = Omit<Place, 'shape'> & { readonly parameter: Pick<Place, 'shape'> };

/** A parameter or buffer in a vector. */
interface Place {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly size: number;
}

/** What a vector of this length is over: parameters (all, or those that are trained), buffers, or both; or nothing known. */
function placesOf(layout: TensorLayout, length: number): readonly Place[] | undefined {
  const { size, entries, trainedSize, trained, bufferSize, buffers } = layout;
  const parameters = (list: typeof entries): Place[] =>
    list.map(({ parameter, ...place }) => ({ ...place, shape: parameter.shape }));
  const buffersFrom = (start: number): Place[] =>
    buffers.map(({ buffer, offset, ...place }) => ({
      ...place,
      offset: start + offset,
      shape: buffer.shape,
    }));
  if (length === size) return parameters(entries);
  if (length === trainedSize) return parameters(trained);
  if (length === bufferSize) return buffersFrom(0);
  if (length === size + bufferSize) return [...parameters(entries), ...buffersFrom(size)];
  return undefined;
}

/**
 * A vector over parameters or buffers becomes a tensor `VECTOR/NAME` for each of them (its padding is nobody's); others
 * stay whole.
 */
export function* toTensors(layout: TensorLayout, vectors: Vectors): Generator<[string, TensorToStore]> {
  for (const [vector, data] of vectors) {
    const places = placesOf(layout, data.length);
    if (!places) yield [vector, { shape: [data.length], data }];
    for (const { name, shape, offset, size } of places ?? [])
      yield [`${vector}/${name}`, { shape, data: data.subarray(offset, offset + size) }];
  }
}

/**
 * The way back: vectors of the names and lengths of `expected`. Throws DataError where tensors are missing, too many or
 * of another shape or type.
 */
export function fromTensors(
  who: string,
  layout: TensorLayout,
  expected: ReadonlyMap<string, number>,
  tensors: ReadonlyMap<string, StoredTensor>,
): Map<string, Float32Array> {
  const left = new Set(tensors.keys());
  const take = (name: string, shape: readonly number[]): Float32Array => {
    const found = tensors.get(name);
    left.delete(name);
    if (found?.data instanceof Float32Array && String(found.shape) === String(shape)) return found.data;
    const got = found ? `${found.dtype} [${found.shape}]` : 'none';
    throw new DataError('DATA_FORMAT', `${who}: tensor ${name} is ${got}, expected F32 [${shape}].`);
  };
  const vectors = new Map<string, Float32Array>();
  for (const [vector, length] of expected) {
    const places = placesOf(layout, length);
    const data = places ? new Float32Array(length) : take(vector, [length]);
    for (const { name, shape, offset } of places ?? []) data.set(take(`${vector}/${name}`, shape), offset);
    vectors.set(vector, data);
  }
  for (const name of left) throw new DataError('DATA_FORMAT', `${who}: tensor ${name} belongs to nothing.`);
  return vectors;
}

export const lengthsOf = (state: ExecutorState): Map<string, number> =>
  new Map([...state].map(([name, { length }]) => [name, length]));
