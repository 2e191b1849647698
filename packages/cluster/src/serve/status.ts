/** How a run stands, over HTTP: `/healthz` for those who ask whether it is up, `/metrics` for Prometheus. No secrets. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { everyPart, isLoopback } from '@lockstep/sync';
import type { TrainingEvent } from '@lockstep/trainer';
import { RecentSteps } from '../coordinator/recentSteps.ts';

interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  /** One, or several by labels. */
  readonly value: number | Readonly<Record<string, number>>;
}

interface RunStatusOptions {
  /** So many nodes must be there before the run begins. */
  readonly minNodes: number;
  /** How many there are now, on all nodes. */
  readonly workers: () => number;
  /** Bytes that nodes make this process hold. */
  readonly heldBytes: () => number;
  /** By code, how often connections were refused. */
  readonly refusals: () => Readonly<Record<string, number>>;
}

export class RunStatus {
  #step = 0;
  #loss = Number.NaN;
  #samplesPerSecond = 0;
  #nodes = 0;
  #lost = 0;
  #alarms = 0;
  #liars = 0;
  #checkpoint = 0;
  #isStalled = false;
  readonly #recent = new RecentSteps();
  #hasBegun = false;
  readonly #options: RunStatusOptions;

  constructor(options: RunStatusOptions) {
    this.#options = options;
  }

  /** Hears of all that happens. */
  event(event: TrainingEvent): void {
    if ('nodes' in event && event.type !== 'done') this.#nodes = event.nodes;
    switch (event.type) {
      case 'step':
        this.#hasBegun = true;
        ({ step: this.#step, loss: this.#loss, samplesPerSecond: this.#samplesPerSecond } = event);
        if (event.time) this.#recent.add(event.time);
        break;
      case 'lost':
        this.#lost++;
        break;
      case 'alarm':
        this.#alarms++;
        break;
      case 'liar':
        this.#liars++;
        break;
      case 'rewind':
        this.#step = event.kept;
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
    const isLocal = isLoopback(request.socket.remoteAddress ?? '');
    if (request.url === '/healthz' && isRead(request)) {
      const isGathering = !this.#hasBegun && this.#nodes < this.#options.minNodes;
      const status = this.#isStalled || isGathering ? 'waiting for nodes' : 'ok';
      const more = isLocal ? { step: this.#step, nodes: this.#nodes } : {};
      send(response, 200, 'application/json', JSON.stringify({ status, ...more }));
    } else if (request.url === '/metrics' && isRead(request) && !isLocal) {
      send(response, 403, 'text/plain', METRICS_ARE_LOCAL);
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
    const counter = (name: string, help: string, value: Gauge['value']): Gauge => ({
      name,
      help,
      type: 'counter',
      value,
    });
    const { mean } = this.#recent;
    const refusals = this.#options.refusals();
    const parts =
      mean &&
      byLabel(
        'part',
        everyPart((part) => mean[part] / 1000),
      );
    return [
      gauge('step', 'Optimizer steps done.', this.#step),
      gauge('loss', 'Mean loss of the last step.', this.#loss),
      gauge('samples_per_second', 'Without validation and waiting for nodes.', this.#samplesPerSecond),
      gauge('nodes', 'Connected nodes.', this.#nodes),
      gauge('workers', 'Threads of these nodes.', this.#options.workers()),
      ...(parts === undefined ? [] : [gauge('step_seconds', STEP_SECONDS, parts)]),
      gauge(
        'held_bytes',
        'Bytes that wait for nodes, or for the rest of what they send.',
        this.#options.heldBytes(),
      ),
      gauge('checkpoint_step', 'Step of the last checkpoint.', this.#checkpoint),
      counter('lost_nodes_total', 'Nodes that were lost.', this.#lost),
      ...(Object.keys(refusals).length === 0
        ? []
        : [
            counter(
              'refused_connections_total',
              'Connections that were refused, or ended for what came on them.',
              byLabel('code', refusals),
            ),
          ]),
      counter('alarms_total', 'Times that two nodes gave different bits.', this.#alarms),
      counter('liars_total', 'Nodes that were refused because their results were wrong.', this.#liars),
    ];
  }
}

const isRead = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

/** Who asks hasn't proved the token: losses and the names of refusals are for those who have an account on this machine. */
const METRICS_ARE_LOCAL =
  'metrics are for programs on this machine: ask 127.0.0.1, or let a proxy or an SSH tunnel on it pass them on\n';

const STEP_SECONDS =
  'Where the time of the last steps went, mean of a step: together the parts are all of it.';

const byLabel = (label: string, values: object): Record<string, number> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [`{${label}="${name}"}`, value]));

const text = ({ name, help, type, value }: Gauge): string => {
  const values = typeof value === 'number' ? { '': value } : value;
  const lines = Object.entries(values).map(([labels, each]) => `lockstep_${name}${labels} ${each}\n`);
  return `# HELP lockstep_${name} ${help}\n# TYPE lockstep_${name} ${type}\n${lines.join('')}`;
};
