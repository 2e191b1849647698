/** What cannot be trained is refused before the first step, by one message: who, what came, what was expected, the way out. */
import { add, cast, mul, OpError, ones, sum, take, tensor } from '@lockstep/autograd';
import { arrays, column, DataError } from '@lockstep/data';
import { ConfigError, loss, nn, optim } from '@lockstep/nn';
import { describe, expect, it } from 'vitest';
import { classifier, type Field, type Model, points } from '../test/points.ts';
import type { TrainingDefinition } from './define/definition.ts';
import { type TrainOptions, train } from './train.ts';

interface Case {
  /** Replaces parts of a good definition; any type, since this is what JavaScript lets through. */
  readonly over?: Readonly<Record<string, unknown>>;
  readonly options?: TrainOptions;
  readonly error: new (...args: never[]) => Error;
  readonly says: RegExp;
}

const outside = nn.linear(3, 3);
const kept: { tensor?: unknown } = {};

const cases: Record<string, Case> = {
  'a batch of no rows': { over: { batch: 0 }, error: ConfigError, says: /batch is 0, expected .*1/ },
  'half a row': { over: { batch: 2.5 }, error: ConfigError, says: /batch is 2\.5/ },
  'batch as a word': { over: { batch: 'many' }, error: ConfigError, says: /batch is "many".*expected/ },
  'no batch': { over: { batch: undefined }, error: ConfigError, says: /batch is missing, expected number/ },
  'more shards than rows': {
    over: { shards: 11 },
    error: ConfigError,
    says: /shards is 11 and batch is 10; expected shards ≤ batch.*Lower shards or raise batch/,
  },
  'no shards': { over: { shards: 0 }, error: ConfigError, says: /shards is 0/ },
  'no epochs': { over: { epochs: 0 }, error: ConfigError, says: /epochs is 0/ },
  'steps below one': { over: { steps: -3 }, error: ConfigError, says: /steps is -3/ },
  'a negative seed': { over: { seed: -1 }, error: ConfigError, says: /seed is -1/ },
  'an unknown key': {
    over: { batchSize: 64 },
    error: ConfigError,
    says: /unknown key batchSize; known are .*batch/,
  },
  'an unknown key of early stopping': {
    over: { earlyStopping: { patience: 2, metrics: 'loss' } },
    error: ConfigError,
    says: /earlyStopping: unknown key metrics/,
  },
  'two mistakes at once': {
    over: { batch: 0, epochs: 0 },
    error: ConfigError,
    says: /batch is 0.*epochs is 0/,
  },
  'no optimizer': {
    over: { optimizer: 'adam' },
    error: ConfigError,
    says: /optimizer is "adam".*optim\.adam\(/,
  },
  'a metric named loss': {
    over: { metrics: { loss: () => 0 } },
    error: ConfigError,
    says: /named loss.*another name/,
  },
  'early stopping on what is not measured': {
    over: { earlyStopping: { patience: 1, metric: 'f1', mode: 'max' } },
    error: ConfigError,
    says: /earlyStopping\.metric is f1, expected loss or one of: accuracy/,
  },
  'early stopping without validation': {
    over: { earlyStopping: { patience: 1 }, data: () => points(20) },
    error: ConfigError,
    says: /no(ne| validation).*set validation/,
  },
  'dropLast of everything': {
    over: { dropLast: true, batch: 100 },
    error: ConfigError,
    says: /batch is 100 and there are 44 training rows.*lower batch/,
  },

  'no workers': {
    options: { workers: 0 },
    error: ConfigError,
    says: /workers: got 0, expected auto or an integer/,
  },
  'workers beyond counting': { options: { workers: 1e6 }, error: ConfigError, says: /workers: got 1000000/ },
  'kernels of another machine': {
    options: { kernels: 'native-none' as never },
    error: ConfigError,
    says: /kernels: 'native-none' are not available.*expected auto or one of .*wasm/,
  },
  'weights of another model': {
    options: { initialWeights: new Map([['0.weight', { shape: [2, 3], data: new Float32Array(6) }]]) },
    error: ConfigError,
    says: /0\.weight is \[2, 3\], expected \[6, 3\]; missing 0\.bias/,
  },

  'data that is nothing': {
    over: { data: () => undefined },
    error: ConfigError,
    says: /data\(\) gave undefined.*data\.digits/,
  },
  'data with NaN': {
    over: { data: () => arrays({ x: [[1, 2, Number.NaN]], y: [[1]], label: [0] }) },
    error: DataError,
    says: /column "x": NaN in row 0, element 2; expected finite numbers\. Remove or fill/,
  },
  'data of unequal length': {
    over: { data: () => arrays({ x: [[1, 2, 3]], y: [[1], [2]] }) },
    error: DataError,
    says: /2 rows.*expected as many/,
  },
  'labels above the classes of the data': {
    over: {
      data: () => points(9, { label: column(Int32Array.of(0, 1, 2, 0, 1, 2, 0, 3, 1), { classes: 3 }) }),
    },
    error: DataError,
    says: /column "label": label 3 in row 7; expected 0 to 2/,
  },
  'labels above the outputs of the model': {
    over: { model: () => nn.linear(3, 2) },
    error: ConfigError,
    says: /column label has 2 in row \d+, expected 0 to 1.*give the model 3 outputs or fix the data/,
  },
  'labels to leave out, as PyTorch has them': {
    over: { data: () => points(9, { label: column(Int32Array.of(0, 1, 2, 0, 1, 2, 0, -100, 1)) }) },
    error: ConfigError,
    says: /column label has -100 in row \d+.*leave such rows out with \{ ignoreIndex: -100 \} or fix the data/,
  },
  'tokens that an embedding does not have': {
    over: {
      data: () => points(9, { label: column(Int32Array.of(0, 1, 2, 0, 1, 2, 0, 7, 1)) }),
      loss: (model: Model, { x, label }: never) => sum(mul(model(x), take(ones([5, 3]), label))),
    },
    error: ConfigError,
    says: /column label has 7 in row \d+, expected 0 to 4, because take picks one of 5; make that 8 or fix the data/,
  },
  'more validation than rows': {
    over: { data: () => points(10), validation: 12 },
    error: DataError,
    says: /split: 12 of the 10 rows.*expected/,
  },

  'a model without parameters': {
    over: { model: () => nn.relu() },
    error: ConfigError,
    says: /model: it has no parameters.*return the module itself/,
  },
  'a parameter outside of the model': {
    over: {
      loss: (model: Model, { x, label }: never) => loss.crossEntropy(add(model(x), outside(x)), label),
    },
    error: ConfigError,
    says: /uses a parameter of shape \[3, 3\] that is not part of the model; make it a property/,
  },
  'layers that do not fit': {
    over: { model: () => nn.sequential(nn.linear(3, 6), nn.linear(5, 3)) },
    error: OpError,
    says: /1: linear\(5, 3\): got .*\[2, 6\].*, expected a last axis of 5; change inFeatures/,
  },
  'a field that the data lack': {
    over: {
      loss: (model: Model, batch: Record<string, never>) => loss.mse(model(batch.features!), batch.y!),
    },
    error: ConfigError,
    says: /batch\.features: the data set has no such column, only x, y, label/,
  },
  'an object with forward that is called': {
    over: {
      model: () => {
        const layer = nn.linear(3, 3);
        return { layer, forward: (x: never) => layer(x) };
      },
      loss: (model: Model, { x, label }: never) => loss.crossEntropy(model(x), label),
    },
    error: ConfigError,
    says: /loss: model is not a function; call an object .* such as model\.forward\(x\), or run it .* nn\.sequential/,
  },
  'a loss that is no scalar': {
    over: { loss: (model: Model, { x }: never) => model(x) },
    error: ConfigError,
    says: /loss: got .*\[2, 3\], expected an f32 scalar; reduce it with mean\(\)/,
  },
  'a loss that is a number': {
    over: { loss: () => 1 },
    error: ConfigError,
    says: /loss: got 1, expected an f32 scalar/,
  },
  'a loss that is forgotten': {
    over: { loss: () => {} },
    error: ConfigError,
    says: /loss: got undefined, expected/,
  },
  'a loss that is a promise': {
    over: { loss: async (model: Model, { x }: never) => sum(model(x)) },
    error: ConfigError,
    says: /loss: got a promise .*, expected an f32 scalar/,
  },
  'a loss without the model': {
    over: { loss: (_: Model, { x }: never) => sum(x) },
    error: ConfigError,
    says: /loss: it does not depend on any parameter of the model/,
  },
  'a metric that is no scalar': {
    over: { metrics: { odd: (model: Model, { x }: never) => model(x) } },
    error: ConfigError,
    says: /metric odd: got .*expected an f32 scalar/,
  },
  'a branch on data': {
    over: {
      loss: (model: Model, { x }: never) => {
        const value = sum(model(x));
        return value.item() > 0 ? value : mul(value, 2);
      },
    },
    error: OpError,
    says: /not known while the step is traced.*cannot branch on data\. Use where\(/,
  },
  'a comparison of tensors by JavaScript': {
    over: {
      loss: (model: Model, { x }: never) => {
        const value = sum(model(x));
        return (value as unknown as number) > 0 ? value : mul(value, 2);
      },
    },
    error: OpError,
    says: /not known while the step is traced.*Use where\(/,
  },
  'a tensor kept from an earlier trace': {
    over: {
      loss: (model: Model, { x }: never) => {
        kept.tensor ??= x;
        return sum(model(kept.tensor as never));
      },
    },
    error: OpError,
    says: /tensor of an earlier trace; do not keep tensors in variables across steps/,
  },
  'labels as numbers of another type': {
    over: { loss: (model: Model, { x, y }: never) => loss.crossEntropy(model(x), y) },
    error: OpError,
    says: /crossEntropy.*expected.*i32/i,
  },
  'shapes that would broadcast': {
    over: { loss: (model: Model, { x, y }: never) => loss.mse(model(x), y) },
    error: OpError,
    says: /loss\.mse: got prediction .*\[2, 3\].* and target .*\[2, 1\].*, expected equal shapes; reshape/,
  },
  'an optimizer that forgets its state': {
    over: {
      optimizer: optim.define({
        name: 'forgetful',
        lr: optim.constant(0.1),
        clipNorm: undefined,
        slots: ['momentum'],
        scalars: { lr: (lr) => lr },
        config: {},
        update: ({ weight }) => ({ weight, slots: {} as never }),
      }),
    },
    error: ConfigError,
    says: /optimizer forgetful: its update gave no momentum.*return \{ weight, slots \}/,
  },
  'an optimizer whose state is whole numbers': {
    over: {
      optimizer: optim.define({
        name: 'counting',
        lr: 0.1,
        slots: ['ups'],
        scalars: {},
        update: ({ weight, slots }) => ({ weight, slots: { ups: cast(slots.ups, 'i32') } }),
      }),
    },
    error: ConfigError,
    says: /optimizer counting: its update gave ups of i32\[8\] for weights of f32\[8\], expected that type/,
  },
  'an optimizer with a constant for each weight': {
    over: {
      optimizer: optim.define({
        name: 'picky',
        lr: 0.1,
        slots: [],
        scalars: {},
        update: ({ weight, gradient }) => ({
          weight: add(weight, mul(gradient, tensor([1, 2, 3, 4, 5, 6, 7, 8]))),
          slots: {},
        }),
      }),
    },
    error: ConfigError,
    says: /optimizer picky: its update uses a constant f32\[8\], expected numbers or tensors of one element/,
  },
  'an optimizer with more state than an update can write': {
    over: {
      optimizer: optim.define({
        name: 'greedy',
        lr: 0.1,
        slots: Array.from({ length: 32 }, (_, i) => `s${i}`),
        scalars: {},
        update: ({ weight, slots }) => ({ weight, slots }),
      }),
    },
    error: ConfigError,
    says: /optimizer greedy: got 32 slots, expected at most 31/,
  },
  'an optimizer that is not elementwise': {
    over: {
      optimizer: optim.define({
        name: 'normalised',
        lr: optim.constant(0.1),
        clipNorm: undefined,
        slots: [],
        scalars: { lr: (lr) => lr },
        config: {},
        update: ({ weight, gradient }) => ({
          weight: add(weight, mul(sum(gradient, 0, { keepDims: true }), -1)),
          slots: {},
        }),
      }),
    },
    error: ConfigError,
    says: /optimizer normalised: its update uses sum, expected element-wise ops only.*use clipNorm/,
  },
};

describe.each(Object.entries(cases))('%s', (_, { over, options, error, says }) => {
  it('is refused', async () => {
    const steps: number[] = [];
    const definition = { ...classifier(), ...over } as TrainingDefinition<Model, Field>;
    const run = (async () =>
      train(definition, { workers: 2, ...options, on: { step: ({ step }) => steps.push(step) } }))();
    await expect(run).rejects.toThrow(error);
    await expect(run).rejects.toThrow(says);
    // One line of prose.
    const message = await run.catch((reason: Error) => reason.message);
    expect(message).not.toMatch(/\n|\[object |TypeError|undefined is not/);
    expect(steps).toEqual([]);
  });
});
