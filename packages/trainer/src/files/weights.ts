/** Weights from files. */
import { DataError, readSafetensors } from '@lockstep/data';
import type { StateEntry } from '@lockstep/nn';

/** Weights from a safetensors file, by name; PyTorch's counters (I64) become f32. Throws DataError. */
export function readWeights(path: string): Map<string, StateEntry> {
  return new Map(
    Array.from(readSafetensors(path), ([name, { shape, data, dtype }]) => {
      if (data instanceof Float32Array) return [name, { shape, data }];
      if (data instanceof BigInt64Array) return [name, { shape, data: Float32Array.from(data, Number) }];
      throw new DataError(
        'DATA_FORMAT',
        `readWeights: ${path}: ${name} is ${dtype}, expected F32; save the weights as float32`,
      );
    }),
  );
}
