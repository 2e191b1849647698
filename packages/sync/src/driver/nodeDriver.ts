/** Runs a node's state machine over connections that it makes: frames in, effects out. No sockets, no tensors. */
import {
  type CoordinatorMessage,
  decodeCoordinatorMessage,
  encodeControl,
  type FrameKey,
  floatsOf,
  type Header,
  type NodeMessage,
  ProtocolError,
} from '@lockstep/protocol';
import { type Bucket, BucketIndex, bytesOf } from '../buckets.ts';
import {
  type Assignment,
  createNode,
  type NodeConfig,
  type NodeEffect,
  type NodeEvent,
  type NodeState,
  nodeAdmits,
  nodeWake,
  operate,
} from '../node.ts';
import { Pacer } from '../pacer.ts';
import { Inbox } from '../reducer.ts';
import type { Connection, Dial, DialError } from '../transport.ts';
import type { ShardRange } from '../tree.ts';
import { Alarm } from './alarm.ts';
import { wallClock } from './clock.ts';
import { Download } from './download.ts';

export type Welcome = CoordinatorMessage & { type: 'welcome' };
export type Hello = Omit<NodeMessage & { type: 'hello' }, 'type' | 'attempt'>;

/** What a node can do for one run. */
export interface NodeWork {
  readonly unitBuckets: readonly Bucket[];
  readonly modelBuckets: readonly Bucket[];
  /** Buckets of a unit, in the order in which they are sent: the same on every node. */
  readonly order: readonly number[];
  /** So many of the first of these are no gradients. */
  readonly head: number;
  /** What is computed with. */
  readonly model: Float32Array;
  /** Where the next model goes; nobody computes with it yet, apart from what has begun. */
  readonly nextModel: Float32Array;
  /**
   * The model before `step` comes in now, bucket by bucket (`arrived`). `compute` will probably be asked for these units of
   * it: they may begin as soon as the buckets allow.
   */
  expect(step: number, units: readonly ShardRange[]): void;
  /** A bucket of the next model is in its place. */
  arrived(bucket: number): void;
  /** The next model is whole: compute with it from now on. */
  swapModels(): void;
  /** Computes units on the current model, in order. Goes on with what has begun, if that is this. */
  compute(step: number, units: readonly ShardRange[], done: UnitListener): Promise<void>;
  /** Notes what the threads do in the steps [from, to). */
  profile?: {
    measure(from: number, to: number): void;
    /** Something of a step was on its way from one moment (`wallClock`) to another. */
    moved(what: 'weights' | 'gradients', step: number, from: number, to: number): void;
    /** What was found: at most 1 MiB. Gives it once. */
    take(): Uint8Array | undefined;
  };
}

/**
 * Hears of buckets of a unit's results that are done, in any order. With the last ones comes `release`, to be called when
 * the vector is not needed any more: until then it stays as it is.
 */
export type UnitListener = (
  result: { readonly unit: ShardRange; readonly vector: Float32Array },
  buckets: readonly number[],
  release: (() => void) | undefined,
) => void;

/** Gives what a welcome names, from here or, by `fetch`, from the coordinator. */
export type Fetch = (what: 'program' | 'data') => Promise<Uint8Array>;

export type NodeReport =
  | { readonly type: 'connecting' | 'connected'; readonly peer: string }
  | { readonly type: 'disconnected'; readonly code: string; readonly message: string }
  | {
      readonly type: 'receiving';
      readonly what: 'program' | 'data';
      readonly bytes: number;
      readonly of: number;
    }
  | { readonly type: 'ready' }
  | { readonly type: 'computing'; readonly step: number; readonly shards: number };

export interface NodeDriverOptions {
  readonly hello: Hello;
  readonly config: Omit<NodeConfig, 'id'>;
  readonly dial: Dial;
  /** Makes ready for a run: fetches what is not here. Rejects when the node cannot take part; that ends it. */
  prepare(welcome: Welcome, fetch: Fetch): Promise<NodeWork>;
  readonly report?: (report: NodeReport) => void;
  /** Gives back what `prepare` took. Settles before `ended` does. */
  close?(): Promise<void>;
}

/** How a node ended. */
export interface NodeOutcome {
  readonly reason: 'finished' | 'left';
  readonly digest: string | null;
}

