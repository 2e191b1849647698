import { argmax, tensor } from '@lockstep/autograd';
import { arrays } from '@lockstep/data';
import { nn } from '@lockstep/nn';
import { describe, expect, it } from 'vitest';
import { classifier, points } from '../test/points.ts';
import { type PredictOptions, predict } from './predict.ts';
import { train } from './train.ts';

const model = () =>
  nn.sequential(nn.linear(3, 6), nn.batchNorm1d(6), nn.dropout(0.5), nn.tanh(), nn.linear(6, 3));

describe('predict', async () => {
  const definition = classifier({ model, epochs: 2, shards: 2 });
  const trained = await train(definition, { workers: 1 });
  const { weights } = trained;
  const data = points(44);

  it('gives the same bits, whatever the workers, kernels and rows at once', async () => {
    const expected = await predict(definition, { weights, data, workers: 1 });
    expect(expected.shape).toEqual([44, 3]);
    const ways: Partial<PredictOptions>[] = [
      { workers: 3, rows: 7 },
      { kernels: 'wasm', rows: 44 },
      { workers: 2, rows: 1 },
      { workers: 8, rows: 22 },
    ];
    for (const way of ways) {
      const { data: found } = await predict(definition, { weights, data, ...way });
      expect(found, JSON.stringify(way)).toEqual(expected.data);
    }
  });

  it('is what definition.predict says, from the columns that are there', async () => {
    const x = Array.from({ length: 5 }, (_, i) => [i / 5, -1, 0.5]);
    const classes = classifier({ model, predict: (m, batch) => argmax(m(batch.x)) });
    const logits = await predict(definition, { weights, data: arrays({ x }) });
    const found = await predict(classes, { weights, data: arrays({ x }) });
    expect(found.shape).toEqual([5]);
    expect(Array.from(found.data)).toEqual(
      Array.from(argmax(tensor(logits.data as Float32Array, { shape: [5, 3] })).data()),
    );
  });

  it('says what does not fit', async () => {
    const run = (over: Partial<PredictOptions>) => predict(definition, { weights, data, ...over });
    await expect(run({ rows: 0 })).rejects.toThrow('predict: got rows = 0');
    await expect(run({ weights: new Map() })).rejects.toThrow('missing 0.weight');
    await expect(run({ data: arrays({ x: [1, 2] }) })).rejects.toThrow('expected a last axis of 3');
  });
});
