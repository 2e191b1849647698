import { ELEMENT_BYTES } from './program.ts';

/**
 * Scratch for `matmul`, in bytes, whatever the shape and the build: packed A, a packed panel of B, and the partial sums of
 * the tree over segments (MM_PACKED_A, MM_PACKED_B and MM_STACK in `native/matmul.h`).
 */
export const MATMUL_SCRATCH_BYTES = ELEMENT_BYTES * (128 * 1024 + 256 * 32 + 128 * 1024);
