/** `lockstep eval`. */
import { type EvaluateOptions, evaluate } from 'lockstep';
import { blameConfig, loadConfig } from '../common/config.ts';
import { ExitCode } from '../common/failure.ts';
import { trained, type WeightsFlags } from '../common/run.ts';
import { number, plural, table, thousands } from '../report/text.ts';

export interface EvalFlags extends WeightsFlags {
  readonly workers: NonNullable<EvaluateOptions['workers']>;
  readonly kernels: NonNullable<EvaluateOptions['kernels']>;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Gives the exit code. Throws what is wrong with config, data or weights. */
export async function evalCommand(config: string | undefined, flags: EvalFlags): Promise<number> {
  const { workers, kernels, json = false, quiet = false } = flags;
  const { weights, flags: given } = trained('eval', flags);
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
