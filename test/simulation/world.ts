/** One simulated run from one seed: a coordinator, nodes, a network, a disk, and what goes wrong with them. */
import { checkpointFile, checkpointStep } from '@lockstep/sync';
import type { Bug } from './bugs.ts';
import { Client } from './client.ts';
import { Clock } from './clock.ts';
import { type Definition, serial } from './digest.ts';
import { Disk } from './disk.ts';
import { FAULTS } from './faults.ts';
import { Connection, type Weather } from './network.ts';
import { Random } from './random.ts';
import { Server, type Stored } from './server.ts';

/** Milliseconds: after this time nothing goes wrong any more; */
const CALM = 600;
/** and by this one the run must be over. */
const PATIENCE = 20_000;
/** A run needs hundreds; one that needs so many goes in circles. */
const MOST_EVENTS = 100_000;

export class Violation extends Error {
  override readonly name = 'Violation';
}

interface Truth {
  readonly definition: Definition;
  /** The weights before every step. */
  readonly weights: readonly (readonly number[])[];
  readonly disk: Disk<Stored>;
  incarnation: number;
  /** The newest checkpoint that was said to be safe. */
  safe: number;
}

export interface Outcome {
  /** Hash of all that happened, in order. */
  readonly trace: number;
  readonly counts: ReadonlyMap<string, number>;
  readonly events: number;
}

/** Runs a seed to its end. Throws a Violation when anything is not as it must be. */
export const simulate = (seed: number, bug?: Bug, log?: (line: string) => void): Outcome => {
  const world = new World(seed, bug, log);
  world.play();
  return { trace: world.hash, counts: world.counts, events: world.events };
};

export class World {
  readonly clock = new Clock();
  readonly random: Random;
  readonly bug: Bug | undefined;
  readonly weather: Weather;
  readonly minNodes: number;
  readonly buckets: number;
  /** Milliseconds of an action of the disk; a slow one is still writing when the next checkpoint is due. */
  readonly slowestWrite: number;
  readonly counts = new Map<string, number>();
  clients: Client[] = [];
  server: Server;
  hash = 0;
  events = 0;
  readonly #log: ((line: string) => void) | undefined;
  readonly #truths = new Map<bigint, Truth>();
  readonly #owners = new Map<number, Client>();
  #truth: Truth;
  #names = 0;
  #connections = 0;
  #alarms = 0;
  #over = false;

