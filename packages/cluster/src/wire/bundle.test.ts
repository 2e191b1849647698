/** What a coordinator could send: bundles that are whole, but whose programs claim more than a unit's program may do. */
import { arrays, column } from '@lockstep/data';
import type { Program, Region } from '@lockstep/kernels';
import { loss, nn, optim } from '@lockstep/nn';
import { defineTraining, prepare } from '@lockstep/trainer';
import { expect, test } from 'vitest';
import { NodeEngine } from '../node/engine.ts';
import { type Bundle, decodeBundle, encodeBundle, makeBundle } from './bundle.ts';
import { columnsOf } from './dataImage.ts';

const prepared = await prepare(
  defineTraining({
    batch: 8,
    shards: 2,
    data: () =>
      arrays({
        x: column(
          Float32Array.from({ length: 160 }, (_, i) => i / 160),
          { shape: [10] },
        ),
        y: column(Int32Array.from({ length: 16 }, (_, i) => i % 3)),
      }),
    model: () => nn.sequential(nn.linear(10, 5), nn.batchNorm1d(5), nn.linear(5, 3)),
    loss: (model, { x, y }) => loss.crossEntropy(model(x), y),
    optimizer: optim.sgd({ lr: 0.1 }),
  }),
  {},
);
const bundle = makeBundle(prepared);
const data = columnsOf(prepared.data);

/** The bundle with its first program changed. */
const changed = (change: (program: Program) => Program): Bundle => {
  const [first, ...rest] = bundle.programs;
  return { ...bundle, programs: [{ ...first!, program: change(first!.program) }, ...rest] };
};
const renamed =
  (from: string, change: (region: Region) => Region) =>
  (program: Program): Program => ({
    ...program,
    regions: program.regions.map((region) => (region.name === from ? change(region) : region)),
  });
const indexOf = ({ regions }: Program, name: string): number =>
  regions.findIndex((region) => region.name === name);

test('a bundle comes back as it was', () => {
  expect(decodeBundle(encodeBundle(bundle))).toEqual(bundle);
});

const writable = (region: Region): Region => ({ ...region, access: 'write' });

test.each<[string, (program: Program) => Program, string]>([
  [
    'two regions of one name',
    renamed('sums', (region) => ({ ...region, name: 'gradient' })),
    "are both named 'gradient'",
  ],
  [
    'a writable record',
    renamed('record', writable),
    "region 'record' is writable, expected it to be read-only",
  ],
  ['weights that are written', renamed('weights', writable), "region 'weights' is writable"],
  [
    'buffers that are written',
    renamed('statistics', (region) => ({ ...region, name: 'buffers' })),
    "region 'buffers' is writable",
  ],
  ['data that are written', renamed('data x', writable), "region 'data x' is writable"],
  [
    'constants that are written',
    renamed('statistics', (region) => ({ ...region, name: 'constants' })),
    "region 'constants' is writable",
  ],
  ['rows of the order that are written', renamed('index', writable), "region 'index' is writable"],
  [
    'a region of another kind of program',
    renamed('statistics', (region) => ({ ...region, name: 'journal' })),
    "got a region 'journal', expected none of this name",
  ],
  [
    'a region that nobody knows',
    renamed('statistics', (region) => ({ ...region, name: 'constructor' })),
    "got a region 'constructor'",
  ],
  [
    'labels that change while the program runs',
    labelsInWeights,
    'expected indexes in memory that stays as it is',
  ],
])('%s is refused', (_, change, message) => {
  expect(() => decodeBundle(encodeBundle(changed(change)))).toThrow(message);
});

/** The labels of the loss are read from the weights. */
function labelsInWeights(program: Program): Program {
  const crossEntropy = 8;
  const start = program.starts.find((at) => program.code[at] === crossEntropy)!;
  const code = program.code.slice();
  code.set([indexOf(program, 'weights'), 0], start + 6);
  return { ...program, code };
}

const sized = (name: string, bytes: number): Bundle =>
  changed(renamed(name, (region) => ({ ...region, bytes })));

test.each([
  ['record', 24, 28],
  ['unit', 8, 12],
  ['weights', bundle.sizes.weights * 4, bundle.sizes.weights * 4 + 4],
  ['gradient', bundle.sizes.trained * 4, bundle.sizes.trained * 4 + 4],
  ['statistics', bundle.sizes.buffers * 4, bundle.sizes.buffers * 4 + 4],
  ['index', 128, 132],
  ['data x', 640, 644],
])('a node gives region %s %i bytes and no more', async (name, most, more) => {
  const start = async (bytes: number): Promise<void> => {
    const engine = await NodeEngine.start({ bundle: sized(name, bytes), data, workers: 1, kernels: 'wasm' });
    await engine.close();
  };
  await start(most);
  await expect(start(more)).rejects.toThrow(`region ${name} has ${more} bytes, expected at most ${most}`);
});
