/** What is trained, and how: everything that the digest depends on. */
import type { Tensor } from '@lockstep/autograd';
import type { Dataset, RowSource } from '@lockstep/data';
import { ConfigError, type Optimizer, type SumMetric } from '@lockstep/nn';
import { z } from 'zod';

/** One tensor per column of the data set: [rows, ...shape]. */
export type Batch<F extends string> = { readonly [K in F]: Tensor };

/** A number per batch: the mean over its rows. */
export type StepFunction<M, F extends string> = (model: M, batch: Batch<F>) => Tensor;

/** A metric that isn't a mean over rows, such as F1: `{ of: (model, { x, y }) => [model(x), y], by: metrics.f1() }`. */
export interface MeasuredBy<M, F extends string> {
  /** What is measured: prediction and target. */
  readonly of: (model: M, batch: Batch<F>) => readonly [prediction: Tensor, target: Tensor];
  readonly by: SumMetric;
}

export type MetricDefinition<M, F extends string> = StepFunction<M, F> | MeasuredBy<M, F>;

export interface EarlyStopping {
  /** What to watch: `loss` (default) or one of the metrics, on the validation part. */
  readonly metric?: string;
  /** Which way is better. Default for the loss: `min`; a metric needs it. */
  readonly mode?: 'min' | 'max';
  /** Epochs without improvement after which training stops. At least 1. */
  readonly patience: number;
  /** Smaller changes are no improvement. Default 0. */
  readonly minDelta?: number;
}

/** What `data()` may want to know. */
export interface DataOptions {
  /** The folder that the run was told to take its files from (`--data`), if any. */
  readonly dir?: string | undefined;
}

/** Of a model `M`, data with the columns `F`, and metrics `K`. */
export interface TrainingDefinition<M = unknown, F extends string = string, K extends string = string> {
  /** For reports. */
  readonly name?: string;
  /** Of initial weights, order of the data, dropout. 0 to 2⁵³ − 1, default 0. */
  readonly seed?: number;
  /** Rows of a step, over all workers. */
  readonly batch: number;
  /** Virtual parts of the batch, as even as they can be (1 to batch, default 8). Part of the definition, not of the machine. */
  readonly shards?: number;
  /** Passes over the training data. Default 1. */
  readonly epochs?: number;
  /** Stop after so many optimizer steps, whatever `epochs` says. */
  readonly steps?: number;
  /** Batches whose gradients are summed for one optimizer step. Default 1. */
  readonly accumulate?: number;
  /** New order of the rows in each epoch. Default true. */
  readonly shuffle?: boolean;
  /** Leave out the short last batch of an epoch. Default false. */
  readonly dropLast?: boolean;
  /** Rows held back for validation where the data set has no validation part: a fraction or a count; 0: none. Default 0. */
  readonly validation?: number;
  readonly earlyStopping?: EarlyStopping;
  readonly data: (options: DataOptions) => Dataset<F> | Promise<Dataset<F>>;
  readonly model: () => M;
  /** The mean loss of a batch, a scalar. Runs once per batch size, to be traced. */
  readonly loss: StepFunction<M, F>;
  /** Means over the rows of a batch, or what is computed from sums over rows. */
  readonly metrics?: { readonly [N in K]: MetricDefinition<M, F> };
  readonly optimizer: Optimizer;
  /** What `predict` gives, one row for each row of its input. Default: `model(batch.FIRST)` of the data's first column. */
  readonly predict?: StepFunction<M, F>;
  /**
   * Makes rows of a file or a text that `lockstep predict` is given. Default: as `data.readRows` does for the data's first
   * column.
   */
  readonly read?: (source: RowSource) => Dataset | Promise<Dataset>;
}

/** The definition as given, with its types: the fields of the batch are the columns of the data set. */
export const defineTraining = <M, F extends string, K extends string = string>(
  definition: TrainingDefinition<M, F, K>,
): TrainingDefinition<M, F, K> => definition;

const count = z.int().min(1);
const callable = z.custom<(...inputs: never[]) => unknown>(
  (value) => typeof value === 'function',
  'expected a function',
);

