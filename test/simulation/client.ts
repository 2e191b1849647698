import { NodeDriver, type NodeOutcome } from '@lockstep/sync';
import { HEARTBEAT, Process } from './clock.ts';
import { PROOF } from './definition.ts';
import { Engine } from './engine.ts';
import type { Link } from './network.ts';
import type { World } from './world.ts';

/** A node's process: the driver that ships, over a simulated network, on an engine that computes in virtual time. */
export class Client extends Process {
  readonly name: string;
  readonly #world: World;
  readonly #driver: NodeDriver;
  readonly #pace: number;
  #slowUntil = 0;
  #hangsUntil = 0;
  #link: Link | undefined;
  #hasEnded = false;
  #isLeaving = false;
  /** The engine of the run that was last welcomed: a coordinator that comes back finds it warm. */
  #engine: { readonly hash: string; readonly engine: Engine } | undefined;

  constructor(world: World, number: number, pace: number) {
    super(world.clock);
    this.name = `node ${number}`;
    this.#world = world;
    this.#pace = pace;
    this.#driver = new NodeDriver({
      hello: {
        id: number.toString(16).padStart(16, '0'),
        name: this.name,
        workers: 1,
        kernels: 'simulated',
        arithmetic: 'strict',
        proof: PROOF,
      },
      config: { backoff: { first: 10, longest: 2 * HEARTBEAT }, patience: 1.5 * HEARTBEAT },
      dial: (accept) =>
        world.dial(this, accept).then((link) => {
          link.replay(this.#link?.replays ?? []);
          this.#link = link;
          return link.ends.node;
        }),
      prepare: async ({ program }, fetch) => {
        if (this.#engine?.hash !== program.hash) {
          await fetch('program');
          await fetch('data');
          await this.sleep(world.random.between(0, 30));
          this.#engine = { hash: program.hash, engine: this.#makeEngine(program.hash) };
        }
        return this.#engine.engine;
      },
      clock: this,
    });
    this.#driver.ended.then(
      (outcome) => this.#ended(outcome),
      (error: unknown) => world.fail(error),
    );
  }

  get link(): Link | undefined {
    return this.#link?.isAlive ? this.#link : undefined;
  }

  get hasEnded(): boolean {
    return !this.isAlive || this.#hasEnded;
  }

  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  leave(): void {
    this.#isLeaving = true;
    this.run(() => this.#driver.leave());
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
    this.#link?.lose(silently);
  }

  #ended({ reason, digest }: NodeOutcome): void {
    this.#hasEnded = true;
    this.#world.nodeEnded(reason, digest);
  }

  #makeEngine(hash: string): Engine {
    const { clock, random } = this.#world;
    return new Engine({
      definition: this.#world.definitionOf(hash),
      process: this,
      random,
      pace: () => this.#pace * (clock.now < this.#slowUntil ? 20 : 1),
      hang: () => this.#hangsUntil - clock.now,
      count: (what) => this.#world.count(what),
    });
  }
}
