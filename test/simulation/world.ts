/**
 * One simulated run from one seed: a coordinator, nodes, a network, a disk, and what goes wrong with them. What ships runs in it:
 * loop, executor, drivers, cores, reducer, updates, publication, checkpoints. Simulated are time, network, disk and arithmetic.
 */

import { unitVector } from '@lockstep/cluster';
import type { Accept } from '@lockstep/sync';
import type { BatchJob, LoopOutcome, Progress, TrainingEvent } from '@lockstep/trainer';
import { Client } from './client.ts';
import { HEARTBEAT, settle, VirtualClock } from './clock.ts';
import { type Definition, define } from './definition.ts';
import { Disk } from './disk.ts';
import { FAULTS } from './faults.ts';
import { Link, type Weather } from './network.ts';
import { Random } from './random.ts';
import { eventKey, serial, type Truth } from './serial.ts';
import { contentOf, Server } from './server.ts';

/** Milliseconds: after this time nothing goes wrong any more; */
const CALM = 6 * HEARTBEAT;
/** and by this one the run must be over. */
const PATIENCE = 300 * HEARTBEAT;
/** A run needs thousands; one that needs so many goes in circles. */
const MOST_EVENTS = 300_000;

export class Violation extends Error {
  override readonly name = 'Violation';
}

/** A definition that is trained, with what must come of it and what is on its disk. */
export interface Run {
  readonly definition: Definition;
  truth: Truth;
  disk: Disk;
  incarnation: number;
  /** Steps of the checkpoints that were said to be safe, by the name of their file. */
  readonly safe: Map<string, number>;
  /** Checkpoints that rotted, maybe before they were said to be safe. */
  readonly damaged: Set<string>;
}

export interface Outcome {
  /** Hash of all that happened, in order. */
  readonly trace: number;
  readonly counts: ReadonlyMap<string, number>;
  readonly events: number;
}

/** Runs a seed to its end. Rejects with a Violation, or what the program threw, when anything is not as it must be. */
export const simulate = async (seed: number, log?: (line: string) => void): Promise<Outcome> => {
  const world = new World(seed, log);
  await world.play();
  return { trace: world.hash, counts: world.counts, events: world.events };
};

