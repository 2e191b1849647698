/** Runs of a coordinator and four nodes, as processes, that meet faults from a seed all the way. */
import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Command, sleep, type Told } from './process.ts';
import { type Direction, FaultyProxy, type LinkFault, type Random } from './proxy.ts';
import type { Reference } from './reference.ts';

export type Fault =
  | LinkFault
  | 'kill node'
  | 'leave and join'
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
  /** How often each fault happens before all of them begin again, in another order. */
  readonly faults: Readonly<Record<Fault, number>>;
  /** After so many the run is left alone. */
  readonly faultCount: number;
  /** Steps between two faults, at most. */
  readonly every: number;
  /** Milliseconds. */
  readonly heartbeat: number;
  /** Whether other processes keep every core busy. */
  readonly isBusy: boolean;
  /** The config in the folder. */
  readonly name: string;
  readonly folder: string;
  /** What the run reports without faults. */
  readonly reference: Reference;
}

/** Ends with its parent, however that ends. */
const BUSY = 'for (const parent = process.ppid; process.ppid === parent; );';

/** Milliseconds without a step after which a run counts as hung: long, for on a busy machine all nodes may start anew at once. */
const HUNG = 300_000;

const NODES = [
  '--workers 1 --kernels auto',
  '--workers 2 --kernels wasm',
  '--workers 2 --kernels auto',
  '--workers 1 --kernels wasm',
];

/** How a run ended, and what it met. Throws when a process reported something that no fault explains. */
export class FaultyCluster {
  readonly counts = new Map<Fault, number>();
  readonly #run: FaultyRun;
  readonly #random: Random;
  readonly #words: string;
  readonly #out: string;
  #coordinator: Command;
  readonly #proxies: FaultyProxy[] = [];
  readonly #nodes: Command[] = [];
  readonly #busy: ChildProcess[] = [];
  /** The latest faults, with the step that each came after. */
  readonly #history: string[] = [];
  #port = '0';
  #step = 0;
  /** The first report that no fault explains: other numbers than the run has without faults, or two nodes with different bits. */
  #wrong: string | undefined;

  constructor(run: FaultyRun) {
    this.#run = run;
    this.#random = seeded(run.seed);
    const { name, seed, heartbeat, folder } = run;
    const out = `${name}-${seed}`;
    this.#out = join(folder, out);
    this.#words = `serve ${name} --workers 0 --heartbeat ${heartbeat} --out ${out} --resume --checkpoint-every 40`;
    this.#coordinator = this.#serve();
  }

