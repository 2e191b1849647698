/** The report as a page: one file, nothing loaded from anywhere. */
import { activities } from '@lockstep/trainer';
import { plural, thousands } from '../report/text.ts';
import { nodesActivities } from './nodes.ts';
import type { ScalingReport } from './report.ts';
import type { Scaling } from './rounds.ts';
import { type Bar, escapeText, lineChart, splitChart, timelineChart } from './svg.ts';
import { FIGURES, figureCells, short } from './tables.ts';

const KINDS = [...new Set([...activities, ...nodesActivities])];

/** Colours of the activities, apart for people who see few of them, too: by lightness. */
const STYLE = `
:root { color-scheme: light dark; --page: #fff; --text: #1c2024; --soft: #60666d; --line: #e3e6ea; --card: #f7f8fa;
  --accent: #1f6feb; --data: #8a63d2; --forward: #1f77d0; --backward: #e07b39; --update: #2a9d6f; --wait: #c9ced6;
  --record: #969da8; --compute: #1f77d0; --network: #c2427a; }
@media (prefers-color-scheme: dark) { :root { --page: #101317; --text: #e7eaee; --soft: #9aa3ad; --line: #2b3138;
  --card: #181c22; --accent: #6ea8fe; --data: #a98be6; --forward: #58a6f0; --backward: #f0965a; --update: #45bd8c;
  --wait: #3c444e; --record: #5d6773; --compute: #58a6f0;
  --network: #e06a9c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 66rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
p { margin: .25rem 0; color: var(--soft); }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); margin-top: 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; min-width: 0; }
section.wide { grid-column: 1 / -1; }
.scroll { overflow-x: auto; margin-bottom: .75rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; white-space: nowrap; }
table { font-size: .9rem; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
svg { display: block; width: 100%; height: auto; max-width: 34rem; margin: 0 auto; font: 12px system-ui, sans-serif; }
.axis { fill: var(--soft); } .end { text-anchor: end; } .middle { text-anchor: middle; } .small { font-size: 10px; }
.grid { stroke: var(--line); } .range { stroke: var(--accent); stroke-width: 2; } .dot { fill: var(--accent); }
.curve { fill: none; stroke: var(--accent); stroke-width: 2; }
.ideal { fill: none; stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; margin: .5rem 0 0; list-style: none; color: var(--soft);
  font-size: .9rem; }
.key i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; margin-right: .35rem; }
${KINDS.map((activity) => `rect.${activity} { fill: var(--${activity}); } i.${activity} { background: var(--${activity}); }`).join('\n')}
`;

const MEANINGS = {
  data: 'fetching rows',
  forward: 'the model and its loss',
  backward: 'their gradients',
  update: 'summing gradients, applying them',
  wait: 'waiting for other workers',
  record: 'waiting for the main thread',
  compute: 'forward and backward',
  network: 'weights and gradients on their way, as far as no computing hides it',
} as const satisfies Record<(typeof KINDS)[number], string>;

const NOTES = `<p>±: half of the interval in which the median lies with 97 % confidence. Quick: a tenth of the steps are
quicker, which shows what the machine does when little else runs. Cores: what it gave meanwhile, as plain matrix products on
as many threads, divided by those on one. Times: speed-up.</p>`;

const section = (title: string, body: string, wide = false): string =>
  `<section${wide ? ' class="wide"' : ''}><h2>${escapeText(title)}</h2>${body}</section>`;

const keyOf = (kinds: readonly (typeof KINDS)[number][]): string =>
  `<ul class="key">${kinds
    .map((kind) => `<li><i class="${kind}"></i>${kind}: ${MEANINGS[kind]}</li>`)
    .join('')}</ul>`;

/** A page for every browser and size of screen, light or dark as the reader has it. */
export function reportHtml(report: ScalingReport): string {
  const { training, machine, results, mode, rounds, secondsPerRound } = report;
  const first = results[0]!;
  const throughput = lineChart(
    'Samples per second over workers',
    [
      {
        kind: 'ideal',
        points: results.map(({ workers }) => ({
          x: workers,
          y: (first.samplesPerSecond.median * workers) / first.workers,
        })),
      },
      { kind: 'curve', points: results.map((each) => ({ x: each.workers, y: each.samplesPerSecond })) },
    ],
    'workers',
  );
  const efficiency = lineChart(
    'Efficiency over workers',
    [
      { kind: 'ideal', points: results.map(({ workers }) => ({ x: workers, y: 1 })) },
      { kind: 'curve', points: results.map((each) => ({ x: each.workers, y: each.efficiency })) },
    ],
    'workers',
  );
  const timelines = results.map((each) =>
    section(
      `A few steps of ${plural(each.workers, 'worker')}`,
      `${timelineChart(`Time line of ${plural(each.workers, 'worker')}`, each.timeline)}<p>The quickest in a row of the last round.</p>`,
    ),
  );
  const title = `${training.name}: ${mode} scaling`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeText(title)}</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeText(title)}</h1>
