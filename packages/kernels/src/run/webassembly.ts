/** The little of WebAssembly that is used here: TypeScript knows it only as part of the DOM. */

/** A `WebAssembly.Memory` that threads share. */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
  /** Adds pages of 64 KiB, in place. Throws a RangeError if the maximum is exceeded. */
  grow(pages: number): number;
}

interface Face {
  readonly Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => SharedMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  ) => { readonly exports: unknown };
}

export const { Memory, Module, Instance } = (globalThis as unknown as { readonly WebAssembly: Face })
  .WebAssembly;