export class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly weather: Weather;
  readonly minNodes: number;
  readonly counts = new Map<string, number>();
  clients: Client[] = [];
  server!: Server;
  hash = 0;
  events = 0;
  readonly #log: ((line: string) => void) | undefined;
  readonly #definitions = new Map<string, Definition>();
  readonly #nodes: number;
  /** Of this life of the coordinator: what went into the weights, by batch. */
  readonly #seen = new Set<string>();
  #run!: Run;
  #names = 0;
  #links = 0;
  #alarms = 0;
  #isOver = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(seed: number, log: ((line: string) => void) | undefined) {
    this.random = new Random(seed);
    this.#log = log;
    const { random } = this;
    this.weather = makeWeather(random);
    this.#nodes = random.integer(1, 4);
    this.minNodes = random.integer(1, this.#nodes);
  }

  async play(): Promise<void> {
    this.#run = await this.#define();
    this.server = new Server(this, this.#run);
    for (let i = 0; i < this.#nodes; i++) {
      this.clock.after(this.random.between(0, 30), () => void this.addClient());
    }
    this.#planFaults();
    while (!this.#isOver) {
      if (!this.clock.advance()) await this.#untilSomething();
      await settle();
      if (this.#failure) throw this.#failure.error;
      if (this.clock.now > PATIENCE) throw new Violation(`not over after ${PATIENCE} ms`);
      if (++this.events > MOST_EVENTS) throw new Violation(`busy without end at ${this.clock.now} ms`);
    }
    if (this.#alarms > 0 && !this.counts.has('gradient doubled with a flipped bit')) {
      throw new Violation('an alarm, but no bit was flipped');
    }
  }

  /** Nothing is due: long chains of promises may still bring something about. */
  async #untilSomething(): Promise<void> {
    for (let i = 0; i < 50; i++) {
      await settle();
      if (this.clock.advance()) return;
    }
    throw new Violation('nothing is left to happen, but the run is not over');
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  trace(who: string, what: string, step: number): void {
    let hash = this.hash ^ Math.imul(this.clock.now * 1024, 0x9e3779b1);
    hash = Math.imul(hash ^ what.charCodeAt(0) ^ (who.charCodeAt(0) << 8), 0x01000193);
    this.hash = Math.imul(hash ^ step, 0x85ebca6b) >>> 0;
    this.#log?.(`${this.clock.now.toFixed(2).padStart(9)} ${who.padEnd(18)} ${what} ${step}`);
  }

  /** Whether a link breaks in the middle of a unit. */
  breaksNow(): boolean {
    const { clock, weather, random } = this;
    if (weather.breaks === 0 || clock.now > CALM || !random.chance(weather.breaks)) return false;
    this.count('link broken in the middle of a unit');
    return true;
  }

  /** Whatever a process throws, where nobody is to catch it. */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  // What the processes ask for

  async dial(client: Client, accept: Accept): Promise<Link> {
    await client.sleep(this.random.between(0.5, 4));
    const { server } = this;
    if (!server.isListening) throw Object.assign(new Error('nobody listens'), { code: 'UNREACHABLE' });
    const link = new Link(this, ++this.#links, { node: client, server });
    link.ends.node.join(accept);
    server.accept(link.ends.server);
    return link;
  }

  definitionOf(program: string): Definition {
    return this.#definitions.get(program)!;
  }

  // What must be true

  started(run: Run, incarnation: number, from: Progress | undefined): void {
    if (incarnation <= run.incarnation) {
      throw new Violation(`incarnation ${incarnation} after ${run.incarnation}`);
    }
    run.incarnation = incarnation;
    this.#seen.clear();
    const safe = Math.max(0, ...run.safe.values());
    const step = from?.step ?? 0;
    if (step < safe) throw new Violation(`resumed at step ${step}, but ${safe} was said to be safe`);
    if (from === undefined) return;
    this.count('resumed');
    const expected = run.truth.progress.get(step);
    this.#compare(`progress of step ${step}`, plain({ ...from, events: undefined }), plain(expected));
  }

  /** Gives undefined where nothing can be read because everything rotted: then the run starts anew. */
  unreadable(run: Run, error: unknown): undefined {
    if (run.safe.size > 0 || (error as { code?: unknown }).code !== 'DATA_CORRUPT') throw error;
    this.count('no checkpoint left');
    return undefined;
  }

  /** The sums that the optimizer reads, as it does: those of the serial worker, and each once. */
  applied(
    run: Run,
    server: Server,
    { index }: BatchJob,
    what: 'head' | 'gradient',
    values: Float32Array,
    from: number,
  ): void {
    if (server !== this.server || !server.isAlive) return;
    const key = `${index} ${what} ${from} ${values.length}`;
    if (this.#seen.has(key)) throw new Violation(`batch ${index}: ${what} from ${from} is applied twice`);
    this.#seen.add(key);
    // In the moments after, whoever wrote the training may end it: sums are on their way to the loop.
    if (this.weather.interrupts > 0 && this.clock.now < CALM && this.random.chance(this.weather.interrupts)) {
      this.count('interrupted while a batch is applied');
      queueMicrotask(() => server.interrupt());
    }
    const { values: sums } = run.definition.sizes;
    const { statistics, gradient } = unitVector(run.definition.sizes);
    const start = what === 'gradient' ? gradient + from : from < sums ? from : statistics + from - sums;
    const expected = run.truth.sums[index]?.subarray(start, start + values.length);
    if (expected !== undefined && values.every((value, i) => value === expected[i])) return;
    throw new Violation(
      `batch ${index}: ${what} from ${from} is ${values}, the serial worker has ${expected}`,
    );
  }

  event(run: Run, event: TrainingEvent): void {
    // An epoch that is left before its end is told, too.
    if (event.type === 'epoch' && this.server.isInterrupted) return;
    if (event.type === 'step' || event.type === 'epoch') {
      const key = eventKey(event);
      this.trace('event', key, event.step);
      this.#compare(key, plain(event), plain(run.truth.events.get(key)));
      return;
    }
    this.count(`event ${event.type}`);
    // What rotted between the writing and this message was safe, but is not any more.
    if (event.type !== 'checkpoint') return;
    const name = event.file.replace(/^.*\//, '');
    if (!run.damaged.has(name)) run.safe.set(name, event.step);
  }

  alarmed(): void {
    this.#alarms++;
  }

  finished(run: Run, outcome: LoopOutcome, weights: Float32Array): void {
    if (outcome.interrupted) {
      this.count('interrupted');
      this.restartServer();
      return;
    }
    this.#compare('outcome', plain(outcome), plain(run.truth.outcome));
    this.#compare('weights', [...weights], [...run.truth.weights]);
    this.#isOver = true;
  }

  nodeEnded(reason: 'finished' | 'left', digest: string | null): void {
    this.count(`node ended: ${reason}${digest === null ? '' : ', with the digest'}`);
  }

  #compare(what: string, got: unknown, expected: unknown): void {
    const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
    if (a !== b) throw new Violation(`${what}: got ${a}, the serial worker has ${b}`);
  }

  // What goes wrong

  addClient(): Client {
    const client = new Client(this, ++this.#names, this.random.between(1, 12));
    this.clients = [...this.clients.filter(({ hasEnded }) => !hasEnded), client];
    return client;
  }

  get disk(): Disk {
    return this.#run.disk;
  }

  /** The newest checkpoint rots: false when there is none. */
  damageCheckpoint(): boolean {
    const { disk, safe } = this.#run;
    const newest = disk.files
      .filter((name) => name.endsWith('.json'))
      .sort()
      .at(-1);
    if (newest === undefined) return false;
    const file = this.random.chance(0.5) ? newest : newest.replace('.json', '.safetensors');
    if (!disk.damage(file, this.random)) return false;
    safe.delete(newest);
    this.#run.damaged.add(newest);
    return true;
  }

  /** The process is gone, with its host or not, and comes back later: with another definition when it is so wished. */
  restartServer({ silently = false, another = false } = {}): void {
    this.server.kill(silently);
    if (silently) this.#run.disk.crash(this.random);
    const next = another ? this.#define() : Promise.resolve(this.#run);
    if (another) this.count('another run in its place');
    this.clock.after(this.random.between(1, 120), () => {
      void next.then((run) => {
        this.#run = run;
        this.server = new Server(this, run);
      });
    });
  }

  #planFaults(): void {
    const { random } = this;
    const faults = random.chance(0.1) ? 0 : random.integer(1, 6);
    for (let i = 0; i < faults; i++) {
      const [name, strike] = random.pick(FAULTS);
      this.clock.at(random.between(0, CALM), () => {
        if (this.#isOver || !strike(this)) return;
        this.count(`fault ${name}`);
        this.trace('fault', name, 0);
      });
    }
    // In the end somebody is there to finish the run.
    this.clock.at(CALM, () => {
      const staying = this.clients.filter(({ hasEnded, isLeaving }) => !hasEnded && !isLeaving);
      for (let n = staying.length; n < this.minNodes; n++) this.addClient();
    });
  }

  async #define(): Promise<Run> {
    const definition = define(this.random);
    this.#definitions.set(contentOf(definition, 'program').hash, definition);
    return {
      definition,
      truth: await serial(definition),
      disk: new Disk(),
      incarnation: 0,
      safe: new Map(),
      damaged: new Set(),
    };
  }
}

/** What depends on time or place is left out; keys are in order. */
const IGNORED = new Set(['seconds', 'samplesPerSecond', 'nodes', 'workers', 'time', 'bytes', 'sha256']);
const IN_MANIFEST_ONLY = new Set([
  'sequence',
  'definition',
  'definitionHash',
  'tensors',
  'events',
  'format',
  'lockstep',
]);

const plain = (value: unknown): unknown => {
  if (value instanceof Float32Array) return [...value];
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, each]) => each !== undefined && !IGNORED.has(key) && !IN_MANIFEST_ONLY.has(key))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, plain(each)]),
  );
};

const makeWeather = (random: Random): Weather => {
  const sometimes = (most: number): number => (random.chance(0.3) ? random.between(0, most) : 0);
  return {
    slowest: random.between(1, 12),
    slowestWrite: random.chance(0.3) ? 30 : 1,
    perFrame: random.pick([0.05, 0.05, random.between(0.1, 3), random.between(3, 15)]),
    duplicate: sometimes(0.2),
    replay: sometimes(0.3),
    flip: sometimes(0.05),
    breaks: sometimes(0.1),
    interrupts: random.chance(0.1) ? 0.1 : 0,
  };
};
