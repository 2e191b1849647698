/** `lockstep bench compare`: what changed between two reports, and by how many times the noise. */
import { readFileSync } from 'node:fs';
import { activities } from '@lockstep/trainer';
import pc from 'picocolors';
import { ConfigFileError, ExitCode } from '../common/failure.ts';
import type { ScalingReport } from './report.ts';
import type { Scaling } from './rounds.ts';
import { type Measured, timesNoise } from './statistics.ts';
import { short, withHead } from './tables.ts';

export interface Change {
  readonly workers: number;
  readonly figure: string;
  readonly before: number;
  readonly after: number;
  /** after / before. */
  readonly times: number;
  /** The change over the noise of both; null where neither has any. */
  readonly noise: number | null;
}

/** Less than this many times the noise is no change. */
const SIGNIFICANT = 1;
/** Activities that take less than this share of a step, before and after, are left out. */
const SHARE = 0.01;

/** These do not change with the speed of the machine, or are it; all others are judged with how much that differed. */
const RELATIVE = new Set(['efficiency', 'quick efficiency', 'share of peak', 'peak GFLOP/s', 'cores']);

/** Gives the exit code. Throws ConfigFileError on files that are no reports. */
export function compareCommand(before: string, after: string, { json = false }: { json?: boolean }): number {
  const [a, b] = [readReport(before), readReport(after)];
  const changes = compareReports(a, b);
  const differences = differencesOf(a, b);
  if (changes.length === 0) {
    const counts = (report: ScalingReport) => report.results.map(({ workers }) => workers).join(', ');
    throw new ConfigFileError(
      `bench: ${before} has ${counts(a)} workers and ${after} has ${counts(b)}; expected some in common`,
    );
  }
  process.stdout.write(
    json
      ? `${JSON.stringify({ type: 'comparison', before, after, differences, changes })}\n`
      : `${describe(changes, differences).join('\n')}\n`,
  );
  return ExitCode.done;
}

export function compareReports(a: ScalingReport, b: ScalingReport): Change[] {
  return a.results.flatMap((before) => {
    const after = b.results.find(({ workers }) => workers === before.workers);
    if (!after) return [];
    const [first, second] = [figuresOf(before), figuresOf(after)];
    const faster = after.peakGflops.median / before.peakGflops.median;
    const machine = Math.max(faster, 1 / faster) - 1;
    const steps = [before, after].map(({ stepMilliseconds }) => stepMilliseconds.median);
    return Object.entries(first).flatMap(([figure, x]) => {
      const y = second[figure]!;
      const isPart = (activities as readonly string[]).includes(figure.split(' ')[0]!);
      if (isPart && x.median < SHARE * steps[0]! && y.median < SHARE * steps[1]!) return [];
      const noise = timesNoise(x, y, RELATIVE.has(figure) ? 0 : machine);
      return [
        {
          workers: before.workers,
          figure,
          before: x.median,
          after: y.median,
          times: y.median / x.median,
          noise: Number.isFinite(noise) ? noise : null,
        },
      ];
    });
  });
}

const figuresOf = (each: Scaling): Record<string, Measured> => ({
  'samples/s': each.samplesPerSecond,
  'step ms': each.stepMilliseconds,
  efficiency: each.efficiency,
  'quick step ms': each.quick.stepMilliseconds,
  'quick efficiency': each.quick.efficiency,
  'share of peak': each.shareOfPeak,
  'peak GFLOP/s': each.peakGflops,
  cores: each.cores,
  ...Object.fromEntries(activities.map((activity) => [`${activity} ms`, each.split[activity]])),
});

/** What else differs: two reports of different things compare badly. */
function differencesOf(a: ScalingReport, b: ScalingReport): string[] {
  const facts = ({ machine, training, mode, lockstep }: ScalingReport) => ({
    ...{
      processor: machine.cpu,
      cores: machine.usable,
      Node: machine.node,
      Lockstep: lockstep,
      scaling: mode,
    },
    ...training,
  });
  const [before, after] = [facts(a), facts(b)];
  return (Object.keys(before) as (keyof typeof before)[])
    .filter((name) => before[name] !== after[name])
    .map((name) => `${name}: ${before[name]} → ${after[name]}`);
}

function describe(changes: readonly Change[], differences: readonly string[]): string[] {
  const rows = changes.map(({ workers, figure, before, after, times, noise }) => [
    String(workers),
    figure,
    short(before),
    short(after),
    Number.isFinite(times) ? `${times >= 1 ? '+' : ''}${(100 * (times - 1)).toFixed(1)} %` : '',
    noise === null ? '' : `${noise.toFixed(1)} ×`,
    noise !== null && noise < SIGNIFICANT ? 'noise' : 'changed',
  ]);
  const [head = '', ...lines] = withHead([
    ['workers', 'figure', 'before', 'after', 'change', 'of noise', ''],
    ...rows,
  ]);
  return [
    ...differences.map((difference) => pc.yellow(`not alike: ${difference}`)),
    head,
    ...lines.map((line, i) => (rows[i]!.at(-1) === 'noise' ? pc.dim(line) : line)),
    '',
    pc.dim('of noise: the change over the ± of both reports and the difference between the'),
    pc.dim('machines (peak GFLOP/s), together.'),
  ];
}

function readReport(file: string): ScalingReport {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as ScalingReport;
    if (report?.type !== 'scaling' || report.format !== 2 || !Array.isArray(report.results)) {
      throw new Error('it is none');
    }
    return report;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigFileError(
      `bench: cannot read ${file} as a report (${reason}); give the report.json that bench scaling --out wrote`,
    );
  }
}
