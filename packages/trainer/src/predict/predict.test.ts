import { argmax, tensor } from '@lockstep/autograd';
import { arrays, windows } from '@lockstep/data';
import { loss, nn, optim, stateOf } from '@lockstep/nn';
import { describe, expect, it } from 'vitest';
import { classifier, points } from '../../test/points.ts';
import { defineTraining } from '../define/definition.ts';
import { train } from '../train.ts';
import { loadModel, type PredictOptions, predict } from './predict.ts';

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

  it('takes a batch of tensors or of arrays', async () => {
    const x = [
      [0.5, -1, 2],
      [1, 0, 0.25],
    ];
    const [ofArrays, ofTensors] = await Promise.all(
      [x, tensor(x)].map((rows) => predict(definition, { weights, data: { x: rows } })),
    );
    expect(ofTensors!.data).toEqual(ofArrays!.data);
    const tokens = defineTraining({
      batch: 2,
      data: () => arrays({ x: { data: Int32Array.of(0, 1), shape: [2] }, y: [[1], [2]] }),
      model: () => nn.embedding(3, 2),
      loss: (m, { x, y }) => loss.mse(m(x), y),
      optimizer: optim.sgd({ lr: 0 }),
    });
    await using table = await loadModel(tokens, { weights: stateOf(tokens.model()), workers: 1 });
    const picked = await table.predict({ x: tensor(Int32Array.of(2, 0)) });
    expect(picked.shape).toEqual([2, 2]);
  });

  it('says what does not fit', async () => {
    const run = (over: Partial<PredictOptions>) => predict(definition, { weights, data, ...over });
    await expect(run({ rows: 0 })).rejects.toThrow('predict: got rows = 0');
    await expect(run({ weights: new Map() })).rejects.toThrow('missing 0.weight');
    await expect(run({ data: arrays({ x: [1, 2] }) })).rejects.toThrow('expected a last axis of 3');
    for (const wrong of [null, 'x', [[1, 2, 3]], tensor([[1, 2, 3]])]) {
      await expect(run({ data: wrong as never })).rejects.toThrow(
        'predict: got no columns, expected a data set',
      );
    }
    await expect(run({ data: { x: 'abc' } as never })).rejects.toThrow(
      'field "x" is a string; expected numbers',
    );
    const other = classifier({ model, predict: (m, batch) => m(batch.x) });
    await expect(predict(other, { weights, data: { z: [[1, 2, 3]] } as never })).rejects.toThrow(
      'batch.x: the data set has no such column, only z',
    );
  });
});

describe('a loaded model', async () => {
  const definition = classifier({ model, epochs: 2, shards: 2 });
  const { weights } = await train(definition, { workers: 1 });
  const expected = (await predict(definition, { weights, data: points(100), workers: 1 })).data;
  const rows = (from: number, to: number): number[][] =>
    Array.from({ length: to - from }, (_, i) =>
      Array.from(points(100).columns.x.data.subarray(3 * (from + i), 3 * (from + i + 1))),
    );

  it('predicts again and again, few rows and many, one call after the other', async () => {
    const loaded = await loadModel(definition, { weights, workers: 2, rows: 8 });
    try {
      // The calls do not wait for each other here: more than was asked for before, then fewer, with others in between.
      const ranges = [
        [5, 6],
        [0, 100],
        [7, 10],
        [40, 57],
        [99, 100],
      ] as const;
      const found = await Promise.all(ranges.map(([from, to]) => loaded.predict({ x: rows(from, to) })));
      ranges.forEach(([from, to], i) => {
        expect(found[i]!.shape).toEqual([to - from, 3]);
        expect(found[i]!.data).toEqual(expected.slice(3 * from, 3 * to));
      });
    } finally {
      await loaded.close();
    }
    await expect(loaded.predict({ x: rows(0, 1) })).rejects.toThrow('the model was closed');
  });

  it('survives rows that do not fit', async () => {
    await using loaded = await loadModel(definition, { weights, workers: 1 });
    await expect(loaded.predict({ x: [[1, 2]] })).rejects.toThrow('expected a last axis of 3');
    await expect(loaded.predict({ x: [[1, 2, Number.NaN]] })).rejects.toThrow('NaN in row 0');
    expect((await loaded.predict({ x: rows(0, 2) })).data).toEqual(expected.slice(0, 6));
  });

  it('takes windows that overlap, and refuses tokens that it does not know', async () => {
    const text = defineTraining({
      batch: 4,
      data: () =>
        windows(
          Uint8Array.from({ length: 60 }, (_, i) => (i * 7) % 11),
          { length: 5, classes: 11 },
        ),
      model: () => nn.sequential(nn.embedding(11, 6), nn.linear(6, 11)),
      loss: (m, { x, y }) => loss.crossEntropy(m(x), y),
      optimizer: optim.sgd({ lr: 0.1 }),
    });
    const trained = await train(text, { workers: 1 });
    const data = windows(
      Uint8Array.from({ length: 30 }, (_, i) => (i * 3) % 11),
      { length: 5, classes: 11, validation: 0 },
    );
    const [whole, pieces] = await Promise.all(
      [64, 3].map((size) => predict(text, { weights: trained.weights, data, rows: size, workers: 2 })),
    );
    expect(whole!.shape).toEqual([data.length, 5, 11]);
    expect(pieces!.data).toEqual(whole!.data);
    const { x } = data.columns;
    const wrong = arrays({ x: { ...x, classes: 14, data: x.data.map((token) => token + 3) } as typeof x });
    await expect(predict(text, { weights: trained.weights, data: wrong })).rejects.toThrow(
      'take picks one of 11; make that 13 or fix the data',
    );
  });
});
