/** Builds dist/lockstep.wasm with the clang that comes as an npm package: no system toolchain is needed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { flags, kernelFiles, sources, unlessCurrent } from './sources.mjs';

/** Static data end below this; a default stack lies between it and HEAP_BASE (`src/run/memory.ts`). */
const DATA_END = 65536;

const args = [
  'clang',
  '--target=wasm32',
  ...flags,
  '-DLS_W=4',
  '-DLS_VARIANT=wasm',
  '-msimd128',
  '-matomics',
  '-mbulk-memory',
  '-mmutable-globals',
  '-nostdlib',
  '-Wl,--no-entry,--import-memory,--shared-memory,--max-memory=4294967296,--stack-first,-z,stack-size=1024',
  '-Wl,--export=__stack_pointer,--export=__heap_base,--export=ls_wasm_run',
  ...kernelFiles,
  '-o',
  'lockstep.wasm',
];
const version = JSON.parse(
  readFileSync(new URL('../node_modules/@yowasp/clang/package.json', import.meta.url), 'utf8'),
).version;

await unlessCurrent('lockstep.wasm', [version, args], async (path) => {
  const { runClang } = await import('@yowasp/clang');
  await runClang(null, {}, { fetchProgress: () => {} }); // loads the compiler without a word
  const { 'lockstep.wasm': wasm } = await runClang(args, sources);
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: true });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } });
  const end = instance.exports.__heap_base.value;
  if (end > DATA_END)
    throw new Error(`lockstep.wasm: static data ends at ${end}, expected at most ${DATA_END}`);
  writeFileSync(path, wasm);
  return true;
});
