/** The command line as a function: words in, exit code out. */
import { CommanderError } from 'commander';
import { commandLine } from './commands.ts';
import { ExitCode, reportFailure } from './common/failure.ts';
import { leaveWhenUnread } from './common/interruption.ts';

/** Runs `lockstep` with these words. Gives the exit code: 0 done, 1 failed, 2 wrong usage or config, 130 interrupted. */
export async function run(args: readonly string[]): Promise<number> {
  for (const stream of [process.stdout, process.stderr]) leaveWhenUnread(stream);
  let exitCode: number = ExitCode.done;
  const command = commandLine((code) => {
    exitCode = code;
  });
  try {
    await command.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Help and version end the parser, too.
    if (error instanceof CommanderError && error.exitCode === 0) return ExitCode.done;
    return reportFailure(error, args.includes('--json'));
  }
}
