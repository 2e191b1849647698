/** Transformers and recurrent layers: PyTorch's names, shapes and loss curves from the same weights (see sequences.py). */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { narrow, reshape, type Shape, sizeOf, type Tensor } from '@lockstep/autograd';
import { arrays, column, type Dataset, encodeSafetensors, readSafetensors, takeRows } from '@lockstep/data';
import { loadState, loss, namedParameters, nn, optim, stateOf } from '@lockstep/nn';
import { defineTraining, predict, readWeights, type TrainingDefinition, train } from '@lockstep/trainer';
import { describe, expect, it } from 'vitest';
import { bits, symmetric } from './recipe.ts';

const STEPS = 100;
const [BATCH, ROWS] = [16, 64];
const [TOKENS, FEATURES, HEADS, LENGTH] = [65, 32, 4, 16];

interface Golden {
  readonly shapes: { readonly [name: string]: Shape };
  readonly losses: readonly number[];
  /** What the file in data/NAME.safetensors gives for the last step of the first four rows. */
  readonly outputs?: readonly number[];
}
const names = ['gpt', 'encoder', 'rnn', 'lstm', 'gru'] as const;
const golden = JSON.parse(readFileSync(new URL('data/sequences.json', import.meta.url), 'utf8')) as Record<
  (typeof names)[number],
  Golden
>;

/** As `fill` in sequences.py. */
function fill<M>(model: M): M {
  const state = new Map(
    [...stateOf(model)]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { shape }], i) => {
        const isNorm = name.includes('norm') && name.endsWith('weight');
        const value = (at: number): number => {
          const x = symmetric(100 + i, at);
          return shape.length > 1 ? x / Math.sqrt(shape.at(-1)!) : x / 8 + (isNorm ? 1 : 0);
        };
        return [name, { shape, data: Float32Array.from({ length: sizeOf(shape) }, (_, at) => value(at)) }];
      }),
  );
  loadState(model, state);
  return model;
}

const transformer = (options: nn.TransformerBlockOptions) => () => {
  const fields = {
    embedding: nn.embedding(TOKENS, FEATURES),
    positions: nn.learnedPositions(LENGTH, FEATURES),
    blocks: [0, 1].map(() => nn.transformerBlock(FEATURES, HEADS, options)),
    norm: nn.layerNorm(FEATURES),
    head: nn.linear(FEATURES, TOKENS),
  };
  const { embedding, positions, blocks, norm, head } = fields;
  return fill(
    nn.module('transformer', fields, (x: Tensor) =>
      head(norm(blocks.reduce((y, block) => block(y), positions(embedding(x))))),
    ),
  );
};

const lastStep = (make: () => nn.Recurrent, width: number) => () => {
  const fields = { layer: make(), head: nn.linear(width, 1) };
  return fill(
    nn.module('recurrent', fields, (x: Tensor) => {
      const { output } = fields.layer(x);
      const [rows, steps] = output.shape as [number, number];
      return fields.head(reshape(narrow(output, 1, steps - 1, 1), [rows, width]));
    }),
  );
};

function text() {
  const tokens = Int32Array.from({ length: ROWS * (LENGTH + 1) }, (_, i) => bits(50, i) % TOKENS);
  const part = (from: number) =>
    column(
      tokens.filter((_, i) => {
        const at = i % (LENGTH + 1);
        return at >= from && at < from + LENGTH;
      }),
      { shape: [LENGTH], classes: TOKENS },
    );
  return arrays({ x: part(0), y: part(1) });
}

function series(steps = 12, features = 8) {
  const x = (row: number, step: number, feature: number): number =>
    symmetric(51, (row * steps + step) * features + feature);
  const inputs = Float32Array.from({ length: ROWS * steps * features }, (_, i) => symmetric(51, i));
  const targets = Float32Array.from(
    { length: ROWS },
    (_, row) => (x(row, steps - 1, 0) + x(row, 0, 1) + symmetric(52, row)) / 2,
  );
  return arrays({ x: column(inputs, { shape: [steps, features] }), y: column(targets, { shape: [1] }) });
}

type Network = (x: Tensor) => Tensor;
const settings = { batch: BATCH, shuffle: false, optimizer: optim.adam({ lr: 1e-3 }) };
const ofText = (model: () => Network, steps: number): TrainingDefinition =>
  defineTraining({
    ...{ ...settings, steps, model },
    data: text,
    loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
  }) as TrainingDefinition;
