import { ALIGNMENT, createMemory, HEAP_BASE, type SharedMemory } from '@lockstep/kernels';

const PAGE = 65_536;
const LIMIT = 2 ** 32;

/**
 * Hands out the shared memory of one run: parameters, gradients, data, programs and the pool's own blocks. It only
 * grows, nothing is freed: a run knows its buffers before it starts, and the memory goes when nobody holds it.
 */
export class SharedHeap {
  readonly memory: SharedMemory;
  #next: number;
  /** Blocks that regions may lie in: first bytes, rising, and where each ends. */
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  /** `memory`: a shared memory with nothing above `start` (bytes) in use; a small new one by default. */
  constructor(memory: SharedMemory = createMemory(HEAP_BASE + PAGE), start: number = HEAP_BASE) {
    if (!(memory.buffer instanceof SharedArrayBuffer)) {
      throw new TypeError('SharedHeap: the memory is not shared; create it with createMemory()');
    }
    this.memory = memory;
    this.#next = start;
  }

  /** First byte that is still free. */
  get used(): number {
    return this.#next;
  }

  /**
   * Byte address of a new block of zeros, aligned to a cache line or to `alignment` bytes (a power of two). The
   * memory grows when needed; views made before keep working. Throws a RangeError at 4 GiB or without memory.
   */
  allocate(bytes: number, alignment: number = ALIGNMENT): number {
    const address = this.allocatePrivate(bytes, alignment);
    this.#starts.push(address);
    this.#ends.push(address + bytes);
    return address;
  }

  /**
   * Bytes from an address to the end of the block that it lies in: what a region may have there. 0 outside of all blocks, and
   * in private ones.
   */
  room(address: number): number {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    // Of blocks that begin at one address only the last can have bytes.
    return low === 0 ? 0 : Math.max(0, this.#ends[low - 1]! - address);
  }

  /**
   * The same for what no program may reach: code, tables of base addresses, records, control blocks, stacks. `room` is 0 there,
   * so no region can be bound to it.
   */
  allocatePrivate(bytes: number, alignment: number = ALIGNMENT): number {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new RangeError(`SharedHeap: got a block of ${bytes} bytes, expected an integer of at least 0`);
    }
    const address = Math.ceil(this.#next / alignment) * alignment;
    const end = address + bytes;
    const missing = end - this.memory.buffer.byteLength;
    if (end > LIMIT) {
      throw new RangeError(
        `SharedHeap: a block of ${bytes} bytes after ${address} bytes does not fit the 4 GiB that a run can use; ` +
          'make the batch, the data set or the model smaller',
      );
    }
    if (missing > 0) this.#grow(missing);
    this.#next = end;
    return address;
  }

  #grow(bytes: number): void {
    try {
      this.memory.grow(Math.ceil(bytes / PAGE));
    } catch (cause) {
      throw new RangeError(`SharedHeap: the system gives no further ${bytes} bytes of shared memory`, {
        cause,
      });
    }
  }

  /** `count` floats at a byte address. */
  f32(address: number, count: number): Float32Array<SharedArrayBuffer> {
    return new Float32Array(this.#buffer, address, count);
  }

  /** `count` signed words at a byte address. */
  i32(address: number, count: number): Int32Array<SharedArrayBuffer> {
    return new Int32Array(this.#buffer, address, count);
  }

  /** `count` unsigned words at a byte address. */
  u32(address: number, count: number): Uint32Array<SharedArrayBuffer> {
    return new Uint32Array(this.#buffer, address, count);
  }

  /** `count` bytes at a byte address. */
  u8(address: number, count: number): Uint8Array<SharedArrayBuffer> {
    return new Uint8Array(this.#buffer, address, count);
  }

  get #buffer(): SharedArrayBuffer {
    return this.memory.buffer;
  }
}
