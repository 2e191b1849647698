/** `lockstep eval`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { OUTPUT_FILES, type RunRecord } from '@lockstep/trainer';
import { type EvaluateOptions, evaluate } from 'lockstep';
import { blameConfig, type DefinitionFlags, loadConfig } from './config.ts';
import { ConfigFileError, ExitCode } from './failure.ts';
import { number, plural, table, thousands } from './report/text.ts';

export interface EvalFlags extends DefinitionFlags {
  readonly run?: string;
  readonly weights?: string;
  readonly workers: NonNullable<EvaluateOptions['workers']>;
  readonly kernels: NonNullable<EvaluateOptions['kernels']>;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Gives the exit code. Throws what is wrong with config, data or weights. */
export async function evalCommand(config: string | undefined, flags: EvalFlags): Promise<number> {
  const { workers, kernels, json = false, quiet = false } = flags;
  const record = flags.run === undefined ? undefined : readRun(flags.run);
  const weights = flags.run === undefined ? flags.weights : join(flags.run, OUTPUT_FILES.weights);
  if (weights === undefined) {
    throw new ConfigFileError(
      'eval: nothing to evaluate; give --run DIR (what train --out wrote) or --weights FILE',
    );
  }
  const given = { ...(record && flagsOf(record)), ...flags };
  const { definition, file } = await loadConfig(config, given);
  const options = { weights, workers, kernels, dataDir: given.data };
  const result = await evaluate(definition, options).catch((error: unknown) => {
    throw blameConfig(file, error);
  });
  if (json) {
    process.stdout.write(`${JSON.stringify({ type: 'eval', ...result })}\n`);
    return ExitCode.done;
  }
  const values = Object.entries({ loss: result.loss, ...result.metrics }).map(([name, value]) => [
    name,
    number(value),
  ]);
  const about = [
    ['data', `${result.data}: ${thousands(result.rows)} rows for validation`],
    [
      'machine',
      `${plural(result.workers, 'worker')}, kernels ${result.kernels}, ${result.seconds.toFixed(2)} s`,
    ],
    ['digest', result.weightsDigest],
  ];
  const lines = table(quiet ? values : [...values, ...about], [], Number.POSITIVE_INFINITY);
  process.stdout.write(`${lines.join('\n')}\n`);
  return ExitCode.done;
}

/** What decides which rows are held back for validation, and in which order their losses are added. */
const flagsOf = ({ definition, data }: RunRecord): DefinitionFlags => ({
  seed: definition.seed,
  batch: definition.batch,
  shards: definition.shards,
  ...(data.dir !== null && { data: data.dir }),
});

function readRun(folder: string): RunRecord {
  const path = join(folder, OUTPUT_FILES.run);
  try {
    const record: RunRecord = JSON.parse(readFileSync(path, 'utf8'));
    flagsOf(record);
    return record;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigFileError(
      `eval: cannot read ${path} (${reason}); give the folder that train --out wrote`,
    );
  }
}
