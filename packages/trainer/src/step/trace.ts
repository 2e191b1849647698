/** The user's functions as graphs: one shard's forward and backward pass, and the optimizer's update. */
import {
  add,
  blockSquares,
  div,
  formatSpec,
  type GraphNode,
  gradients,
  type InputNode,
  minimum,
  mul,
  noGrad,
  type Parameter,
  reshape,
  type StateBuffer,
  sqrt,
  sum,
  type Tensor,
  Trace,
  withStatistics,
  withTrace,
  withTraining,
} from '@lockstep/autograd';
import type { Column, Dataset } from '@lockstep/data';
import { ConfigError } from '@lockstep/nn';
import { type Addition, reductionPlan, type ShardRange } from '@lockstep/sync';
import type { Batch, MetricDefinition, ResolvedDefinition } from '../define/definition.ts';
import type { FlatLayout } from '../define/layout.ts';
import { NORM_BLOCK } from '../define/layout.ts';
import { FIRST_STREAM } from './streams.ts';

/** What a step computes for one shard: sums over its rows, so that shards can be added. */
export interface ShardValues<T> {
  /**
   * Loss, then the metrics in order of definition: means over the rows times the number of rows, [1], or the sums of a
   * metric, [n].
   */
  readonly sums: readonly T[];
  /** Of the loss sum, by trained parameter in the order of the layout; none in evaluation. */
  readonly gradients: readonly T[];
  /** What running statistics follow: means over the rows times the number of rows; none in evaluation. */
  readonly statistics: ReadonlyMap<StateBuffer, T>;
}

/** Runs the user's loss and metrics on a batch, traced or eagerly. Throws ConfigError on a loss that is no scalar. */
export function shardStep<M, F extends string>(
  definition: ResolvedDefinition<M, F>,
  model: M,
  layout: FlatLayout,
  batch: Batch<F>,
  rows: number,
  training: boolean,
): ShardValues<Tensor> {
  const fields = fieldsOf(batch);
  return withTraining(training, () => {
    const total = (name: string, value: Tensor): Tensor => {
      if (!(value?.dtype === 'f32' && value.size === 1)) {
        const got = value?.shape ? formatSpec(value) : shown(value);
        throw new ConfigError(name, `got ${got}, expected an f32 scalar; reduce it with mean()`);
      }
      return mul(reshape(value, []), rows);
    };
    const seen = new Map<StateBuffer, Tensor>();
    // Metrics may run the model again.
    const loss = total(
      'loss',
      withStatistics(seen, () => calling('loss', () => definition.loss(model, fields))),
    );
    const ofMetric = <T>(body: () => T): T => withStatistics(new Map(), body);
    const metrics = Object.entries(definition.metrics).map(([name, metric]) =>
      typeof metric === 'function'
        ? total(
            `metric ${name}`,
            ofMetric(() => calling(`metric ${name}`, () => metric(model, fields))),
          )
        : ofMetric(() => measured(`metric ${name}`, metric, model, fields)),
    );
    if (training && !loss.requiresGrad) {
      throw new ConfigError(
        'loss',
        'it does not depend on any parameter of the model, so there is nothing to train (frozen parameters do not count)',
      );
    }
    const parameters = layout.trained.map((entry) => entry.parameter);
    const statistics = new Map([...seen].map(([buffer, value]) => [buffer, noGrad(() => mul(value, rows))]));
    return { sums: [loss, ...metrics], gradients: training ? gradients(loss, parameters) : [], statistics };
  });
}

/** Runs the user's code. It may call an object with `forward`, of which JavaScript only says that it is not a function. */
function calling<T>(who: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof TypeError && error.message.endsWith('is not a function'))) throw error;
    const hint = new ConfigError(
      who,
      `${error.message}; call an object of a class of your own by its method, such as model.forward(x), or run it as a layer ` +
        'of nn.sequential',
    );
    hint.cause = error;
    throw hint;
  }
}

/** The sums of a metric. */
function measured<M, F extends string>(
  name: string,
  { of, by }: Exclude<MetricDefinition<M, F>, (...inputs: never[]) => unknown>,
  model: M,
  batch: Batch<F>,
): Tensor {
  return noGrad(() => {
    const sums = by.measure(...calling(name, () => of(model, batch)));
    if (sums.dtype === 'f32' && sums.rank === 1 && sums.size === by.size) return sums;
    throw new ConfigError(name, `its measure gave ${formatSpec(sums)}, expected f32[${by.size}]: its size`);
  });
}

