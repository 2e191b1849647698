import type { Fence } from '@lockstep/protocol';
import {
  createNode,
  Inbox,
  type NodeEffect,
  type NodeEvent,
  type NodeState,
  nodeAdmits,
  nodeWake,
  operate,
  type ShardRange,
} from '@lockstep/sync';
import { HEARTBEAT } from './clock.ts';
import { type Definition, gradient } from './digest.ts';
import type { Connection, Content, End, Frame } from './network.ts';
import { Process } from './process.ts';
import type { World } from './world.ts';

/** A node's process: the driver around the real state machine. Its computing takes time; its numbers are digests. */
export class Client extends Process implements End {
  readonly id: string;
  readonly #world: World;
  readonly #state: NodeState;
  readonly #inbox: Inbox<number>;
  /** Milliseconds per shard. */
  #pace: number;
  #slowUntil = 0;
  #hangsUntil = 0;
  #connection: Connection | undefined;
  #weights: readonly number[] = [];
  /** Grows when what is computed is abandoned. */
  #task = 0;
  #wake = Number.POSITIVE_INFINITY;
  /** The runs whose programs and data are here. */
  readonly #prepared = new Set<bigint>();
  #replays: Connection['replays'] = [];

  constructor(world: World, id: string, pace: number) {
    super(world.clock);
    this.id = id;
    this.#world = world;
    this.#pace = pace;
    const backoff = { first: 10, longest: 200 };
    this.#state = createNode({ id, backoff, patience: 150 }, world.clock.now);
    this.#inbox = new Inbox(world.buckets);
    this.later(0, () => this.tell({ type: 'tick' }));
  }

  get connection(): Connection | undefined {
    return this.#connection?.isAlive ? this.#connection : undefined;
  }

  get hasEnded(): boolean {
    return !this.isAlive || this.#state.phase === 'ended';
  }

  get isLeaving(): boolean {
    return this.#state.leaving;
  }

  slowDown(time: number): void {
    this.#slowUntil = this.#world.clock.now + time;
  }

  /** It lives, and answers, but computes nothing of what it is asked for from now on before this time is over. */
  hang(time: number): void {
    this.#hangsUntil = this.#world.clock.now + time;
  }

  override kill(silently = false): void {
    super.kill();
    if (silently) this.#connection?.sever();
    else this.#connection?.close('node');
  }

