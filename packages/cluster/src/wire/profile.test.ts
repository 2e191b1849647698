import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { ClusterProfile } from './profile.ts';

const MEBIBYTE = 1 << 20;
/** A valid profile of one batch, as many bytes long as it should be: white space says nothing. */
const profileOf = (bytes: number): Uint8Array => {
  const text = JSON.stringify({ batches: 1, milliseconds: 2, costs: [], slices: [] });
  return gzipSync(text.padEnd(bytes, ' '), { level: 1 });
};

test.each([
  ['of a node', [1000], 1],
  ['of many', Array<number>(500).fill(10_000), 500],
  ['of which one unpacks to more than one may', [65 * MEBIBYTE, 1000], 1],
  [
    'each within its limit, together more than all may',
    [60 * MEBIBYTE, 60 * MEBIBYTE, 60 * MEBIBYTE, 1000],
    3,
  ],
])('profiles %s', (_, sizes, taken) => {
  const profile = new ClusterProfile();
  const packed = new Map(sizes.map((size) => [size, profileOf(size)]));
  for (const [i, size] of sizes.entries()) profile.node(`node ${i}`, packed.get(size)!, 0);
  expect(profile.batches).toBe(taken);
});

test('of a node that joins again and again, the first few thousand', () => {
  const profile = new ClusterProfile();
  const bytes = profileOf(100);
  for (let i = 0; i < 5000; i++) profile.node('again', bytes, 0);
  expect(profile.batches).toBe(4096);
});
