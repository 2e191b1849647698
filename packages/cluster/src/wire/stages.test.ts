import { arrays, column } from '@lockstep/data';
import { loss, nn, optim } from '@lockstep/nn';
import { batchShards } from '@lockstep/sync';
import { defineTraining, prepare } from '@lockstep/trainer';
import { expect, test } from 'vitest';
import { decodeBundle, encodeBundle, makeBundle } from './bundle.ts';
import { stagesOf } from './stages.ts';
import { unitVector } from './vectors.ts';

const prepared = () =>
  prepare(
    defineTraining({
      batch: 30,
      shards: 4,
      data: () =>
        arrays({
          x: column(new Float32Array(70 * 600), { shape: [600] }),
          y: column(new Float32Array(70), { shape: [1] }),
        }),
      model: () =>
        nn.sequential(nn.linear(600, 500), nn.tanh(), nn.linear(500, 400), nn.tanh(), nn.linear(400, 1)),
      loss: (model, { x, y }) => loss.mse(model(x), y),
      optimizer: optim.sgd({ lr: 0.1 }),
    }),
    {},
  );

test('sums are done before all gradients, and the last layers’ gradients before the first ones’', async () => {
  const { programs, sizes } = makeBundle(await prepared());
  const vector = unitVector(sizes);
  expect(vector.buckets.length).toBe(1 + 8);
  for (const { program } of programs) {
    const stages = stagesOf(program, vector);
    const order = stages.flatMap(({ buckets }) => buckets);
    expect([...order].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(order[0]).toBe(0);
    // [layer 0, 300,000 floats | layer 1 | layer 2]: bucket 8 has the end of layer 1 and layer 2, bucket 1 only layer 0.
    expect(order.indexOf(8)).toBeLessThan(order.indexOf(1));
    // A weight's gradient is there piece by piece, the last rows first.
    expect(order.indexOf(4)).toBeLessThan(order.indexOf(1));
    expect(stages.findIndex(({ buckets }) => buckets.includes(1))).toBeGreaterThan(
      stages.findIndex(({ buckets }) => buckets.includes(5)),
    );
    expect(stages.at(-1)!.end).toBe(program.starts.length);
  }
});

test('a bundle comes back from its bytes, which are always the same', async () => {
  const bundle = makeBundle(await prepared());
  const bytes = encodeBundle(bundle);
  expect(encodeBundle(decodeBundle(bytes))).toEqual(bytes);
  // Units of 2 and 1 shards: of 8, 8, 7 and 7 rows, and of 3, 3, 2 and 2 in the short batch.
  expect(batchShards(30, 4)).toEqual({ used: 4, rows: 7, larger: 2 });
  const shapes = bundle.programs.map(({ rows, segments }) => `${segments} × ${rows}`);
  expect(shapes.sort()).toEqual([7, 8, 2, 3].flatMap((rows) => [1, 2].map((k) => `${k} × ${rows}`)).sort());
});

test.each([
  ['nothing', () => new Uint8Array(0), 'these bytes are not a valid bundle'],
  ['other bytes', (bytes: Uint8Array) => bytes.map((byte) => byte ^ 1), 'these bytes are not a valid bundle'],
  ['half of them', (bytes: Uint8Array) => bytes.slice(0, bytes.length / 2), 'cut off|truncated'],
  [
    'a program that writes outside of its regions',
    (bytes: Uint8Array) => {
      const copy = bytes.slice();
      copy.fill(0xff, copy.length - 200);
      return copy;
    },
    'program',
  ],
])('%s is refused', async (_, change, message) => {
  const bytes = encodeBundle(makeBundle(await prepared()));
  expect(() => decodeBundle(change(bytes))).toThrow(new RegExp(message));
});
