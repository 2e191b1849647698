/**
 * Training without graph, compiler and threads: one shard after another, op by op. The oracle that the pool is held
 * to, and a way to go through a model with a debugger.
 */
import { add, mul, noGrad, type Tensor, tensor, withSeed } from '@lockstep/autograd';
import { type Column, type Dataset, rowSize } from '@lockstep/data';
import { batchShards } from '@lockstep/sync';
import type { Batch, ResolvedDefinition } from './definition.ts';
import type { BatchJob, Executor, ExecutorState, Sums } from './executor.ts';
import { type FlatLayout, gather, scatter } from './flat.ts';
import { combineUnits, normBlocks, shardStep, updateStep } from './step.ts';

export interface EagerExecutorOptions<M, F extends string> {
  readonly definition: ResolvedDefinition<M, F>;
  readonly model: M;
  readonly layout: FlatLayout;
  readonly data: Dataset<F>;
}

export class EagerExecutor<M, F extends string> implements Executor {
  readonly kernels = 'eager';
  readonly workers = 1;
  readonly ahead = 1;
  readonly #options: EagerExecutorOptions<M, F>;
  readonly #orders: Int32Array[] = [];
  #slots: Record<string, Tensor>;
  #total: Tensor | undefined;
  readonly #done: Sums[] = [];
  #refused: BatchJob | undefined;

  constructor(options: EagerExecutorOptions<M, F>) {
    this.#options = options;
    const zeros = (): Tensor => tensor(new Float32Array(options.layout.size));
    this.#slots = Object.fromEntries(options.definition.optimizer.slots.map((slot) => [slot, zeros()]));
  }

  setOrder(epoch: number, order: Int32Array): void {
    this.#orders[epoch % 2] = order.slice();
  }

  submit(job: BatchJob): void {
    this.#done.push(this.#train(job));
  }

  async drain(): Promise<Sums[]> {
    return this.#done.splice(0);
  }

  #train(job: BatchJob): Sums {
    const { definition, layout, data } = this.#options;
    const order = this.#orders[job.epoch % 2]!;
    const { sums, gradient } = this.#batch(data, order, job.start, job.rows, job.index);
    const finite = Number.isFinite(sums[0]) && gradient.data().every((x) => Number.isFinite(x));
    if (!finite) this.#refused ??= job;
    if (this.#refused) return sums;
    noGrad(() => {
      const before = job.accumulate === 'next' ? this.#total : undefined;
      this.#total = before ? add(before, gradient) : gradient;
      if (!job.update) return;
      const { optimizer } = definition;
      const scaled = mul(this.#total, tensor([1 / job.update.rows]));
      const scalars = optimizer.scalars.map((name, i) => [name, tensor([job.update!.scalars[i]!])]);
      const updated = updateStep(optimizer, {
        weight: tensor(gather(layout)),
        gradient: scaled,
        slots: this.#slots,
        scalars: Object.fromEntries(scalars),
        squares: optimizer.clipNorm === undefined ? undefined : normBlocks(scaled),
      });
      this.#slots = updated.slots;
      scatter(layout, updated.weight.data() as Float32Array);
    });
    return sums;
  }

  /** Shard after shard, then the tree over all shards. */
  #batch(data: Dataset<F>, order: Int32Array, start: number, rows: number, index: number, training = true) {
    const { definition, model, layout } = this.#options;
    const { rowsPerShard, used } = batchShards(rows, definition.shards);
    const shards = Array.from({ length: used }, (_, shard) => {
      const from = shard * rowsPerShard;
      const size = Math.min(rowsPerShard, rows - from);
      const batch = batchOf(data, order.subarray(start + from, start + from + size));
      return withSeed(
        definition.seed,
        () => shardStep(definition, model, layout, batch, size, training),
        index,
        shard,
      );
    });
    const parts = shards.map((_, lo) => ({ lo, hi: lo + 1 }));
    return noGrad(() => {
      const tree = (pick: (shard: (typeof shards)[number]) => Tensor): Tensor =>
        combineUnits(shards.map(pick), parts);
      const gradient = new Float32Array(layout.size);
      layout.entries.forEach(({ offset }, i) => {
        if (training) gradient.set(tree((shard) => shard.gradients[i]!).data(), offset);
      });
      const sums = shards[0]!.sums.map((_, i) => tree((shard) => shard.sums[i]!).item());
      return { sums: Float32Array.from(sums), gradient: tensor(gradient) };
    });
  }

  refused(): BatchJob | undefined {
    return this.#refused;
  }

  async validate(): Promise<Sums> {
    const { definition, data } = this.#options;
    const held = data.validation as Dataset<F> | undefined;
    const total = new Float64Array(1 + Object.keys(definition.metrics).length);
    if (!held) return Float32Array.from(total);
    const order = Int32Array.from({ length: held.length }, (_, row) => row);
    for (let start = 0; start < held.length; start += definition.batch) {
      const rows = Math.min(definition.batch, held.length - start);
      const { sums } = this.#batch(held, order, start, rows, 0, false);
      sums.forEach((sum, i) => {
        total[i]! += sum;
      });
    }
    return Float32Array.from(total);
  }

  weights(): Float32Array {
    return gather(this.#options.layout);
  }

  setWeights(weights: Float32Array): void {
    scatter(this.#options.layout, weights);
  }

  state(): ExecutorState {
    const slots = Object.entries(this.#slots).map(
      ([slot, value]) => [`slot ${slot}`, Float32Array.from(value.data())] as const,
    );
    return new Map([['weights', this.weights()], ...slots]);
  }

  setState(state: ExecutorState): void {
    this.setWeights(state.get('weights')!);
    for (const slot of Object.keys(this.#slots))
      this.#slots[slot] = tensor(state.get(`slot ${slot}`)!.slice());
  }

  async close(): Promise<void> {}
}

/** The given rows of a data set as tensors: what the `gatherRows` instruction does. */
export function batchOf<F extends string>(data: Dataset<F>, rows: Int32Array): Batch<F> {
  const fields = Object.entries<Column>(data.columns).map(([name, column]) => {
    const width = rowSize(column.shape);
    const values =
      column.as === 'f32' ? new Float32Array(rows.length * width) : new Int32Array(rows.length * width);
    rows.forEach((row, r) => {
      for (let i = 0; i < width; i++) {
        const x = column.data[row * width + i]!;
        const scaled = column.dtype === 'u8' && column.as === 'f32';
        values[r * width + i] = scaled ? Math.fround(Math.fround(x * column.scale) + column.shift) : x;
      }
    });
    return [name, tensor(values, { shape: [rows.length, ...column.shape], dtype: column.as })];
  });
  return Object.fromEntries(fields) as Batch<F>;
}
