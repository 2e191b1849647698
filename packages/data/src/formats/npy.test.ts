import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { expectProblem, put, temporaryFolder, thrown } from '../../test/support.ts';
import type { DataErrorCode } from '../common/errors.ts';
import { arrays, type NdArray } from '../dataset/arrays.ts';
import { readNpy, writeNpy } from './npy.ts';

const folder = temporaryFolder();

/** Files that NumPy wrote. */
const numpy = {
  floats:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDIpLCB9ICAgICAg' +
    'ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAIA/AAAgwAAAQEAAAIA+',
  doubles:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsKSwgfSAgICAgICAg' +
    'ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAD4PwAAAAAAAABA',
  longs:
    'k05VTVBZAgB0AAAAeydkZXNjcic6ICc8aTgnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMiwpLCB9ICAgICAg' +
    'ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAAAAAAAAAP7/////////',
};
const fromNumpy = (name: keyof typeof numpy): Buffer => Buffer.from(numpy[name], 'base64');

function npy(header: string, data: Uint8Array, version = 1): Uint8Array {
  const head = Buffer.alloc(10);
  head.write('\x93NUMPY', 'latin1');
  head[6] = version;
  head.writeUInt16LE(header.length, 8);
  return Buffer.concat([head, Buffer.from(header, 'latin1'), data]);
}
const header = (descr: string, shape: string, fortran = 'False'): string =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;

describe('npy', () => {
  const good: [keyof typeof numpy, NdArray][] = [
    ['floats', { data: Float32Array.of(1, -2.5, 3, 0.25), shape: [2, 2] }],
    ['doubles', { data: Float32Array.of(1.5, 2), shape: [2] }],
    ['longs', { data: Int32Array.of(1, -2), shape: [2] }],
  ];
  it.each(good)('reads %s of NumPy', (name, expected) => expect(readNpy(fromNumpy(name))).toEqual(expected));

  it('writes what NumPy writes', () => {
    const path = join(folder, 'floats.npy');
    writeNpy(path, { data: Float32Array.of(1, -2.5, 3, 0.25), shape: [2, 2] });
    expect(readFileSync(path)).toEqual(fromNumpy('floats'));
    writeNpy(path, { data: Float64Array.of(1.5, 2), shape: [2] });
    expect(readFileSync(path)).toEqual(fromNumpy('doubles'));
  });

  it.each([
    { data: Int32Array.of(1, -2, 3), shape: [3, 1] },
    { data: Uint8Array.of(1, 255), shape: [2] },
    { data: Float32Array.of(7), shape: [] },
  ])('reads back %j', (array) => {
    const path = join(folder, 'back.npy');
    writeNpy(path, array);
    expect(readNpy(path)).toEqual(array);
  });

  it('makes a column', () => {
    const { x } = arrays({ x: readNpy(fromNumpy('floats')) }).columns;
    expect(x).toMatchObject({ shape: [2], dtype: 'f32' });
  });

  const bad: [string, Uint8Array, DataErrorCode, ...string[]][] = [
    ['another file', Buffer.from('PK\x03\x04 zip'), 'DATA_FORMAT', 'not a .npy file'],
    ['another version', npy('', new Uint8Array(0), 9), 'DATA_FORMAT', 'version 9'],
    ['a cut prefix', fromNumpy('floats').subarray(0, 9), 'DATA_TRUNCATED', 'within its header'],
    ['a cut header', fromNumpy('floats').subarray(0, 50), 'DATA_TRUNCATED', 'within its header'],
    [
      'cut data',
      fromNumpy('floats').subarray(0, -1),
      'DATA_TRUNCATED',
      '15 bytes of data; expected 16 for [2,2]',
    ],
    [
      'bytes too many',
      Buffer.concat([fromNumpy('floats'), Buffer.alloc(1)]),
      'DATA_CORRUPT',
      '17 bytes of data',
    ],
    ['a strange header', npy('{}', new Uint8Array(0)), 'DATA_FORMAT', 'a header without descr'],
    [
      'big-endian numbers',
      npy(header('>f4', '(1,)'), Buffer.alloc(4)),
      'DATA_FORMAT',
      '>f4',
      "array.astype('<f4')",
    ],
    [
      'Fortran order',
      npy(header('<f4', '(1, 2)', 'True'), Buffer.alloc(8)),
      'DATA_FORMAT',
      'ascontiguousarray',
    ],
    [
      'a number beyond 32 bits',
      npy(header('<i8', '(1,)'), new Uint8Array(BigInt64Array.of(2n ** 31n).buffer)),
      'DATA_VALUE',
      'element 0 is 2147483648',
    ],
  ];
  it.each(bad)('refuses %s', (_, bytes, code, ...texts) => {
    const path = put(folder, 'bad.npy', bytes);
    expectProblem(
      thrown(() => readNpy(path)),
      code,
      path,
      ...texts,
    );
  });

  it('refuses a missing file and a wrong shape', () => {
    expectProblem(
      thrown(() => readNpy(join(folder, 'none.npy'))),
      'DATA_MISSING',
      'none.npy',
    );
    expectProblem(
      thrown(() => writeNpy(join(folder, 'x.npy'), { data: new Uint8Array(3), shape: [2] })),
      'DATA_SHAPE',
      '3 elements',
    );
  });
});