/** The batch, with a reason for who asks for a field that is not there. */
export const fieldsOf = <F extends string>(batch: Batch<F>): Batch<F> =>
  new Proxy(batch, {
    get(target, name) {
      const tensor = (target as Record<PropertyKey, Tensor>)[name];
      if (tensor || typeof name !== 'string') return tensor;
      throw new ConfigError(
        `batch.${name}`,
        `the data set has no such column, only ${Object.keys(target).join(', ')}`,
      );
    },
  });

/** What came instead of a tensor. An async function gives a promise, and cannot be traced. */
const shown = (value: unknown): string => {
  if (value instanceof Promise) return 'a promise (of an async function; a step cannot wait for anything)';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
};

/** A shard's step as a graph. */
export interface StepGraph extends ShardValues<GraphNode> {
  readonly parameters: ReadonlyMap<InputNode, Parameter>;
  readonly buffers: ReadonlyMap<InputNode, StateBuffer>;
  readonly fields: ReadonlyMap<InputNode, Column>;
}

export function traceStep<M, F extends string>(
  definition: ResolvedDefinition<M, F>,
  model: M,
  layout: FlatLayout,
  data: Dataset<F>,
  rows: number,
  training: boolean,
): StepGraph {
  const trace = new Trace();
  trace.nextStream = training ? FIRST_STREAM.training : FIRST_STREAM.validation;
  const fields = new Map<InputNode, Column>();
  const batch: Record<string, Tensor> = {};
  for (const [name, column] of Object.entries<Column>(data.columns)) {
    const tensor = trace.input('field', name, { shape: [rows, ...column.shape], dtype: column.as });
    fields.set(trace.nodeOf(tensor) as InputNode, column);
    batch[name] = tensor;
  }
  const values = withTrace(trace, () =>
    shardStep(definition, model, layout, batch as Batch<F>, rows, training),
  );
  for (const parameter of trace.parameters.keys()) {
    if (!layout.entries.some((entry) => entry.parameter === parameter)) {
      throw new ConfigError(
        'model',
        `the step uses a parameter of shape [${parameter.shape.join(', ')}] that is not part of the model; make it a ` +
          'property of the object that model() returns',
      );
    }
  }
  for (const buffer of [...trace.buffers.keys(), ...values.statistics.keys()]) {
    if (!layout.buffers.some((entry) => entry.buffer === buffer)) {
      throw new ConfigError(
        'model',
        `the step uses a buffer of shape [${buffer.shape.join(', ')}] that is not part of the model; make it a property of ` +
          'the object that model() returns',
      );
    }
  }
  const nodes = (tensors: readonly Tensor[]) => tensors.map((tensor) => trace.nodeOf(tensor));
  return {
    sums: nodes(values.sums),
    gradients: nodes(values.gradients),
    statistics: new Map([...values.statistics].map(([buffer, value]) => [buffer, trace.nodeOf(value)])),
    parameters: new Map([...trace.parameters].map(([parameter, node]) => [node, parameter])),
    buffers: new Map([...trace.buffers].map(([buffer, node]) => [node, buffer])),
    fields,
  };
}

/** Adds the units' values by the shard tree. */
export function combineUnits(units: readonly Tensor[], parts: readonly ShardRange[]): Tensor {
  const all = [...units];
  for (const [left, right] of reductionPlan(parts) as readonly Addition[])
    all.push(add(all[left]!, all[right]!));
  return all.at(-1)!;
}

/**
 * The factor that keeps the global norm of a gradient at most `limit`, from the sums of squares of its blocks:
 * min(1, limit / (‖g‖ + 1e-6)), as PyTorch's clip_grad_norm_.
 */
export const clipFactor = (squares: Tensor, limit: number): Tensor =>
  minimum(div(limit, add(sqrt(sum(squares, 0, { keepDims: true })), 1e-6)), 1);

/** Sums of squares of the blocks of a vector. */
export const normBlocks = (vector: Tensor): Tensor => blockSquares(vector, NORM_BLOCK);

/** The gradient with its norm clipped: `squares` are the blocks' sums of squares. */
export const clippedGradient = (
  gradient: Tensor,
  squares: Tensor | undefined,
  limit: number | undefined,
): Tensor => (squares && limit !== undefined ? mul(gradient, clipFactor(squares, limit)) : gradient);
