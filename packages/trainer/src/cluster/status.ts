/** How a run stands, over HTTP: `/healthz` for those who ask whether it is up, `/metrics` for Prometheus. No secrets. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { everyPart } from '@lockstep/sync';
import type { TrainingEvent } from '../events.ts';
import { RecentSteps } from './recentSteps.ts';

interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  /** One, or several by labels. */
  readonly value: number | Readonly<Record<string, number>>;
}

export class RunStatus {
  #step = 0;
  #loss = Number.NaN;
  #samplesPerSecond = 0;
  #nodes = 0;
  #lost = 0;
  #alarms = 0;
  #checkpoint = 0;
  #isStalled = false;
  readonly #recent = new RecentSteps();
  readonly #workers: () => number;

  /** @param workers how many there are now, on all nodes */
  constructor(workers: () => number) {
    this.#workers = workers;
  }

  /** Hears of all that happens. */
  event(event: TrainingEvent): void {
    if ('nodes' in event && event.type !== 'done') this.#nodes = event.nodes;
    switch (event.type) {
      case 'step':
        ({ step: this.#step, loss: this.#loss, samplesPerSecond: this.#samplesPerSecond } = event);
        if (event.time) this.#recent.add(event.time);
        break;
      case 'lost':
        this.#lost++;
        break;
      case 'alarm':
        this.#alarms++;
        break;
      case 'checkpoint':
        this.#checkpoint = event.step;
        break;
      case 'stall':
      case 'resume':
        this.#isStalled = event.type === 'stall';
        break;
    }
  }

  readonly answer = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.url === '/healthz' && isRead(request)) {
      const status = this.#isStalled ? 'waiting for nodes' : 'ok';
      send(
        response,
        200,
        'application/json',
        JSON.stringify({ status, step: this.#step, nodes: this.#nodes }),
      );
    } else if (request.url === '/metrics' && isRead(request)) {
      send(response, 200, 'text/plain; version=0.0.4; charset=utf-8', this.#gauges().map(text).join(''));
    } else {
      send(response, 404, 'text/plain', 'not found\n');
    }
  };

  #gauges(): Gauge[] {
    const gauge = (name: string, help: string, value: Gauge['value']): Gauge => ({
      name,
      help,
      type: 'gauge',
      value,
    });
    const counter = (name: string, help: string, value: number): Gauge => ({
      name,
      help,
      type: 'counter',
      value,
    });
    const { mean } = this.#recent;
    const parts =
      mean &&
      byLabel(
        'part',
        everyPart((part) => mean[part] / 1000),
      );
    return [
      gauge('step', 'Optimizer steps done.', this.#step),
      gauge('loss', 'Mean loss of the last step.', this.#loss),
      gauge('samples_per_second', 'Since the run began, validation left out.', this.#samplesPerSecond),
      gauge('nodes', 'Nodes that are there.', this.#nodes),
      gauge('workers', 'Threads of these nodes.', this.#workers()),
      ...(parts === undefined ? [] : [gauge('step_seconds', STEP_SECONDS, parts)]),
      gauge('checkpoint_step', 'Step of the last checkpoint.', this.#checkpoint),
      counter('lost_nodes_total', 'Nodes that were lost.', this.#lost),
      counter('alarms_total', 'Times that two nodes gave different bits.', this.#alarms),
    ];
  }
}

const isRead = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

const STEP_SECONDS =
  'Where the time of the last steps went, mean of a step: together the parts are all of it.';

const byLabel = (label: string, values: object): Record<string, number> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [`{${label}="${name}"}`, value]));

const text = ({ name, help, type, value }: Gauge): string => {
  const values = typeof value === 'number' ? { '': value } : value;
  const lines = Object.entries(values).map(([labels, each]) => `lockstep_${name}${labels} ${each}\n`);
  return `# HELP lockstep_${name} ${help}\n# TYPE lockstep_${name} ${type}\n${lines.join('')}`;
};
