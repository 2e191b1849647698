/** What `train` and `serve` share: who tells of a run, and what ends it. */
import { interruptionSignal } from '../common/interruption.ts';
import { showDownloads } from './download.ts';
import { HumanReporter } from './human.ts';
import { JsonReporter } from './json.ts';

export interface SessionFlags {
  readonly data?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** `file`: the config's; none for the default. The signal is aborted when the user interrupts the run. */
export function openSession(file: string | undefined, { data, json = false, quiet = false }: SessionFlags) {
  const source = file ?? (data === undefined ? 'no config: the embedded digits' : 'no config: MNIST files');
  const reporter = json
    ? new JsonReporter(process.stdout, { quiet })
    : new HumanReporter(process.stdout, { quiet, source });
  const signal = interruptionSignal();
  if (!quiet) showDownloads(process.stderr);
  signal.addEventListener('abort', () => reporter.interrupted());
  return { reporter, signal };
}
