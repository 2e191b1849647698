import type { Fence } from '@lockstep/protocol';
import {
  admits,
  type Coordinator,
  type CoordinatorEvent,
  checkpointRecipe,
  checkpointStep,
  coordinate,
  createCoordinator,
  Deliveries,
  type DiskAction,
  type Effect,
  expects,
  nextWake,
  type Report,
  replaceRecipe,
} from '@lockstep/sync';
import { makeReducer } from './bugs.ts';
import { HEARTBEAT } from './clock.ts';
import { type Definition, initialWeights, update, usedShards } from './digest.ts';
import type { Disk } from './disk.ts';
import type { Connection, Content, End, Frame } from './network.ts';
import { Process } from './process.ts';
import type { World } from './world.ts';

/** What the files of a run hold. */
export type Stored =
  | { readonly kind: 'checkpoint'; readonly step: number; readonly weights: readonly number[] }
  | { readonly kind: 'incarnation'; readonly incarnation: number };

const INCARNATION = 'incarnation';

/** One life of the coordinator's process: the driver around the real core. */
export class Server extends Process implements End {
  readonly #world: World;
  readonly #definition: Definition;
  readonly #disk: Disk<Stored>;
  #reducer: ReturnType<typeof makeReducer>;
  readonly #deliveries: Deliveries;
  #core: Coordinator | undefined;
  #weights: readonly number[] = [];
  readonly #peers = new Map<number, { readonly connection: Connection; session: number }>();
  readonly #sessions = new Map<number, Connection>();
  #wake = Number.POSITIVE_INFINITY;

