/** `lockstep train`. */
import { ProfileTrace, resolveKernels } from '@lockstep/trainer';
import { type CheckpointInterval, type TrainOptions, train } from 'lockstep';
import { ProfileFile } from '../bench/profile.ts';
import { blameConfig, type DefinitionFlags, loadConfig } from '../common/config.ts';
import { ExitCode } from '../common/failure.ts';
import { openSession } from '../report/session.ts';

export interface TrainFlags extends DefinitionFlags {
  readonly workers: NonNullable<TrainOptions['workers']>;
  readonly kernels: NonNullable<TrainOptions['kernels']>;
  readonly out?: string;
  readonly checkpointEvery?: CheckpointInterval;
  readonly resume?: boolean;
  readonly fastDevRun?: boolean;
  readonly profile?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Gives the exit code. Throws what is wrong with config, data or run. */
export async function trainCommand(config: string | undefined, flags: TrainFlags): Promise<number> {
  const { workers, kernels, out, checkpointEvery, resume } = flags;
  const { fastDevRun = false, json = false, quiet = false, data: dataDir } = flags;
  const { definition, file } = await loadConfig(config, flags);
  const { reporter, signal } = openSession(file, flags);
  const profile =
    flags.profile === undefined ? undefined : new ProfileFile(flags.profile, new ProfileTrace());
  try {
    const result = await train(definition, {
      workers,
      kernels,
      dataDir,
      out,
      checkpointEvery,
      resume,
      fastDevRun,
      profile: profile && { depth: 'instructions', onBatch: (batch) => profile.profile.add(batch) },
      signal,
      on: { event: (event) => reporter.event(event) },
    });
    const lines = profile?.finish(definition.name ?? 'training', resolveKernels(kernels)) ?? [];
    if (!json && !quiet && lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
    return result.interrupted ? ExitCode.interrupted : ExitCode.done;
  } catch (error) {
    reporter.end();
    profile?.abandon();
    throw blameConfig(file, error);
  }
}
