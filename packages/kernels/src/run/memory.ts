/** The one memory of a run: shared by all threads, by the WASM instances and by the native kernels. */
import { Memory, type SharedMemory } from './webassembly.ts';

/** First byte that callers may use; below lie the kernels' static data and the default stack. */
export const HEAP_BASE = 131072;

/** Bytes that the stack of one WASM instance needs. */
export const STACK_BYTES = 65536;

const PAGE = 65536;
/** WASM addresses have 32 bits: 4 GiB. */
const MAXIMUM_PAGES = 65536;

/**
 * A shared memory with at least `bytes` bytes (HEAP_BASE of them are the kernels'). Address space for 4 GiB is
 * reserved; physical memory is taken as it is touched.
 */
export const createMemory = (bytes: number): SharedMemory => {
  const initial = Math.ceil(Math.max(bytes, HEAP_BASE) / PAGE);
  if (initial > MAXIMUM_PAGES) {
    throw new Error(
      `createMemory: ${bytes} bytes asked for, but kernels address 4 GiB; use a smaller batch or model`,
    );
  }
  return new Memory({ initial, maximum: MAXIMUM_PAGES, shared: true });
};
