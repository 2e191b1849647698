/** What an error means to the one who typed the command. */
import { CommanderError } from 'commander';
import pc from 'picocolors';

export const ExitCode = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** The config itself went wrong: it has a place there, and the message says which. */
export class ConfigFileError extends Error {
  override readonly name = 'ConfigFileError';
  readonly code = 'LOCKSTEP_CONFIG';
}

/** Codes of errors that the user can mend: wrong words, config, model, data. */
const USER_ERRORS = /^(LOCKSTEP_(CONFIG|OP|COMPILE|USAGE)|DATA_)/;
/** Errors that end a run and need no stack trace. */
const KNOWN = new Set(['LOCKSTEP_TRAINING', 'LOCKSTEP_WORKER']);
/** By name: no connection, or a coordinator that refuses this node. Trying the same again would change nothing. */
const NETWORK: ReadonlySet<string> = new Set(['TransportError', 'RefusedError']);

export interface Failure {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  /** Where it happened, of errors that nobody foresaw. */
  readonly stack?: string | undefined;
}

export function describeFailure(error: unknown): Failure {
  if (!(error instanceof Error)) {
    return { exitCode: ExitCode.failed, code: 'LOCKSTEP_INTERNAL', message: String(error) };
  }
  if (error instanceof CommanderError) {
    // Without a command, the parser has shown its help.
    const message = error.code === 'commander.help' ? 'no command' : error.message.replace(/^error: /, '');
    return { exitCode: ExitCode.usage, code: 'LOCKSTEP_USAGE', message };
  }
  const code = error.name === 'WorkerError' ? 'LOCKSTEP_WORKER' : String((error as { code?: unknown }).code);
  if (USER_ERRORS.test(code)) return { exitCode: ExitCode.usage, code, message: error.message };
  if (NETWORK.has(error.name)) return { exitCode: ExitCode.usage, code, message: error.message };
  if (KNOWN.has(code)) return { exitCode: ExitCode.failed, code, message: error.message };
  return { exitCode: ExitCode.failed, code: 'LOCKSTEP_INTERNAL', message: error.message, stack: error.stack };
}

/** Tells what went wrong: on stderr for people, with `json` as the last line of stdout, too. Gives the exit code. */
export function reportFailure(error: unknown, json: boolean): number {
  const { exitCode, code, message, stack } = describeFailure(error);
  const lines = [`${pc.red('lockstep:')} ${message}`];
  if (stack !== undefined) {
    lines.push(
      stack,
      'This is a mistake in Lockstep, not in your config: please report it with the lines above.',
    );
  }
  console.error(lines.join('\n'));
  if (json) process.stdout.write(`${JSON.stringify({ type: 'error', code, message })}\n`);
  return exitCode;
}
