/** Runs the coordinator's state machine over connections: frames in, effects out. No sockets, no tensors. */
import {
  decodeNodeMessage,
  floatsOf,
  type Header,
  type NodeMessage,
  ProtocolError,
} from '@lockstep/protocol';
import { coordinate } from '../core/coordinator.ts';
import {
  admits,
  type Coordinator,
  createCoordinator,
  expects,
  nextWake,
  receivers,
} from '../core/coordinatorState.ts';
import type { CloseReason, CoordinatorEvent, Effect } from '../core/coordinatorTypes.ts';
import { BucketIndex } from '../reduce/buckets.ts';
import { Deliveries } from '../reduce/deliveries.ts';
import type { Accept } from '../transport/transport.ts';
import { Alarm } from './alarm.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Content, CoordinatorDriverOptions, NodeInfo, Traffic } from './coordinatorHost.ts';
import { Peer } from './peer.ts';
import { StepTimer } from './stepTime.ts';

/**
 * Bytes that a node sends ahead of the weights that come back: so two nodes keep a network of 1 Gbit/s busy while the weights
 * of one bucket go to both. What one node is ahead of the other is time in which nothing comes back: with twice as much, a step
 * took 6 % longer there; with three quarters of it, 8 % in two of three runs.
 */
const AHEAD = 1 << 20;

export class CoordinatorDriver {
  readonly #options: CoordinatorDriverOptions;
  readonly #core: Coordinator;
  readonly #deliveries: Deliveries;
  readonly #unitIndex: BucketIndex;
  readonly #clock: Clock;
  readonly #timer: StepTimer;
  readonly #alarm: Alarm;
  readonly #peers = new Map<number, Peer>();
  readonly #sessions = new Map<number, Peer>();
  readonly #traffic: Traffic = { sent: 0, received: 0 };
  #isStopping = false;
  #finished = false;
  #digest: string | null = null;
  #failure: { readonly error: unknown } | undefined;
  #onFailure: (error: unknown) => void = () => {};

  constructor(options: CoordinatorDriverOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#timer = new StepTimer(this.#clock.now());
    this.#alarm = new Alarm(this.#clock, () => this.#tell({ type: 'tick' }));
    this.#core = createCoordinator(options.config, this.#clock.now());
    this.#deliveries = new Deliveries(options.unitBuckets.length);
    this.#unitIndex = new BucketIndex(options.unitBuckets);
    this.#tell({ type: 'tick' });
  }

