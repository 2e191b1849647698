/** `lockstep train`. */
import { type CheckpointInterval, type TrainOptions, train } from 'lockstep';
import { blameConfig, type DefinitionFlags, loadConfig } from './config.ts';
import { ExitCode } from './failure.ts';
import { interruptionSignal } from './interruption.ts';
import { showDownloads } from './report/download.ts';
import { HumanReporter } from './report/human.ts';
import { JsonReporter } from './report/json.ts';

export interface TrainFlags extends DefinitionFlags {
  readonly workers: NonNullable<TrainOptions['workers']>;
  readonly kernels: NonNullable<TrainOptions['kernels']>;
  readonly out?: string;
  readonly checkpointEvery?: CheckpointInterval;
  readonly resume?: boolean;
  readonly fastDevRun?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Gives the exit code. Throws what is wrong with config, data or run. */
export async function trainCommand(config: string | undefined, flags: TrainFlags): Promise<number> {
  const { workers, kernels, out, checkpointEvery, resume } = flags;
  const { fastDevRun = false, json = false, quiet = false, data: dataDir } = flags;
  const { definition, file } = await loadConfig(config, flags);
  const source =
    file ?? (dataDir === undefined ? 'no config: the embedded digits' : 'no config: MNIST files');
  const reporter = json
    ? new JsonReporter(process.stdout, { quiet })
    : new HumanReporter(process.stdout, { quiet, source });
  const signal = interruptionSignal();
  if (!quiet) showDownloads(process.stderr);
  signal.addEventListener('abort', () => reporter.interrupted());
  try {
    const { interrupted } = await train(definition, {
      workers,
      kernels,
      dataDir,
      out,
      checkpointEvery,
      resume,
      fastDevRun,
      signal,
      on: { event: (event) => reporter.event(event) },
    });
    return interrupted ? ExitCode.interrupted : ExitCode.done;
  } catch (error) {
    reporter.end();
    throw blameConfig(file, error);
  }
}
