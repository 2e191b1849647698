/** Runs a node's state machine over connections that it makes: frames in, effects out. No sockets, no tensors. */
import {
  type CoordinatorMessage,
  decodeCoordinatorMessage,
  encodeControl,
  type FrameKey,
  type Header,
  ProtocolError,
} from '@lockstep/protocol';
import {
  type Assignment,
  createNode,
  type NodeEffect,
  type NodeEvent,
  type NodeState,
  nodeAdmits,
  nodeWake,
  operate,
} from '../core/node.ts';
import { bytesOf } from '../reduce/buckets.ts';
import { Pacer } from '../reduce/pacer.ts';
import type { ShardRange } from '../reduce/tree.ts';
import type { Connection, DialError } from '../transport/transport.ts';
import { Alarm } from './alarm.ts';
import { type Clock, systemClock, wallClock } from './clock.ts';
import { Download } from './download.ts';
import { NodeModels } from './nodeModels.ts';
import type { NodeDriverOptions, NodeWork, Welcome } from './nodeWork.ts';
import { RefusedError } from './refusedError.ts';

/** How a node ended. */
export interface NodeOutcome {
  readonly reason: 'finished' | 'left';
  readonly digest: string | null;
}

/** Ends of a connection after which trying again would change nothing. */
const FINAL: ReadonlySet<string> = new Set(['BAD_VERSION', 'WRONG_ARITHMETIC']);

export class NodeDriver {
  readonly #options: NodeDriverOptions;
  readonly #state: NodeState;
  readonly #clock: Clock;
  readonly #alarm: Alarm;
  readonly #downloads = new Map<'program' | 'data', Download>();
  #connection: Connection | undefined;
  #welcome: Welcome | undefined;
  #work: NodeWork | undefined;
  #models: NodeModels | undefined;
  #pacer: Pacer<Float32Array> | undefined;
  /** What was computed last: the next step will probably bring the same. */
  #assigned: { readonly step: number; readonly units: readonly ShardRange[] } = { step: -1, units: [] };
  /** Grows when what is computed is abandoned. */
  #task = 0;
  #taskStep = -1;
  #computing: Promise<void> = Promise.resolve();
  #outcome: NodeOutcome = { reason: 'left', digest: null };
  #end: (outcome: NodeOutcome) => void = () => {};
  #fail: (error: unknown) => void = () => {};
  /** Settles when the node's work is over. Rejects with a RefusedError, or with what `prepare` or `compute` threw. */
  readonly ended: Promise<NodeOutcome>;

  constructor(options: NodeDriverOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#alarm = new Alarm(this.#clock, () => this.#tell({ type: 'tick' }));
    this.#state = createNode({ ...options.config, id: options.hello.id }, this.#clock.now());
    const ended = new Promise<NodeOutcome>((resolve, reject) => {
      this.#end = resolve;
      this.#fail = reject;
    });
    this.ended = ended.finally(() => options.close?.());
    this.ended.catch(() => {});
    this.#alarm.set(this.#clock.now());
  }

  /** Finishes what it holds, then goes. */
  leave(): void {
    this.#tell({ type: 'leave' });
  }

  /** Ends at once, without a word. */
  abort(error: unknown): void {
    this.#hangUp();
    this.#alarm.stop();
    this.#fail(error);
  }

  // Frames

