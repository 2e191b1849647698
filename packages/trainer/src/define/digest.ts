import { createHash } from 'node:crypto';
import type { FlatLayout } from './layout.ts';

const CANONICAL_NAN = 0x7fc00000;

/**
 * SHA-256 (hex) over all parameters in name order: UTF-8 name, one zero byte, little-endian f32 with one bit pattern
 * for NaN. Equal weights have equal digests on every machine.
 */
export function weightsDigest(weights: ReadonlyMap<string, { readonly data: Float32Array }>): string {
  const hash = createHash('sha256');
  for (const name of [...weights.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    hash
      .update(name, 'utf8')
      .update('\0')
      .update(bytesOf(weights.get(name)!.data));
  }
  return hash.digest('hex');
}

/** The same of the weights in a vector of this layout. */
export const vectorDigest = ({ entries }: Pick<FlatLayout, 'entries'>, vector: Float32Array): string =>
  weightsDigest(
    new Map(
      entries.map(({ name, offset, size }) => [name, { data: vector.subarray(offset, offset + size) }]),
    ),
  );

const isLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function bytesOf(data: Float32Array): Uint8Array {
  // Copied: the hash takes no shared memory.
  const values = data.slice();
  if (isLittleEndian && !values.some(Number.isNaN)) return new Uint8Array(values.buffer);
  const bytes = new DataView(new ArrayBuffer(values.length * 4));
  const bits = new Uint32Array(values.buffer);
  bits.forEach((word, i) => {
    bytes.setUint32(i * 4, Number.isNaN(values[i]) ? CANONICAL_NAN : word, true);
  });
  return new Uint8Array(bytes.buffer);
}
