/** Runs the coordinator's state machine over connections: frames in, effects out. No sockets, no tensors. */
import {
  type CoordinatorMessage,
  decodeNodeMessage,
  encodeControl,
  floatsOf,
  type Header,
  type NodeMessage,
  ProtocolError,
} from '@lockstep/protocol';
import { type Bucket, BucketIndex } from '../buckets.ts';
import { coordinate } from '../coordinator.ts';
import { admits, type Coordinator, createCoordinator, expects, nextWake } from '../coordinatorState.ts';
import type {
  CloseReason,
  CoordinatorConfig,
  CoordinatorEvent,
  Effect,
  Report,
} from '../coordinatorTypes.ts';
import { Reducer, type ReducerOptions } from '../reducer.ts';
import { type StepTime, StepTimer } from '../stepTime.ts';
import type { Accept, ClosedReason, Connection } from '../transport.ts';
import { Alarm } from './alarm.ts';
import { ClockOffset, wallClock } from './clock.ts';

/** Something that nodes fetch, named by its SHA-256 (hex). */
export interface Content {
  readonly hash: string;
  /** In bytes. */
  readonly length: number;
  /** Bytes `from` to `to` (excluded); nothing changes them. */
  read(from: number, to: number): Uint8Array;
}

/** The data plane of a run: what the coordinator does with units, and what it publishes. Vectors are cut into buckets. */
export interface CoordinatorHost {
  /** Whether all numbers of a piece are finite. */
  isFinite(value: Float32Array): boolean;
  /** Whether that can be right: the batch does give such numbers. Then the run has failed, and the host ends it. */
  hasDiverged(step: number, model: readonly Float32Array[]): boolean;
  /** How pieces of units are kept and added. */
  readonly reducing: Omit<ReducerOptions<Float32Array>, 'buckets'>;
  /** The model that the run begins or goes on with, by bucket. Nothing of it may change. */
  model(): readonly Float32Array[];
  /** Whether a bucket of this step will be published as soon as it is reduced, whatever else happens. */
  streams(step: number): boolean;
  /** The sum of a bucket over all shards is here; the others may still be missing. Good until the step's end. */
  reduced(step: number, bucket: number, total: Float32Array): void;
  /**
   * All of them are. Settles when every bucket of the new model was given to `publish`, with the milliseconds that the
   * host did something else meanwhile.
   */
  apply(step: number): Promise<number>;
  /** The model after this step stands; where the time of the step went. */
  committed(step: number, time: StepTime): void;
  /** Nobody holds on to these buckets any more, which were published. */
  release(buckets: readonly Float32Array[]): void;
  report(report: Report): void;
  /** A unit of this session went into the run. */
  contributed(session: number): void;
  /** What a node found in the steps that it measured; its clock is so many milliseconds ahead of `wallClock` here. */
  profiled?(node: NodeInfo, bytes: Uint8Array, ahead: number): void;
}

export interface CoordinatorDriverOptions {
  readonly config: CoordinatorConfig;
  /** SHA-256 (hex) of what the run is. */
  readonly definition: string;
  readonly shards: number;
  readonly parameters: number;
  readonly contents: { readonly program: Content; readonly data: Content };
  readonly unitBuckets: readonly Bucket[];
  readonly modelBuckets: readonly Bucket[];
  /** What a node's known-answer test must give. */
  readonly arithmetic: { readonly name: 'strict' | 'fused'; readonly proof: string };
  /** Steps that nodes are to measure. */
  readonly profile?: { readonly from: number; readonly to: number } | undefined;
  readonly host: CoordinatorHost;
}

/** A node as people are told of it. */
export interface NodeInfo {
  readonly session: number;
  /** Of its process. */
  readonly id: string;
  readonly name: string;
  readonly peer: string;
  readonly workers: number;
  readonly kernels: string;
}

/** Bytes of weights that left, to all nodes together, and of gradients that came. */
export interface Traffic {
  sent: number;
  received: number;
}

interface Peer {
  readonly connection: Connection;
  session: number;
  hello: (NodeMessage & { type: 'hello' }) | undefined;
  /** What it is being sent. */
  readonly streams: Set<'program' | 'data'>;
  /** The newest model of which it was sent something, and what. */
  sent: { readonly step: number; readonly buckets: Set<number> };
  /** By bucket of the model: which one it was last sent. */
  readonly has: Piece[];
  /** Whether its profile is still to come; undefined: it is not ready to measure. */
  profiles: boolean | undefined;
  readonly clock: ClockOffset;
}

