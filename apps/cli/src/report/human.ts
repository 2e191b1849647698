/** A run for people: what is trained, a line of progress, a line per epoch, the result. */
import { RecentSteps, type StepTime } from '@lockstep/cluster';
import type {
  CheckpointEvent,
  DoneEvent,
  EpochEvent,
  ListeningEvent,
  NodeEvent,
  ShareEvent,
  StartEvent,
  StepEvent,
  TrainingEvent,
} from 'lockstep';
import pc from 'picocolors';
import { ProgressLine } from './progress.ts';
import type { Reporter } from './reporter.ts';
import { duration, fit, number, plural, table, thousands } from './text.ts';

/** Layers that the summary shows of a deep model. */
const MOST_LAYERS = 40;
const BAR = { least: 6, most: 24 };
/** Runs of at most so many epochs show each of them; longer ones at most one in so many milliseconds, and the last. */
const FEW_EPOCHS = 30;
const EPOCH_INTERVAL = 1000;

/** How wrong results were found. */
const LIES = {
  audit: 'an audit found other bits',
  conflict: 'another node gave other bits, and so does this machine',
  notFinite: 'numbers that are not finite',
};

export class HumanReporter implements Reporter {
  readonly #line: ProgressLine;
  readonly #quiet: boolean;
  readonly #source: string;
  #start: StartEvent | undefined;
  /** The last one. */
  #checkpoint: CheckpointEvent | undefined;
  #columns: readonly string[] | undefined;
  #shownAt = Number.NEGATIVE_INFINITY;
  readonly #recent = new RecentSteps();
  /** Of a cluster, until its first step. */
  #gathering: ListeningEvent | undefined;

  constructor(stream: NodeJS.WriteStream, options: { readonly source: string; readonly quiet: boolean }) {
    this.#line = new ProgressLine(stream);
    this.#quiet = options.quiet;
    this.#source = options.source;
  }

