/** Ends a run in order when it is told to: by Ctrl-C, by `kill`, or because nobody reads its output any more. */
import { ExitCode } from './failure.ts';

const interruption = new AbortController();

const interrupt = (): void => {
  if (interruption.signal.aborted) process.exit(ExitCode.interrupted);
  interruption.abort(new Error('interrupted'));
};

/** Aborted at the first SIGINT or SIGTERM; from now on only the second one ends the process at once. */
export function interruptionSignal(): AbortSignal {
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return interruption.signal;
}

/** `lockstep train | head`: what cannot be written must not end the run before its weights are saved. */
export function leaveWhenUnread(stream: NodeJS.WriteStream): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    if (!interruption.signal.aborted) interruption.abort(error);
  });
}
