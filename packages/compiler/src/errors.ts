export class CompileError extends Error {
  override readonly name = 'CompileError';
  readonly code = 'LOCKSTEP_COMPILE';
}