  constructor(world: World, definition: Definition, disk: Disk<Stored>) {
    super(world.clock);
    this.#world = world;
    this.#definition = definition;
    this.#disk = disk;
    this.#reducer = makeReducer(definition.buckets, world.bug);
    this.#deliveries = new Deliveries(definition.buckets);
    this.later(1, () => this.#boot());
  }

  get isListening(): boolean {
    return this.isAlive && this.#core !== undefined;
  }

  get phase(): Coordinator['phase'] | 'booting' {
    return this.#core?.phase ?? 'booting';
  }

  /** The process is gone: connections are reset, or (the host is gone, too) nothing is heard any more. */
  override kill(silently = false): void {
    super.kill();
    for (const { connection } of this.#peers.values()) {
      if (silently) connection.sever();
      else connection.close('server');
    }
  }

  // Starting

  #boot(): void {
    const { bug } = this.#world;
    const stored = this.#disk.read(INCARNATION);
    const before = stored?.kind === 'incarnation' ? stored.incarnation : 0;
    const incarnation = bug === 'sameIncarnation' ? Math.max(before, 1) : before + 1;
    this.#write(replaceRecipe(INCARNATION), { kind: 'incarnation', incarnation }, (ok) => {
      if (ok) this.#start(incarnation);
      else this.later(20, () => this.#boot());
    });
  }

  #start(incarnation: number): void {
    const { start, weights } = this.#restore();
    this.#weights = weights;
    this.#world.started(this.#definition, incarnation, start, weights);
    const { random, clock } = this.#world;
    this.#core = createCoordinator(
      {
        run: this.#definition.run,
        incarnation,
        start,
        steps: this.#definition.steps,
        shards: (step) => usedShards(this.#definition, step),
        minNodes: this.#world.minNodes,
        heartbeat: HEARTBEAT,
        straggler: { factor: 3, least: 30, unknown: 400 },
        checkpoint: { steps: random.integer(1, 4), time: random.integer(20, 400) },
      },
      clock.now,
    );
    this.tell({ type: 'tick' });
  }

  /** The newest checkpoint that can be read. */
  #restore(): { start: number; weights: readonly number[] } {
    const found = this.#disk.files.filter((file) => checkpointStep(file) !== undefined).sort();
    for (const file of found.reverse()) {
      const stored = this.#disk.read(file);
      if (stored?.kind === 'checkpoint') {
        this.#world.count('resumed');
        return { start: stored.step, weights: stored.weights };
      }
      this.#world.count('damaged checkpoint skipped');
    }
    return { start: 0, weights: initialWeights(this.#definition) };
  }

  // Connections

  accept(connection: Connection): void {
    this.#peers.set(connection.id, { connection, session: 0 });
  }

  receive(frame: Frame, connection: Connection): void {
    this.run(() => this.#take(frame, connection));
  }

  closed(connection: Connection): void {
    this.run(() => {
      const session = this.#peers.get(connection.id)?.session ?? 0;
      this.#peers.delete(connection.id);
      if (session > 0) this.tell({ type: 'lost', session });
    });
  }

  #take(frame: Frame, connection: Connection): void {
    const peer = this.#peers.get(connection.id);
    const core = this.#core;
    if (peer === undefined || core === undefined) return;
    if (frame.kind === 'hello') {
      // Once a connection: a second one is a broken peer.
      if (peer.session > 0) connection.close('server');
      else this.#welcome(frame.attempt, connection);
      return;
    }
    if (!this.#admits(core, frame)) {
      this.#world.count('frame fenced by the coordinator');
      return;
    }
    const session = this.#world.bug === 'noFencing' ? peer.session : frame.session;
    if (frame.kind === 'gradient') this.#gradient(core, session, frame);
    if (frame.kind === 'computed') this.tell({ ...frame, type: 'computed', session });
    const { kind } = frame;
    this.tell({ type: kind === 'leave' || kind === 'ready' ? kind : 'heard', session });
  }

  #admits(core: Coordinator, frame: Fence): boolean {
    return this.#world.bug === 'noFencing' || admits(core, frame);
  }

  #gradient(core: Coordinator, session: number, frame: Frame & { kind: 'gradient' }): void {
    const { step, lo, hi, bucket, value } = frame;
    if (!expects(core, session, step, { lo, hi })) {
      this.#world.count('gradient that nobody asked for');
      return;
    }
    const piece = { step, unit: { lo, hi }, bucket, value, checksum: value, session };
    const arrival = this.#reducer.put(piece);
    this.#world.count(`gradient ${arrival.kind}${step < core.open.step ? ', late' : ''}`);
    const delivery = this.#deliveries.add(step, { lo, hi }, bucket, session, arrival.kind !== 'conflict');
    if (delivery !== undefined) {
      if ([...core.redundant].some((each) => each.session === session && each.step === step)) {
        this.#world.count(`redundant unit returned${step < core.open.step ? ', late' : ''}`);
      }
      this.tell({ type: 'returned', session, step, lo, hi, ...delivery });
    }
    if (arrival.kind === 'kept' && arrival.isUnitWhole) this.tell({ type: 'unit', session, step, lo, hi });
    if (arrival.kind === 'conflict') {
      this.tell({ type: 'conflict', step, lo, hi, sessions: [arrival.first, session] });
    }
  }

  #welcome(attempt: number, connection: Connection): void {
    this.#attempts.set(connection.id, attempt);
    const id = this.#world.nodeOf(connection).id;
    this.tell({ type: 'join', peer: connection.id, id, name: id });
  }
  readonly #attempts = new Map<number, number>();

  // The core and its effects

  tell(event: CoordinatorEvent): void {
    const core = this.#core;
    if (!this.isAlive || core === undefined) return;
    const { now } = this.#world.clock;
    for (const effect of coordinate(core, event, now)) {
      this.#world.trace('coordinator', effect.do, 'step' in effect ? effect.step : 0);
      this.#do(effect);
    }
    if (core.phase === 'done') return;
    const wake = nextWake(core, now);
    if (wake >= this.#wake && this.#wake > now) return;
    this.#wake = wake;
    if (wake === Number.POSITIVE_INFINITY) return;
    this.at(wake, () => {
      if (this.#wake !== wake) return;
      this.#wake = Number.POSITIVE_INFINITY;
      this.tell({ type: 'tick' });
    });
  }

  #do(effect: Effect): void {
    switch (effect.do) {
      case 'welcome': {
        const peer = this.#peers.get(effect.peer)!;
        peer.session = effect.session;
        this.#sessions.set(effect.session, peer.connection);
        this.#send(effect.session, { kind: 'welcome', attempt: this.#attempts.get(effect.peer)! });
        break;
      }
      case 'ping':
        this.#send(effect.session, { kind: 'ping' });
        break;
      case 'publish':
        for (const [bucket, value] of this.#weights.entries()) {
          this.#send(effect.session, { kind: 'weights', step: effect.step, bucket, value });
        }
        break;
      case 'assign':
        this.#send(effect.session, { kind: 'assign', step: effect.step, units: effect.units });
        break;
      case 'open':
        this.#reducer.open(effect.step, usedShards(this.#definition, effect.step), effect.awaited);
        this.#deliveries.open(effect.step, effect.awaited);
        break;
      case 'apply':
        this.#apply(effect);
        break;
      case 'save':
        this.#save(effect.step);
        break;
      case 'close':
        if (effect.reason === 'finished') this.#send(effect.session, { kind: 'finished' });
        this.#sessions.get(effect.session)?.close('server');
        break;
      case 'report':
        this.#report(effect.report);
        break;
      case 'finish':
        this.#world.finished(this.#definition, effect.step, this.#weights, effect.saved);
        break;
    }
  }

  #report(report: Report): void {
    this.#world.count(report.type === 'lost' ? `report lost, ${report.reason}` : `report ${report.type}`);
    if (report.type === 'checkpoint') this.#world.saved(this.#definition, report.step);
    if (report.type === 'alarm') this.#world.alarmed();
  }

  #send(session: number, content: Content): void {
    const { run } = this.#definition;
    const { incarnation } = this.#core!.config;
    this.#sessions.get(session)?.send('server', { run, incarnation, session, ...content });
  }

  #apply({ step, units }: Effect & { do: 'apply' }): void {
    this.later(this.#world.random.between(0.2, 4), () => {
      const reducer = this.#reducer;
      this.#weights = update(
        this.#weights,
        this.#weights.map((_, bucket) => reducer.total(bucket, units, step)),
      );
      this.#world.committed(this.#definition, step + 1, this.#weights);
      this.tell({ type: 'applied', step });
    });
  }

  // The disk

  #save(step: number): void {
    const files = this.#disk.files.filter((file) => !this.#disk.isDamaged(file));
    const snapshot = this.#weights;
    const data = (): Stored => ({
      kind: 'checkpoint',
      step,
      weights: this.#world.bug === 'noSnapshot' ? this.#weights : snapshot,
    });
    this.#write(checkpointRecipe(step, files), data, (ok) => this.tell({ type: 'saved', step, ok }));
  }

  /** Follows a recipe, one action after the other, as long as this process lives. */
  #write(recipe: readonly DiskAction[], data: Stored | (() => Stored), done: (ok: boolean) => void): void {
    const { bug, clock, random } = this.#world;
    const skipped = bug === 'noFolderSync' ? 'syncFolder' : bug === 'noFileSync' ? 'sync' : undefined;
    const [action, ...rest] = recipe.filter((each) => each.do !== skipped);
    if (action === undefined) {
      done(true);
      return;
    }
    this.later(random.between(0.2, this.#world.slowestWrite), () => {
      const ok = this.#disk.act(action, typeof data === 'function' ? data() : data, clock.now);
      if (ok) this.#write(rest, data, done);
      else done(false);
    });
  }
}
