import { createHash } from 'node:crypto';
import { ClusterExecutor, type ClusterOptions, countStart } from '@lockstep/cluster';
import { type Accept, addFloats, type Content, type Report } from '@lockstep/sync';
import { Checkpoints, Loop, type TrainingEvent } from '@lockstep/trainer';
import { HEARTBEAT, Process } from './clock.ts';
import { type Definition, PROOF } from './definition.ts';
import type { LinkEnd } from './network.ts';
import { Updater } from './updater.ts';
import type { Run, World } from './world.ts';

/** One life of the coordinator's process: loop, executor, driver, pipeline and checkpoints that ship. */
export class Server extends Process {
  readonly trained: Run;
  readonly #world: World;
  readonly #signal = new AbortController();
  #accept: Accept | undefined;
  #isOver = false;
  readonly #ends: LinkEnd[] = [];

  constructor(world: World, run: Run) {
    super(world.clock);
    this.#world = world;
    this.trained = run;
    this.after(1, () => void this.#main().catch((error: unknown) => world.fail(error)));
  }

  get isListening(): boolean {
    return this.isAlive && this.#accept !== undefined;
  }

  /** Nothing is left to train. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get isInterrupted(): boolean {
    return this.#signal.signal.aborted;
  }

  accept(end: LinkEnd): void {
    this.#ends.push(end);
    this.run(() => end.join(this.#accept!));
  }

  interrupt(): void {
    this.run(() => this.#signal.abort());
  }

  /** The process is gone: connections are reset, or (the host is gone, too) nothing is heard any more. */
  override kill(silently = false): void {
    super.kill();
    for (const end of this.#ends) end.link.lose(silently);
  }

  async #main(): Promise<void> {
    const { random, weather } = this.#world;
    const { definition, disk } = this.trained;
    const folder = disk.folder(this, weather.slowestWrite, random);
    let incarnation = 0;
    while (incarnation === 0) {
      incarnation = await countStart(folder).catch(() => 0);
      if (incarnation === 0) await this.sleep(20);
    }
    const { sizes, input } = definition;
    const emit = (event: TrainingEvent): void => this.#world.event(this.trained, event);
    const checkpoints = new Checkpoints({
      out: 'run',
      folder,
      every: random.chance(0.8) ? { steps: random.integer(1, 3) } : { seconds: random.between(0.02, 0.3) },
      layout: {
        size: sizes.weights,
        entries: [{ name: 'w', offset: 0, size: sizes.weights, parameter: { shape: [sizes.weights] } }],
        trainedSize: sizes.trained,
        trained: [{ name: 'w', offset: 0, size: sizes.trained, parameter: { shape: [sizes.trained] } }],
        bufferSize: sizes.buffers,
        buffers: [{ name: 'b', offset: 0, size: sizes.buffers, buffer: { shape: [sizes.buffers] } }],
      },
      definition: () => ({ hash: definition.hash }),
      mark: () => undefined,
      emit,
      clock: () => this.now(),
    });
    const found = await checkpoints
      .find()
      .catch((error: unknown) => this.#world.unreadable(this.trained, error));
    const updater = new Updater(
      definition,
      { applied: (...args) => this.#world.applied(this.trained, this, ...args) },
      () => this.sleep(random.between(0.2, 4)),
    );
    const executor = new ClusterExecutor(
      {
        inner: updater,
        arithmetic: {
          isFinite: (value) => value.every(Number.isFinite),
          reducing: { keep: (value) => value.slice(), add: addFloats },
        },
        sizes,
        bucketFloats: definition.bucketFloats,
        shards: definition.shards,
        counts: input.definition,
        sampler: definition.sampler,
        contents: { program: contentOf(definition, 'program'), data: contentOf(definition, 'data') },
        own: {
          store: { get: async () => undefined, put: async () => {} },
          data: { hash: '', columns: [] },
        },
        proof: PROOF,
        clock: this,
      },
      this.#options(definition, incarnation, found?.manifest.index ?? 0),
    );
    const from = found && checkpoints.restore(found, executor.state());
    this.#world.started(this.trained, incarnation, from);
    const loop: Loop = new Loop(input, executor, {
      emit,
      signal: this.#signal.signal,
      checkpoints,
      clock: () => this.now(),
      explain: () => {
        throw new Error('nothing is refused');
      },
    });
    this.#accept = executor.accept;
    const outcome = await loop.run(from);
    await checkpoints.finish();
    this.#isOver = !outcome.interrupted;
    const weights = executor.weights();
    const digest = createHash('sha256').update(weights).digest('hex');
    executor.finish(outcome.interrupted ? undefined : digest);
    await executor.close();
    await this.sleep(10);
    this.#world.finished(this.trained, outcome, weights);
  }

  #options({ hash }: Definition, incarnation: number, from: number): ClusterOptions {
    return {
      definition: hash,
      incarnation,
      from,
      ownWorkers: 0,
      minNodes: this.#world.minNodes,
      heartbeat: HEARTBEAT,
      straggler: { factor: 3, least: 30, unknown: 400 },
      signal: this.#signal.signal,
      diagnose: () => undefined,
      rescue: () => {
        this.#world.count('rescue');
        this.#world.addClient();
      },
      report: (report) => this.#report(report),
    };
  }

  #report(report: Report): void {
    this.#world.count(report.type === 'lost' ? `report lost, ${report.reason}` : `report ${report.type}`);
    if (report.type === 'alarm') this.#world.alarmed();
  }
}

/** What nodes fetch: a few bytes that name the run. */
const contents = new Map<string, Content>();
export const contentOf = ({ hash }: Definition, what: 'program' | 'data'): Content => {
  const key = `${what} ${hash}`;
  let content = contents.get(key);
  if (content === undefined) {
    const bytes = Buffer.from(key.padEnd(80));
    const digest = createHash('sha256').update(bytes).digest('hex');
    content = { hash: digest, length: bytes.length, read: (from, to) => bytes.subarray(from, to) };
    if (contents.size > 64) contents.clear();
    contents.set(key, content);
  }
  return content;
};