  event(event: TrainingEvent): void {
    switch (event.type) {
      case 'start':
        this.#start = event;
        this.#print(...header(event, this.#source), '', ...modelTable(event), '');
        // A node of this process joins at once, and says it then.
        if (event.workers === 0) this.#print(...this.#missing(0));
        break;
      case 'step':
        this.#gathering = undefined;
        if (event.time) this.#recent.add(event.time);
        if (!this.#quiet) this.#line.draw(() => this.#progress(event).join('\n'));
        break;
      case 'epoch':
        this.#epoch(event);
        break;
      case 'earlyStop':
        this.#print(
          `no better ${event.metric} since epoch ${event.bestEpoch} (${number(event.value)}): its weights are kept`,
        );
        break;
      case 'workerLost':
        this.#print(pc.yellow(`worker ${event.worker} died; its shards are run again`));
        break;
      case 'workerReplaced':
        break;
      case 'checkpoint':
        this.#checkpoint = event;
        break;
      case 'checkpointFailed': {
        const last = (this.#checkpoint ?? this.#start?.resumed)?.step;
        this.#warn(
          `no checkpoint of step ${event.step}: ${event.reason}. Training goes on; ` +
            (last === undefined
              ? 'nothing could be saved so far'
              : `what could be saved last is step ${last}`),
        );
        break;
      }
      case 'checkpointDamaged':
        this.#warn(`${event.file} is damaged and was passed over: ${event.reason}`);
        break;
      case 'listening':
        this.#gathering = event;
        this.#print(
          `nodes join by: ${pc.bold(event.command)}`,
          ...(event.needsToken ? ['FILE holds the token that this coordinator was given'] : []),
          ...(event.urls.length > 1 ? [`also reached as ${event.urls.slice(1).join(', ')}`] : []),
          '',
        );
        break;
      case 'alarm':
        this.#warn(
          `step ${event.step}: ${event.names.join(' and ')} gave different bits for shards ${event.lo} to ${event.hi - 1}: ` +
            'one of them computes wrongly. This machine computes them, too, to find out which',
        );
        break;
      case 'liar':
        this.#warn(
          `step ${event.step}: ${event.name} gave wrong results for shards ${event.lo} to ${event.hi - 1} ` +
            `(${LIES[event.reason]}); it is refused for the rest of the run`,
        );
        break;
      case 'rewind':
        this.#warn(
          event.kept === 0
            ? 'what it contributed is not trusted: the run starts again'
            : `what it contributed is not trusted: resuming after step ${event.kept}`,
        );
        break;
      case 'refused': {
        const times = event.count > 1 ? ` (${thousands(event.count)} times)` : '';
        const why = event.message === undefined ? event.code : `${event.code}: ${event.message}`;
        this.#print(pc.yellow(`${event.address} was refused${times}: ${why}`));
        break;
      }
      case 'join':
      case 'leave':
      case 'lost':
      case 'reassign':
      case 'straggler':
      case 'aside':
      case 'back':
      case 'rebalance':
      case 'stall':
      case 'resume':
        this.#print(...clusterLines(event), ...(event.type === 'join' ? this.#missing(event.nodes) : []));
        break;
      case 'done':
        this.#line.print(...(this.#quiet ? [] : ['']), ...result(event, this.#checkpoint));
    }
  }

  /** Who has yet to come before a cluster's first step. */
  #missing(nodes: number): string[] {
    const missing = (this.#gathering?.minNodes ?? 0) - nodes;
    return missing > 0 ? [`waiting for ${plural(missing, 'node')} to join`] : [];
  }

  #progress(event: StepEvent): string[] {
    const { width } = this.#line;
    const { shares, mean } = this.#recent;
    const start = this.#start!;
    if (!shares || !mean) return [progress(event, start, width)];
    // Of the last steps: since the run began, nodes came and went, and it may have waited for them.
    const seconds = Object.values(mean).reduce((a, b) => a + b) / 1000;
    const samplesPerSecond = rowsOfStep(start) / seconds;
    return [progress({ ...event, samplesPerSecond }, start, width), clusterProgress(event, shares, width)];
  }

  interrupted(): void {
    this.#print('interrupted: finishing the steps under way (once more: stop at once)');
  }

  end(): void {
    this.#line.clear();
  }

  /** Even when all else is quiet. */
  #warn(text: string): void {
    this.#line.clear();
    console.error(`${pc.yellow('lockstep:')} ${text}`);
  }

  #print(...lines: readonly string[]): void {
    if (!this.#quiet) this.#line.print(...lines);
  }

  #epoch(event: EpochEvent): void {
    const epochs = this.#start?.epochs ?? 0;
    const now = performance.now();
    if (epochs > FEW_EPOCHS && event.epoch < epochs && now - this.#shownAt < EPOCH_INTERVAL) return;
    this.#shownAt = now;
    const values: [string, string][] = [
      ['epoch', `${event.epoch}/${epochs}`.padStart(2 * String(epochs).length + 1)],
      ['loss', number(event.loss)],
      ...Object.entries(event.metrics).map(([name, value]): [string, string] => [name, number(value)]),
    ];
    if (event.validation) {
      const { loss, metrics } = event.validation;
      values.push(['val loss', number(loss)]);
      for (const [name, value] of Object.entries(metrics)) values.push([`val ${name}`, number(value)]);
    }
    values.push(['sec', event.seconds.toFixed(2)]);
    const line = (cells: readonly string[]): string =>
      fit(
        cells
          .map((cell, i) => cell.padStart(Math.max(...values[i]!.map((text) => text.length), 7)))
          .join('  '),
        this.#line.isTerminal ? this.#line.width : Number.POSITIVE_INFINITY,
      );
    if (!this.#columns) {
      this.#columns = values.map(([name]) => name);
      this.#print(pc.dim(line(this.#columns)));
    }
    this.#print(line(values.map(([, value]) => value)) + (event.best ? '  best' : ''));
  }
}

/** Who computes; what changes often is left to `--json`. */
function clusterLines(event: NodeEvent | ShareEvent): string[] {
  const there = `${plural(event.nodes, 'node')} now`;
  switch (event.type) {
    case 'join':
      return [`step ${event.step}: ${event.name} joined; ${there}`];
    case 'leave':
      return [`step ${event.step}: ${event.name} left; ${there}`];
    case 'lost':
      return [pc.yellow(`step ${event.step}: ${event.name} was lost (${event.reason}); ${there}`)];
    case 'stall':
      return [pc.yellow(`step ${event.step}: no nodes connected; waiting for nodes`)];
    case 'resume':
      return [`step ${event.step}: going on`];
    case 'aside': {
      const why =
        event.reason === 'late' ? 'it does not return its part of the step' : 'steps are slower with it';
      return [pc.yellow(`step ${event.step}: ${event.name} is set aside: ${why}; it is tried again later`)];
    }
    case 'back':
      return [`step ${event.step}: ${event.name} takes part again`];
    case 'straggler':
    case 'reassign':
    case 'rebalance':
      return [];
  }
}

function header(event: StartEvent, source: string): string[] {
  const { name, data, trainRows, validationRows, workers, kernels, batch, shards, seed, resumed } = event;
  const held = validationRows > 0 ? `, ${thousands(validationRows)} for validation` : '';
  return [
    `${pc.bold(`lockstep: ${name}`)} (${source})`,
    `data ${data}: ${thousands(trainRows)} rows${held}`,
    `${workers === 0 ? 'workers on other machines' : `${plural(workers, 'worker')}, kernels ${kernels}`}; batch ${batch} in ${plural(shards, 'shard')}, seed ${seed}`,
    ...(resumed ? [resuming(resumed)] : []),
    ...(resumed === null ? ['no checkpoint yet: starting from scratch'] : []),
  ];
}

