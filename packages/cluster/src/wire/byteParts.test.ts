import { createHash } from 'node:crypto';
import * as data from '@lockstep/data';
import { describe, expect, test } from 'vitest';
import { Pieces } from './byteParts.ts';
import { columnsOf, decodeData, encodeData } from './dataImage.ts';

/** Columns of odd lengths. */
const dataset = data.dataset({
  name: 'odd',
  columns: {
    image: data.column(
      Uint8Array.from({ length: 21 }, (_, i) => i),
      { shape: [7] },
    ),
    label: data.column(Int32Array.of(1, 0, 2), { classes: 3 }),
  },
});

describe('a data set in pieces', () => {
  const columns = columnsOf(dataset);
  const parts = encodeData(columns);
  const whole = Buffer.concat(parts);
  const pieces = new Pieces(...parts);

  test('is what its bytes are, wherever they are cut', () => {
    expect(pieces.length).toBe(whole.length);
    expect(pieces.hash).toBe(createHash('sha256').update(whole).digest('hex'));
    for (let from = 0; from < whole.length; from++) {
      for (let to = from + 1; to <= whole.length; to++) {
        const { length } = pieces.read(from, to);
        expect(whole.subarray(from, from + length).equals(pieces.read(from, to))).toBe(true);
        // Chunks begin on words.
        expect(length > 0 && length <= to - from && (length % 4 === 0 || from + length === to)).toBe(true);
      }
    }
  });

  test('copies no column, but where two meet', () => {
    for (const { bytes } of columns) expect(parts).toContain(bytes);
    const own = new Set(parts.map(({ buffer }) => buffer));
    let copied = 0;
    for (let at = 0; at < pieces.length; ) {
      const chunk = pieces.read(at, pieces.length);
      if (!own.has(chunk.buffer)) copied += chunk.length;
      at += chunk.length;
    }
    expect(copied).toBeLessThanOrEqual(64 * parts.length);
  });

  test('comes back as it went, on cache lines', () => {
    const decoded = decodeData(Uint8Array.from(whole));
    expect(decoded.map(({ name, bytes }) => [name, [...bytes]])).toEqual(
      columns.map(({ name, bytes }) => [name, [...bytes]]),
    );
    for (const { bytes } of decoded) expect(bytes.byteOffset % 64).toBe(decoded[0]!.bytes.byteOffset % 64);
  });
});
