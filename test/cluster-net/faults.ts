/** Runs of a coordinator and three nodes, as processes, that meet faults from a seed all the way. */
import { Command, sleep, type Told } from './process.ts';
import { type Direction, FaultyProxy, type LinkFault, type Random } from './proxy.ts';

export type Fault =
  | LinkFault
  | 'kill node'
  | 'kill coordinator'
  | 'interrupt coordinator'
  | 'stop node'
  | 'stop coordinator';

/** Numbers from 0 to 1 by mulberry32. */
export const seeded = (seed: number): Random => {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
};

export interface FaultyRun {
  readonly seed: number;
  /** How often each fault happens. */
  readonly faults: Readonly<Record<Fault, number>>;
  /** Batches between two faults, at most. */
  readonly every: number;
  readonly config: string;
  readonly folder: string;
}

const KERNELS = ['auto', 'wasm', 'auto'];

/** How a run ended, and what it met. Throws when a process said something that no fault explains. */
export class Ordeal {
  readonly counts = new Map<Fault, number>();
  readonly #run: FaultyRun;
  readonly #random: Random;
  readonly #words: string;
  #coordinator: Command;
  readonly #proxies: FaultyProxy[] = [];
  readonly #nodes: Command[] = [];
  #port = '0';
  /** Two nodes gave different bits: no fault of ours does that. */
  #alarm: Told | undefined;

  constructor(run: FaultyRun) {
    this.#run = run;
    this.#random = seeded(run.seed);
    const { config, seed } = run;
    const kept = `--out faults-${seed} --resume --checkpoint-every 40`;
    this.#words = `serve ${config} --workers 0 --heartbeat 100 ${kept}`;
    this.#coordinator = this.#serve();
  }

  /** The last word of the coordinator. */
  async end(): Promise<Told> {
    try {
      await this.#listening();
      for (const [slot] of KERNELS.entries()) {
        this.#proxies.push(await FaultyProxy.to(Number(this.#port), this.#random));
        this.#nodes.push(this.#join(slot));
      }
      for (const fault of this.#deck()) {
        await this.#progress(1 + Math.floor(this.#random() * this.#run.every));
        if (this.#coordinator.isOver) break;
        if (await this.#inject(fault)) this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
      }
      const { code, stderr } = await this.#coordinator.outcome;
      if (code !== 0)
        throw new Error(`seed ${this.#run.seed}: the coordinator ended with ${code}: ${stderr}`);
      if (this.#alarm !== undefined)
        throw new Error(`seed ${this.#run.seed}: ${JSON.stringify(this.#alarm)}`);
      return this.#coordinator.last!;
    } finally {
      await Promise.all([this.#coordinator, ...this.#nodes].map((each) => each.end()));
      for (const proxy of this.#proxies) proxy.close();
    }
  }

  #serve(): Command {
    return new Command(`${this.#words} --port ${this.#port}`, this.#run.folder, [], (told) => {
      if (told.type === 'alarm') this.#alarm = told;
    });
  }

  #join(slot: number): Command {
    const words = `join ${this.#proxies[slot]!.url} --name n${slot} --workers 1 --cache cache --kernels ${KERNELS[slot]}`;
    return new Command(words, this.#run.folder);
  }

  async #listening(): Promise<void> {
    await this.#coordinator.until(() => this.#coordinator.url !== undefined);
    this.#port = new URL(this.#coordinator.url!).port;
  }

  /** All faults, shuffled. */
  #deck(): Fault[] {
    const deck = Object.entries(this.#run.faults).flatMap(([fault, count]) =>
      Array<Fault>(count).fill(fault as Fault),
    );
    for (let i = deck.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1));
      [deck[i], deck[j]] = [deck[j]!, deck[i]!];
    }
    return deck;
  }

  /** Waits for some more batches: whatever happened, the run goes on. */
  async #progress(steps: number): Promise<void> {
    const from = this.#coordinator.steps;
    const begin = performance.now();
    while (this.#coordinator.steps < from + steps && !this.#coordinator.isOver) {
      await this.#mend();
      await sleep(2);
      if (performance.now() - begin > 20_000) throw new Error(this.#stuck());
    }
  }

  #stuck(): string {
    const told = [this.#coordinator, ...this.#nodes].map(({ last }) => JSON.stringify(last));
    const counts = JSON.stringify(Object.fromEntries(this.counts));
    return `seed ${this.#run.seed}: no batch for 20 s after ${counts}; last words:\n${told.join('\n')}`;
  }

  /** A node that was turned away for what a fault made of its words comes back. */
  async #mend(): Promise<void> {
    for (const [slot, node] of this.#nodes.entries()) {
      if (node.isOver && !this.#coordinator.isOver) this.#nodes[slot] = this.#join(slot);
    }
  }

  async #inject(fault: Fault): Promise<boolean> {
    const slot = Math.floor(this.#random() * this.#nodes.length);
    const node = this.#nodes[slot]!;
    switch (fault) {
      case 'kill node':
        await node.end();
        this.#nodes[slot] = this.#join(slot);
        return true;
      case 'kill coordinator':
        await this.#coordinator.end();
        return this.#goOn();
      case 'interrupt coordinator':
        await this.#interrupt();
        return this.#goOn();
      case 'stop node':
        return this.#stop(node);
      case 'stop coordinator':
        return this.#stop(this.#coordinator);
      default:
        return this.#strike(fault, slot);
    }
  }

  /** A coordinator of the same run; false: the one that ended had done all of it. */
  async #goOn(): Promise<boolean> {
    const { last } = this.#coordinator;
    if (last?.type === 'done' && !last.interrupted) return false;
    this.#coordinator = this.#serve();
    await this.#listening();
    return true;
  }

  /** It writes a checkpoint and ends; one time in three it is killed meanwhile. */
  async #interrupt(): Promise<void> {
    const isKilled = this.#random() < 1 / 3;
    const ended = this.#coordinator.end('SIGINT');
    if (isKilled) {
      await sleep(this.#random() * 30);
      await this.#coordinator.end();
    }
    await ended;
    const { code, stderr } = await this.#coordinator.outcome;
    if (code === 130 || code === 0 || (isKilled && code === null)) return;
    throw new Error(`seed ${this.#run.seed}: the interrupted coordinator ended with ${code}: ${stderr}`);
  }

  /** Shorter or longer than the silence after which a peer is given up. */
  async #stop({ child }: Command): Promise<boolean> {
    if (!child?.kill('SIGSTOP')) return false;
    await sleep(20 + this.#random() * 380);
    return child.kill('SIGCONT');
  }

  async #strike(fault: LinkFault, slot: number): Promise<boolean> {
    const direction: Direction = this.#random() < 0.5 ? 'up' : 'down';
    // Some frames have passed: the node is a member.
    const begin = performance.now();
    while (performance.now() - begin < 5_000 && !this.#coordinator.isOver) {
      await this.#mend();
      const proxy = this.#proxies[slot]!;
      const link = proxy.link(20);
      if (link !== undefined && (await link.strike(fault, direction))) return true;
      await sleep(5);
    }
    return false;
  }
}
