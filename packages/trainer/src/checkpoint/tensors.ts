/** The numbers of a checkpoint as named tensors, one per parameter: any reader of safetensors can look into it. */
import { DataError, type StoredTensor, type TensorToStore } from '@lockstep/data';
import type { ExecutorState } from '../executor.ts';
import type { FlatLayout } from '../flat.ts';

/** Vectors by name: a state, and `best` for the best weights. */
export type Vectors = ReadonlyMap<string, Float32Array>;

/** The parameters that a vector of this length is over: all, those that are trained, or none. */
const entriesOf = ({ size, entries, trainedSize, trained }: FlatLayout, length: number) =>
  length === size ? entries : length === trainedSize ? trained : undefined;

/**
 * A vector over all parameters, or over all that are trained, becomes a tensor `VECTOR/PARAMETER` for each of them (its
 * padding is nobody's); others stay whole.
 */
export function* toTensors(layout: FlatLayout, vectors: Vectors): Generator<[string, TensorToStore]> {
  for (const [name, data] of vectors) {
    const entries = entriesOf(layout, data.length);
    if (!entries) yield [name, { shape: [data.length], data }];
    else {
      for (const {
        name: parameter,
        parameter: { shape },
        offset,
        size,
      } of entries)
        yield [`${name}/${parameter}`, { shape, data: data.subarray(offset, offset + size) }];
    }
  }
}

/**
 * The way back: vectors of the names and lengths of `expected`. Throws DataError where tensors are missing, too many or
 * of another shape or type.
 */
export function fromTensors(
  who: string,
  layout: FlatLayout,
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
  for (const [name, length] of expected) {
    const entries = entriesOf(layout, length);
    if (!entries) vectors.set(name, take(name, [length]));
    else {
      const vector = new Float32Array(length);
      for (const {
        name: parameter,
        parameter: { shape },
        offset,
      } of entries)
        vector.set(take(`${name}/${parameter}`, shape), offset);
      vectors.set(name, vector);
    }
  }
  for (const name of left) throw new DataError('DATA_FORMAT', `${who}: tensor ${name} belongs to nothing.`);
  return vectors;
}

export const lengthsOf = (state: ExecutorState): Map<string, number> =>
  new Map([...state].map(([name, { length }]) => [name, length]));
