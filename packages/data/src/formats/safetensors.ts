import { DataError } from '../common/errors.ts';
import { readBytes, writeWhole } from '../common/files.ts';
import { duplicateKey, isRecord } from '../common/json.ts';
import { rowSize } from '../dataset/dataset.ts';

/**
 * Safetensors: 8 bytes of little-endian header length N, N bytes of JSON (name → dtype, shape, data_offsets; text notes
 * under `__metadata__`), then the tensors' bytes without gaps.
 */

/** Element types that JavaScript has typed arrays for. */
const arrays = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

/** Element types of 2 bytes that are read as the float32 of the same value. */
const halves = { F16: fromHalf, BF16: (bits: number) => fromBits(bits << 16) } as const;

const word = new DataView(new ArrayBuffer(4));
function fromBits(bits: number): number {
  word.setInt32(0, bits);
  return word.getFloat32(0);
}

/** IEEE 754's binary16: 1 bit of sign, 5 of exponent, 10 of fraction. */
function fromHalf(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  const size =
    exponent === 31
      ? fraction === 0
        ? Infinity
        : Number.NaN
      : exponent === 0
        ? fraction * 2 ** -14
        : (1 + fraction) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

const isHalf = (type: TensorType): type is keyof typeof halves => Object.hasOwn(halves, type);
const bytesOf = (type: TensorType): number => (isHalf(type) ? 2 : arrays[type].BYTES_PER_ELEMENT);

/** The numbers in the bytes of a tensor, which begin at a multiple of 8. */
function numbersOf(type: TensorType, { buffer }: Uint8Array<ArrayBuffer>): TensorData {
  return isHalf(type) ? Float32Array.from(new Uint16Array(buffer), halves[type]) : new arrays[type](buffer);
}

export type TensorType = keyof typeof arrays | keyof typeof halves;
export type TensorData = InstanceType<(typeof arrays)[keyof typeof arrays]>;

/** The data of F16 and BF16 are a Float32Array. */
export interface StoredTensor {
  readonly dtype: TensorType;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** What a file holds: tensors by name, and its text notes. */
export interface SafetensorsFile {
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Longest header that is read, as in the reference implementation. */
const MAX_HEADER = 100_000_000;

/**
 * The tensors of a safetensors file. Everything in the header is checked before any of it is used.
 *
 * @param source A path, or the bytes of such a file.
 * @throws DataError that says what is wrong with the file and where.
 */
export function readSafetensors(source: string | Uint8Array): Map<string, StoredTensor> {
  return readSafetensorsFile(source).tensors;
}

/** As {@link readSafetensors}, with the file's metadata. */
export function readSafetensorsFile(source: string | Uint8Array): SafetensorsFile {
  const name = typeof source === 'string' ? source : 'the given bytes';
  const bytes = typeof source === 'string' ? readBytes('readSafetensors', source) : source;
  return new Reader(name, bytes).read();
}

interface Entry extends Omit<StoredTensor, 'data'> {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

class Reader {
  readonly #name: string;
  readonly #bytes: Uint8Array;

  constructor(name: string, bytes: Uint8Array) {
    this.#name = name;
    this.#bytes = bytes;
  }

  read(): SafetensorsFile {
    const headerEnd = this.#headerEnd();
    const header = this.#parse(this.#bytes.subarray(8, headerEnd));
    const metadata = this.#metadata(header.__metadata__);
    const entries = Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(([name, value]) => this.#entry(name, value));
    this.#checkLayout(entries, this.#bytes.length - headerEnd);
    const tensors = new Map<string, StoredTensor>();
    for (const { name, dtype, shape, begin, end } of entries) {
      // Copied: a typed array must begin at a multiple of its element size. (Buffer.slice would not copy.)
      const copy = new Uint8Array(this.#bytes.subarray(headerEnd + begin, headerEnd + end));
      tensors.set(name, { dtype, shape, data: numbersOf(dtype, copy) });
    }
    return { tensors, metadata };
  }

  #fail(code: 'DATA_TRUNCATED' | 'DATA_CORRUPT' | 'DATA_FORMAT', problem: string): never {
    throw new DataError(code, `readSafetensors: ${this.#name}: ${problem}`);
  }

  #headerEnd(): number {
    const size = this.#bytes.length;
    if (size < 8)
      this.#fail('DATA_TRUNCATED', `${size} bytes; expected at least the 8 of the header's length.`);
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, 8);
    const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
    if (length > MAX_HEADER) {
      this.#fail(
        'DATA_FORMAT',
        `a header of ${length} bytes; expected at most ${MAX_HEADER}. Is it a safetensors file?`,
      );
    }
    if (8 + length > size) {
      this.#fail('DATA_TRUNCATED', `a header of ${length} bytes in a file of ${size}. Copy the file again.`);
    }
    return 8 + length;
  }

  #parse(bytes: Uint8Array): Record<string, unknown> {
    let text: string;
    let header: unknown;
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
      header = JSON.parse(text);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#fail('DATA_FORMAT', `the header is not JSON in UTF-8 (${reason}). Is it a safetensors file?`);
    }
    if (!text.startsWith('{') || !isRecord(header))
      this.#fail('DATA_FORMAT', 'the header is not a JSON object.');
    const twice = duplicateKey(text);
    if (twice !== undefined) this.#fail('DATA_CORRUPT', `the header names "${twice}" twice.`);
    return header;
  }

  #metadata(value: unknown): Record<string, string> {
    if (value === undefined) return {};
    if (isRecord(value) && Object.values(value).every((note) => typeof note === 'string')) {
      return value as Record<string, string>;
    }
    this.#fail('DATA_FORMAT', '__metadata__ is not an object of texts.');
  }

  #entry(name: string, value: unknown): Entry {
    const fields = isRecord(value) ? value : {};
    const { dtype, shape, data_offsets: offsets } = fields;
    if (typeof dtype !== 'string' || !isCounts(shape) || !isCounts(offsets) || offsets.length !== 2) {
      this.#fail(
        'DATA_FORMAT',
        `tensor "${name}" has no proper dtype (a text), shape and data_offsets (two) of whole numbers of at least 0.`,
      );
    }
    if (!isTensorType(dtype)) {
      this.#fail(
        'DATA_FORMAT',
        `tensor "${name}" is of type ${dtype}; expected one of ${types.join(', ')}. Convert it to F32.`,
      );
    }
    const [begin, end] = offsets as [number, number];
    const needed = rowSize(shape) * bytesOf(dtype);
    if (end - begin !== needed) {
      this.#fail(
        'DATA_CORRUPT',
        `tensor "${name}" is at bytes ${begin} to ${end}; expected ${needed} bytes for ${dtype} [${shape}].`,
      );
    }
    return { name, dtype, shape, begin, end };
  }

  /** Tensors must fill the data exactly: from byte 0, one after the other, to the end of the file. */
  #checkLayout(entries: readonly Entry[], size: number): void {
    const sorted = [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end);
    let at = 0;
    let before = 'the header';
    for (const { name, begin, end } of sorted) {
      if (begin < at)
        this.#fail('DATA_CORRUPT', `tensor "${name}" overlaps ${before} (byte ${begin} of the data).`);
      if (begin > at)
        this.#fail('DATA_CORRUPT', `${begin - at} bytes between ${before} and tensor "${name}".`);
      at = end;
      before = `tensor "${name}"`;
    }
    if (at > size)
      this.#fail('DATA_TRUNCATED', `${at - size} bytes are missing at the end, in ${before}. Copy it again.`);
    if (at < size) this.#fail('DATA_CORRUPT', `${size - at} bytes too many after ${before}.`);
  }
}

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);

