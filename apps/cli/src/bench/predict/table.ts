/** Predictions as tables of 80 columns. */
import pc from 'picocolors';
import { plural, thousands } from '../../report/text.ts';
import { short, withHead } from '../tables.ts';
import type { PredictionReport } from './command.ts';
import type { Costs } from './model.ts';

export function predictionLines(report: PredictionReport): string[] {
  const { training, machine, costs, cluster, predictions, checks } = report;
  return [
    `${pc.bold(`lockstep bench predict: ${training.name}`)} (${training.config ?? 'no config: the embedded digits'})`,
    `${thousands(costs.parameters)} parameters, batch ${costs.batch} in ${plural(costs.shards, 'shard')}${cluster.weak ? ' for each worker' : ''}, kernels ${training.kernels}`,
    `costs of ${machine.cpu}, ${plural(machine.usable, 'core')}`,
    clusterLine(cluster),
    '',
    ...withHead([
      ['nodes', 'workers', 'step ms', 'samples/s', 'speed-up', 'efficiency', 'bound by'],
      ...predictions.map((each) => [
        thousands(each.nodes),
        String(each.workers),
        short(each.stepMilliseconds),
        thousands(each.samplesPerSecond),
        each.speedup.toFixed(2),
        each.efficiency.toFixed(2),
        each.bound,
      ]),
    ]),
    '',
    'What a step costs here, on one worker (ms):',
    ...withHead([['', 'ms'], ...costRows(costs)]),
    ...(checks.length === 0
      ? []
      : [
          '',
          'Checked on this machine:',
          ...withHead([
            ['workers', 'measured ms', '± %', 'predicted ms', 'error %', '±'],
            ...checks.map(({ workers, measured, predicted, error }) => [
              String(workers),
              short(measured.median),
              ((100 * measured.spread) / measured.median).toFixed(1),
              short(predicted.median),
              (100 * error.median).toFixed(1),
              (100 * error.spread).toFixed(1),
            ]),
          ]),
        ]),
    '',
    pc.dim('workers: of each node. speed-up and efficiency: over one worker alone.'),
    pc.dim('How it is computed, and what it leaves out: docs/predict.md.'),
  ];
}

function clusterLine(cluster: PredictionReport['cluster']): string {
  const { topology, weak, bandwidth, latency, slowLinks, stragglers, failures } = cluster;
  return [
    `${topology}, ${weak ? 'weak' : 'strong'} scaling`,
    `${bits(bandwidth)} and ${latency} ms each way`,
    ...(slowLinks ? [`${plural(slowLinks.count, 'node')} at ${bits(slowLinks.bandwidth)}`] : []),
    ...(stragglers ? [`${100 * stragglers.probability} % at 1/${stragglers.times} of the speed`] : []),
    ...(failures > 0 ? [`${failures} failures an hour and machine`] : []),
  ].join(', ');
}

function costRows({ units, sum, apply, rest, threads, busy, encode, decode }: Costs): string[][] {
  return [
    ...units.map(({ shards, time }) => [`forward and backward of ${plural(shards, 'shard')}`, short(time)]),
    ['summing one unit’s gradient', short(sum)],
    ['applying the sum', short(apply)],
    ['the rest of a step', short(rest)],
    [`a barrier of ${plural(threads.workers, 'worker')}`, short(threads.barrier)],
    ['moving all weights to another core', short(threads.transfer)],
    [`factor while ${plural(threads.workers, 'worker')} are busy`, busy.toFixed(3)],
    ['frames written and read (GB/s)', `${short(encode)}, ${short(decode)}`],
  ];
}

const bits = (value: number): string =>
  value >= 1e9 ? `${value / 1e9} Gbit/s` : value >= 1e6 ? `${value / 1e6} Mbit/s` : `${value} bit/s`;
