import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectProblem, filesIn, put, temporaryFolder, thrown } from '../../test/support.ts';
import { DataError, type DataErrorCode } from '../common/errors.ts';
import {
  encodeSafetensors,
  readSafetensors,
  readSafetensorsFile,
  type TensorToStore,
  writeSafetensors,
} from './safetensors.ts';

const folder = temporaryFolder();

/** A file of a header (an object or its text) and so many bytes of data. */
function file(header: unknown, size: number, claimed?: number): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header), 'latin1');
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(claimed ?? text.length));
  return Buffer.concat([head, text, Buffer.alloc(size)]);
}

const tensor = (begin: number, end: number, dtype = 'F32', shape: unknown = [(end - begin) / 4]): object => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('safetensors', () => {
  it('come back as they went, with their notes', () => {
    const path = join(folder, 'new', 'weights.safetensors');
    const tensors: [string, TensorToStore][] = [
      ['1.weight', { shape: [2, 1], data: Float32Array.of(1.5, -0) }],
      ['0.bias', { shape: [], data: Float32Array.of(Number.NaN) }],
      ['bytes', { shape: [3], data: Uint8Array.of(1, 2, 255) }],
      ['steps', { shape: [1], data: BigInt64Array.of(-5n) }],
      ['empty', { shape: [0, 4], data: new Int32Array(0) }],
      ['view', { shape: [1], data: Float64Array.of(1, 2, 3).subarray(1, 2) }],
      ['"naïve"', { shape: [2], data: Int16Array.of(-1, 1) }],
    ];
    writeSafetensors(path, tensors, { step: '12', note: 'ünï' });
    expect(filesIn(join(folder, 'new'))).toEqual(['weights.safetensors']);
    const { tensors: read, metadata } = readSafetensorsFile(path);
    expect(metadata).toEqual({ step: '12', note: 'ünï' });
    expect(read.size).toBe(tensors.length);
    for (const [name, { shape, data }] of tensors) {
      expect(read.get(name)).toMatchObject({ shape });
      expect(read.get(name)?.data).toEqual(data);
    }
    expect(read.get('bytes')?.dtype).toBe('U8');
  });

  // Bits and values by PyTorch.
  it.each([
    [
      'F16',
      [0x3c00, 0xc100, 0x7bff, 1, 0xa8, 0x7c00, 0xfc00, 0x8000, 0x3554],
      [1, -2.5, 65504, 2 ** -24, 1.0013580322265625e-5, Infinity, -Infinity, -0, 0.3330078125],
    ],
    [
      'BF16',
      [0x3f80, 0xc020, 0x4780, 0x3380, 0x3728, 0x7f80, 0xff80, 0x8000, 0x3eaa],
      [1, -2.5, 65536, 2 ** -24, 1.0013580322265625e-5, Infinity, -Infinity, -0, 0.33203125],
    ],
  ])('of %s are read as float32', (dtype, bits, values) => {
    const bytes = file({ a: tensor(0, 2 * bits.length, dtype, [bits.length]) }, 0);
    const read = readSafetensors(Buffer.concat([bytes, new Uint8Array(Uint16Array.from(bits).buffer)])).get(
      'a',
    )!;
    expect(read.dtype).toBe(dtype);
    expect(read.data).toEqual(Float32Array.from(values));
  });

  it('have the layout of the reference implementation', () => {
    const bytes = Buffer.concat(
      encodeSafetensors([
        ['b', { shape: [1], data: Uint8Array.of(7) }],
        ['10', { shape: [1], data: Float32Array.of(1) }],
        ['0', { shape: [1], data: Float32Array.of(2) }],
      ]),
    );
    const header =
      '{"0":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"10":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},' +
      '"b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    expect(bytes.subarray(0, 8)).toEqual(Buffer.from([padded.length, 0, 0, 0, 0, 0, 0, 0]));
    expect(bytes.subarray(8, 8 + padded.length).toString()).toBe(padded);
    expect([...bytes.subarray(8 + padded.length)]).toEqual([0, 0, 0, 64, 0, 0, 128, 63, 7]);
  });

  const bad: [string, Uint8Array, DataErrorCode, ...string[]][] = [
    ['an empty file', new Uint8Array(0), 'DATA_TRUNCATED', '0 bytes; expected at least the 8'],
    ['a giant header', file({}, 0, 2 ** 40), 'DATA_FORMAT', 'a header of 1099511627776 bytes'],
    ['a header beyond the end', file({}, 0, 3), 'DATA_TRUNCATED', 'a header of 3 bytes in a file of 10'],
    ['a header that is no JSON', file('{"a":', 0), 'DATA_FORMAT', 'not JSON'],
    ['a header that is no UTF-8', file('{"\xff":{}}', 0), 'DATA_FORMAT', 'UTF-8'],
    ['a header that is a list', file([], 0), 'DATA_FORMAT', 'not a JSON object'],
    ['a header after blanks', file(' {}', 0), 'DATA_FORMAT', 'not a JSON object'],
    [
      'a name twice',
      file(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        2,
      ),
      'DATA_CORRUPT',
      '"a" twice',
    ],
    [
      'a field twice',
      file('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1),
      'DATA_CORRUPT',
      '"dtype" twice',
    ],
    ['notes that are no texts', file({ __metadata__: { a: 1 } }, 0), 'DATA_FORMAT', '__metadata__'],
    ['a tensor that is no object', file({ a: 1 }, 0), 'DATA_FORMAT', 'tensor "a" has no proper dtype'],
    ['no shape', file({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4), 'DATA_FORMAT', 'tensor "a"'],
    ['a shape below 0', file({ a: tensor(0, 4, 'F32', [-1]) }, 4), 'DATA_FORMAT', 'tensor "a"'],
    ['half a row', file({ a: tensor(0, 6, 'F32', [1.5]) }, 6), 'DATA_FORMAT', 'tensor "a"'],
    [
      'an unknown type',
      file({ a: tensor(0, 4, 'F8_E4M3', [4]) }, 4),
      'DATA_FORMAT',
      'type F8_E4M3',
      'Convert it to F32',
    ],
    ['a type of all objects', file({ a: tensor(0, 4, 'toString', [1]) }, 4), 'DATA_FORMAT', 'type toString'],
    [
      'a wrong length',
      file({ a: tensor(0, 4, 'F32', [2]) }, 4),
      'DATA_CORRUPT',
      'expected 8 bytes for F32 [2]',
    ],
    ['offsets that go back', file({ a: tensor(4, 0, 'F32', [0]) }, 4), 'DATA_CORRUPT', 'bytes 4 to 0'],
    [
      'an overlap',
      file({ a: tensor(0, 8), b: tensor(4, 12) }, 12),
      'DATA_CORRUPT',
      '"b" overlaps tensor "a"',
    ],
    [
      'a hole',
      file({ a: tensor(0, 4), b: tensor(8, 12) }, 12),
      'DATA_CORRUPT',
      '4 bytes between tensor "a" and tensor "b"',
    ],
    [
      'a hole at the start',
      file({ a: tensor(4, 8) }, 8),
      'DATA_CORRUPT',
      '4 bytes between the header and tensor "a"',
    ],
    [
      'a truncated end',
      file({ a: tensor(0, 8) }, 5),
      'DATA_TRUNCATED',
      '3 bytes are missing at the end, in tensor "a"',
    ],
    ['bytes too many', file({ a: tensor(0, 8) }, 9), 'DATA_CORRUPT', '1 bytes too many after tensor "a"'],
    [
      'a product beyond all numbers',
      file({ a: tensor(0, 0, 'F32', [2 ** 50, 2 ** 50]) }, 0),
      'DATA_CORRUPT',
      'tensor "a"',
    ],
  ];
  it.each(bad)('refuse %s', (_, bytes, code, ...texts) => {
    const path = put(folder, 'bad.safetensors', bytes);
    expectProblem(
      thrown(() => readSafetensors(path)),
      code,
      path,
      ...texts,
    );
    expectProblem(
      thrown(() => readSafetensors(bytes)),
      code,
      'the given bytes',
      ...texts,
    );
  });

  it('give a DataError or tensors for any damaged byte, never another error', () => {
    const whole = Buffer.concat(
      encodeSafetensors([['a', { shape: [2], data: Float32Array.of(1, 2) }]], { note: 'x' }),
    );
    const damage = fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }), fc.nat(whole.length));
    fc.assert(
      fc.property(damage, ([at, value, length]) => {
        const bytes = Buffer.from(whole);
        bytes[at] = value;
        try {
          readSafetensors(bytes);
          readSafetensors(bytes.subarray(0, length));
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  const badWrites: [string, [string, TensorToStore][], DataErrorCode, string][] = [
    [
      'a wrong shape',
      [['a', { shape: [3], data: new Float32Array(2) }]],
      'DATA_SHAPE',
      '2 elements for the shape [3]',
    ],
    [
      'a reserved name',
      [['__metadata__', { shape: [0], data: new Float32Array(0) }]],
      'DATA_OPTION',
      'reserved',
    ],
    [
      'a name twice',
      [
        ['a', { shape: [0], data: new Float32Array(0) }],
        ['a', { shape: [0], data: new Float32Array(0) }],
      ],
      'DATA_OPTION',
      'twice',
    ],
  ];
  it.each(badWrites)('do not write %s', (_, tensors, code, text) => {
    const path = join(folder, 'unwritten.safetensors');
    expectProblem(
      thrown(() => writeSafetensors(path, tensors)),
      code,
      text,
    );
    expect(filesIn(folder)).not.toContain('unwritten.safetensors');
  });

  it('leave the old file when the new one cannot be written', () => {
    const path = put(folder, 'kept', 'old');
    const below = join(path, 'weights.safetensors');
    expectProblem(
      thrown(() => writeSafetensors(below, [])),
      'DATA_UNREADABLE',
      below,
    );
    expect(readFileSync(path, 'utf8')).toBe('old');
  });
});
