import { HEAP_BASE } from '@lockstep/kernels';
import { expect, test } from 'vitest';
import { SharedHeap } from './heap.ts';

test('blocks are zero, aligned and apart; the memory grows under views that exist', () => {
  const heap = new SharedHeap();
  const first = heap.f32(heap.allocate(20), 5);
  const size = heap.memory.buffer.byteLength;
  const address = heap.allocate(10 * size);
  expect(heap.memory.buffer.byteLength).toBeGreaterThan(10 * size);
  expect(address % 64).toBe(0);
  expect(address).toBeGreaterThanOrEqual(HEAP_BASE + 20);
  expect(heap.allocate(1, 4096) % 4096).toBe(0);
  first[0] = 3;
  expect(heap.f32(first.byteOffset, 1)[0]).toBe(3);
  expect(heap.u8(address, 10 * size).every((byte) => byte === 0)).toBe(true);
});

test('room is what a block has left; between blocks and in private ones there is none', () => {
  const heap = new SharedHeap();
  const [first, empty] = [heap.allocate(20), heap.allocate(0)];
  const own = heap.allocatePrivate(100);
  const last = heap.allocate(8);
  expect([0, 4, 16, 20, 24].map((bytes) => heap.room(first + bytes))).toEqual([20, 16, 4, 0, 0]);
  expect([0, first - 4, empty, own, own + 64, last + 8, 2 ** 32].map((at) => heap.room(at))).toEqual(
    new Array(7).fill(0),
  );
  expect(heap.room(last)).toBe(8);
});

test('what cannot be is refused', () => {
  const heap = new SharedHeap();
  expect(() => heap.allocate(-1)).toThrow('got a block of -1 bytes');
  expect(() => heap.allocate(2 ** 32)).toThrow('does not fit the 4 GiB');
  const unshared = { buffer: new ArrayBuffer(8) as unknown as SharedArrayBuffer, grow: () => 0 };
  expect(() => new SharedHeap(unshared)).toThrow('the memory is not shared');
});