  /** The network made the connection that was asked for. */
  dialed(connection: Connection, attempt: number): void {
    this.run(() => {
      if (attempt !== this.#state.attempt) {
        connection.close('node');
        return;
      }
      this.#connection = connection;
      connection.replay(this.#replays);
      this.#replays = [];
      this.tell({ type: 'dialed', attempt });
    });
  }

  refused(attempt: number): void {
    this.run(() => this.tell({ type: 'closed', attempt }));
  }

  closed(connection: Connection): void {
    this.run(() => {
      if (connection === this.#connection) this.tell({ type: 'closed', attempt: this.#state.attempt });
    });
  }

  receive(frame: Frame, connection: Connection): void {
    this.run(() => {
      if (connection === this.#connection) this.#take(frame);
    });
  }

  #take(frame: Frame): void {
    if (frame.kind === 'welcome') {
      const { run, incarnation, session, attempt } = frame;
      const before = this.#state.fence;
      this.tell({ type: 'welcome', fence: { run, incarnation, session }, attempt, heartbeat: HEARTBEAT });
      if (before === this.#state.fence) this.#world.count('welcome of an earlier connection');
      else this.#inbox.clear();
      return;
    }
    if (this.#world.bug !== 'noFencing' && !nodeAdmits(this.#state, frame)) {
      this.#world.count('frame fenced by a node');
      return;
    }
    switch (frame.kind) {
      case 'ping':
      case 'finished':
        this.tell({ type: frame.kind });
        break;
      case 'assign':
        this.tell({ type: 'assign', step: frame.step, units: frame.units });
        break;
      case 'weights':
        this.#receiveWeights(frame);
        break;
    }
  }

  #receiveWeights({ step, bucket, value }: Frame & { kind: 'weights' }): void {
    this.tell({ type: 'heard' });
    if (this.#world.bug === 'mixedWeights') {
      this.#weights = Object.assign([...this.#weights], { [bucket]: value });
      if (this.#weights.filter((weight) => weight !== undefined).length === this.#world.buckets) {
        this.tell({ type: 'weights', step });
      }
      return;
    }
    const whole = this.#inbox.put(step, bucket, value);
    if (whole === undefined) return;
    // What is computed still reads the old ones: a real driver has two buffers, too.
    this.#weights = whole;
    this.tell({ type: 'weights', step });
  }

  tell(event: NodeEvent): void {
    if (!this.isAlive) return;
    const { now } = this.#world.clock;
    for (const effect of operate(this.#state, event, now)) {
      this.#world.trace(this.id, effect.do, 'step' in effect ? effect.step : 0);
      this.#do(effect);
    }
    const wake = nodeWake(this.#state);
    if (wake >= this.#wake && this.#wake > now) return;
    this.#wake = wake;
    if (wake === Number.POSITIVE_INFINITY) return;
    this.at(wake, () => {
      if (this.#wake !== wake) return;
      this.#wake = Number.POSITIVE_INFINITY;
      this.tell({ type: 'tick' });
    });
  }

  #do(effect: NodeEffect): void {
    switch (effect.do) {
      case 'dial':
        this.#hangUp();
        this.#world.dial(this, effect.attempt);
        break;
      case 'hangUp':
        this.#hangUp();
        break;
      case 'send':
        this.#send(effect.message === 'hello' ? this.#hello() : { kind: effect.message });
        break;
      case 'prepare':
        this.later(this.#prepared.has(this.#state.fence!.run) ? 0 : this.#world.random.between(0, 30), () => {
          this.#prepared.add(this.#state.fence?.run ?? 0n);
          this.tell({ type: 'prepared', attempt: effect.attempt });
        });
        break;
      case 'compute':
        this.#compute(effect.step, effect.units);
        break;
      case 'abandon':
        this.#task++;
        this.#world.count('work abandoned');
        break;
      case 'end':
        this.#world.count('node ended');
        break;
    }
  }

  #hello(): Content {
    return { kind: 'hello', attempt: this.#state.attempt };
  }

  #hangUp(): void {
    this.#replays.push(...(this.#connection?.replays ?? []));
    this.#connection?.close('node');
    this.#connection = undefined;
  }

  #send(content: Content): void {
    const fence: Fence = this.#state.fence ?? { run: 0n, incarnation: 0, session: 0 };
    this.#connection?.send('node', { ...fence, ...content });
  }

  /** Computes one unit after the other; its buckets leave while it is computed. */
  #compute(step: number, units: readonly ShardRange[]): void {
    const task = ++this.#task;
    const weights = this.#weights;
    // A program belongs to its run: what another run's numbers are, this process does not know.
    const definition: Definition = this.#world.definitionOf(this.#state.fence!.run);
    const pace = this.#pace * (this.#world.clock.now < this.#slowUntil ? 20 : 1);
    let delay = Math.max(0, this.#hangsUntil - this.#world.clock.now);
    const then = (work: () => void): void =>
      this.later(delay, () => {
        if (task === this.#task) work();
      });
    for (const unit of units) {
      for (let bucket = 0; bucket < weights.length; bucket++) {
        delay += ((unit.hi - unit.lo) * pace * this.#world.random.between(0.8, 1.2)) / weights.length;
        then(() => {
          const value = gradient(definition, weights, step, bucket, unit);
          const isLast = unit === units.at(-1) && bucket === weights.length - 1;
          if (isLast) this.#send({ kind: 'computed', step, milliseconds: delay });
          this.#send({ kind: 'gradient', step, lo: unit.lo, hi: unit.hi, bucket, value });
        });
      }
    }
    then(() => this.tell({ type: 'computed', step }));
  }
}
