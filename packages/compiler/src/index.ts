export { type CompiledProgram, CompileError, compile, type IndexLimit } from './compile.ts';
export type { CompileOptions, Guard, InputBinding, Journal, Output, Place } from './options.ts';
