/** The report as tables of 80 columns. */
import { type Activity, activities } from '@lockstep/trainer';
import pc from 'picocolors';
import { plural, table, thousands } from '../report/text.ts';
import { nodesActivities } from './nodes.ts';
import type { ScalingReport } from './report.ts';
import type { Figures, Scaling } from './rounds.ts';
import type { Measured } from './statistics.ts';

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const noise = ({ median, spread }: Measured): string => `${((100 * spread) / median).toFixed(1)}`;
/** Three digits, however small. */
export const short = (value: number): string =>
  value >= 100 ? thousands(value) : value === 0 ? '0' : value.toPrecision(3);

const meanOf = (workers: Scaling['splitOfWorkers'], activity: Activity): number =>
  sumOf(workers.map((split) => split[activity])) / workers.length;

/** The first row is dimmed. */
export function withHead(rows: readonly (readonly string[])[]): string[] {
  const numbers = Array.from({ length: rows[0]?.length ?? 0 }, (_, i) => i);
  const [head = '', ...lines] = table(rows, numbers);
  return [pc.dim(head), ...lines];
}

/** What cases have in common, beside their number of workers or nodes. */
export const FIGURES = ['samples/s', '± %', 'step ms', 'times', 'efficiency', '± %'];

export const figureCells = (each: Figures): string[] => [
  thousands(each.samplesPerSecond.median),
  noise(each.samplesPerSecond),
  short(each.stepMilliseconds.median),
  each.speedup.median.toFixed(2),
  each.efficiency.median.toFixed(2),
  noise(each.efficiency),
];

const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

function nodesLines({ nodes }: ScalingReport): string[] {
  if (nodes.length === 0) return [];
  return [
    '',
    `On nodes of ${plural(nodes[0]!.workers, 'worker')}, processes of this machine over loopback:`,
    ...withHead([['nodes', ...FIGURES], ...nodes.map((each) => [String(each.nodes), ...figureCells(each)])]),
    '',
    'Where the time of their steps goes (ms), and what travels in a step (MB):',
    ...withHead([
      ['nodes', ...nodesActivities, 'sum', 'weights out', 'gradients in'],
      ...nodes.map(({ nodes, split, bytes }) => {
        const times = nodesActivities.map((activity) => split[activity]);
        const cells = [...times, sumOf(times), bytes.sent / 1e6, bytes.received / 1e6];
        return [String(nodes), ...cells.map(short)];
      }),
    ]),
    pc.dim('network: as far as no computing hides it. update: summing and applying.'),
    pc.dim('wait: for other nodes, and for the coordinator.'),
  ];
}

export function reportLines(report: ScalingReport): string[] {
  const { training, machine, results, mode, rounds, secondsPerRound } = report;
  const brief = results.every(({ stepMilliseconds }) => stepMilliseconds.median < 50);
  const [unit, scale] = brief ? ['µs', 1000] : ['ms', 1];
  const perWorker = mode === 'weak' ? ' for the fewest workers' : '';
  return [
    `${pc.bold(`lockstep bench: ${training.name}`)}, ${mode} scaling (${training.config ?? 'no config: the embedded digits'})`,
    `${thousands(training.parameters)} parameters, batch ${training.batch} in ${plural(training.shards, 'shard')}${perWorker}, kernels ${training.kernels}`,
    `${machine.cpu}, ${plural(machine.usable, 'core')}; ${plural(rounds, 'round')} of ${secondsPerRound.toFixed(2)} s`,
    '',
    ...withHead([
      ['workers', ...FIGURES, 'cores', 'GFLOP/s', 'peak'],
      ...results.map((each) => [
        String(each.workers),
        ...figureCells(each),
        each.cores.median.toFixed(2),
        short(each.gflops.median),
        percent(each.shareOfPeak.median),
      ]),
    ]),
    '',
    'When little else runs: a tenth of the steps are quicker than this:',
    ...withHead([
      ['workers', 'step ms', '± %', 'efficiency', '± %'],
      ...results.map(({ workers, quick }) => [
        String(workers),
        short(quick.stepMilliseconds.median),
        noise(quick.stepMilliseconds),
        quick.efficiency.median.toFixed(2),
        noise(quick.efficiency),
      ]),
    ]),
    '',
    `Where the time of a step goes, mean of the workers (${unit}):`,
    ...withHead([
      ['workers', ...activities, 'sum', 'MB moved', 'GB/s'],
      ...results.map((each) => {
        const times = activities.map((activity) => meanOf(each.splitOfWorkers, activity));
        const bytes = sumOf(Object.values(each.bytes));
        return [
          String(each.workers),
          ...[...times, sumOf(times)].map((time) => short(time * scale)),
          short(bytes / 1e6),
          short(bytes / 1e6 / each.stepMilliseconds.median),
        ];
      }),
    ]),
    ...nodesLines(report),
    '',
    pc.dim('times: speed-up. cores: what the machine gave: plain matrix products on as'),
    pc.dim('many threads over those on one. peak: share of these products. ±: the median is'),
    pc.dim('within, with 97 % confidence. wait: for other workers. record: for the main'),
    pc.dim('thread. update: gradients are summed and applied. MB moved: operands of all'),
    pc.dim('kernels, many in caches.'),
  ];
}
