/** `lockstep bench scaling`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KernelChoice } from '@lockstep/kernels';
import { prepare, resolveKernels } from '@lockstep/trainer';
import { cores } from '@lockstep/workers';
import { blameConfig, type DefinitionFlags, loadConfig } from '../common/config.ts';
import { ConfigFileError, ExitCode } from '../common/failure.ts';
import { interruptionSignal } from '../common/interruption.ts';
import { copyBandwidth } from '../common/measure.ts';
import { ProgressLine } from '../report/progress.ts';
import { reportHtml } from './html.ts';
import { aboutMachine, lockstepVersion, type ScalingReport } from './report.ts';
import { measureScaling, type Plan } from './rounds.ts';
import { reportLines } from './tables.ts';
import { roundsIn } from './turns.ts';

export interface ScalingFlags extends DefinitionFlags {
  readonly workers?: readonly number[];
  readonly nodes?: readonly number[];
  readonly weak?: boolean;
  readonly seconds: number;
  readonly kernels: KernelChoice;
  readonly out?: string;
  readonly json?: boolean;
}

/** Seconds that a piece should have: short, since a busy host changes its mind every few seconds. */
const PIECE = 0.2;

/** Gives the exit code. Throws what is wrong with config, data, folder or run. */
export async function scalingCommand(config: string | undefined, flags: ScalingFlags): Promise<number> {
  const { out, seconds, json = false, data: dataDir } = flags;
  const { definition, file } = await loadConfig(config, flags);
  const workers = flags.workers ?? powersOfTwo(cores());
  const nodes = flags.nodes ?? [];
  const pieces = workers.length + nodes.length;
  const rounds = roundsIn(seconds, pieces, PIECE);
  const plan: Plan = {
    ...{ workers, nodes },
    mode: flags.weak ? 'weak' : 'strong',
    kernels: resolveKernels(flags.kernels),
    rounds,
    seconds: seconds / pieces / rounds,
    budget: seconds,
  };
  const signal = interruptionSignal();
  const line = new ProgressLine(process.stderr);
  let found: Awaited<ReturnType<typeof measureScaling>>;
  let training: ScalingReport['training'];
  try {
    const prepared = await prepare(definition, { dataDir });
    if (out !== undefined) makeFolder(out);
    training = {
      name: prepared.definition.name,
      config: file ?? null,
      parameters: prepared.layout.entries.reduce((sum, { size }) => sum + size, 0),
      batch: prepared.definition.batch,
      shards: prepared.definition.shards,
      kernels: plan.kernels,
    };
    found = await measureScaling(prepared, plan, signal, (round, what) =>
      line.draw(() =>
        round === undefined ? `getting warm: ${what}` : `round ${round + 1}/${rounds}: ${what}`,
      ),
    );
  } catch (error) {
    if (signal.aborted) return ExitCode.interrupted;
    throw blameConfig(file, error);
  } finally {
    line.clear();
  }
  const report: ScalingReport = {
    type: 'scaling',
    format: 2,
    date: new Date().toISOString(),
    lockstep: lockstepVersion(),
    machine: aboutMachine(copyBandwidth()),
    training,
    mode: plan.mode,
    rounds: found.results[0]!.samplesPerSecond.rounds.length,
    secondsPerRound: plan.seconds,
    ...found,
  };
  const files = out === undefined ? [] : writeReport(out, report);
  const lines = [...reportLines(report), ...(files.length > 0 ? ['', `written: ${files.join(', ')}`] : [])];
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : `${lines.join('\n')}\n`);
  return ExitCode.done;
}

/** 1, 2, 4, … and the number itself. */
const powersOfTwo = (most: number): number[] => {
  const counts = [];
  for (let count = 1; count < most; count *= 2) counts.push(count);
  return [...counts, most];
};

const FILES = { page: 'report.html', json: 'report.json' } as const;

/** Before anything is measured: throws ConfigFileError where nothing can be written. */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
    for (const name of Object.values(FILES)) writeFileSync(join(folder, name), '', { flag: 'a' });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigFileError(`bench: cannot write to ${folder} (${reason}); give another folder to --out`);
  }
}

function writeReport(folder: string, report: ScalingReport): string[] {
  const [page, json] = [join(folder, FILES.page), join(folder, FILES.json)];
  writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
  writeFileSync(page, reportHtml(report));
  return [page, json];
}