/** The coordinator does not want this node; trying again would change nothing. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class NodeDriver {
  readonly #options: NodeDriverOptions;
  readonly #state: NodeState;
  readonly #alarm = new Alarm(() => this.#tell({ type: 'tick' }));
  readonly #downloads = new Map<'program' | 'data', Download>();
  #connection: Connection | undefined;
  #welcome: Welcome | undefined;
  #work: NodeWork | undefined;
  #inbox: Inbox<true> | undefined;
  #pacer: Pacer<Float32Array> | undefined;
  #modelIndex: BucketIndex | undefined;
  /** The step whose model comes in, or came last, and since when. */
  #arriving = { step: -1, since: 0 };
  /** What was computed last: the next step will probably bring the same. */
  #assigned: { readonly step: number; readonly units: readonly ShardRange[] } = { step: -1, units: [] };
  /** The step of the model that is computed with. */
  #model = -1;
  /** Of it and of the next one, by bucket: the step with which it came. */
  #since: [current: number[], next: number[]] = [[], []];
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
    this.#state = createNode({ ...options.config, id: options.hello.id }, performance.now());
    const ended = new Promise<NodeOutcome>((resolve, reject) => {
      this.#end = resolve;
      this.#fail = reject;
    });
    this.ended = ended.finally(() => options.close?.());
    this.ended.catch(() => {});
    this.#alarm.set(performance.now());
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
      this.#kept(message);
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
    if (header.type === 'weights') this.#weights(header, payload);
    else if (header.type === 'program' || header.type === 'data') {
      const { type: what } = header;
      const download = this.#downloads.get(what);
      if (download?.take(header.offset * 4, payload)) {
        this.#options.report?.({ type: 'receiving', what, bytes: download.received, of: download.size });
      }
    }
    this.#tell({ type: 'heard' });
  }

  #weights(header: Header, payload: Uint8Array): void {
    const bucket = this.#modelIndex?.find(header);
    if (bucket === undefined || !this.#work || !this.#inbox) {
      throw new ProtocolError(
        'BAD_RANGE',
        `no bucket of weights at ${header.offset} of ${header.length} bytes`,
      );
    }
    const { step } = header;
    if (!this.#inbox.wants(step, bucket)) return;
    this.#expect(step);
    this.#work.nextModel.set(floatsOf(payload), header.offset);
    this.#since[1][bucket] = step;
    this.#have(step, bucket);
  }

  /** Buckets of the next model are those of this one. */
  #kept({ step, from, to }: CoordinatorMessage & { type: 'kept' }): void {
    const [work, inbox] = [this.#work, this.#inbox];
    if (!work || !inbox || this.#model !== step - 1 || from >= to || to > work.modelBuckets.length) {
      throw new ProtocolError('BAD_RANGE', `there are no weights ${from} to ${to} to keep for step ${step}`);
    }
    const [current, next] = this.#since;
    for (let bucket = from; bucket < to; bucket++) {
      if (!inbox.wants(step, bucket)) continue;
      this.#expect(step);
      if (next[bucket] !== current[bucket]) {
        const place = work.modelBuckets[bucket]!;
        work.nextModel.set(work.model.subarray(place.from, place.to), place.from);
        next[bucket] = current[bucket]!;
      }
      this.#have(step, bucket);
    }
  }

  /** The first bucket of the model before `step` is here: it will overwrite an older one. */
  #expect(step: number): void {
    if (this.#arriving.step === step) return;
    this.#arriving = { step, since: wallClock() };
    // What is still computed with the model before the current one loses it now.
    if (this.#taskStep < this.#model) this.#abandon();
    const { step: last, units } = this.#assigned;
    const isLikely = last === step - 1 && step < this.#welcome!.steps;
    this.#work!.expect(step, isLikely ? units : []);
  }

  #have(step: number, bucket: number): void {
    const model = this.#inbox!.put(step, bucket, true);
    this.#work!.arrived(bucket);
    this.#pacer?.pump();
    if (model === undefined) return;
    this.#work!.swapModels();
    this.#since.reverse();
    this.#model = step;
    this.#work!.profile?.moved('weights', step, this.#arriving.since, wallClock());
    this.#tell({ type: 'weights', step });
  }

  // The core and its effects

  #tell(event: NodeEvent): void {
    const now = performance.now();
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
          if (connection === this.#connection) closed(code, message);
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
    this.#model = -1;
    this.#arriving = { step: -1, since: 0 };
    this.#assigned = { step: -1, units: [] };
    this.#since = [[], []];
    try {
      const work = await this.#options.prepare(welcome, (what) => this.#fetch(what, welcome[what]));
      if (attempt !== this.#state.attempt) return;
      this.#work = work;
      this.#downloads.clear();
      const inbox = new Inbox<true>(work.modelBuckets.length);
      this.#inbox = inbox;
      this.#pacer = new Pacer({
        order: work.order,
        head: work.head,
        size: (index) => (work.unitBuckets[index]!.to - work.unitBuckets[index]!.from) * 4,
        returned: (step) => inbox.count(step + 1),
        send: (step, unit, vector, index) => {
          const bucket = work.unitBuckets[index]!;
          this.#send({ type: 'gradient', step, ...unit, offset: bucket.from }, bytesOf(vector, bucket));
        },
      });
      this.#modelIndex = new BucketIndex(work.modelBuckets);
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
      download = new Download(content.hash, content.bytes);
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
      if (task !== this.#task || this.#model !== step) return;
      try {
        await this.#run(task, step, assignment);
      } catch (error) {
        this.abort(error);
      }
    });
  }

  #abandon(): void {
    this.#task++;
    this.#pacer?.drop();
  }

  async #run(task: number, step: number, { units, ahead }: Assignment): Promise<void> {
    const [work, pacer, connection] = [this.#work!, this.#pacer!, this.#connection];
    const shards = units.reduce((sum, { lo, hi }) => sum + hi - lo, 0);
    this.#options.report?.({ type: 'computing', step, shards });
    const begin = performance.now();
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
        if (release && --left === 0) this.#tellTime(step, performance.now() - begin);
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
