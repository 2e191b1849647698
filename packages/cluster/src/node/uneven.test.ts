/** Batches that their shards don't divide: every unit has the rows of its shards, on any number of workers. */
import { mean, mul } from '@lockstep/autograd';
import { arrays, column } from '@lockstep/data';
import { init, nn, optim } from '@lockstep/nn';
import { batchShards, combine, firstRow, type ShardRange, treeNodes } from '@lockstep/sync';
import { defineTraining, prepare } from '@lockstep/trainer';
import { expect, test } from 'vitest';
import { makeBundle } from '../wire/bundle.ts';
import { columnsOf } from '../wire/dataImage.ts';
import { NodeEngine } from './engine.ts';

const rowsOf = (length: number): Float32Array => Float32Array.from({ length }, (_, row) => row);

/** The loss of a shard is the sum of its rows' numbers. */
const prepared = (length: number, batch: number, shards: number) =>
  prepare(
    defineTraining({
      ...{ batch, shards },
      data: () => arrays({ x: column(rowsOf(length), { shape: [1] }) }),
      model: () => ({ weight: nn.parameter(init.constant(1)([1])) }),
      loss: ({ weight }, { x }) => mean(mul(x, weight)),
      optimizer: optim.sgd({ lr: 0.1 }),
    }),
    {},
  );

async function lossesOf(engine: NodeEngine, batch: number, units: readonly ShardRange[]): Promise<number[]> {
  const losses: number[] = [];
  await engine.compute(batch, units, ({ vector }, _, release) => {
    if (!release) return;
    losses.push(vector[0]!);
    release();
  });
  return losses;
}

test.each([
  // Full batches, and a short one whose shards have as many rows.
  [58, 16, 8],
  [38, 21, 5],
  [101, 28, 8],
  [31, 9, 8],
  [50, 23, 3],
  [83, 40, 13],
])('%i rows in batches of %i, %i shards', async (length, size, shards) => {
  const given = await prepared(length, size, shards);
  const [bundle, data] = [makeBundle(given), columnsOf(given.data)];
  for (const workers of [1, 2, 3, 5]) {
    const engine = await NodeEngine.start({ bundle, data, workers, kernels: 'wasm' });
    engine.model.fill(1);
    const full = Math.floor(length / size);
    for (const batch of [0, full]) {
      const { start, rows, epoch } = engine.sampler.place(batch);
      const order = engine.sampler.permutation(epoch).subarray(start, start + rows);
      const cut = batchShards(rows, shards);
      const units = treeNodes(cut.used);
      const found = await lossesOf(engine, batch, units);
      const singles = units.flatMap(({ lo, hi }, i) => (hi - lo === 1 ? [{ lo, loss: found[i]! }] : []));
      for (const [i, { lo, hi }] of units.entries()) {
        const own = order.subarray(firstRow(cut, lo), firstRow(cut, hi));
        expect(found[i], `[${lo}, ${hi}) of ${workers} workers`).toBeCloseTo(
          own.reduce((sum, row) => sum + row, 0),
          3,
        );
        const inside = singles.filter((single) => lo <= single.lo && single.lo < hi);
        const parts = inside.map((_, shard) => ({ lo: shard, hi: shard + 1 }));
        const added = combine(
          parts,
          inside.map(({ loss }) => loss),
          (left, right) => Math.fround(left + right),
        );
        expect(found[i]).toBe(added);
      }
    }
    await engine.close();
  }
});
