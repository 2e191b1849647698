/**
 * A cluster whose arithmetic is a few lines: the shipped loop, executor, drivers, reducer and audits, with vectors of 64 numbers in
 * four buckets and nodes that compute them in an instant. So hundreds of whole runs with a liar take seconds.
 */
import { ClusterExecutor, type ClusterOptions } from '@lockstep/cluster';
import { Sampler } from '@lockstep/data';
import {
  addFloats,
  bytesOf,
  type Clock,
  connectInProcess,
  cutBuckets,
  NodeDriver,
  type NodeWork,
  type ShardRange,
} from '@lockstep/sync';
import {
  type BatchJob,
  prepare,
  startRun,
  type TrainingEvent,
  type TrainOptions,
  weightsDigest,
} from '@lockstep/trainer';
import { data, defineTraining, loss, nn, optim } from 'lockstep';
import type { LieKind } from '../cluster/liars.ts';

/** Two for each of five nodes. */
const SHARDS = 10;
const ROWS = 10;
const BUCKET_FLOATS = 16;
/** Loss, padded, then the gradient. */
const HEAD = 16;
/** Of a run, all in one epoch. */
export const BATCHES = 130;

const definition = defineTraining({
  batch: ROWS,
  shards: SHARDS,
  epochs: 1,
  data: () =>
    data.dataset({
      name: 'rows',
      columns: { x: data.column(new Float32Array(5 * ROWS * BATCHES), { shape: [5] }) },
    }),
  model: () => nn.linear(5, 8),
  loss: (model, { x }) => loss.mse(model(x), model(x)),
  optimizer: optim.sgd({ lr: 0.1 }),
});

/** A whole number from three, well mixed. */
const mixed = (a: number, b: number, c: number): number => {
  let t =
    Math.imul(a + 0x6d2b79f5, 0x85ebca6b) ^ Math.imul(b + 0x1b873593, 0xc2b2ae35) ^ Math.imul(c, 0x27d4eb2f);
  t = Math.imul(t ^ (t >>> 15), 0x2c1b3c6d);
  return (t ^ (t >>> 12)) >>> 0;
};

/** Loss and gradient of a shard: a function of batch, shard and weights. */
function shardVector(weights: Float32Array, batch: number, shard: number): Float32Array {
  const vector = new Float32Array(HEAD + weights.length);
  vector[0] = mixed(batch, shard, 1) / 2 ** 32;
  for (const [i, weight] of weights.entries()) {
    vector[HEAD + i] = mixed(batch, shard, i + 7) / 2 ** 31 - 1 + 0.5 * weight;
  }
  return vector;
}

/** By the shard tree of all shards, which a unit is a node of. */
function unitVectorOf(weights: Float32Array, batch: number, { lo, hi }: ShardRange): Float32Array {
  if (hi - lo === 1) return shardVector(weights, batch, lo);
  const middle = lo + 2 ** Math.floor(Math.log2(hi - lo - 1));
  return addFloats(
    unitVectorOf(weights, batch, { lo, hi: middle }),
    unitVectorOf(weights, batch, { lo: middle, hi }),
  );
}

function update(weights: Float32Array, gradient: Float32Array, from: number, to: number): void {
  for (let i = from; i < to; i++) weights[i]! -= Math.fround(0.01 * gradient[i]!);
}

/** Where weights are changed: what PoolExecutor is in a real run. */
function tinyUpdater(start: Float32Array, hasBuckets: boolean) {
  const weights = start.slice();
  const given = {
    sums: new Float32Array(1),
    statistics: new Float32Array(0),
    gradient: new Float32Array(weights.length),
  };
  const done: Float32Array[] = [];
  return {
    ...{ given, hasBuckets, kernels: 'tiny' },
    current: { weights, buffers: new Float32Array(0) },
    begin: () => given.sums.slice(),
    update: (_: BatchJob, bucket: number) =>
      update(weights, given.gradient, bucket * BUCKET_FLOATS, (bucket + 1) * BUCKET_FLOATS),
    submit: () => {
      update(weights, given.gradient, 0, weights.length);
      done.push(given.sums.slice());
    },
    drain: async () => done.splice(0),
    refused: () => undefined,
    validate: async () => new Float32Array(1),
    weights: () => weights.slice(),
    setWeights: (values: Float32Array) => weights.set(values),
    state: () => new Map([['weights', weights.slice()]]),
    setState: (state: ReadonlyMap<string, Float32Array>) => weights.set(state.get('weights')!),
    close: async () => {},
  };
}

