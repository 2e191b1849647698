/**
 * Training without graph, compiler and threads: one shard after another, op by op. The oracle that the pool is held
 * to, and a way to go through a model with a debugger.
 */
import {
  add,
  div,
  mergeBuffer,
  mul,
  noGrad,
  reshape,
  type StateBuffer,
  type Tensor,
  type TensorData,
  tensor,
  withRandom,
} from '@lockstep/autograd';
import { type Column, type Dataset, rowSize, rowStride } from '@lockstep/data';
import { batchShards, firstRow, shardRows } from '@lockstep/sync';
import type { Batch, ResolvedDefinition } from '../define/definition.ts';
import { type FlatLayout, gather, gatherBuffers, joined, scatter, scatterBuffers } from '../define/layout.ts';
import type { BatchJob, Executor, ExecutorState, Sums } from '../run/executor.ts';
import { countSums } from '../step/metrics.ts';
import { FIRST_STREAM } from '../step/streams.ts';
import { clippedGradient, combineUnits, normBlocks, shardStep } from '../step/trace.ts';

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
  /** The slots of all groups, each over the trained part of the vector; the average over all of it. */
  readonly #slots: Readonly<Record<string, Float32Array>>;
  #total: Tensor | undefined;
  readonly #done: Sums[] = [];
  #refused: BatchJob | undefined;

  constructor(options: EagerExecutorOptions<M, F>) {
    this.#options = options;
    const { layout, definition } = options;
    const { slots, average } = definition.optimizer;
    const start = (slot: string): Float32Array =>
      slot === average ? gather(layout) : new Float32Array(layout.trainedSize);
    this.#slots = Object.fromEntries(slots.map((slot) => [slot, start(slot)]));
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
    const { definition, data } = this.#options;
    const order = this.#orders[job.epoch % 2]!;
    const { sums, gradient, statistics } = this.#batch(data, order, job.start, job.rows, job.index);
    const finite = Number.isFinite(sums[0]) && gradient.data().every((x) => Number.isFinite(x));
    if (!finite) this.#refused ??= job;
    if (this.#refused) return sums;
    noGrad(() => {
      for (const [buffer, total] of statistics) {
        const seen = div(total, tensor([job.rows]));
        buffer.value = mergeBuffer(buffer, reshape(seen, buffer.shape), buffer.rule).data();
      }
      const before = job.accumulate === 'next' ? this.#total : undefined;
      this.#total = before ? add(before, gradient) : gradient;
      if (!job.update) return;
      const scaled = mul(this.#total, tensor([1 / job.update.rows]));
      const { clipNorm } = definition.optimizer;
      const squares = clipNorm === undefined ? undefined : normBlocks(scaled);
      this.#update(clippedGradient(scaled, squares, clipNorm), job.update.scalars);
    });
    return sums;
  }

  /** Group by group, and parameter by parameter where a group asks for that. */
  #update(gradient: Tensor, values: readonly number[]): void {
    const { definition, layout } = this.#options;
    const weights = gather(layout);
    definition.optimizer.groups.forEach((group, g) => {
      const scalars = Object.fromEntries(
        group.scalars.map((name, i) => [name, tensor([values[group.firstScalar + i]!])]),
      );
      for (const { from, to } of layout.updates[g]!) {
        const part = (vector: TensorData): Tensor => tensor(vector.slice(from, to));
        const updated = group.update({
          weight: part(weights),
          gradient: part(gradient.data()),
          slots: Object.fromEntries(group.slots.map((slot) => [slot, part(this.#slots[slot]!)])),
          scalars,
        });
        weights.set(updated.weight.data(), from);
        for (const slot of group.slots) this.#slots[slot]!.set(updated.slots[slot]!.data(), from);
      }
    });
    scatter(layout, weights);
  }

  /** Shard after shard, then the tree over all shards. */
  #batch(data: Dataset<F>, order: Int32Array, start: number, rows: number, index: number, training = true) {
    const { definition, model, layout } = this.#options;
    const cut = batchShards(rows, definition.shards);
    const shards = Array.from({ length: cut.used }, (_, shard) => {
      const from = firstRow(cut, shard);
      const size = shardRows(cut, shard);
      const batch = batchOf(data, order.subarray(start + from, start + from + size));
      const stream = training ? FIRST_STREAM.training : FIRST_STREAM.validation;
      return withRandom({ seed: definition.seed, step: index, shard, stream }, () =>
        shardStep(definition, model, layout, batch, size, training),
      );
    });
    const parts = shards.map((_, lo) => ({ lo, hi: lo + 1 }));
    return noGrad(() => {
      const tree = (pick: (shard: (typeof shards)[number]) => Tensor): Tensor =>
        combineUnits(shards.map(pick), parts);
      const gradient = new Float32Array(layout.trainedSize);
      layout.trained.forEach(({ offset }, i) => {
        if (training) gradient.set(tree((shard) => shard.gradients[i]!).data(), offset);
      });
      const sums = shards[0]!.sums.flatMap((_, i) => [...tree((shard) => shard.sums[i]!).data()]);
      const statistics = new Map<StateBuffer, Tensor>();
      for (const buffer of shards[0]!.statistics.keys())
        statistics.set(
          buffer,
          tree((shard) => shard.statistics.get(buffer)!),
        );
      return { sums: Float32Array.from(sums), gradient: tensor(gradient), statistics };
    });
  }

  refused(): BatchJob | undefined {
    return this.#refused;
  }

  async validate(): Promise<Sums> {
    const { definition, data, layout } = this.#options;
    const held = data.validation as Dataset<F> | undefined;
    const total = new Float64Array(countSums(definition.metrics));
    if (!held) return Float32Array.from(total);
    const order = Int32Array.from({ length: held.length }, (_, row) => row);
    const trained = gather(layout);
    scatter(layout, this.weights());
    for (let start = 0; start < held.length; start += definition.batch) {
      const rows = Math.min(definition.batch, held.length - start);
      const { sums } = this.#batch(held, order, start, rows, start / definition.batch, false);
      sums.forEach((sum, i) => {
        total[i]! += sum;
      });
    }
    scatter(layout, trained);
    return Float32Array.from(total);
  }

  weights(): Float32Array {
    const { average } = this.#options.definition.optimizer;
    const { layout } = this.#options;
    return joined(average === undefined ? gather(layout) : this.#slots[average]!, gatherBuffers(layout));
  }

  setWeights(weights: Float32Array): void {
    const { layout } = this.#options;
    scatter(layout, weights);
    scatterBuffers(layout, weights.subarray(layout.size));
    const { average } = this.#options.definition.optimizer;
    if (average !== undefined) this.#slots[average]!.set(weights.subarray(0, layout.size));
  }

  state(): ExecutorState {
    const slots = Object.entries(this.#slots).map(
      ([slot, values]) => [`slot ${slot}`, values.slice()] as const,
    );
    const { layout } = this.#options;
    const buffers = layout.bufferSize > 0 ? [['buffers', gatherBuffers(layout)] as const] : [];
    return new Map([['weights', gather(layout)], ...buffers, ...slots]);
  }

  setState(state: ExecutorState): void {
    const { layout } = this.#options;
    scatter(layout, state.get('weights')!);
    if (layout.bufferSize > 0) scatterBuffers(layout, state.get('buffers')!);
    for (const [slot, values] of Object.entries(this.#slots)) values.set(state.get(`slot ${slot}`)!);
  }

  async close(): Promise<void> {}
}

/** The given rows of a data set as tensors: what the `gatherRows` instruction does. */
export function batchOf<F extends string>(data: Dataset<F>, rows: Int32Array): Batch<F> {
  const fields = Object.entries<Column>(data.columns).map(([name, column]) => {
    const [width, stride] = [rowSize(column.shape), rowStride(column)];
    const values =
      column.as === 'f32' ? new Float32Array(rows.length * width) : new Int32Array(rows.length * width);
    rows.forEach((row, r) => {
      for (let i = 0; i < width; i++) {
        const x = column.data[row * stride + i]!;
        const scaled = column.dtype === 'u8' && column.as === 'f32';
        values[r * width + i] = scaled ? Math.fround(Math.fround(x * column.scale) + column.shift) : x;
      }
    });
    return [name, tensor(values, { shape: [rows.length, ...column.shape], dtype: column.as })];
  });
  return Object.fromEntries(fields) as Batch<F>;
}