const types: readonly string[] = [...Object.keys(arrays), ...Object.keys(halves)];
const isTensorType = (dtype: string): dtype is TensorType => types.includes(dtype);

/** A tensor to write: its element type is that of its data (Uint8Array: U8), which may lie in shared memory. */
export interface TensorToStore {
  readonly shape: readonly number[];
  readonly data: TensorData | Float32Array;
}

/**
 * The bytes of a safetensors file, in pieces. Like the reference implementation, tensors lie by falling element size, then
 * by name, and the header is padded by spaces to a multiple of 8: the same tensors give the same bytes.
 *
 * @throws DataError when a tensor's data do not fill its shape, or a name is reserved.
 */
export function encodeSafetensors(
  tensors: Iterable<readonly [string, TensorToStore]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const sorted = [...tensors].sort(
    ([nameA, a], [nameB, b]) =>
      b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT || (nameA < nameB ? -1 : nameA > nameB ? 1 : 0),
  );
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : [];
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const [name, { shape, data }] of sorted) {
    if (name === '__metadata__' || header.some(([other]) => other === name)) {
      throw new DataError('DATA_OPTION', `writeSafetensors: the name "${name}" is reserved or used twice.`);
    }
    if (!isCounts(shape) || rowSize(shape) !== data.length) {
      throw new DataError(
        'DATA_SHAPE',
        `writeSafetensors: tensor "${name}" has ${data.length} elements for the shape [${shape}].`,
      );
    }
    const end = at + data.byteLength;
    header.push([name, { dtype: typeOf(data), shape, data_offsets: [at, end] }]);
    pieces.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    at = end;
  }
  // Not Object.fromEntries: names like "0" would move to the front.
  const text = `{${header.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const json = new TextEncoder().encode(text);
  const head = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.length - 8), true);
  head.set(json, 8);
  return [head, ...pieces];
}

function typeOf(data: TensorToStore['data']): TensorType {
  const names = Object.keys(arrays) as (keyof typeof arrays)[];
  return names.find((type) => data instanceof arrays[type])!;
}

/**
 * Writes tensors (a Map, or pairs of name and tensor) and text notes to a safetensors file: whole or not at all.
 *
 * @throws DataError as {@link encodeSafetensors}, or when the file cannot be written.
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, TensorToStore]>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  writeWhole('writeSafetensors', path, encodeSafetensors(tensors, metadata));
}
