/** Units computed by the coordinator itself, on threads of its own, to compare with what nodes sent. */
import type { KernelChoice } from '@lockstep/kernels';
import type { Bucket, ShardRange } from '@lockstep/sync';
import { NodeEngine } from '../node/engine.ts';
import type { Bundle } from '../wire/bundle.ts';
import type { DataColumn } from '../wire/dataImage.ts';

export interface RecomputerOptions {
  readonly bundle: Bundle;
  readonly data: readonly DataColumn[];
  readonly workers: number;
  readonly kernels: KernelChoice;
  readonly modelBuckets: readonly Bucket[];
  /** The model before a batch, by bucket: that of the batch under way. */
  readonly model: (batch: number) => readonly Float32Array[];
}

export class Recomputer {
  readonly #options: RecomputerOptions;
  #engine: Promise<NodeEngine> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  /** The batch whose model the engine has. */
  #loaded = -1;
  /** Grows when the run goes back: what waits is of no use then. */
  #turn = 0;

  constructor(options: RecomputerOptions) {
    this.#options = options;
  }

  /** Starts the threads, which else happens with the first unit. */
  warmUp(): void {
    this.#start().catch(() => {});
  }

  /** One after the other. Gives the unit's results, good until the next call. */
  compute(batch: number, unit: ShardRange): Promise<Float32Array> {
    const turn = this.#turn;
    const done = this.#last.then(() => this.#compute(batch, unit, turn));
    this.#last = done.catch(() => {});
    return done;
  }

  /** Models that were loaded are those of another course of the run. */
  reset(): void {
    this.#turn++;
    this.#loaded = -1;
  }

  async close(): Promise<void> {
    await this.#engine?.then((engine) => engine.close()).catch(() => {});
  }

  #start(): Promise<NodeEngine> {
    const { bundle, data, workers, kernels } = this.#options;
    this.#engine ??= NodeEngine.start({ bundle, data, workers, kernels });
    return this.#engine;
  }

  async #compute(batch: number, { lo, hi }: ShardRange, turn: number): Promise<Float32Array> {
    const engine = await this.#start();
    if (turn !== this.#turn) throw new Error('audit: the run has gone back');
    if (this.#loaded !== batch) this.#load(engine, batch);
    const result = new Float32Array(engine.vector.size);
    await engine.compute(batch, [{ lo, hi }], ({ vector }, _, release) => {
      if (!release) return;
      result.set(vector);
      release();
    });
    return result;
  }

  #load(engine: NodeEngine, batch: number): void {
    const { model, modelBuckets } = this.#options;
    for (const [i, values] of model(batch).entries()) engine.model.set(values, modelBuckets[i]!.from);
    this.#loaded = batch;
  }
}