  /** Nodes that are members now. */
  get nodes(): NodeInfo[] {
    return [...this.#core.members.keys()].flatMap((session) => this.#sessions.get(session)?.node ?? []);
  }

  /** The step under way: the model is the one before it. */
  get step(): number {
    return this.#core.step;
  }

  /** Milliseconds so far in which nobody was there to compute, those before the first step among them. */
  get idle(): number {
    return this.#timer.idle(this.#clock.now());
  }

  /** Since it was last asked for. */
  takeTraffic(): Traffic {
    const traffic = { ...this.#traffic };
    this.#traffic.sent = 0;
    this.#traffic.received = 0;
    return traffic;
  }

  /** Throws what `failed` rejects with, once it does. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Settles never; rejects when the host failed, or an invariant is broken: nothing may come of the run any more. */
  readonly failed = new Promise<never>((_, reject) => {
    this.#onFailure = reject;
  });

  /** Ends the run: nodes go for good when it is finished, else they wait for a coordinator that goes on. */
  stop(finished: boolean, digest: string | null = null): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#finished = finished;
    this.#digest = digest;
    this.#tell({ type: 'stop' });
    // Where the run has failed, the core hears of nothing any more.
    for (const session of [...this.#sessions.keys()]) this.#close(session, 'interrupted');
    this.#alarm.stop();
    for (const { connection } of this.#peers.values()) connection.close();
  }

  readonly accept: Accept = (connection) => {
    const peer = new Peer(connection, this.#options.config, this.#traffic);
    this.#peers.set(connection.id, peer);
    if (this.#isStopping) connection.close('STOPPING', 'the coordinator ends');
    return {
      frame: (header, payload) => this.#guard(peer, () => this.#take(peer, header, payload)),
      closed: () => this.#closed(peer),
    };
  };

  #closed(peer: Peer): void {
    peer.gone();
    this.#peers.delete(peer.connection.id);
    if (peer.session > 0 && !this.#isStopping) this.#tell({ type: 'lost', session: peer.session });
  }

  /** What a peer sends can end its own connection and nothing else; whatever else fails is this end's, and ends the run. */
  #guard(peer: Peer, work: () => void): void {
    if (this.#failure !== undefined || this.#isStopping) return;
    try {
      work();
    } catch (error) {
      if (error instanceof ProtocolError) {
        peer.refuse(error.code, error.message.slice(error.code.length + 2));
      } else this.#fail(error);
    }
  }

  /** From now on nothing is taken, applied or assigned: `failed` rejects, and whoever has the run ends it. */
  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    this.#alarm.stop();
    this.#onFailure(error);
  }

  // Frames

  #take(peer: Peer, header: Header, payload: Uint8Array): void {
    const message = header.type === 'control' ? decodeNodeMessage(payload) : undefined;
    if (message?.type === 'hello') {
      this.#hello(peer, message);
      return;
    }
    if (peer.hello === undefined) throw new ProtocolError('CONTROL_UNKNOWN', 'expected a hello first');
    if (peer.session === 0 || header.session !== peer.session || !admits(this.#core, header)) return;
    const { session } = peer;
    if (message?.type === 'need')
      peer.stream(message.what, this.#options.contents[message.what], message.from);
    else if (message?.type === 'computed') this.#computed(session, message);
    else if (message?.type === 'time') peer.time(message.milliseconds);
    else if (header.type === 'gradient') this.#gradient(session, header, payload);
    else if (header.type === 'profile') this.#profiled(peer, payload);
    const type = message?.type;
    if (type === 'ready') {
      peer.ready();
      this.#askForProfile(peer);
    }
    this.#tell({ type: type === 'leave' || type === 'ready' ? type : 'heard', session });
  }

  #hello(peer: Peer, hello: NodeMessage & { type: 'hello' }): void {
    if (peer.hello !== undefined) throw new ProtocolError('CONTROL_UNKNOWN', 'a second hello');
    peer.hello = hello;
    const { name, proof } = this.#options.arithmetic;
    if (hello.arithmetic !== name || hello.proof !== proof) {
      peer.refuse(
        'WRONG_ARITHMETIC',
        `the known-answer test of ${hello.name} (kernels ${hello.kernels}, ${hello.arithmetic}) does not give the bits of ` +
          `this run (${name}); use the same version of Lockstep, or other kernels`,
      );
      return;
    }
    const lie = this.#options.host.refusal?.(hello.id);
    if (lie === undefined)
      this.#tell({ type: 'join', peer: peer.connection.id, id: hello.id, name: hello.name });
    else this.#refuseLiar(peer, lie);
  }

  /** Ends the connection of a node whose results were wrong. `lie`: what it did. */
  expel(id: string, lie: string): void {
    for (const peer of this.#peers.values()) if (peer.hello?.id === id) this.#refuseLiar(peer, lie);
  }

  #refuseLiar(peer: Peer, lie: string): void {
    peer.refuse(
      'WRONG_RESULTS',
      `${lie}, so this node is refused for the rest of the run; look at its memory, its processor and its version of Lockstep`,
    );
  }

  #computed(session: number, { step, milliseconds }: NodeMessage & { type: 'computed' }): void {
    if (step === this.#core.open.step) this.#timer.computed(session, milliseconds);
    this.#tell({ type: 'computed', session, step, milliseconds });
  }

  #askForProfile(peer: Peer): void {
    const { profile } = this.#options;
    if (profile) peer.askForProfile(profile, this.#core.step);
  }

  #profiled(peer: Peer, payload: Uint8Array): void {
    const node = this.nodes.find(({ session }) => session === peer.session);
    if (!this.#options.profile || !node) return;
    const ahead = peer.profiled();
    if (ahead !== undefined) this.#options.host.profiled?.(node, payload.slice(), ahead);
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
    const begin = this.#clock.now();
    const piece = { step, unit, bucket, value, checksum, session };
    const arrival = this.#options.plane.take(piece);
    const now = this.#clock.now();
    this.#timer.busy(begin, now);
    this.#options.host.arrived?.(piece, arrival);
    if (arrival.kind === 'notFinite') {
      const name = this.#core.names.get(session);
      throw new ProtocolError(
        'NOT_FINITE',
        `${name} sent a number that is not finite for shards ${lo} to ${hi - 1} of step ${step}, where there is none`,
      );
    }
    const delivery = this.#deliveries.add(step, unit, bucket, session, arrival.kind !== 'conflict');
    if (delivery !== undefined) this.#tell({ type: 'returned', session, step, lo, hi, ...delivery });
    if (arrival.kind === 'kept' && arrival.isUnitWhole) {
      this.#timer.unit(session, now);
      this.#options.host.contributed(session);
    }
    // Also when it was whole before: then, the step may have been cut into other units, and only now into this one.
    if (arrival.kind !== 'stale' && arrival.isUnitWhole) this.#tell({ type: 'unit', session, step, lo, hi });
    if (arrival.kind === 'kept' && arrival.isStepWhole) this.#tell({ type: 'whole', step });
    if (arrival.kind === 'conflict') {
      this.#tell({ type: 'conflict', step, lo, hi, sessions: [arrival.first, session] });
    }
  }

  // The core and its effects

  readonly #events: CoordinatorEvent[] = [];

  /** Events that come while effects are done wait for their turn. */
  #tell(event: CoordinatorEvent): void {
    if (this.#failure !== undefined || this.#events.push(event) > 1) return;
    const now = this.#clock.now();
    try {
      for (; this.#events.length > 0; this.#events.shift()) {
        for (const effect of coordinate(this.#core, this.#events[0]!, now)) this.#do(effect);
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#alarm.set(this.#core.phase === 'done' ? Number.POSITIVE_INFINITY : nextWake(this.#core, now));
  }

  #do(effect: Effect): void {
    const peer = 'session' in effect ? this.#sessions.get(effect.session) : undefined;
    switch (effect.do) {
      case 'welcome':
        this.#welcome(effect);
        break;
      case 'ping':
        peer?.control({ type: 'ping' });
        break;
      case 'publish':
        if (peer) this.#options.plane.complete(effect.step, peer);
        break;
      case 'assign': {
        const units = effect.units.map(({ lo, hi }): [number, number] => [lo, hi]);
        if (!effect.isRedundant) this.#timer.assign(effect.session, units.length, this.#clock.now());
        const isPaced = effect.together && this.#options.plane.streams(effect.step);
        peer?.control({ type: 'assign', step: effect.step, units, ...(isPaced && { ahead: AHEAD }) });
        break;
      }
      case 'open':
        this.#timer.open(this.#clock.now());
        this.#options.plane.open(effect.step, this.#options.config.shards(effect.step), effect.awaited);
        this.#deliveries.open(effect.step, effect.awaited);
        break;
      case 'apply':
        void this.#apply(effect);
        break;
      case 'close':
        this.#close(effect.session, effect.reason);
        break;
      case 'report':
        if (effect.report.type === 'stall') this.#timer.attended(false, this.#clock.now());
        if (effect.report.type === 'resume') this.#timer.attended(true, this.#clock.now());
        this.#options.host.report(effect.report);
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
    peer.control({
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

  /** Those who get every model; also who leaves, for its gradient is paced by them. */
  readonly receivers = (): Peer[] =>
    receivers(this.#core).flatMap((session) => this.#sessions.get(session) ?? []);

  async #apply({ step }: Effect & { do: 'apply' }): Promise<void> {
    const { host, plane } = this.#options;
    const whole = this.#clock.now();
    let idle: number;
    try {
      idle = await plane.apply(step);
      if (this.#failure !== undefined) return;
      host.committed(step, this.#timer.close(whole, idle, this.#clock.now()));
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#tell({ type: 'applied', step, idle });
    for (const peer of this.#sessions.values()) this.#askForProfile(peer);
    plane.forget(step);
  }

  #close(session: number, reason: CloseReason): void {
    const peer = this.#sessions.get(session);
    this.#sessions.delete(session);
    const isOver = reason === 'finished' || (reason === 'interrupted' && this.#finished);
    if (isOver) peer?.control({ type: 'finished', step: this.#core.step, digest: this.#digest });
    peer?.connection.close(reason.toUpperCase(), `the coordinator closes: ${reason}`);
  }
}
