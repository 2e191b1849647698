/** `lockstep bench predict`. */
import { readFileSync } from 'node:fs';
import type { KernelChoice } from '@lockstep/kernels';
import { prepare, resolveKernels } from '@lockstep/trainer';
import { cores } from '@lockstep/workers';
import { blameConfig, type DefinitionFlags, loadConfig } from '../../common/config.ts';
import { ConfigFileError, ExitCode } from '../../common/failure.ts';
import { interruptionSignal } from '../../common/interruption.ts';
import { copyBandwidth } from '../../common/measure.ts';
import { ProgressLine } from '../../report/progress.ts';
import { aboutMachine, lockstepVersion, type MachineReport } from '../report.ts';
import { type Measured, measured } from '../statistics.ts';
import { roundsIn } from '../turns.ts';
import { type MeasuredStep, measureCosts } from './costs.ts';
import { type Cluster, type Costs, type Prediction, predict } from './model.ts';
import { predictionLines } from './table.ts';

export interface PredictFlags extends DefinitionFlags {
  readonly workers: readonly number[];
  readonly nodes: readonly number[];
  readonly topology: Cluster['topology'];
  /** bit/s */
  readonly bandwidth: number;
  /** ms */
  readonly latency: number;
  readonly weak?: boolean;
  readonly slowLinks?: Cluster['slowLinks'];
  readonly stragglers?: Cluster['stragglers'];
  readonly failures: number;
  readonly seconds: number;
  readonly kernels: KernelChoice;
  readonly costs?: string;
  readonly check?: boolean;
  readonly json?: boolean;
}

/** A measured step beside the predicted one. */
export interface Check {
  readonly workers: number;
  readonly measured: Measured;
  readonly predicted: Measured;
  /** (predicted − measured) / measured */
  readonly error: Measured;
}

export interface PredictionReport {
  readonly type: 'prediction';
  readonly format: 1;
  readonly date: string;
  readonly lockstep: string;
  /** Where the costs were measured. */
  readonly machine: MachineReport;
  readonly training: { readonly name: string; readonly config: string | null; readonly kernels: string };
  readonly costs: Costs;
  readonly cluster: Omit<Cluster, 'nodes' | 'workers'>;
  readonly predictions: readonly Prediction[];
  /** With `--check`. */
  readonly checks: readonly Check[];
}

type Source = Pick<PredictionReport, 'machine' | 'training' | 'costs'> & {
  readonly checks: readonly Check[];
};

/** Seconds of a piece. */
const PIECE = 0.1;
/** Pieces of a round: four sizes of units, and separate shards. */
const PIECES = 5;

/** Gives the exit code. Throws what is wrong with config, data, costs or run. */
export async function predictCommand(config: string | undefined, flags: PredictFlags): Promise<number> {
  const { topology, bandwidth, latency, weak = false, slowLinks, stragglers, failures } = flags;
  const cluster = { topology, bandwidth, latency, weak, slowLinks, stragglers, failures };
  const signal = interruptionSignal();
  let source: Source;
  try {
    source = flags.costs === undefined ? await measure(config, flags, signal) : readCosts(flags.costs);
  } catch (error) {
    if (signal.aborted) return ExitCode.interrupted;
    throw error;
  }
  const { costs } = source;
  const predictions = flags.nodes.flatMap((nodes) =>
    flags.workers.map((workers) => predict(costs, { ...cluster, nodes, workers })),
  );
  const report: PredictionReport = {
    ...{ type: 'prediction', format: 1, date: new Date().toISOString(), lockstep: lockstepVersion() },
    ...{ machine: source.machine, training: source.training, costs, cluster, predictions },
    checks: source.checks,
  };
  process.stdout.write(
    flags.json ? `${JSON.stringify(report)}\n` : `${predictionLines(report).join('\n')}\n`,
  );
  return ExitCode.done;
}

/** Round by round: what was measured next to each other suffers the same noise. */
function checkOf(byRound: readonly Costs[], { workers, stepMilliseconds: step }: MeasuredStep): Check {
  const own = { nodes: 1, topology: 'star', weak: false, bandwidth: 1, latency: 0, failures: 0 } as const;
  const predicted = byRound.map((costs) => predict(costs, { ...own, workers }).stepMilliseconds);
  return {
    workers,
    measured: step,
    predicted: measured(predicted),
    error: measured(predicted.map((time, round) => time / step.rounds[round]! - 1)),
  };
}

async function measure(
  config: string | undefined,
  flags: PredictFlags,
  signal: AbortSignal,
): Promise<Source> {
  const { definition, file } = await loadConfig(config, flags);
  const kernels = resolveKernels(flags.kernels);
  const check = flags.check ? [...new Set([1, Math.min(2, cores()), cores()])] : [];
  const pieces = PIECES + check.length;
  const rounds = roundsIn(flags.seconds, pieces, PIECE);
  const line = new ProgressLine(process.stderr);
  try {
    const prepared = await prepare(definition, { dataDir: flags.data });
    const seconds = flags.seconds / pieces / rounds;
    const { costs, byRound, checks } = await measureCosts(
      prepared,
      { kernels, rounds, seconds, check, budget: flags.seconds },
      signal,
      (round) => line.draw(() => `measuring costs: round ${round + 1}/${rounds}`),
    );
    return {
      machine: aboutMachine(copyBandwidth()),
      training: { name: prepared.definition.name, config: file ?? null, kernels },
      costs,
      checks: checks.map((each) => checkOf(byRound, each)),
    };
  } catch (error) {
    throw blameConfig(file, error);
  } finally {
    line.clear();
  }
}

/** Costs of another time or machine. */
function readCosts(file: string): Source {
  try {
    const { type, format, machine, training, costs } = JSON.parse(
      readFileSync(file, 'utf8'),
    ) as PredictionReport;
    if (type !== 'prediction' || format !== 1) throw new Error('it is none');
    return { machine, training, costs, checks: [] };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigFileError(
      `bench: cannot read ${file} as a prediction (${reason}); give a file with what bench predict --json printed`,
    );
  }
}