  #take(connection: Connection, header: Header, payload: Uint8Array): void {
    if (connection !== this.#connection) return;
    try {
      if (header.type === 'control') this.#control(header, decodeCoordinatorMessage(payload));
      else if (nodeAdmits(this.#state, header)) this.#bulk(header, payload);
    } catch (error) {
      if (error instanceof ProtocolError) connection.close(error.code, error.message);
      else this.abort(error);
    }
  }

  #control(header: Header, message: CoordinatorMessage): void {
    if (message.type === 'welcome') {
      const { run, incarnation, session } = header;
      const { attempt, heartbeat } = message;
      this.#welcome = message;
      this.#tell({ type: 'welcome', fence: { run, incarnation, session }, attempt, heartbeat });
      return;
    }
    if (message.type === 'refused') {
      this.abort(new RefusedError(message.code, message.message));
      return;
    }
    if (!nodeAdmits(this.#state, header)) return;
    if (message.type === 'profile') {
      this.#profile(message);
    } else if (message.type === 'kept') {
      if (!this.#models) throw new ProtocolError('BAD_RANGE', 'weights to keep, before there are any');
      this.#models.keep(message);
    } else if (message.type === 'assign') {
      const units = message.units.map(([lo, hi]) => ({ lo, hi }));
      this.#tell({ type: 'assign', step: message.step, units, ahead: message.ahead });
    } else if (message.type === 'finished') {
      this.#outcome = { reason: 'finished', digest: message.digest };
      this.#tell({ type: 'finished' });
    } else {
      this.#tell({ type: 'ping' });
    }
  }

  #profile({ from, to, done }: CoordinatorMessage & { type: 'profile' }): void {
    this.#send({ type: 'control' }, encodeControl({ type: 'time', milliseconds: wallClock() }));
    const { profile } = this.#work ?? {};
    profile?.measure(from, to);
    const found = done >= to ? profile?.take() : undefined;
    if (found) this.#send({ type: 'profile', step: to }, found);
  }

  #bulk(header: Header, payload: Uint8Array): void {
    if (header.type === 'weights') {
      if (!this.#models) throw new ProtocolError('BAD_RANGE', 'weights, before the node was ready for any');
      this.#models.take(header, payload);
    } else if (header.type === 'program' || header.type === 'data') {
      const { type: what } = header;
      const download = this.#downloads.get(what);
      if (download?.take(header.offset * 4, payload)) {
        this.#options.report?.({ type: 'receiving', what, bytes: download.received, of: download.size });
      }
    }
    this.#tell({ type: 'heard' });
  }

  // The core and its effects

  #tell(event: NodeEvent): void {
    const now = this.#clock.now();
    for (const effect of operate(this.#state, event, now)) this.#do(effect);
    this.#alarm.set(nodeWake(this.#state));
  }

  #do(effect: NodeEffect): void {
    switch (effect.do) {
      case 'dial':
        this.#hangUp();
        void this.#dial(effect.attempt);
        break;
      case 'hangUp':
        this.#hangUp();
        break;
      case 'send':
        this.#say(effect.message);
        break;
      case 'prepare':
        void this.#prepare(effect.attempt);
        break;
      case 'compute':
        this.#compute(effect.step, effect);
        break;
      case 'abandon':
        this.#abandon();
        break;
      case 'end':
        this.#alarm.stop();
        this.#end(this.#outcome);
        break;
    }
  }

  async #dial(attempt: number): Promise<void> {
    const { dial, report } = this.#options;
    const closed = (code: string, message: string): void => {
      report?.({ type: 'disconnected', code, message });
      this.#tell({ type: 'closed', attempt });
    };
    try {
      const made = await dial((connection) => ({
        frame: (header, payload) => this.#take(connection, header, payload),
        closed: ({ code, message }) => {
          if (connection !== this.#connection) return;
          if (FINAL.has(code)) this.abort(new RefusedError(code, message));
          else closed(code, message);
        },
      }));
      if (attempt !== this.#state.attempt || this.#state.phase !== 'dialing') {
        made.close();
        return;
      }
      this.#connection = made;
      report?.({ type: 'connected', peer: made.peer });
      this.#tell({ type: 'dialed', attempt });
    } catch (error) {
      const { code = 'UNREACHABLE', message, isFinal } = error as Partial<DialError> & Error;
      if (isFinal) this.abort(error);
      else closed(code, message);
    }
  }

  #hangUp(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#pacer?.drop();
    connection?.close();
    for (const download of this.#downloads.values()) download.pause();
  }

  async #prepare(attempt: number): Promise<void> {
    const welcome = this.#welcome!;
    this.#work = undefined;
    this.#models = undefined;
    this.#assigned = { step: -1, units: [] };
    try {
      const work = await this.#options.prepare(welcome, (what) => this.#fetch(what, welcome[what]));
      if (attempt !== this.#state.attempt) return;
      this.#work = work;
      this.#downloads.clear();
      const models = new NodeModels({
        work,
        begins: (step) => this.#expect(work, step),
        came: () => this.#pacer?.pump(),
        whole: (step) => this.#tell({ type: 'weights', step }),
      });
      this.#models = models;
      this.#pacer = new Pacer({
        order: work.order,
        head: work.head,
        size: (index) => (work.unitBuckets[index]!.to - work.unitBuckets[index]!.from) * 4,
        returned: (step) => models.returned(step),
        send: (step, unit, vector, index) => {
          const bucket = work.unitBuckets[index]!;
          this.#send({ type: 'gradient', step, ...unit, offset: bucket.from }, bytesOf(vector, bucket));
        },
      });
      this.#options.report?.({ type: 'ready' });
      this.#tell({ type: 'prepared', attempt });
    } catch (error) {
      if (attempt === this.#state.attempt) this.abort(error);
    }
  }

  /** What came before a connection broke is kept: the next one goes on from there. */
  #fetch(what: 'program' | 'data', content: Welcome['program']): Promise<Uint8Array> {
    let download = this.#downloads.get(what);
    if (download?.hash !== content.hash) {
      download = new Download(content.hash, content.bytes, this.#options.memoryBytes);
      this.#downloads.set(what, download);
    }
    this.#send({ type: 'control' }, encodeControl({ type: 'need', what, from: download.received }));
    return download.whole();
  }

  /**
   * One after the other: what was abandoned is still being computed, and a slow node must not fall behind ever further. So
   * of what waits, only the newest is begun, and only while the model is that of its step.
   */
  #compute(step: number, assignment: Assignment): void {
    const task = ++this.#task;
    this.#taskStep = step;
    this.#assigned = { step, units: assignment.units };
    this.#computing = this.#computing.then(async () => {
      if (task !== this.#task || this.#models?.step !== step) return;
      try {
        await this.#run(task, step, assignment);
      } catch (error) {
        this.abort(error);
      }
    });
  }