function resuming({ step, file, skipped = [] }: NonNullable<StartEvent['resumed']>): string {
  const older =
    skipped.length > 0 ? `, since ${skipped.map((each) => each.file).join(', ')} can't be used` : '';
  return `resuming after step ${thousands(step)}, from ${file}${older}`;
}

function modelTable({ model, parameters }: StartEvent): string[] {
  const shown = model.length > MOST_LAYERS ? model.slice(0, MOST_LAYERS - 1) : model;
  const rest = model.slice(shown.length);
  const rows = [
    ['name', 'kind', 'shape', 'parameters'],
    ...shown.map((row) => [row.name, row.kind, row.shape, row.parameters ? thousands(row.parameters) : '']),
    ...(rest.length > 0 ? [['…', `${rest.length} more`, '', thousands(sum(rest))]] : []),
    ['', 'total', '', thousands(parameters)],
  ];
  const [head = '', ...lines] = table(rows, [3]);
  return [pc.dim(head), ...lines];
}

const sum = (rows: StartEvent['model']): number => rows.reduce((total, row) => total + row.parameters, 0);

/** On average: the last step of an epoch may have fewer, and one that accumulates has those of several batches. */
const rowsOfStep = ({ trainRows, stepsPerEpoch }: StartEvent): number => trainRows / stepsPerEpoch;

/** Fits the width: the bar takes what is left, and the last metrics go where nothing is. */
export function progress(event: StepEvent, start: StartEvent, width: number): string {
  const { step, epoch, loss, metrics, samplesPerSecond } = event;
  const { totalSteps, epochs } = start;
  const left =
    samplesPerSecond > 0 ? ((totalSteps - step) * rowsOfStep(start)) / samplesPerSecond : Number.NaN;
  const tail = `${thousands(samplesPerSecond)}/s  ETA ${duration(left)}`;
  const parts = [`epoch ${epoch}/${epochs}`, `step ${step}/${totalSteps}`, `loss ${number(loss)}`];
  for (const [name, value] of Object.entries(metrics)) {
    const part = `${name} ${number(value)}`;
    if ([...parts, part, tail].join('  ').length > width) break;
    parts.push(part);
  }
  const text = [...parts, tail].join('  ');
  const room = Math.min(BAR.most, width - text.length - 2);
  if (room < BAR.least) return fit(text, width);
  const filled = Math.round((room * step) / totalSteps);
  return `${pc.green('━'.repeat(filled))}${pc.dim('━'.repeat(room - filled))}  ${text}`;
}

/** Who computes, and where the time of the last steps went. */
export function clusterProgress(event: StepEvent, shares: StepTime, width: number): string {
  const { nodes = 0, workers = 0 } = event;
  const parts = PARTS.map((part) => `${part} ${Math.round(100 * shares[part])} %`);
  return fit(`${[plural(nodes, 'node'), plural(workers, 'worker')].join(', ')}  ${parts.join('  ')}`, width);
}

const PARTS = ['compute', 'wait', 'network', 'update'] as const satisfies (keyof StepTime)[];

function result(event: DoneEvent, checkpoint: CheckpointEvent | undefined): string[] {
  const { loss, metrics, validation, step, epoch, samplesPerSecond, seconds } = event;
  const list = (values: Readonly<Record<string, number>>): string =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${number(value)}`)
      .join(', ');
  const rows = [
    ...(epoch > 0 ? [['training', list({ loss, ...metrics })]] : []),
    ...(validation ? [['validation', list({ loss: validation.loss, ...validation.metrics })]] : []),
    ['steps', `${thousands(step)} in ${plural(epoch, 'epoch')}${event.interrupted ? ', interrupted' : ''}`],
    ['speed', `${thousands(samplesPerSecond)} samples/s, ${seconds.toFixed(2)} s in all`],
    [
      'machine',
      `${event.nodes > 1 ? `${plural(event.nodes, 'node')}, ` : ''}${plural(event.workers, 'worker')}, kernels ${event.kernels}, ${plural(event.shards, 'shard')}`,
    ],
    ...(event.lostWorkers > 0 ? [['replaced', plural(event.lostWorkers, 'worker')]] : []),
    ...(event.interrupted && checkpoint
      ? [['checkpoint', `after step ${thousands(checkpoint.step)}; --resume goes on from there`]]
      : []),
    ['digest', event.weightsDigest],
  ];
  return table(rows, [], Number.POSITIVE_INFINITY).map((line) =>
    line.replace(/^\S+/, (name) => pc.bold(name)),
  );
}