/** A bucket of models. One that does not change is the same piece in one model after the other. */
interface Piece {
  readonly values: Float32Array;
}

/** Bytes of content that may wait in a connection. */
const MOST_BUFFERED = 4 << 20;
const CHUNK_BYTES = 1 << 20;
/**
 * Bytes that a node sends ahead of the weights that come back: so two nodes keep a network of 1 Gbit/s busy while the weights
 * of one bucket go to both.
 */
const AHEAD = 2 << 20;

export class CoordinatorDriver {
  readonly #options: CoordinatorDriverOptions;
  readonly #core: Coordinator;
  readonly #reducer: Reducer<Float32Array>;
  readonly #unitIndex: BucketIndex;
  readonly #timer = new StepTimer(performance.now());
  readonly #alarm = new Alarm(() => this.#tell({ type: 'tick' }));
  readonly #peers = new Map<number, Peer>();
  readonly #sessions = new Map<number, Peer>();
  #isStopping = false;
  #unsaved: number | undefined;
  #finished = false;
  #digest: string | null = null;
  #failure: { readonly error: unknown } | undefined;
  #onFailure: (error: unknown) => void = () => {};

  constructor(options: CoordinatorDriverOptions) {
    this.#options = options;
    this.#core = createCoordinator(options.config, performance.now());
    this.#reducer = new Reducer({ buckets: options.unitBuckets.length, ...options.host.reducing });
    this.#unitIndex = new BucketIndex(options.unitBuckets);
    this.#tell({ type: 'tick' });
  }

