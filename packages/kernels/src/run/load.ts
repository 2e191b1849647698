/** Loads the kernels: WASM, which always works, or the native addon, when this machine could build it. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { HEAP_BASE } from './memory.ts';
import { Instance, Module, type SharedMemory } from './webassembly.ts';

export type NativeVariant = 'native-avx512' | 'native-avx2' | 'native-sse' | 'native-neon';
export type KernelVariant = 'wasm' | NativeVariant;
/** `auto` is the fastest variant of this machine, `native` the fastest that is not WASM. */
export type KernelChoice = 'auto' | 'native' | KernelVariant;

export interface Kernels {
  readonly variant: KernelVariant;
  readonly memory: SharedMemory;
  /**
   * Runs the instructions in words [from, to) of the code. `code` and `bases` are byte addresses; `bases` holds one
   * u32 byte address per region. The program must have been validated (`validateProgram`) and its regions must fit.
   * Gives false when a guard ended the run before its end. Throws an Error that names the word position if an instruction
   * is unknown.
   */
  run(code: number, from: number, to: number, bases: number): boolean;
}

export interface LoadOptions {
  /** Default: `auto`. */
  readonly kernels?: KernelChoice;
  readonly memory: SharedMemory;
  /**
   * End of the stack of this instance: STACK_BYTES below it are the instance's own. Default: HEAP_BASE, which only one
   * thread at a time may use.
   */
  readonly stackTop?: number;
}

interface Addon {
  /** Not on every CPU. */
  readonly crc32?: (bytes: Uint8Array, crc: number) => number;
  variants(): { name: NativeVariant; id: number }[];
  run(id: number, memory: Uint8Array, code: number, from: number, to: number, bases: number): number;
}

interface Built {
  readonly addon?: Addon;
  readonly ids: ReadonlyMap<KernelVariant, number>;
  /** Why there is no addon. */
  readonly reason: string;
}

/** dist/, from the sources as well as from dist itself. */
const builtFile = (name: string): string => fileURLToPath(new URL(`../../dist/${name}`, import.meta.url));

const once = <T>(make: () => T): (() => T) => {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
};

const native = once((): Built => {
  try {
    const addon = createRequire(import.meta.url)(builtFile('lockstep.node')) as Addon;
    return { addon, ids: new Map(addon.variants().map(({ name, id }) => [name, id])), reason: '' };
  } catch (error) {
    return {
      ids: new Map(),
      reason: error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error),
    };
  }
});

/** The checksum of the addon, where there is one. */
export const nativeCrc32 = (): Addon['crc32'] => native().addon?.crc32;

const wasmModule = once(() => new Module(readFileSync(builtFile('lockstep.wasm'))));

/** The variants that run on this machine, best first. WASM is always among them. */
export const availableVariants = (): KernelVariant[] => {
  const natives = [...native().ids.keys()];
  const isSlow = (name: KernelVariant): boolean => name === 'native-sse'; // WASM engines use AVX encodings
  return [...natives.filter((name) => !isSlow(name)), 'wasm', ...natives.filter(isSlow)];
};

/** The variant that a choice means here. Throws an Error with the reason and the way out if there is none. */
export const resolveVariant = (choice: KernelChoice): KernelVariant => {
  const available = availableVariants();
  const variant =
    choice === 'auto'
      ? available[0]
      : choice === 'native'
        ? available.find((name) => name !== 'wasm')
        : available.find((name) => name === choice);
  if (variant) return variant;
  const why = native().addon
    ? 'this CPU does not run them'
    : `the addon was not built or does not load: ${native().reason}`;
  throw new Error(
    `kernels '${choice}' are not available (${why}); expected auto or one of ${available.join(', ')}. ` +
      'For native kernels install a C compiler and build again.',
  );
};

/** Status of an executor: 0 ran to the end, 1 a guard ended it, below zero it stopped at an unknown instruction. */
const ranThrough = (status: number): boolean => {
  if (status >= 0) return status === 0;
  throw new Error(`kernels: unknown instruction at word ${-status - 1}; was the program validated?`);
};

const loadNative = (variant: KernelVariant, memory: SharedMemory): Kernels => {
  const { addon, ids } = native();
  const id = ids.get(variant);
  if (!addon || id === undefined) throw new Error(`kernels '${variant}' are not available`);
  const bytes = new Uint8Array(memory.buffer); // a shared memory grows in place: this address stays right
  return {
    variant,
    memory,
    run(code, from, to, bases) {
      return ranThrough(addon.run(id, bytes, code, from, to, bases));
    },
  };
};

interface WasmExports {
  readonly __stack_pointer: { value: number };
  readonly ls_wasm_run: (mem: number, code: number, from: number, to: number, bases: number) => number;
}

const loadWasm = (memory: SharedMemory, stackTop: number): Kernels => {
  const instance = new Instance(wasmModule(), { env: { memory } });
  const { __stack_pointer, ls_wasm_run: execute } = instance.exports as WasmExports;
  __stack_pointer.value = stackTop;
  return {
    variant: 'wasm',
    memory,
    run(code, from, to, bases) {
      return ranThrough(execute(0, code, from, to, bases));
    },
  };
};

/** Loads kernels for this thread. Throws an Error with the reason if the choice is not available here. */
export const loadKernels = ({ kernels = 'auto', memory, stackTop = HEAP_BASE }: LoadOptions): Kernels => {
  if (stackTop % 16 !== 0) throw new Error(`loadKernels: stackTop is ${stackTop}, expected a multiple of 16`);
  const variant = resolveVariant(kernels);
  return variant === 'wasm' ? loadWasm(memory, stackTop) : loadNative(variant, memory);
};
