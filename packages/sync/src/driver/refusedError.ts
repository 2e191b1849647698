/** The coordinator refuses this node, or this node what the coordinator sent; trying again would change nothing. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  /** Stable: one of those in docs/refusals.md. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}