  #expect(work: NodeWork, step: number): void {
    // What is still computed with the model before the current one loses it now.
    if (this.#taskStep < this.#models!.step) this.#abandon();
    const { step: last, units } = this.#assigned;
    const isLikely = last === step - 1 && step < this.#welcome!.steps;
    work.expect(step, isLikely ? units : []);
  }

  #abandon(): void {
    this.#task++;
    this.#pacer?.drop();
  }

  async #run(task: number, step: number, { units, ahead }: Assignment): Promise<void> {
    const [work, pacer, connection] = [this.#work!, this.#pacer!, this.#connection];
    const shards = units.reduce((sum, { lo, hi }) => sum + hi - lo, 0);
    this.#options.report?.({ type: 'computing', step, shards });
    const begin = this.#clock.now();
    let left = units.length;
    let first: number | undefined;
    await work.compute(step, units, ({ unit, vector }, buckets, release) => {
      const free =
        release &&
        (() => {
          void (connection?.flushed() ?? Promise.resolve()).then(() => {
            if (first !== undefined) work.profile?.moved('gradients', step, first, wallClock());
            release();
          });
        });
      if (task === this.#task && connection !== undefined) {
        first ??= wallClock();
        if (release && --left === 0) this.#tellTime(step, this.#clock.now() - begin);
        pacer.offer(step, { unit, vector, ahead: ahead ?? Number.POSITIVE_INFINITY }, buckets, free);
      } else {
        free?.();
      }
    });
    if (task === this.#task) this.#tell({ type: 'computed', step });
  }

  // Sending

  #tellTime(step: number, milliseconds: number): void {
    this.#send({ type: 'control' }, encodeControl({ type: 'computed', step, milliseconds }));
  }

  #say(message: 'hello' | 'ready' | 'pong' | 'leave'): void {
    const { hello } = this.#options;
    const { attempt } = this.#state;
    this.#send(
      { type: 'control' },
      encodeControl(message === 'hello' ? { type: 'hello', attempt, ...hello } : { type: message }),
    );
  }

  #send(key: Partial<FrameKey> & Pick<FrameKey, 'type'>, payload: Uint8Array): void {
    const { run, incarnation, session } = this.#state.fence ?? { run: 0n, incarnation: 0, session: 0 };
    this.#connection?.send({ run, incarnation, session, step: 0, lo: 0, hi: 0, offset: 0, ...key }, payload);
  }
}