  /** Settles when the run is over. Rejects as soon as anything differs from the run without faults. */
  async end(): Promise<void> {
    try {
      this.#load();
      await this.#listening();
      for (const [slot] of NODES.entries()) {
        this.#proxies.push(await FaultyProxy.to(Number(this.#port), this.#random));
        this.#nodes.push(this.#join(slot));
      }
      await this.#injectAll();
      await this.#progress(Number.POSITIVE_INFINITY);
      const { code, stderr } = await this.#coordinator.outcome;
      this.#check();
      if (code !== 0) throw this.#error(`the coordinator ended with ${code}: ${stderr}`);
      this.#wrong = this.#run.reference.fileDifference(this.#out);
      this.#check();
    } finally {
      for (const child of this.#busy) child.kill('SIGKILL');
      await Promise.all([this.#coordinator, ...this.#nodes].map((each) => each.end()));
      for (const proxy of this.#proxies) proxy.close();
    }
  }

  async #injectAll(): Promise<void> {
    for (let deck: Fault[] = []; this.faultCount < this.#run.faultCount; ) {
      if (deck.length === 0) deck = this.#deck();
      await this.#progress(1 + Math.floor(this.#random() * this.#run.every));
      if (this.#coordinator.isOver) return;
      await this.#meet(deck.pop()!);
    }
  }

  get faultCount(): number {
    return [...this.counts.values()].reduce((a, b) => a + b, 0);
  }

  /** One line. */
  get summary(): string {
    const { seed, name, heartbeat, isBusy } = this.#run;
    const machine = isBusy ? 'busy' : 'quiet';
    const counts = [...this.counts].map(([fault, count]) => `${count} × ${fault}`).join('; ');
    return `${name}, seed ${seed}, heartbeat ${heartbeat} ms, ${machine}: ${this.faultCount} faults: ${counts}`;
  }

  #load(): void {
    if (!this.#run.isBusy) return;
    for (let i = 0; i < availableParallelism(); i++)
      this.#busy.push(spawn(process.execPath, ['-e', BUSY], { stdio: 'ignore' }));
  }

  #error(message: string): Error {
    const history = this.#history.slice(-12).join(', ');
    return new Error(`${message}\nafter: ${history}\nin the run ${this.summary}`);
  }

  #check(): void {
    if (this.#wrong !== undefined) throw this.#error(this.#wrong);
  }

  #serve(): Command {
    return new Command(`${this.#words} --port ${this.#port}`, this.#run.folder, [], (told) =>
      this.#hear(told),
    );
  }

  #hear(told: Told): void {
    if (told.type === 'step') this.#step = Number(told.step);
    this.#wrong ??= told.type === 'alarm' ? JSON.stringify(told) : this.#run.reference.difference(told);
  }

  #join(slot: number): Command {
    const words = `join ${this.#proxies[slot]!.url} --name n${slot} --cache cache ${NODES[slot]}`;
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

  /** Waits for some more steps: whatever happened, the run goes on. */
  async #progress(steps: number): Promise<void> {
    const coordinator = this.#coordinator;
    const to = coordinator.steps + steps;
    for (let [at, since] = [coordinator.steps, performance.now()]; at < to && !coordinator.isOver; ) {
      this.#check();
      this.#rejoin();
      await sleep(2);
      if (coordinator.steps > at) [at, since] = [coordinator.steps, performance.now()];
      else if (performance.now() - since > HUNG) throw this.#stuck();
    }
  }

  #stuck(): Error {
    const histories = [this.#coordinator, ...this.#nodes].map(({ history }) => history);
    return this.#error(`no step for ${HUNG / 1000} s; the last events:\n${histories.join('\n\n')}\n`);
  }

  /** A node that was turned away for what a fault made of its words comes back. */
  #rejoin(): void {
    for (const [slot, node] of this.#nodes.entries()) {
      if (node.isOver && !this.#coordinator.isOver) this.#nodes[slot] = this.#join(slot);
    }
  }

  async #meet(fault: Fault): Promise<void> {
    this.#history.push(`${fault} after step ${this.#step}`);
    if (await this.#inject(fault)) this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
  }

  async #inject(fault: Fault): Promise<boolean> {
    const slot = Math.floor(this.#random() * this.#nodes.length);
    const node = this.#nodes[slot]!;
    switch (fault) {
      case 'kill node':
        await node.end();
        this.#nodes[slot] = this.#join(slot);
        return true;
      case 'leave and join':
        return this.#leave(slot);
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

  /** It finishes what it holds meanwhile; another one of its name joins at once. */
  #leave(slot: number): boolean {
    const isTold = this.#nodes[slot]!.child?.kill('SIGINT') ?? false;
    this.#nodes[slot] = this.#join(slot);
    return isTold;
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
    throw this.#error(`the interrupted coordinator ended with ${code}: ${stderr}`);
  }

  /** Shorter or longer than the silence after which a peer is given up; other faults come meanwhile. */
  #stop({ child }: Command): boolean {
    if (!child?.kill('SIGSTOP')) return false;
    setTimeout(() => child.kill('SIGCONT'), 30 + this.#random() * 370);
    return true;
  }

  async #strike(fault: LinkFault, slot: number): Promise<boolean> {
    const direction: Direction = this.#random() < 0.5 ? 'up' : 'down';
    // Some frames have passed: the node is a member.
    const begin = performance.now();
    while (performance.now() - begin < 5_000 && !this.#coordinator.isOver) {
      this.#rejoin();
      const proxy = this.#proxies[slot]!;
      const link = proxy.link(20);
      if (link !== undefined && (await link.strike(fault, direction))) return true;
      await sleep(5);
    }
    return false;
  }
}
