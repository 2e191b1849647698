import { DataError } from '../common/errors.ts';
import { readBytes, writeWhole } from '../common/files.ts';
import type { NdArray } from '../dataset/arrays.ts';
import { rowSize } from '../dataset/dataset.ts';

/** NumPy's .npy format, versions 1 to 3, little-endian, C order: numpy.lib.format. */

const MAGIC = '\x93NUMPY';

type NpyArray = Float32Array | Float64Array | Int32Array | Uint8Array | BigInt64Array;

const readers = {
  '<f4': Float32Array,
  '<f8': Float64Array,
  '<i4': Int32Array,
  '<i8': BigInt64Array,
  '|u1': Uint8Array,
  '|b1': Uint8Array,
} as const;

/**
 * The array of a .npy file. f8 is rounded to f32, i8 must fit in 32 bits, bool becomes u8.
 *
 * @param source A path, or the bytes of such a file.
 * @throws DataError for another format, another element type, Fortran order, or a file of another length.
 */
export function readNpy(source: string | Uint8Array): NdArray {
  const name = typeof source === 'string' ? source : 'the given bytes';
  const bytes = typeof source === 'string' ? readBytes('readNpy', source) : source;
  const fail = (
    code: 'DATA_FORMAT' | 'DATA_TRUNCATED' | 'DATA_CORRUPT' | 'DATA_VALUE',
    problem: string,
  ): never => {
    throw new DataError(code, `readNpy: ${name}: ${problem}`);
  };
  if (Buffer.from(bytes.subarray(0, 6)).toString('latin1') !== MAGIC) fail('DATA_FORMAT', 'not a .npy file.');
  const version = bytes[6] ?? 0;
  if (version < 1 || version > 3) fail('DATA_FORMAT', `version ${version}; expected 1 to 3.`);
  const prefix = version === 1 ? 10 : 12;
  if (bytes.length < prefix) fail('DATA_TRUNCATED', 'it ends within its header. Copy it again.');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const start = prefix + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (bytes.length < start) fail('DATA_TRUNCATED', 'it ends within its header. Copy it again.');

  const header = Buffer.from(bytes.subarray(prefix, start)).toString('latin1');
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const extents = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(header)?.[1];
  if (descr === undefined || fortran === undefined || extents === undefined) {
    return fail('DATA_FORMAT', `a header without descr, fortran_order and shape: ${header.trim()}`);
  }
  const shape = (extents.match(/\d+/g) ?? []).map(Number);
  const reader = Object.hasOwn(readers, descr) ? readers[descr as keyof typeof readers] : undefined;
  if (reader === undefined) {
    const known = Object.keys(readers).join(', ');
    return fail(
      'DATA_FORMAT',
      `elements of type ${descr}; expected one of ${known}. Save array.astype('<f4').`,
    );
  }
  if (fortran === 'True' && shape.length > 1) {
    fail('DATA_FORMAT', 'it is in Fortran order. Save numpy.ascontiguousarray(array).');
  }
  const expected = rowSize(shape) * reader.BYTES_PER_ELEMENT;
  const got = bytes.length - start;
  if (got < expected)
    fail('DATA_TRUNCATED', `${got} bytes of data; expected ${expected} for [${shape}]. Copy it again.`);
  if (got > expected) fail('DATA_CORRUPT', `${got} bytes of data; expected ${expected} for [${shape}].`);
  // Copied: a typed array must begin at a multiple of its element size. (Buffer.slice would not copy.)
  const data: NpyArray = new reader(new Uint8Array(bytes.subarray(start)).buffer);
  if (data instanceof Float64Array) return { data: Float32Array.from(data), shape };
  if (!(data instanceof BigInt64Array)) return { data, shape };
  const narrow = new Int32Array(data.length);
  for (let i = 0; i < data.length; i++) {
    narrow[i] = Number(data[i]);
    if (BigInt(narrow[i]!) !== data[i])
      fail('DATA_VALUE', `element ${i} is ${data[i]}; expected 32-bit numbers.`);
  }
  return { data: narrow, shape };
}

/**
 * Writes an array to a .npy file (version 1): whole or not at all.
 *
 * @throws DataError when the data do not fill the shape, or the file cannot be written.
 */
export function writeNpy(path: string, array: NdArray): void {
  const { data, shape } = array;
  if (rowSize(shape) !== data.length) {
    throw new DataError('DATA_SHAPE', `writeNpy: ${path}: ${data.length} elements for the shape [${shape}].`);
  }
  const descr =
    data instanceof Float32Array
      ? '<f4'
      : data instanceof Float64Array
        ? '<f8'
        : data instanceof Int32Array
          ? '<i4'
          : '|u1';
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const dictionary = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${extents}), }`;
  // Padded so that the data begin at a multiple of 64 bytes, and closed by a line feed.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64;
  const head = Buffer.alloc(length, ' ');
  head.write(`${MAGIC}\x01\x00`, 0, 'latin1');
  head.writeUInt16LE(length - 10, 8);
  head.write(dictionary, 10, 'latin1');
  head[length - 1] = 0x0a;
  writeWhole('writeNpy', path, [head, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}
