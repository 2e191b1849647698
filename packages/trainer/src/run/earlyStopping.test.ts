import { arrays } from '@lockstep/data';
import { loss, nn, optim } from '@lockstep/nn';
import { describe, expect, it } from 'vitest';
import { defineTraining } from '../define/definition.ts';
import { train } from '../train.ts';
import type { EarlyStopEvent, EpochEvent } from './events.ts';

/** A step far too long: the loss is best after the first epoch. */
const definition = defineTraining({
  batch: 4,
  epochs: 20,
  data: () => ({ ...points([1, 2, 3, 4]), validation: points([5, 6]) }),
  model: () => nn.linear(1, 1),
  loss: (model, { x, y }) => loss.mse(model(x), y),
  optimizer: optim.sgd({ lr: 0.15 }),
  earlyStopping: { patience: 3 },
});

const points = (values: number[]) =>
  arrays({ x: values.map((value) => [value]), y: values.map((value) => [2 * value]) });

describe('early stopping', () => {
  it('keeps the best weights and tells their validation', async () => {
    const epochs: EpochEvent[] = [];
    let stop: EarlyStopEvent | undefined;
    const result = await train(definition, {
      workers: 1,
      on: {
        epoch: (event) => epochs.push(event),
        earlyStop: (event) => {
          stop = event;
        },
      },
    });
    const best = epochs.filter((event) => event.best).at(-1)!;
    expect(epochs).toHaveLength(best.epoch + 3);
    expect(stop).toMatchObject({ bestEpoch: best.epoch, metric: 'loss', value: best.validation!.loss });
    expect(result.validation).toEqual(best.validation);
    expect(result.validation!.loss).toBeLessThan(epochs.at(-1)!.validation!.loss);

    const { weightsDigest } = await train({ ...definition, epochs: best.epoch }, { workers: 1 });
    expect(result.weightsDigest).toBe(weightsDigest);
  });
});