/** What a node computes with. */
class TinyWork implements NodeWork {
  readonly unitBuckets;
  readonly modelBuckets;
  readonly order;
  readonly head = 1;
  model: Float32Array;
  nextModel: Float32Array;
  readonly #lie: Lie | undefined;
  #last: Float32Array | undefined;

  constructor(size: number, lie: Lie | undefined) {
    this.unitBuckets = [
      ...cutBuckets(0, HEAD, BUCKET_FLOATS),
      ...cutBuckets(HEAD, HEAD + size, BUCKET_FLOATS),
    ];
    this.modelBuckets = cutBuckets(0, size, BUCKET_FLOATS);
    this.order = [...this.unitBuckets.keys()];
    this.model = new Float32Array(size);
    this.nextModel = new Float32Array(size);
    this.#lie = lie;
  }

  expect(): void {}
  arrived(): void {}

  swapModels(): void {
    [this.model, this.nextModel] = [this.nextModel, this.model];
  }

  async compute(batch: number, units: readonly ShardRange[], done: Parameters<NodeWork['compute']>[2]) {
    for (const unit of units) {
      const truth = unitVectorOf(this.model, batch, unit);
      done({ unit, vector: this.#send(batch, unit, truth) }, this.order, () => {});
    }
  }

  #send(batch: number, unit: ShardRange, truth: Float32Array): Float32Array {
    const last = this.#last;
    this.#last = truth.slice();
    if (!this.#lie || batch < this.#lie.from) return truth;
    const lie = truth.slice();
    const gradient = lie.subarray(HEAD);
    if (this.#lie.kind === 'scaled') gradient.set(gradient.map((value) => 1.5 * value));
    else if (this.#lie.kind === 'zeros') gradient.fill(0);
    else if (this.#lie.kind === 'stale') lie.set(last ?? lie.map((value) => -value));
    else if (this.#lie.kind === 'one bit') bytesOf(lie, { from: HEAD + 3, to: HEAD + 4 })[0]! ^= 1;
    else lie.set(unitVectorOf(this.model, batch, otherUnit(unit)));
    this.#lie.told(batch);
    return lie;
  }
}

/** A node of the shard tree of the same size. */
function otherUnit({ lo, hi }: ShardRange): ShardRange {
  const size = hi - lo;
  return lo === 0 ? { lo: size, hi: 2 * size } : { lo: 0, hi: size };
}

interface Lie {
  readonly kind: LieKind;
  /** The first batch with one. */
  readonly from: number;
  readonly told: (batch: number) => void;
}

/** Time that passes only when a timer goes off: nothing is ever measured to be slow. */
function idleClock(): Clock {
  let time = 0;
  return {
    now: () => time,
    after(milliseconds, call) {
      const at = time + milliseconds;
      const timer = setTimeout(() => {
        time = Math.max(time, at);
        call();
      }, milliseconds / 50);
      return () => clearTimeout(timer);
    },
  };
}

export interface TinyWay {
  readonly audit: ClusterOptions['audit'];
  /** Each node's lie, if it has one. */
  readonly nodes: readonly ({ readonly kind: LieKind; readonly from: number } | undefined)[];
  readonly hasBuckets?: boolean;
  readonly train?: TrainOptions;
}

/** Runs to the end. `lies`: the batch of each lie, in order. */
export async function tinyRun({ audit, nodes, hasBuckets = true, train = {} }: TinyWay) {
  const events: TrainingEvent[] = [];
  const lies: number[] = [];
  const on = { event: (event: TrainingEvent) => void events.push(event) };
  const ended: Promise<unknown>[] = [];
  const result = await startRun(definition, { ...train, on }, async ({ prepared, from, emit }) => {
    const { layout } = prepared;
    const inner = tinyUpdater(startOf(layout), hasBuckets);
    const [bytes, clock] = [new Uint8Array(4), idleClock()];
    const content = { hash: '0'.repeat(64), length: 4, read: () => bytes };
    const executor = new ClusterExecutor(
      {
        inner,
        arithmetic: {
          isFinite: (value) => value.every(Number.isFinite),
          reducing: { keep: (value) => value.slice(), add: addFloats },
        },
        sizes: { weights: layout.size, buffers: 0, trained: layout.trainedSize, values: 1 },
        bucketFloats: BUCKET_FLOATS,
        shards: SHARDS,
        counts: { epochs: 1, accumulate: 1 },
        sampler: new Sampler({
          length: ROWS * BATCHES,
          batch: ROWS,
          seed: 0,
          shuffle: true,
          dropLast: false,
        }),
        contents: { program: content, data: content },
        own: { store: { get: async () => bytes, put: async () => {} }, data: { hash: '', columns: [] } },
        proof: '0'.repeat(64),
        clock,
        recompute: (model) => ({
          compute: async (batch, unit) => {
            const weights = new Float32Array(layout.size);
            for (const [i, values] of model(batch).entries()) weights.set(values, i * BUCKET_FLOATS);
            return unitVectorOf(weights, batch, unit);
          },
          reset: () => {},
          warmUp: () => {},
          close: async () => {},
        }),
      },
      {
        ...{ definition: '1'.repeat(64), incarnation: 1, from, ownWorkers: 0, minNodes: nodes.length },
        ...{ heartbeat: 60_000, straggler: { factor: 4, least: 1e6, unknown: 1e6 } },
        ...{ diagnose: () => undefined, rescue: () => {}, report: () => {}, audit, emit },
      },
    );
    for (const [i, lie] of nodes.entries()) {
      const told = (batch: number): void => void lies.push(batch);
      const work = new TinyWork(layout.size, lie && { ...lie, told });
      const node = new NodeDriver({
        hello: {
          ...{ id: String(i).padStart(16, '0'), name: `node ${i}`, workers: 1, kernels: 'tiny' },
          ...{ arithmetic: 'strict', proof: '0'.repeat(64) },
        },
        config: { backoff: { first: 1, longest: 10 }, patience: 10_000 },
        dial: async (accept) => connectInProcess(executor.accept, accept),
        prepare: async () => work,
        clock,
      });
      ended.push(node.ended.catch(() => {}));
    }
    return executor;
  });
  await Promise.all(ended);
  return { weightsDigest: result.weightsDigest, audit: result.audit, events, lies };
}

/** The digest of a run in which nobody lies, computed in a loop without any cluster. */
export async function honestDigest(): Promise<string> {
  const { layout } = await prepare(definition, {});
  const weights = startOf(layout);
  for (let batch = 0; batch < BATCHES; batch++) {
    const vector = unitVectorOf(weights, batch, { lo: 0, hi: SHARDS });
    update(weights, vector.subarray(HEAD), 0, weights.length);
  }
  return weightsDigest(
    new Map(
      layout.entries.map(({ name, offset, size }) => [
        name,
        { data: weights.subarray(offset, offset + size) },
      ]),
    ),
  );
}

interface Layout {
  readonly size: number;
  readonly entries: readonly { readonly offset: number; readonly parameter: { data(): ArrayLike<number> } }[];
}

function startOf({ size, entries }: Layout): Float32Array {
  const weights = new Float32Array(size);
  for (const { offset, parameter } of entries) weights.set(parameter.data(), offset);
  return weights;
}