const schema = z.strictObject({
  name: z.string().optional(),
  seed: z.int().min(0).optional(),
  batch: count,
  shards: count.optional(),
  epochs: count.optional(),
  steps: count.optional(),
  accumulate: count.optional(),
  shuffle: z.boolean().optional(),
  dropLast: z.boolean().optional(),
  validation: z.number().min(0).optional(),
  earlyStopping: z
    .strictObject({
      metric: z.string().optional(),
      mode: z.enum(['min', 'max']).optional(),
      patience: count,
      minDelta: z.number().min(0).optional(),
    })
    .optional(),
  data: callable,
  model: callable,
  loss: callable,
  metrics: z
    .record(
      z.string(),
      callable.or(
        z.strictObject({
          of: callable,
          by: z.custom<SumMetric>(
            (value) =>
              typeof value === 'object' && value !== null && 'measure' in value && 'compute' in value,
            'expected a metric of sums, for example metrics.f1()',
          ),
        }),
      ),
    )
    .optional(),
  predict: callable.optional(),
  read: callable.optional(),
  optimizer: z.custom<Optimizer>(
    (value) => typeof value === 'object' && value !== null && 'groups' in value && 'scalarsAt' in value,
    'expected an optimizer, for example optim.adam({ lr: 1e-3 })',
  ),
});

/** A definition with all defaults filled in. */
export interface ResolvedDefinition<M = unknown, F extends string = string> extends TrainingDefinition<M, F> {
  readonly name: string;
  readonly seed: number;
  readonly shards: number;
  readonly epochs: number;
  readonly accumulate: number;
  readonly shuffle: boolean;
  readonly dropLast: boolean;
  readonly validation: number;
  readonly metrics: { readonly [name: string]: MetricDefinition<M, F> };
}

/** Checks a definition and fills in defaults. Throws ConfigError with all that is wrong. */
export function resolveDefinition<M, F extends string>(
  definition: TrainingDefinition<M, F>,
): ResolvedDefinition<M, F> {
  const parsed = schema.safeParse(definition);
  if (!parsed.success)
    throw new ConfigError('training definition', `${describeIssues(parsed.error, definition)}`);
  const shards = definition.shards ?? Math.min(8, definition.batch);
  if (shards > definition.batch) {
    throw new ConfigError(
      'training definition',
      `shards is ${shards} and batch is ${definition.batch}; expected shards ≤ batch, since a ` +
        'shard needs at least one row. Lower shards or raise batch',
    );
  }
  const metrics = definition.metrics ?? {};
  if ('loss' in metrics) {
    throw new ConfigError(
      'training definition',
      'a metric is named loss, which is taken; give it another name',
    );
  }
  const { earlyStopping } = definition;
  const watched = earlyStopping?.metric ?? 'loss';
  if (watched !== 'loss' && !(watched in metrics)) {
    throw new ConfigError(
      'training definition',
      `earlyStopping.metric is ${watched}, expected loss or one of: ${Object.keys(metrics).join(', ') || '(no metrics)'}`,
    );
  }
  if (watched !== 'loss' && !earlyStopping?.mode) {
    throw new ConfigError(
      'training definition',
      `earlyStopping watches ${watched}, and nothing says which way is better; set earlyStopping.mode to 'min' or 'max'`,
    );
  }
  const { watches } = definition.optimizer;
  if (watches !== undefined && watches !== 'loss' && !(watches in metrics)) {
    throw new ConfigError(
      'training definition',
      `optim.plateau watches ${watches}, expected loss or one of: ${Object.keys(metrics).join(', ') || '(no metrics)'}`,
    );
  }
  return {
    ...definition,
    name: definition.name ?? 'training',
    seed: definition.seed ?? 0,
    shards,
    epochs: definition.epochs ?? (definition.steps === undefined ? 1 : Number.MAX_SAFE_INTEGER),
    accumulate: definition.accumulate ?? 1,
    shuffle: definition.shuffle ?? true,
    dropLast: definition.dropLast ?? false,
    validation: definition.validation ?? 0,
    metrics,
  };
}

function describeIssues(error: z.ZodError, definition: unknown): string {
  if (typeof definition !== 'object' || definition === null) {
    return `got ${definition === null ? 'null' : typeof definition}, expected the object that defineTraining({ … }) returns; export it as default`;
  }
  const known = Object.keys(schema.shape).join(', ');
  return error.issues
    .map((issue) => {
      if (issue.code === 'unrecognized_keys') {
        const where = issue.path.length > 0 ? `${issue.path.join('.')}: ` : '';
        return `${where}unknown key ${issue.keys.join(', ')}${where ? '' : `; known are ${known}`}`;
      }
      const got = issue.path.reduce<unknown>(
        (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
        definition,
      );
      const shown = typeof got === 'function' ? 'a function' : (JSON.stringify(got) ?? 'missing');
      // "Too small: expected …", "Invalid input: expected …, received …": what came is told already.
      const expected = issue.message.replace(/^[^:]+: (?=expected)|, received .*$/g, '');
      return `${issue.path.join('.')} is ${shown}, ${expected}`;
    })
    .join('; ');
}