  constructor(seed: number, bug: Bug | undefined, log: ((line: string) => void) | undefined) {
    this.random = new Random(seed);
    this.bug = bug;
    this.#log = log;
    const { random } = this;
    this.weather = makeWeather(random);
    this.buckets = random.integer(1, 3);
    this.slowestWrite = random.chance(0.3) ? 80 : 4;
    const nodes = random.integer(1, 4);
    this.minNodes = random.integer(1, nodes);
    this.#truth = this.#define();
    this.server = new Server(this, this.#truth.definition, this.#truth.disk);
    for (let i = 0; i < nodes; i++) this.clock.after(random.between(0, 30), () => this.addClient());
    this.#planFaults();
  }

  play(): void {
    while (!this.#over) {
      if (!this.clock.advance()) throw new Violation('nothing is left to happen, but the run is not over');
      if (this.clock.now > PATIENCE)
        throw new Violation(`not over after ${PATIENCE} ms: ${this.server.phase}`);
      if (++this.events > MOST_EVENTS) throw new Violation(`busy without end at ${this.clock.now} ms`);
    }
    if (this.#alarms > 0 && !this.counts.has('gradient doubled with a flipped bit')) {
      throw new Violation('an alarm, but no bit was flipped');
    }
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  trace(who: string, what: string, step: number): void {
    let hash = this.hash ^ Math.imul(this.clock.now * 1024, 0x9e3779b1);
    for (const text of [who, what]) {
      for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    }
    this.hash = Math.imul(hash ^ step, 0x85ebca6b) >>> 0;
    this.#log?.(`${this.clock.now.toFixed(2).padStart(9)} ${who.padEnd(18)} ${what} ${step}`);
  }

  // What the processes ask for

  dial(client: Client, attempt: number): void {
    this.clock.after(this.random.between(0.5, 4), () => {
      if (!client.isAlive) return;
      if (!this.server.isListening) {
        client.refused(attempt);
        return;
      }
      const connection = new Connection(this, ++this.#connections, client, this.server);
      this.#owners.set(connection.id, client);
      this.server.accept(connection);
      client.dialed(connection, attempt);
    });
  }

  nodeOf(connection: Connection): Client {
    return this.#owners.get(connection.id)!;
  }

  definitionOf(run: bigint): Definition {
    return this.#truths.get(run)!.definition;
  }

  // What must be true

  started({ run }: Definition, incarnation: number, start: number, weights: readonly number[]): void {
    const truth = this.#truths.get(run)!;
    if (incarnation <= truth.incarnation) {
      throw new Violation(`incarnation ${incarnation} after ${truth.incarnation}`);
    }
    truth.incarnation = incarnation;
    if (start < truth.safe) throw new Violation(`resumed at ${start}, but ${truth.safe} was said to be safe`);
    this.#compare('resumed', truth, start, weights);
  }

  committed({ run }: Definition, step: number, weights: readonly number[]): void {
    this.#compare('committed', this.#truths.get(run)!, step, weights);
  }

  saved({ run }: Definition, step: number): void {
    const truth = this.#truths.get(run)!;
    // What rotted between the writing and this message was safe, but is not any more.
    if (!truth.disk.isDamaged(checkpointFile(step))) truth.safe = Math.max(truth.safe, step);
  }

  alarmed(): void {
    this.#alarms++;
  }

  finished({ run, steps }: Definition, step: number, weights: readonly number[], saved: boolean): void {
    const truth = this.#truths.get(run)!;
    this.#compare('finished', truth, step, weights);
    if (step < steps) {
      this.count('stopped before the end');
      this.restartServer();
      return;
    }
    const last = truth.disk.read(checkpointFile(steps));
    if (saved && !(last?.kind === 'checkpoint' && isEqual(last.weights, weights))) {
      throw new Violation('said to be saved, but it is not');
    }
    this.#over = true;
  }

  #compare(what: string, { weights }: Truth, step: number, got: readonly number[]): void {
    const expected = weights[step]!;
    if (isEqual(got, expected)) return;
    throw new Violation(`${what} at step ${step}: got ${got}, the serial worker has ${expected}`);
  }

  // What goes wrong

  addClient(): Client {
    const id = `node${++this.#names}`;
    const client = new Client(this, id, this.random.between(1, 12));
    this.clients = [...this.clients.filter((each) => !each.hasEnded), client];
    return client;
  }

  get disk(): Disk<Stored> {
    return this.#truth.disk;
  }

  /** The newest checkpoint rots: false when there is none. */
  damageCheckpoint(): boolean {
    const { disk } = this.#truth;
    const newest = disk.files
      .filter((file) => checkpointStep(file) !== undefined)
      .sort()
      .at(-1);
    // The last one is looked at when the run is over: it may not rot in between.
    if (newest === undefined || checkpointStep(newest) === this.#truth.definition.steps) return false;
    disk.damage(newest);
    this.#truth.safe = 0;
    return true;
  }

  /** The process is gone, with its host or not, and comes back later: with another definition when it is so wished. */
  restartServer({ silently = false, another = false } = {}): void {
    this.server.kill(silently);
    if (silently) this.#truth.disk.crash(this.random);
    if (another) {
      this.count('another run in its place');
      this.#truth = this.#define();
    }
    const { definition, disk } = this.#truth;
    this.clock.after(this.random.between(1, 120), () => {
      this.server = new Server(this, definition, disk);
    });
  }

  #planFaults(): void {
    const { random } = this;
    const faults = random.chance(0.1) ? 0 : random.integer(1, 6);
    for (let i = 0; i < faults; i++) {
      const [name, strike] = random.pick(FAULTS);
      this.clock.at(random.between(0, CALM), () => {
        if (this.#over || !strike(this)) return;
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

  #define(): Truth {
    const { random } = this;
    const shards = random.integer(1, 9);
    const batch = random.integer(1, 40);
    const definition: Definition = {
      run: BigInt(this.#truths.size + 1),
      salt: random.word(),
      steps: random.integer(2, 8),
      shards,
      rows: Array.from({ length: random.integer(1, 4) }, (_, i) =>
        i < 3 ? batch : random.integer(1, batch),
      ),
      buckets: this.buckets,
    };
    const truth = {
      definition,
      weights: serial(definition),
      disk: new Disk<Stored>(),
      incarnation: 0,
      safe: 0,
    };
    this.#truths.set(definition.run, truth);
    return truth;
  }
}

const isEqual = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i]);

const makeWeather = (random: Random): Weather => {
  const sometimes = (most: number): number => (random.chance(0.3) ? random.between(0, most) : 0);
  return {
    slowest: random.between(1, 12),
    duplicate: sometimes(0.2),
    reorder: sometimes(0.2),
    replay: sometimes(0.3),
    flip: sometimes(0.05),
  };
};