<p>${thousands(training.parameters)} parameters, batch ${training.batch} in ${plural(training.shards, 'shard')}${
    mode === 'weak' ? ` for ${plural(first.workers, 'worker')}, growing with the workers` : ''
  }; kernels ${escapeText(training.kernels)}; Lockstep ${escapeText(report.lockstep)}</p>
<p>${escapeText(machine.cpu)}, ${plural(machine.usable, 'core')}, ${escapeText(machine.system)}, Node ${escapeText(machine.node)};
${escapeText(report.date.slice(0, 16).replace('T', ' '))} UTC; ${plural(rounds, 'interleaved round')} of ${secondsPerRound.toFixed(2)} s</p>
<main>
${section('Throughput (samples per second)', `${throughput}<p>Dashed: ideal. Bars: where the median lies, with 97 % confidence.</p>`)}
${section('Efficiency (1: every worker as fast as the first)', `${efficiency}<p>Speed-up over the share of added workers, round by round.</p>`)}
${section('Where the time of a step goes, per worker', splitChart('Where the time of a step goes, for each worker', workerBars(results)) + keyOf(activities), true)}
${timelines.join('\n')}
${nodesSections(report)}
${section('Numbers', numbersTable(report) + NOTES, true)}
</main>
</body>
</html>
`;
}

/** A bar for each worker of each run: what it was at in a step. */
const workerBars = (results: readonly Scaling[]): Bar[] =>
  results.flatMap(({ workers, splitOfWorkers }) =>
    splitOfWorkers.map((split, worker) => ({
      name: `${worker + 1} of ${workers}`,
      parts: activities.map((activity) => [activity, split[activity]] as const),
    })),
  );

/** Throughput by nodes beside the ideal line, and where their time goes; nothing where there were none. */
function nodesSections({ nodes, results }: ScalingReport): string {
  if (nodes.length === 0) return '';
  const first = results[0]!;
  const one = first.samplesPerSecond.median;
  const chart = lineChart(
    'Samples per second over nodes',
    [
      { kind: 'ideal', points: nodes.map((each) => ({ x: each.nodes, y: one * each.nodes })) },
      { kind: 'curve', points: nodes.map((each) => ({ x: each.nodes, y: each.samplesPerSecond })) },
    ],
    'nodes',
  );
  const split = splitChart(
    'Where the time of a step goes, by nodes',
    nodes.map(({ nodes, split }) => ({
      name: plural(nodes, 'node'),
      parts: nodesActivities.map((activity) => [activity, split[activity]] as const),
    })),
  );
  const text = `${plural(first.workers, 'worker')} each, processes of this machine over loopback. Dashed: as many times one without a network.`;
  return [
    section('Throughput of nodes (samples per second)', `${chart}<p>${text}</p>`),
    section('Where the time of a step of nodes goes', split + keyOf(nodesActivities)),
  ].join('\n');
}

/** The most of all cells; what a case does not have stays empty. */
function numbersTable({ results, nodes }: ScalingReport): string {
  const head = ['', 'batch', ...FIGURES];
  const ofWorkers = ['quick step ms', 'quick efficiency', 'cores', 'GFLOP/s', 'of peak', 'MB moved'];
  const rows = results.map((each) => [
    plural(each.workers, 'worker'),
    thousands(each.batch),
    ...figureCells(each),
    short(each.quick.stepMilliseconds.median),
    each.quick.efficiency.median.toFixed(2),
    each.cores.median.toFixed(2),
    short(each.gflops.median),
    `${(100 * each.shareOfPeak.median).toFixed(0)} % of ${short(each.peakGflops.median)}`,
    short(Object.values(each.bytes).reduce((sum, bytes) => sum + bytes, 0) / 1e6),
    ...activities.map((activity) => short(each.split[activity].median)),
  ]);
  const nodeRows = nodes.map((each) => [
    plural(each.nodes, 'node'),
    thousands(each.batch),
    ...figureCells(each),
    short(each.bytes.sent / 1e6),
    short(each.bytes.received / 1e6),
    ...nodesActivities.map((activity) => short(each.split[activity])),
  ]);
  const times = (kinds: readonly string[]): string[] => kinds.map((kind) => `${kind} ms`);
  return [
    table([...head, ...ofWorkers, ...times(activities)], rows),
    ...(nodes.length === 0
      ? []
      : [table([...head, 'MB of weights out', 'MB of gradients in', ...times(nodesActivities)], nodeRows)]),
  ].join('');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[], tag: 'th' | 'td'): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeText(cell)}</${tag}>`).join('')}</tr>`;
  const body = rows.map((row) => line(row, 'td')).join('');
  return `<div class="scroll"><table><thead>${line(head, 'th')}</thead><tbody>${body}</tbody></table></div>`;
}
