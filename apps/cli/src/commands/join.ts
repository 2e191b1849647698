/** `lockstep join`. */
import { type JoinOptions, join } from 'lockstep';
import { ExitCode } from '../common/failure.ts';
import { interruptionSignal } from '../common/interruption.ts';
import { readToken, type TokenFlags } from '../common/token.ts';
import { NodeReporter } from '../report/node.ts';

export interface JoinFlags extends TokenFlags {
  readonly workers: NonNullable<JoinOptions['workers']>;
  readonly kernels: NonNullable<JoinOptions['kernels']>;
  readonly fingerprint?: string;
  readonly name?: string;
  readonly data?: string;
  readonly cache?: string;
  readonly cacheQuota: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Gives the exit code. Throws why this machine cannot take part. */
export async function joinCommand(url: string, flags: JoinFlags): Promise<number> {
  const { workers, kernels, fingerprint, name, cache, data: dataDir, cacheQuota: cacheQuotaBytes } = flags;
  const token = readToken('join', flags);
  const { json = false, quiet = false } = flags;
  const reporter = new NodeReporter(process.stdout, { json, quiet, url });
  const signal = interruptionSignal();
  signal.addEventListener('abort', () => reporter.leaving());
  const outcome = await join({
    ...{ url, workers, kernels, name, cache, cacheQuotaBytes, dataDir, signal },
    ...(token !== undefined && { token }),
    ...(fingerprint !== undefined && { fingerprint }),
    on: (report) => reporter.report(report),
  }).finally(() => reporter.end());
  reporter.outcome(outcome);
  return outcome.reason === 'finished' ? ExitCode.done : ExitCode.interrupted;
}
