import { DataError } from '../common/errors.ts';
import { gunzipIfPacked, readBytes } from '../common/files.ts';
import type { NdArray } from '../dataset/arrays.ts';
import { rowSize } from '../dataset/dataset.ts';

/** Element types by the third byte of the magic number; big-endian. */
const types: Readonly<
  Record<number, { bytes: number; read: (data: DataView, count: number) => NdArray['data'] }>
> = {
  8: { bytes: 1, read: (data) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice() },
  9: { bytes: 1, read: (data, n) => Int32Array.from({ length: n }, (_, i) => data.getInt8(i)) },
  11: { bytes: 2, read: (data, n) => Int32Array.from({ length: n }, (_, i) => data.getInt16(2 * i)) },
  12: { bytes: 4, read: (data, n) => Int32Array.from({ length: n }, (_, i) => data.getInt32(4 * i)) },
  13: { bytes: 4, read: (data, n) => Float32Array.from({ length: n }, (_, i) => data.getFloat32(4 * i)) },
  14: { bytes: 8, read: (data, n) => Float64Array.from({ length: n }, (_, i) => data.getFloat64(8 * i)) },
};

/**
 * An array in the IDX format of MNIST, plain or packed by gzip: two zero bytes, the element type, the number of axes, the
 * big-endian extent of each, then the elements. Integers of 8 to 32 bits with sign become i32.
 *
 * @param source A path, or the bytes of such a file.
 * @throws DataError for a file that is missing, truncated, damaged or of another format.
 */
export function readIdx(source: string | Uint8Array): NdArray {
  const name = typeof source === 'string' ? source : 'the given bytes';
  const packed = typeof source === 'string' ? readBytes('readIdx', source) : source;
  const bytes = gunzipIfPacked('readIdx', name, packed);
  const fail = (code: 'DATA_FORMAT' | 'DATA_TRUNCATED' | 'DATA_CORRUPT', problem: string): never => {
    throw new DataError(code, `readIdx: ${name}: ${problem}`);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4)
    fail('DATA_TRUNCATED', `${bytes.length} bytes; expected at least the 4 of the magic number.`);
  const magic = view.getUint32(0);
  const type = types[magic >>> 8];
  if (type === undefined) {
    return fail(
      'DATA_FORMAT',
      `magic number 0x${magic.toString(16).padStart(8, '0')}; expected an IDX file (0x00000801 labels, 0x00000803 images).`,
    );
  }
  const axes = magic & 0xff;
  const start = 4 + 4 * axes;
  if (bytes.length < start)
    fail('DATA_TRUNCATED', `it ends within its header of ${start} bytes. Fetch it again.`);
  const shape = Array.from({ length: axes }, (_, i) => view.getUint32(4 + 4 * i));
  const count = rowSize(shape);
  const expected = count * type.bytes;
  const got = bytes.length - start;
  const wanted = `${got} bytes of data; expected ${expected} for [${shape}].`;
  if (got < expected) fail('DATA_TRUNCATED', `${wanted} Fetch it again.`);
  if (got > expected) fail('DATA_CORRUPT', wanted);
  return { data: type.read(new DataView(bytes.buffer, bytes.byteOffset + start, expected), count), shape };
}
