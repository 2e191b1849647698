import { crc32 as zlibCrc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { crc32 } from './checksum.ts';
import { nativeCrc32 } from './load.ts';

const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (Math.imul(i, 0x9e3779b1) >>> 11) & 255);

describe('the checksum', () => {
  test('of the standard check value', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  });

  const lengths = [...Array.from({ length: 700 }, (_, i) => i), 1023, 1024, 4096, 65_535, 65_536, 69_999];

  test('is that of zlib, for every length and alignment', () => {
    for (const from of [0, 1, 7, 33]) {
      for (const length of lengths) {
        const part = bytes.subarray(from, from + length);
        expect(crc32(part), `${length} bytes from ${from}`).toBe(zlibCrc32(part));
      }
    }
  });

  test('goes on from another, in memory that threads share', (context) => {
    const native = nativeCrc32();
    if (native === undefined) return context.skip('there is no native checksum here');
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    const first = native(shared.subarray(0, 1000), 0);
    expect(native(shared.subarray(1000), first)).toBe(zlibCrc32(bytes));
  });

  test.each([[[]], [[1, 2]], [[new Float32Array(4), 0]], [[new Uint8Array(4), 'x']]])(
    'refuses %j',
    (args) => {
      const native = nativeCrc32() as unknown as ((...args: readonly unknown[]) => number) | undefined;
      if (native) expect(() => native(...args)).toThrow('bad arguments');
    },
  );
});
