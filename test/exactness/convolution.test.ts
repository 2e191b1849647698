/** Convolutions and batch norm: one digest, and the same running statistics, on every way to run. */
import { arrays, column } from '@lockstep/data';
import { availableVariants } from '@lockstep/kernels';
import { defineTraining, loss, nn, optim, type TrainingDefinition, type TrainOptions, train } from 'lockstep';
import { describe, expect, it } from 'vitest';

const ROWS = 44;
const SIZE = 8;

const images = () =>
  arrays({
    image: column(
      Float32Array.from({ length: ROWS * 2 * SIZE * SIZE }, (_, i) => ((i * 0.618034 + 0.3) % 1) - 0.5),
      { shape: [2, SIZE, SIZE] },
    ),
    label: column(
      Int32Array.from({ length: ROWS }, (_, i) => (i * 7 + (i >> 2)) % 3),
      { classes: 3 },
    ),
  });

type Fields = 'image' | 'label';
const definition = (model: () => nn.Module, over: Partial<TrainingDefinition<nn.Module, Fields>> = {}) =>
  defineTraining<nn.Module, Fields>({
    seed: 5,
    batch: 20, // rows 40 to 43 make a short batch
    shards: 5,
    epochs: 2,
    validation: 0.1,
    data: images,
    model,
    loss: (model, { image, label }) => loss.crossEntropy(model(image), label),
    optimizer: optim.adam({ lr: 0.01 }),
    ...over,
  });

const plain = () =>
  nn.sequential(
    nn.conv2d(2, 5, 3, { padding: 1 }),
    nn.relu(),
    nn.maxPool2d(2),
    nn.conv2d(5, 6, 3, { stride: 2, padding: 1, groups: 1 }),
    nn.relu(),
    nn.flatten(),
    nn.linear(24, 3),
  );
const normalised = () =>
  nn.sequential(
    nn.conv2d(2, 6, 3, { dilation: 2, padding: 2, groups: 2, bias: false }),
    nn.batchNorm2d(6),
    nn.relu(),
    nn.avgPool2d(2),
    nn.convTranspose2d(6, 2, 2, { stride: 2 }),
    nn.maxPool2d(3, { stride: 2, padding: 1 }),
    nn.flatten(),
    nn.linear(32, 7),
    nn.batchNorm1d(7, { momentum: 0.25 }),
    nn.linear(7, 3),
  );

const definitions = {
  'convolutions and pooling': definition(plain),
  'batch norm': definition(normalised),
  'batch norm, gradients of two batches at once': definition(normalised, { accumulate: 2 }),
  'batch norm, the best weights kept': definition(normalised, {
    epochs: 4,
    earlyStopping: { patience: 1 },
    optimizer: optim.adam({ lr: 0.2 }),
  }),
};

const variants = availableVariants();
const ways: TrainOptions[] = [
  { execution: 'eager', kernels: 'wasm' },
  ...[1, 2, 3, 8].flatMap((workers) =>
    [variants[0]!, 'wasm' as const].map((kernels) => ({ workers, kernels })),
  ),
  { workers: 1, kernels: variants.at(-1)!, execution: 'separate' },
];

describe.each(Object.entries(definitions))('%s', (_, definition) => {
  it('gives the same weights, buffers, losses and validation', async () => {
    const outcome = async (way: TrainOptions) => {
      const losses: number[] = [];
      const { weights, weightsDigest, validation } = await train(definition, {
        ...way,
        on: { step: (event) => losses.push(event.loss) },
      });
      const numbers = [...weights].map(([name, { data }]) => [
        name,
        Buffer.from(data.buffer).toString('hex'),
      ]);
      return { weightsDigest, validation, losses, numbers };
    };
    const expected = await outcome(ways[0]!);
    expect(expected.losses.every(Number.isFinite)).toBe(true);
    for (const way of ways.slice(1)) expect(await outcome(way), JSON.stringify(way)).toEqual(expected);
  });
});

it('keeps running statistics that validation depends on', async () => {
  const { weights } = await train(definitions['batch norm'], { workers: 2 });
  expect([...weights.get('1.num_batches_tracked')!.data]).toEqual([4]);
  expect(weights.get('1.running_mean')!.data.some((x) => x !== 0)).toBe(true);
  expect(weights.get('1.running_var')!.data.every((x) => x > 0 && x !== 1)).toBe(true);
});
