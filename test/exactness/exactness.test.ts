/** The promise: one digest, whatever the number of workers, the kernels and the way of execution. */
import { availableVariants } from '@lockstep/kernels';
import fc from 'fast-check';
import { defineTraining, loss, nn, optim, type Tensor, type TrainingDefinition, train } from 'lockstep';
import { describe, expect, it } from 'vitest';
import { CLASSES, FEATURES, type Fields, numbers } from './data.ts';
import { classification, definitions } from './definitions.ts';
import { wide, wideDefinitions } from './wide.ts';

const WORKERS = [1, 2, 3, 5, 8] as const;
const EXECUTIONS = ['coalesced', 'separate'] as const;
const variants = availableVariants();

interface Way {
  readonly workers?: number;
  readonly kernels?: (typeof variants)[number];
  readonly execution?: (typeof EXECUTIONS)[number] | 'eager';
}

const show = ({ workers, kernels = variants[0]!, execution = 'coalesced' }: Way): string =>
  `${execution}, ${kernels}${workers ? `, ${workers} workers` : ''}`;

/** All that a run gives and that no way of running it may change. */
async function outcome<M, F extends string>(definition: TrainingDefinition<M, F>, way: Way) {
  const losses: number[] = [];
  const { weightsDigest, step, epoch, loss, metrics, validation } = await train(definition, {
    ...way,
    on: { step: (event) => losses.push(event.loss) },
  });
  return { weightsDigest, step, epoch, loss, metrics, validation, losses };
}

/** Eager runs on each kernel are the oracle of a definition. */
const oracles: readonly Way[] = variants.map((kernels) => ({ execution: 'eager', kernels }));

const everyWay: readonly Way[] = [
  ...oracles,
  ...WORKERS.flatMap((workers) =>
    variants.flatMap((kernels) => EXECUTIONS.map((execution) => ({ workers, kernels, execution }))),
  ),
];

/** Every number of workers; kernels and executions take turns, so that some definitions meet every pair. */
const someWays = (turn: number): Way[] => [
  oracles[turn % oracles.length]!,
  ...WORKERS.map((workers, i) => ({
    workers,
    kernels: variants[(turn + i) % variants.length]!,
    execution: EXECUTIONS[(i + Math.floor(turn / variants.length)) % 2]!,
  })),
];

/** Of a run that takes long: executions take turns. */
const halfOfThem: readonly Way[] = [
  ...oracles,
  ...WORKERS.flatMap((workers, i) =>
    variants.map((kernels, j) => ({ workers, kernels, execution: EXECUTIONS[(i + j) % 2]! })),
  ),
];

describe.each([
  ['small', definitions['dropout, adam, a short batch'], everyWay],
  ['wide', wide(), halfOfThem],
] as const)(
  'every way to run one %s training gives the same weights, losses and metrics',
  async (_, definition, ways) => {
    const expected = await outcome(definition, { workers: 1, kernels: 'wasm' });
    it.each(ways.map((way) => [show(way), way] as const))('%s', async (_, way) => {
      expect(await outcome(definition, way)).toEqual(expected);
    });
  },
);

describe('any training gives the same on ways that take turns', () => {
  const entries = Object.entries<TrainingDefinition<never, Fields>>({
    ...definitions,
    ...wideDefinitions,
  } as unknown as Record<string, TrainingDefinition<never, Fields>>);
  it.each(entries.map(([name, definition], turn) => [name, definition, turn] as const))(
    '%s',
    async (_, definition, turn) => {
      const [oracle, ...ways] = someWays(turn);
      const expected = await outcome(definition, oracle!);
      expect(expected.losses.every(Number.isFinite)).toBe(true);
      for (const way of ways) expect(await outcome(definition, way), show(way)).toEqual(expected);
    },
  );
});

it('trainings drawn at random give the same as op by op', async () => {
  const drawn = fc.record({
    rows: fc.integer({ min: 1, max: 70 }),
    batch: fc.integer({ min: 1, max: 40 }),
    shards: fc.integer({ min: 1, max: 17 }),
    accumulate: fc.integer({ min: 1, max: 3 }),
    hidden: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 2 }),
    clip: fc.boolean(),
    seed: fc.nat(),
    workers: fc.integer({ min: 1, max: 6 }),
    kernels: fc.constantFrom(...variants),
    execution: fc.constantFrom(...EXECUTIONS),
  });
  await fc.assert(
    fc.asyncProperty(drawn, async ({ rows, batch, shards, accumulate, hidden, clip, seed, ...way }) => {
      const sizes = [FEATURES, ...hidden];
      const definition = defineTraining<(x: Tensor) => Tensor, Fields>({
        seed,
        batch,
        shards: Math.min(shards, batch),
        accumulate,
        steps: 5,
        data: () => numbers(rows),
        model: () =>
          nn.sequential(
            ...hidden.flatMap((size, i) => [nn.linear(sizes[i]!, size), nn.tanh(), nn.dropout(0.2)]),
            nn.linear(sizes.at(-1)!, CLASSES),
          ),
        loss: (model, { x, label }) => loss.crossEntropy(model(x), label),
        optimizer: optim.adam({ lr: 0.01, ...(clip && { clipNorm: 0.1 }) }),
      });
      expect(await outcome(definition, way)).toEqual(await outcome(definition, { execution: 'eager' }));
    }),
    { numRuns: 20, seed: 20261123 },
  );
});

describe('the digest tells trainings apart', async () => {
  const base = await train(classification());
  it.each([
    ['seed', { seed: 4 }],
    ['shards', { shards: 7 }],
    ['batch', { batch: 31 }],
    ['epochs', { epochs: 3 }],
    ['learning rate', { optimizer: optim.adam({ lr: 0.0101 }) }],
    ['order of the rows', { shuffle: false }],
    ['one number of the data', { data: () => oneChanged(numbers(101, 17)) }],
  ] as const)('another %s', async (_, over) => {
    expect((await train(classification(over))).weightsDigest).not.toBe(base.weightsDigest);
  });

  it('not by its name, and twice the same', async () => {
    expect((await train(classification({ name: 'again' }))).weightsDigest).toBe(base.weightsDigest);
  });
});

function oneChanged(data: ReturnType<typeof numbers>): typeof data {
  const { x } = data.columns;
  const changed = Float32Array.from(x.data);
  changed[0]! += 2 ** -10;
  return { ...data, columns: { ...data.columns, x: { ...x, data: changed } } };
}
