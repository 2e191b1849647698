/** Every optimizer, with every option, on any number of units: its updates compile, and give the bits of op by op. */
import { add, mul, sub, tensor } from '@lockstep/autograd';
import { optim } from '@lockstep/nn';
import type { ShardRange } from '@lockstep/sync';
import { describe, expect, it } from 'vitest';
import { classifier, points } from '../../test/points.ts';
import { type TrainOptions, train } from '../train.ts';
import {
  type BatchUnits,
  compileApply,
  compileBuffers,
  compileCombine,
  compileMeasure,
  compileResult,
  compileTotal,
  compileUpdate,
  type GradientSource,
} from './programs.ts';

type Common = Pick<optim.CommonOptions, 'clipNorm' | 'clipValue' | 'average'>;

/** A rule whose slots have no op in common with the weight, nor with each other. */
const traced = (common: Common) =>
  optim.define({
    name: 'traced',
    lr: 0.05,
    slots: ['fast', 'slow', 'last', 'before'],
    scalars: { lr: (rate) => rate },
    update: ({ weight, gradient: g, slots, scalars }) => ({
      weight: sub(weight, mul(slots.fast, scalars.lr)),
      slots: {
        fast: add(mul(slots.fast, 0.5), mul(g, 0.5)),
        slow: add(mul(slots.slow, tensor([0.99])), mul(g, tensor([0.01]))),
        last: g,
        before: weight,
      },
    }),
    ...common,
  });

const optimizers: Record<string, (common: Common) => optim.Optimizer> = {
  sgd: (common) => optim.sgd({ lr: 0.1, ...common }),
  'sgd, weight decay': (common) => optim.sgd({ lr: 0.1, weightDecay: 0.1, ...common }),
  'sgd, momentum, dampening': (common) =>
    optim.sgd({ lr: 0.1, momentum: 0.9, dampening: 0.5, weightDecay: 0.1, ...common }),
  'sgd, nesterov': (common) =>
    optim.sgd({ lr: 0.1, momentum: 0.9, nesterov: true, weightDecay: 0.1, ...common }),
  adam: (common) => optim.adam({ ...common }),
  'adam, amsgrad, weight decay': (common) => optim.adam({ amsgrad: true, weightDecay: 0.1, ...common }),
  adamw: (common) => optim.adamw({ ...common }),
  'adamw, amsgrad': (common) => optim.adamw({ amsgrad: true, ...common }),
  nadam: (common) => optim.nadam({ ...common }),
  'nadam, weight decay': (common) => optim.nadam({ weightDecay: 0.1, ...common }),
  radam: (common) => optim.radam({ ...common }),
  'radam, weight decay': (common) => optim.radam({ weightDecay: 0.1, ...common }),
  lion: (common) => optim.lion({ ...common }),
  'lion, weight decay': (common) => optim.lion({ weightDecay: 0.1, ...common }),
  rmsprop: (common) => optim.rmsprop({ ...common }),
  'rmsprop, all': (common) => optim.rmsprop({ centered: true, momentum: 0.9, weightDecay: 0.1, ...common }),
  adagrad: (common) => optim.adagrad({ ...common }),
  'adagrad, all': (common) => optim.adagrad({ lrDecay: 0.1, initial: 0.1, weightDecay: 0.1, ...common }),
  adadelta: (common) => optim.adadelta({ ...common }),
  'adadelta, weight decay': (common) => optim.adadelta({ weightDecay: 0.1, ...common }),
  lamb: (common) => optim.lamb({ ...common }),
  'lamb, no weight decay': (common) => optim.lamb({ weightDecay: 0, ...common }),
  'lamb, not adapted': (common) => optim.lamb({ adapt: false, ...common }),
  lars: (common) => optim.lars({ lr: 0.1, ...common }),
  'lars, weight decay': (common) => optim.lars({ lr: 0.1, weightDecay: 0.1, ...common }),
  'lars, not adapted': (common) => optim.lars({ lr: 0.1, adapt: false, weightDecay: 0.1, ...common }),
  'one of your own': traced,
};

