import { nn, optim } from '@lockstep/nn';
import { describe, expect, it } from 'vitest';
import { classifier } from '../test/points.ts';
import type { StepEvent } from './run/events.ts';
import { type TrainOptions, train } from './train.ts';

const ways: readonly TrainOptions[] = [
  { workers: 1 },
  { workers: 2, execution: 'separate' },
  { workers: 3, kernels: 'wasm' },
  { workers: 8 },
];

type Definition = Parameters<typeof classifier>[0];

/** Wide enough that slices of 3 and 8 workers cut through parameters and groups. */
const model = () => nn.sequential(nn.linear(3, 700), nn.tanh(), nn.linear(700, 3), nn.linear(3, 3));

const definitions: Record<string, Definition> = {
  groups: {
    optimizer: optim.adamw({
      lr: optim.cosine(0.01),
      groups: [
        { match: optim.vectors, weightDecay: 0 },
        { match: '2.weight', lrScale: 3, amsgrad: true },
      ],
    }),
  },
  'groups and a clipped norm': {
    optimizer: optim.sgd({
      lr: 0.1,
      momentum: 0.9,
      clipNorm: 0.1,
      groups: [{ match: /bias$/, lrScale: 0.5 }],
    }),
  },
  'clipped values and an average': { optimizer: optim.rmsprop({ clipValue: 1e-3, average: 0.9 }) },
  lamb: { optimizer: optim.lamb({ lr: 0.01 }) },
  'lamb, clipped, averaged, accumulated, with a group of its own': {
    accumulate: 2,
    optimizer: optim.lamb({
      clipNorm: 0.5,
      average: 0.5,
      groups: [{ match: optim.vectors, adapt: false, weightDecay: 0 }],
    }),
  },
  lars: { optimizer: optim.lars({ lr: 1, groups: [{ match: '3.*', trust: 0.01 }] }) },
  'a part that is frozen': {
    model: () => {
      const net = model();
      nn.freeze(net[0]);
      return net;
    },
    optimizer: optim.adam({ average: 0.9 }),
  },
};

describe.each(Object.entries(definitions))('%s', (_, over) => {
  const outcome = async (way: TrainOptions) => {
    const losses: number[] = [];
    const result = await train(classifier({ model, epochs: 2, ...over }), {
      ...way,
      on: { step: ({ loss }) => losses.push(loss) },
    });
    const { weightsDigest, validation, weights } = result;
    return { weightsDigest, validation, losses, weights };
  };
  it('gives the same whatever the way', async () => {
    const expected = await outcome({ execution: 'eager' });
    expect(expected.losses.every(Number.isFinite)).toBe(true);
    for (const way of ways) expect(await outcome(way), JSON.stringify(way)).toEqual(expected);
  });
});

describe('the average of the weights', () => {
  const run = (average: number | undefined, way: TrainOptions) =>
    train(
      classifier({
        model,
        epochs: 3,
        optimizer: optim.sgd({ lr: 0.05, ...(average !== undefined && { average }) }),
      }),
      way,
    );
  it('is what is validated and kept', async () => {
    const [plain, averaged, none] = await Promise.all([
      run(undefined, {}),
      run(0.9, {}),
      run(0, { workers: 1 }),
    ]);
    expect(averaged.weightsDigest).not.toBe(plain.weightsDigest);
    expect(averaged.loss).toBe(plain.loss);
    expect(averaged.validation).not.toEqual(plain.validation);
    expect(none.weightsDigest).toBe(plain.weightsDigest);
  });
});

describe('frozen parameters', () => {
  it('keep their bits', async () => {
    const start = await train(classifier({ model, steps: 1, optimizer: optim.sgd({ lr: 0 }) }), {});
    const frozen = () => nn.freeze(model(), ['0.weight', '2.*']);
    const { weights } = await train(
      classifier({ model: frozen, epochs: 2, optimizer: optim.adamw({ weightDecay: 0.1 }) }),
      {},
    );
    const changed = [...weights].flatMap(([name, { data }]) =>
      data.every((x, i) => x === start.weights.get(name)!.data[i]) ? [] : [name],
    );
    expect(changed).toEqual(['0.bias', '3.weight', '3.bias']);
  });

  it('alone are nothing to train', async () => {
    const run = train(classifier({ model: () => nn.freeze(model()) }), {});
    await expect(async () => await run).rejects.toThrow('nothing to train (frozen parameters do not count)');
  });
});

describe('a plateau', () => {
  it.each([{ workers: 2 }, { execution: 'eager' }] as const)(
    'lowers the rate after validations: %o',
    async (way) => {
      const rates: number[] = [];
      // Nothing improves by half.
      const lr = optim.plateau(0.1, { factor: 0.5, patience: 0, threshold: 0.5 });
      await train(classifier({ model, epochs: 4, optimizer: optim.sgd({ lr }) }), {
        ...way,
        on: { step: ({ step, learningRate }: StepEvent) => step % 5 === 1 && rates.push(learningRate) },
      });
      expect(rates).toEqual([0.1, 0.1, 0.05, 0.025]);
    },
  );
});

describe('what cannot be', () => {
  it.each<[Definition, string]>([
    [
      { optimizer: optim.adam({ groups: [{ match: '*.bais', eps: 1 }] }) },
      'optimizer adam, group 1: no parameter that is not frozen matches it (or an earlier group has them all); the parameters are',
    ],
    [
      { optimizer: optim.sgd({ lr: optim.plateau(1, { metric: 'f1' }) }) },
      'optim.plateau watches f1, expected loss or one of: accuracy',
    ],
  ])('%#', async (over, message) => {
    await expect(async () => await train(classifier(over), {})).rejects.toThrow(message);
  });
});