  /** Nodes that are members now. */
  get nodes(): NodeInfo[] {
    return [...this.#core.members.keys()].flatMap((session) => {
      const { hello, connection } = this.#sessions.get(session) ?? {};
      if (hello === undefined || connection === undefined) return [];
      const { id, name, workers, kernels } = hello;
      return [{ session, id, name, peer: connection.peer, workers, kernels }];
    });
  }

  /** The step under way: the model is the one before it. */
  get step(): number {
    return this.#core.step;
  }

  #traffic: Traffic = { sent: 0, received: 0 };

  /** Since it was last asked for. */
  takeTraffic(): Traffic {
    const traffic = this.#traffic;
    this.#traffic = { sent: 0, received: 0 };
    return traffic;
  }

  /** Settles never; rejects when the host failed. */
  readonly failed = new Promise<never>((_, reject) => {
    this.#onFailure = reject;
  });

  /** The training loop writes the checkpoints of a run, in its own time: the core's last one is its leave to end. */
  #saved(): void {
    const step = this.#unsaved;
    this.#unsaved = undefined;
    if (step !== undefined) this.#tell({ type: 'saved', step, ok: true });
  }

  /** Ends the run: nodes go for good when it is finished, else they wait for a coordinator that goes on. */
  stop(finished: boolean, digest: string | null = null): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#finished = finished;
    this.#digest = digest;
    this.#tell({ type: 'stop' });
    this.#saved();
    // A batch that will never be applied keeps the core from its end.
    for (const session of [...this.#sessions.keys()]) this.#close(session, 'interrupted');
    this.#alarm.stop();
    for (const { connection } of this.#peers.values()) connection.close();
  }

  readonly accept: Accept = (connection) => {
    const peer: Peer = {
      connection,
      session: 0,
      hello: undefined,
      streams: new Set(),
      sent: { step: -1, buckets: new Set() },
      has: [],
      profiles: undefined,
      clock: new ClockOffset(),
    };
    this.#peers.set(connection.id, peer);
    if (this.#isStopping) connection.close('STOPPING', 'the coordinator ends');
    return {
      frame: (header, payload) => this.#guard(peer, () => this.#take(peer, header, payload)),
      closed: (reason) => this.#closed(peer, reason),
    };
  };

  #closed(peer: Peer, _: ClosedReason): void {
    this.#peers.delete(peer.connection.id);
    if (peer.session > 0 && !this.#isStopping) this.#tell({ type: 'lost', session: peer.session });
  }

  /** What a peer sends can end its own connection and nothing else. */
  #guard(peer: Peer, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#refuse(peer, error.code, error.message);
    }
  }

  #refuse({ connection, session }: Peer, code: string, message: string): void {
    this.#sendControl(connection, { type: 'refused', code, message: message.slice(0, 1000) }, session);
    connection.close(code, message);
  }

  // Frames

  #take(peer: Peer, header: Header, payload: Uint8Array): void {
    const message = header.type === 'control' ? decodeNodeMessage(payload) : undefined;
    if (message?.type === 'hello') {
      this.#hello(peer, message);
      return;
    }
    if (peer.session === 0 || header.session !== peer.session || !admits(this.#core, header)) return;
    const { session } = peer;
    if (message?.type === 'need') this.#stream(peer, message.what, message.from);
    else if (message?.type === 'computed') this.#computed(session, message);
    else if (message?.type === 'time') peer.clock.answer(message.milliseconds, wallClock());
    else if (header.type === 'gradient') this.#gradient(session, header, payload);
    else if (header.type === 'profile') this.#profiled(peer, payload);
    const type = message?.type;
    if (type === 'ready') {
      peer.profiles ??= true;
      this.#askForProfile(peer);
    }
    this.#tell({ type: type === 'leave' || type === 'ready' ? type : 'heard', session });
  }

  #hello(peer: Peer, hello: NodeMessage & { type: 'hello' }): void {
    if (peer.hello !== undefined) throw new ProtocolError('CONTROL_UNKNOWN', 'a second hello');
    peer.hello = hello;
    const { name, proof } = this.#options.arithmetic;
    if (hello.arithmetic !== name || hello.proof !== proof) {
      this.#refuse(
        peer,
        'WRONG_ARITHMETIC',
        `the known-answer test of ${hello.name} (kernels ${hello.kernels}, ${hello.arithmetic}) does not give the bits of ` +
          `this run (${name}); use the same version of Lockstep, or other kernels`,
      );
      return;
    }
    this.#tell({ type: 'join', peer: peer.connection.id, id: hello.id, name: hello.name });
  }

  #computed(session: number, { step, milliseconds }: NodeMessage & { type: 'computed' }): void {
    if (step === this.#core.open.step) this.#timer.computed(session, milliseconds);
    this.#tell({ type: 'computed', session, step, milliseconds });
  }

  /** Again with each step until they are measured: the clocks are compared each time. */
  #askForProfile(peer: Peer): void {
    const { profile } = this.#options;
    const { step } = this.#core;
    if (!profile || !peer.profiles || step > profile.to + 1) return;
    peer.clock.ask(wallClock());
    this.#control(peer.session, { type: 'profile', ...profile, done: step });
  }

  #profiled(peer: Peer, payload: Uint8Array): void {
    const node = this.nodes.find(({ session }) => session === peer.session);
    if (!this.#options.profile || !node || !peer.profiles) return;
    peer.profiles = false;
    this.#options.host.profiled?.(node, payload.slice(), peer.clock.ahead);
  }

  #gradient(session: number, header: Header, payload: Uint8Array): void {
    const { step, lo, hi, checksum } = header;
    const unit = { lo, hi };
    if (!expects(this.#core, session, step, unit)) return;
    const bucket = this.#unitIndex.find(header);
    if (bucket === undefined) {
      throw new ProtocolError('BAD_RANGE', `no bucket at ${header.offset} of ${header.length} bytes`);
    }
    const value = floatsOf(payload);
    this.#traffic.received += payload.byteLength;
    if (!this.#options.host.isFinite(value)) this.#notFinite(session, header);
    const begin = performance.now();
    const arrival = this.#reducer.put({ step, unit, bucket, value, checksum, session });
    const isNew = arrival.kind === 'kept' || arrival.kind === 'complete';
    if (isNew && this.#reducer.has(bucket)) {
      this.#options.host.reduced(step, bucket, this.#reducer.total(bucket));
    }
    const now = performance.now();
    this.#timer.busy(begin, now);
    if (arrival.kind === 'complete') {
      this.#timer.unit(session, now);
      this.#options.host.contributed(session);
      this.#tell({ type: 'unit', session, step, lo, hi });
    }
    if (arrival.kind === 'conflict') {
      this.#tell({ type: 'conflict', step, lo, hi, sessions: [arrival.first, session] });
    }
  }

  /** Throws a ProtocolError unless the run itself is at fault: then no word of this node is wrong. */
  #notFinite(session: number, { step, lo, hi }: Header): void {
    const model =
      step === this.#core.step
        ? this.#modelOf(step).flatMap((piece) => (piece ? [piece.values] : []))
        : undefined;
    if (model && this.#options.host.hasDiverged(step, model)) return;
    const name = this.#core.names.get(session);
    throw new ProtocolError(
      'NOT_FINITE',
      `${name} sent a number that is not finite for shards ${lo} to ${hi - 1} of step ${step}, where there is none`,
    );
  }

  /** Sends content in chunks, as fast as the peer takes them. */
  async #stream(peer: Peer, what: 'program' | 'data', from: number): Promise<void> {
    const content = this.#options.contents[what];
    const { connection, session, streams } = peer;
    if (streams.has(what) || from % 4 !== 0 || from > content.length) return;
    streams.add(what);
    for (let at = from; at < content.length && this.#peers.has(connection.id); at += CHUNK_BYTES) {
      const key = { ...this.#fence(session), type: what, step: 0, lo: 0, hi: 0, offset: at / 4 };
      connection.send(key, content.read(at, Math.min(at + CHUNK_BYTES, content.length)));
      if (connection.buffered > MOST_BUFFERED) await connection.flushed();
    }
    streams.delete(what);
  }

  // The core and its effects

  readonly #events: CoordinatorEvent[] = [];

  /** Events that come while effects are done wait for their turn. */
  #tell(event: CoordinatorEvent): void {
    if (this.#failure !== undefined || this.#events.push(event) > 1) return;
    const now = performance.now();
    for (; this.#events.length > 0; this.#events.shift()) {
      for (const effect of coordinate(this.#core, this.#events[0]!, now)) this.#do(effect);
    }
    this.#alarm.set(this.#core.phase === 'done' ? Number.POSITIVE_INFINITY : nextWake(this.#core, now));
  }

  #do(effect: Effect): void {
    switch (effect.do) {
      case 'welcome':
        this.#welcome(effect);
        break;
      case 'ping':
        this.#control(effect.session, { type: 'ping' });
        break;
      case 'publish':
        this.#publish(effect.session, effect.step);
        break;
      case 'assign': {
        const units = effect.units.map(({ lo, hi }): [number, number] => [lo, hi]);
        this.#timer.assign(effect.session, units.length, performance.now());
        const isPaced = effect.together && this.#options.host.streams(effect.step);
        this.#control(effect.session, {
          type: 'assign',
          step: effect.step,
          units,
          ...(isPaced && { ahead: AHEAD }),
        });
        break;
      }
      case 'open':
        this.#timer.open(performance.now());
        this.#reducer.open(effect.step, this.#options.config.shards(effect.step));
        break;
      case 'apply':
        void this.#apply(effect);
        break;
      case 'save':
        this.#unsaved = effect.step;
        if (this.#isStopping) this.#saved();
        break;
      case 'close':
        this.#close(effect.session, effect.reason);
        break;
      case 'report':
        this.#options.host.report(effect.report);
        break;
      case 'finish':
        break;
    }
  }

  #welcome({ peer: id, session }: Effect & { do: 'welcome' }): void {
    const peer = this.#peers.get(id);
    if (peer?.hello === undefined) return;
    peer.session = session;
    this.#sessions.set(session, peer);
    const { config, definition, shards, parameters, contents } = this.#options;
    const content = ({ hash, length }: Content) => ({ hash, bytes: length });
    this.#control(session, {
      type: 'welcome',
      attempt: peer.hello.attempt,
      heartbeat: config.heartbeat,
      definition,
      shards,
      steps: config.steps,
      parameters,
      program: content(contents.program),
      data: content(contents.data),
    });
  }

  // The model

  /** The model before the step under way, and what there is of the next one. Who joins in between needs the former. */
  readonly #models: { readonly step: number; readonly buckets: (Piece | undefined)[] }[] = [];

  #modelOf(step: number): (Piece | undefined)[] {
    const known = this.#models.find((each) => each.step === step);
    if (known !== undefined) return known.buckets;
    const first = this.#models.length === 0 ? this.#options.host.model() : [];
    const buckets: (Piece | undefined)[] = first.map((values) => ({ values }));
    this.#models.push({ step, buckets });
    return buckets;
  }

  /** A bucket of the model before `step` is as it will be: it is on its way to all who compute. It must not change. */
  publish(step: number, bucket: number, values: Float32Array): void {
    const piece = { values };
    this.#modelOf(step)[bucket] = piece;
    for (const peer of this.#computing()) this.#sendBucket(peer, step, bucket, piece);
  }

  /** Buckets [from, to) of the model before `step` are those of the model before it: who has them is not sent them again. */
  keep(step: number, from: number, to: number): void {
    if (from === to) return;
    const kept = this.#modelOf(step - 1).slice(from, to) as Piece[];
    const model = this.#modelOf(step);
    for (const [i, piece] of kept.entries()) model[from + i] = piece;
    for (const peer of this.#computing()) {
      if (kept.every((piece, i) => peer.has[from + i] === piece)) {
        for (let bucket = from; bucket < to; bucket++) isFirst(peer, step, bucket);
        this.#control(peer.session, { type: 'kept', step, from, to });
      } else {
        for (const [i, piece] of kept.entries()) this.#sendBucket(peer, step, from + i, piece);
      }
    }
  }

  /** Those who get every model; also who leaves, for its gradient is paced by them. */
  #computing(): Peer[] {
    const members = [...this.#core.members.values()].filter(({ ready }) => ready);
    return members.flatMap(({ session }) => this.#sessions.get(session) ?? []);
  }

  /** What a session lacks of a model. */
  #publish(session: number, step: number): void {
    const peer = this.#sessions.get(session);
    if (peer === undefined) return;
    for (const [bucket, piece] of this.#modelOf(step).entries()) {
      if (piece !== undefined) this.#sendBucket(peer, step, bucket, piece);
    }
  }

  #sendBucket(peer: Peer, step: number, bucket: number, piece: Piece): void {
    if (!isFirst(peer, step, bucket)) return;
    peer.has[bucket] = piece;
    const { values } = piece;
    const { session } = peer;
    const offset = this.#options.modelBuckets[bucket]!.from;
    const key = { ...this.#fence(session), type: 'weights' as const, step, lo: 0, hi: 0, offset };
    peer.connection.send(key, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    this.#traffic.sent += values.byteLength;
  }

  async #apply({ step }: Effect & { do: 'apply' }): Promise<void> {
    const { host } = this.#options;
    const whole = performance.now();
    try {
      const idle = await host.apply(step);
      host.committed(step, this.#timer.close(whole, idle, performance.now()));
    } catch (error) {
      this.#failure = { error };
      this.#onFailure(error);
      return;
    }
    this.#tell({ type: 'applied', step });
    for (const peer of this.#sessions.values()) this.#askForProfile(peer);
    this.#forget(step);
  }

  /** Nobody needs the model before this step any more, once it has left. */
  #forget(step: number): void {
    const place = this.#models.findIndex((each) => each.step === step);
    const [old] = place < 0 ? [] : this.#models.splice(place, 1);
    if (old === undefined) return;
    const left = [...this.#peers.values()].map(({ connection }) => connection.flushed());
    const used = new Set(this.#models.flatMap(({ buckets }) => buckets));
    const buckets = old.buckets.flatMap((piece) => (piece && !used.has(piece) ? [piece.values] : []));
    void Promise.all(left).then(() => this.#options.host.release(buckets));
  }

  #close(session: number, reason: CloseReason): void {
    const peer = this.#sessions.get(session);
    this.#sessions.delete(session);
    const isOver = reason === 'finished' || (reason === 'interrupted' && this.#finished);
    if (isOver) {
      const { step } = this.#core;
      if (peer) this.#sendControl(peer.connection, { type: 'finished', step, digest: this.#digest }, session);
    }
    peer?.connection.close(reason.toUpperCase(), `the coordinator closes: ${reason}`);
  }

  #fence(session: number) {
    const { run, incarnation } = this.#options.config;
    return { run, incarnation, session };
  }

  #control(session: number, message: CoordinatorMessage): void {
    const peer = this.#sessions.get(session);
    if (peer) this.#sendControl(peer.connection, message, session);
  }

  #sendControl(connection: Connection, message: CoordinatorMessage, session: number): void {
    const key = { ...this.#fence(session), type: 'control' as const, step: 0, lo: 0, hi: 0, offset: 0 };
    connection.send(key, encodeControl(message));
  }
}

/** Notes that a peer gets a bucket of the model before `step`; false: it has got it. */
function isFirst(peer: Peer, step: number, bucket: number): boolean {
  if (peer.sent.step !== step) peer.sent = { step, buckets: new Set() };
  if (peer.sent.buckets.has(bucket)) return false;
  peer.sent.buckets.add(bucket);
  return true;
}