/** Every way to set the options that all optimizers have: bits of 0 to 7. */
const commonOf = (set: number): Common => ({
  ...(set & 1 && { clipNorm: 0.5 }),
  ...(set & 2 && { clipValue: 0.01 }),
  ...(set & 4 && { average: 0.9 }),
});

const SHARDS = Array.from({ length: 64 }, (_, i) => i + 1);
const SIZE = 8;

/** Each shard a unit of its own: no way to run a batch has more of them. */
const unitsOf = (shards: number): BatchUnits => ({
  parts: Array.from({ length: shards }, (_, lo): ShardRange => ({ lo, hi: lo + 1 })),
  stride: 16,
  tickOffset: 4096,
});

function compileAll(optimizer: optim.Optimizer, source: GradientSource, batch: BatchUnits): void {
  for (const group of optimizer.groups) {
    const slice = { optimizer, group, size: SIZE, blocks: 3 };
    if (!group.layer) compileUpdate(slice, source, batch);
    else {
      compileMeasure(slice, source, batch);
      compileApply(slice, batch);
    }
  }
}

describe('compiles', () => {
  it.each(Object.entries(optimizers))('%s: 1 to 64 units, every common option', (_, make) => {
    for (let set = 0; set < 8; set++) {
      const optimizer = make(commonOf(set));
      // With a clipped norm, or gradients that accumulate, an update takes the total: units are added up before.
      compileAll(optimizer, 'total', unitsOf(1));
      // The least and the most; others lie between them.
      const every = set === 0 || set === 6;
      if (optimizer.clipNorm === undefined) {
        for (const shards of every ? SHARDS : [19, 29]) compileAll(optimizer, 'units', unitsOf(shards));
      }
    }
  });

  it.each(SHARDS)('sums of %i units', (shards) => {
    const batch = unitsOf(shards);
    for (const mode of ['first', 'next'] as const) {
      for (const scaled of [true, false]) compileTotal(mode, SIZE, batch, scaled);
    }
    compileBuffers({ keep: 0.9, add: 0.1 }, SIZE, batch);
    compileResult(3, batch.parts);
    compileCombine(batch.parts, { from: 0, to: SIZE });
  });
});

describe('gives the bits of op by op', () => {
  const counts = [64, 5, 12, 16, 20, 21, 22, 24, 28, 32, 40, 48, 63];
  const cases = Object.entries(optimizers).flatMap(([name, make], i) =>
    // Two sets for each, which together have all three options.
    [i % 8, 7 - (i % 8)].map((set, j) => {
      const common = commonOf(set);
      const over = { accumulate: 1 + ((i + j) % 3), shards: counts[(2 * i + j) % counts.length]! };
      return [name, { ...common, ...over }, { ...over, optimizer: make(common) }] as const;
    }),
  );

  it.each(cases)('%s, %o', async (_, __, over) => {
    const outcome = async (way: TrainOptions) => {
      const losses: number[] = [];
      const definition = classifier({ ...over, batch: 64, steps: 3, data: () => points(90) });
      const { weightsDigest } = await train(definition, {
        ...way,
        on: { step: ({ loss }) => losses.push(loss) },
      });
      return { weightsDigest, losses };
    };
    const expected = await outcome({ execution: 'eager' });
    expect(expected.losses.every(Number.isFinite)).toBe(true);
    expect(await outcome({ workers: 1, execution: 'separate' })).toEqual(expected);
  });

  it('on as many workers as shards', async () => {
    const definition = classifier({
      ...{ optimizer: optim.adamw(), shards: 24, batch: 48, steps: 2, data: () => points(48) },
    });
    const [many, one] = [await train(definition, { workers: 24 }), await train(definition, { workers: 1 })];
    expect(many.weightsDigest).toBe(one.weightsDigest);
  });
});