const ofSeries = (model: () => Network, steps: number): TrainingDefinition =>
  defineTraining({
    ...{ ...settings, steps, model },
    data: () => series(),
    loss: (model, { x, y }) => loss.mse(model(x), y),
  }) as TrainingDefinition;

const definitions: Record<(typeof names)[number], (steps: number) => TrainingDefinition> = {
  gpt: (steps) => ofText(transformer({ causal: true }), steps),
  encoder: (steps) => ofText(transformer({ normFirst: false, activation: 'relu' }), steps),
  rnn: (steps) =>
    ofSeries(
      lastStep(() => nn.rnn(8, 19), 19),
      steps,
    ),
  lstm: (steps) =>
    ofSeries(
      lastStep(() => nn.lstm(8, 16, { layers: 2 }), 16),
      steps,
    ),
  gru: (steps) =>
    ofSeries(
      lastStep(() => nn.gru(8, 16, { bidirectional: true }), 32),
      steps,
    ),
};

describe.each(['gpt', 'lstm'] as const)('a file of %s from PyTorch', (name) => {
  const path = fileURLToPath(new URL(`data/${name}.safetensors`, import.meta.url));
  const state = readWeights(path);
  const definition = definitions[name](1);
  const model = definition.model() as Network;
  loadState(model, state);

  it('gives its outputs', async () => {
    const expected = golden[name].outputs!;
    const { x } = ((await definition.data({})) as Dataset).columns;
    const rows = takeRows(arrays({ x: x! }), Int32Array.of(0, 1, 2, 3));
    const { data, shape } = await predict(definition, { weights: path, data: rows, workers: 2 });
    // The last of all steps; the recurrent network gives no other.
    const width = shape.at(-1)!;
    const steps = shape.length === 3 ? shape[1]! : 1;
    const found = [0, 1, 2, 3].flatMap((row) => {
      const end = (row + 1) * steps * width;
      return [...data.subarray(end - width, end)];
    });
    const largest = Math.max(...expected.map(Math.abs));
    expect(found).toHaveLength(expected.length);
    found.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!) / largest).toBeLessThan(1e-5);
    });
  });

  it('comes back with the same names, shapes and numbers', () => {
    const file = readSafetensors(Buffer.concat(encodeSafetensors(stateOf(model))));
    expect([...file.keys()].sort()).toEqual([...state.keys()].sort());
    for (const [key, { data, shape }] of file) expect({ data, shape }, key).toEqual({ ...state.get(key)! });
  });
});

describe.each(names)('%s', (name) => {
  const { shapes, losses: expected } = golden[name];

  it('has the names and shapes of PyTorch, also in safetensors', () => {
    const model = definitions[name](1).model();
    const found = Object.fromEntries(
      [...namedParameters(model)].map(([key, { shape }]) => [key, [...shape]]),
    );
    expect(found).toEqual(shapes);
    const file = readSafetensors(Buffer.concat(encodeSafetensors(stateOf(model))));
    const other = definitions[name](1).model();
    for (const parameter of namedParameters(other).values()) (parameter.value as Float32Array).fill(0);
    loadState(other, file as ReturnType<typeof stateOf>);
    expect(stateOf(other)).toEqual(stateOf(model));
  });

  it('has the loss curve of PyTorch', async () => {
    const losses: number[] = [];
    await train(definitions[name](STEPS), { workers: 2, on: { step: ({ loss }) => losses.push(loss) } });
    expect(losses).toHaveLength(STEPS);
    const errors = losses.map((value, step) => Math.abs(value - expected[step]!) / expected[step]!);
    expect(Math.max(...errors.slice(0, 20))).toBeLessThan(1e-4);
    expect(Math.max(...errors)).toBeLessThan(1e-3);
  });

  it('gives one digest whatever runs it', async () => {
    const digests = new Set<string>();
    for (const workers of [1, 2, 3, 8]) {
      for (const kernels of ['wasm', 'auto'] as const) {
        const { weightsDigest } = await train(definitions[name](3), { workers, kernels });
        digests.add(weightsDigest);
      }
    }
    for (const execution of ['separate', 'eager'] as const) {
      digests.add((await train(definitions[name](3), { execution })).weightsDigest);
    }
    expect(digests.size).toBe(1);
  });
});
