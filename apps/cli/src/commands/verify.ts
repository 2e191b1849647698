/** `lockstep verify`. */
import { existsSync, statSync } from 'node:fs';
import { type Bisection, bisectRuns, bisectTrace, type TraceDifference, traceRun } from '@lockstep/cluster';
import { type Verification, type VerifyOptions, verifyRun } from 'lockstep';
import { blameConfig, loadConfig } from '../common/config.ts';
import { ConfigFileError, ExitCode } from '../common/failure.ts';
import { interruptionSignal } from '../common/interruption.ts';
import { definitionFlags } from '../common/run.ts';
import { plural, thousands } from '../report/text.ts';

export interface VerifyFlags {
  readonly sample?: number;
  readonly bisect?: string;
  readonly trace?: string;
  readonly workers: NonNullable<VerifyOptions['workers']>;
  readonly kernels: NonNullable<VerifyOptions['kernels']>;
  readonly data?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Gives the exit code: 0 where everything holds, 1 where it doesn't. Throws what is wrong with folder, config or data. */
export async function verifyCommand(
  folder: string,
  config: string | undefined,
  flags: VerifyFlags,
): Promise<number> {
  const { sample, bisect, trace, workers, kernels, json = false, quiet = false } = flags;
  if (bisect !== undefined && (trace !== undefined || sample !== undefined)) {
    throw new ConfigFileError('verify: --bisect goes with neither --trace nor --sample; leave them out');
  }
  const given = {
    ...definitionFlags('verify', folder),
    ...(flags.data !== undefined && { data: flags.data }),
  };
  const { definition, file } = await loadConfig(config, given);
  const signal = interruptionSignal();
  const options: VerifyOptions = {
    ...{ folder, workers, kernels, sample, signal, dataDir: given.data },
    ...(!json && !quiet && process.stderr.isTTY && { progress: showProgress() }),
  };
  const print = (result: object, lines: readonly string[]): void => {
    process.stdout.write(json ? `${JSON.stringify(result)}\n` : `${lines.join('\n')}\n`);
  };
  try {
    if (bisect !== undefined) {
      if (!existsSync(bisect)) throw new ConfigFileError(`verify: there is no file or folder ${bisect}`);
      const found = statSync(bisect).isDirectory()
        ? await bisectRuns(definition, { ...options, other: bisect })
        : await bisectTrace(definition, { ...options, trace: bisect });
      print({ type: 'bisect', ...found }, bisectionLines(found, [folder, bisect]));
      return signal.aborted ? ExitCode.interrupted : found.same ? ExitCode.done : ExitCode.failed;
    }
    const result =
      trace === undefined
        ? await verifyRun(definition, options)
        : await traceRun(definition, { ...options, trace });
    print({ type: 'verify', ...result }, verificationLines(result));
    return signal.aborted ? ExitCode.interrupted : result.verified ? ExitCode.done : ExitCode.failed;
  } catch (error) {
    throw blameConfig(file, error);
  }
}

function showProgress(): (step: number, of: number) => void {
  let shown = 0;
  return (step, of) => {
    if (performance.now() - shown < 200 && step < of) return;
    shown = performance.now();
    process.stderr.write(`\r  step ${thousands(step)} of ${thousands(of)}${step < of ? '' : '\n'}`);
  };
}

const KINDS: Readonly<Record<NonNullable<Verification['difference']>['kind'], string>> = {
  step: 'loss or metrics of a step',
  epoch: 'loss, metrics or validation of an epoch',
  weights: 'the digest of the weights',
  state: 'the state in a checkpoint',
  result: 'the digest of the run',
  file: 'the digest of weights.safetensors',
};

function verificationLines(result: Verification): string[] {
  const { verified, from, to, steps, difference, compared, weightsDigest } = result;
  const count = Object.values(compared).reduce((sum, n) => sum + n, 0);
  const which =
    to - from === steps
      ? `all ${plural(steps, 'step')}`
      : `steps ${from + 1} to ${to} of ${thousands(steps)}`;
  const about = `${which} recomputed in ${result.seconds.toFixed(1)} s (${plural(result.workers, 'worker')}, ${result.kernels})`;
  if (difference) {
    const { step, rightUntil, kind, recorded, computed } = difference;
    return [
      `DIFFERS at step ${step}: ${KINDS[kind]}`,
      `  recorded  ${recorded}`,
      `  computed  ${computed}`,
      `  everything recorded up to step ${rightUntil} is right`,
    ];
  }
  if (!verified) return [`not finished: ${about}`];
  return [`verified: ${about}`, `  ${plural(count, 'recorded value')} compared, digest ${weightsDigest}`];
}

function bisectionLines(found: Bisection, [first, second]: readonly [string, string]): string[] {
  const { same, recorded, difference, right, to } = found;
  if (same) return [`no difference up to step ${thousands(to)}`];
  const lines: string[] = [];
  if (recorded) {
    lines.push(
      `DIFFERS at step ${recorded.step}: ${KINDS[recorded.kind]}`,
      `  ${first}  ${recorded.expected}`,
      `  ${second}  ${recorded.got}`,
    );
  }
  if (difference) lines.push(...placeLines(difference));
  if (right) {
    const says = (isRight: boolean): string => (isRight ? 'what this machine computes' : 'something else');
    lines.push(`  ${first} recorded ${says(right.first)}, ${second} ${says(right.second)}`);
  }
  if (recorded && !difference) {
    lines.push(
      '  the kernels of both agree on this machine: run `lockstep verify DIR --trace FILE` on the machine that is wrong, ' +
        'and `--bisect FILE` here, for the shard and the tensor',
    );
  }
  return lines;
}

function placeLines({ step, batch, shard, tensor, tensors }: TraceDifference): string[] {
  const place =
    shard === null
      ? `the update of step ${step}, in ${tensor}`
      : `step ${step}, batch ${batch}, shard ${shard}, gradient of ${tensor}`;
  const others = tensors.length - 1;
  return [`  first at ${place}${others > 0 ? ` (and ${plural(others, 'other tensor')} of it)` : ''}`];
}
