import { createHash } from 'node:crypto';

const CANONICAL_NAN = 0x7fc00000;

/**
 * SHA-256 (hex) over all parameters in name order: UTF-8 name, one zero byte, little-endian f32 with one bit pattern
 * for NaN. Equal weights have equal digests on every machine.
 */
export function weightsDigest(weights: ReadonlyMap<string, { readonly data: Float32Array }>): string {
  const hash = createHash('sha256');
  for (const name of [...weights.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    const { data } = weights.get(name)!;
    const bytes = new DataView(new ArrayBuffer(data.length * 4));
    const bits = new Uint32Array(Float32Array.from(data).buffer);
    bits.forEach((word, i) => {
      bytes.setUint32(i * 4, Number.isNaN(data[i]) ? CANONICAL_NAN : word, true);
    });
    hash.update(name, 'utf8').update('\0').update(bytes);
  }
  return hash.digest('hex');
}
