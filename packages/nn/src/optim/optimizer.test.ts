import { type Tensor, Trace, tensor, withTrace } from '@lockstep/autograd';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../common/errors.ts';
import { golden, relativeError } from '../golden/read.ts';
import * as optim from './optim.ts';

interface Golden {
  start: number[];
  gradients: number[][];
  [name: string]: number[] | number[][];
}
const reference = golden<Golden>('optimizers');
const CHECKED = [0, 1, 9, 49];

/** The weights after each of the checked steps, updated eagerly. */
function path(optimizer: optim.Optimizer): number[][] {
  const total = reference.gradients.length;
  let weight = tensor(reference.start);
  let slots: Record<string, Tensor> = Object.fromEntries(
    optimizer.slots.map((slot) => [slot, tensor(new Float32Array(weight.size))]),
  );
  const seen: number[][] = [];
  reference.gradients.forEach((gradient, t) => {
    const values = optimizer.scalarsAt(t, total);
    const scalars = Object.fromEntries(optimizer.scalars.map((name, i) => [name, tensor([values[i]!])]));
    ({ weight, slots } = optimizer.update({ weight, gradient: tensor(gradient), slots, scalars }));
    if (CHECKED.includes(t)) seen.push(Array.from(weight.data()));
  });
  return seen;
}

const likePyTorch: Record<string, optim.Optimizer> = {
  sgd: optim.sgd({ lr: 0.1 }),
  'sgd decay': optim.sgd({ lr: 0.1, weightDecay: 0.05 }),
  'sgd momentum': optim.sgd({ lr: 0.05, momentum: 0.9 }),
  'sgd dampening': optim.sgd({ lr: 0.05, momentum: 0.9, dampening: 0.4, weightDecay: 0.01 }),
  'sgd nesterov': optim.sgd({ lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.01 }),
  adam: optim.adam({ lr: 0.01 }),
  'adam decay': optim.adam({ lr: 0.01, betas: [0.8, 0.99], eps: 1e-4, weightDecay: 0.1 }),
  adamw: optim.adamw({ lr: 0.01, weightDecay: 0.1 }),
  'adamw default': optim.adamw(),
  amsgrad: optim.adam({ lr: 0.01, amsgrad: true }),
  'adamw amsgrad': optim.adamw({ lr: 0.01, weightDecay: 0.1, amsgrad: true }),
  rmsprop: optim.rmsprop(),
  'rmsprop centered': optim.rmsprop({ lr: 0.005, alpha: 0.9, centered: true, weightDecay: 0.1 }),
  'rmsprop momentum': optim.rmsprop({ lr: 0.005, momentum: 0.9 }),
  adagrad: optim.adagrad(),
  'adagrad decay': optim.adagrad({ lr: 0.1, lrDecay: 0.01, initial: 0.5, weightDecay: 0.1 }),
  adadelta: optim.adadelta(),
  'adadelta decay': optim.adadelta({ lr: 0.5, rho: 0.95, eps: 1e-5, weightDecay: 0.1 }),
  nadam: optim.nadam(),
  'nadam decay': optim.nadam({ lr: 0.01, betas: [0.8, 0.99], momentumDecay: 0.05, weightDecay: 0.1 }),
  radam: optim.radam({ lr: 0.01 }),
  'radam decay': optim.radam({ lr: 0.01, betas: [0.8, 0.9], weightDecay: 0.1 }),
  lion: optim.lion({ lr: 0.01, weightDecay: 0.1 }),
  lars: optim.lars({ lr: 0.5, trust: 0.02, momentum: 0.9, weightDecay: 0.01 }),
  lamb: optim.lamb({ lr: 0.01, weightDecay: 0.1 }),
};

describe('the same weights as PyTorch, 50 steps', () => {
  test.each(Object.entries(likePyTorch))('%s', (name, optimizer) => {
    const expected = reference[name] as number[][];
    path(optimizer).forEach((weights, i) => {
      // Weights that cross 0 keep the absolute error of their path: hence the scale.
      expect(relativeError(weights, expected[i]!, 0.1)).toBeLessThan(1e-5);
    });
  });

  test('every golden path is checked', () => {
    const names = Object.keys(reference).filter((name) => name !== 'start' && name !== 'gradients');
    expect(Object.keys(likePyTorch)).toEqual(names);
  });
});

test.each([
  ...Object.values(likePyTorch).filter(({ layer }) => !layer),
  optim.adam({ clipValue: 0.5, average: 0.99 }),
  optim.lamb({ adapt: false }),
  optim.lars({ lr: 1, adapt: false }),
])('an update is elementwise, so that it is one pass over memory: $name', (optimizer) => {
  const trace = new Trace();
  const input = (name: string, n: number): Tensor =>
    trace.input('scalar', name, { shape: [n], dtype: 'f32' });
  const inputs = (names: readonly string[], n: number): Record<string, Tensor> =>
    Object.fromEntries(names.map((name) => [name, input(name, n)]));
  const output = withTrace(trace, () =>
    optimizer.update({
      weight: input('weight', 8),
      gradient: input('gradient', 8),
      slots: inputs(optimizer.slots, 8),
      scalars: inputs(optimizer.scalars, 1),
    }),
  );
  expect(output.weight.shape).toEqual([8]);
  expect(Object.keys(output.slots)).toEqual(optimizer.slots);
  const kinds = trace.nodes.map((node) => (node.kind === 'op' ? node.op.kind : node.kind));
  expect(new Set(kinds)).toEqual(new Set(['input', 'elementwise']));
});

/** One update of one weight. */
function once(
  optimizer: optim.Optimizer,
  weight: number,
  gradient: number,
  step = 0,
  old: Record<string, number> = {},
) {
  const values = optimizer.scalarsAt(step, 10);
  const scalars = Object.fromEntries(optimizer.scalars.map((name, i) => [name, tensor([values[i]!])]));
  const slots = Object.fromEntries(optimizer.slots.map((name) => [name, tensor([old[name] ?? 0])]));
  const updated = optimizer.update({
    weight: tensor([weight]),
    gradient: tensor([gradient]),
    slots,
    scalars,
  });
  const numbers = Object.entries(updated.slots).map(([name, slot]) => [name, slot.item()]);
  return { weight: updated.weight.item(), slots: Object.fromEntries(numbers) as Record<string, number> };
}

test('clipping by value leaves alone what is not finite, so that it is noticed', () => {
  const optimizer = optim.sgd({ lr: 1, clipValue: 0.5 });
  const clipped = [0.25, 3, -3, Infinity, -Infinity, Number.NaN].map((g) => once(optimizer, 0, g).weight);
  expect(clipped).toEqual([-0.25, -0.5, 0.5, -Infinity, Infinity, Number.NaN]);
  // Of the gradient that LAMB measures, too.
  expect(once(optim.lamb({ clipValue: 0.5 }), 1, 100)).toEqual(once(optim.lamb(), 1, 0.5));
});

test('the average of the weights begins with the first, as AveragedModel does', () => {
  const optimizer = optim.sgd({ lr: 1, average: 0.75 });
  const first = once(optimizer, 5, 1);
  expect(first).toEqual({ weight: 4, slots: { average: 4 } });
  expect(once(optimizer, 4, 4, 1, first.slots)).toEqual({ weight: 0, slots: { average: 3 } });
});

describe('groups', () => {
  const optimizer = optim.adamw({
    lr: 0.1,
    weightDecay: 0.5,
    groups: [
      { match: 'head.*', lrScale: 2 },
      { match: [optim.vectors, /norm/], weightDecay: 0 },
      { match: '*.weight', amsgrad: true },
    ],
  });

  test('take options that they do not set from the optimizer', () => {
    const values = optimizer.scalarsAt(0, 10);
    expect(optimizer.scalars.slice(0, 4)).toEqual(['stepSize', 'eps', 'keep', 'stepSize 1']);
    expect(values).toHaveLength(12);
    const keep = optimizer.groups.map(({ firstScalar }) => values[firstScalar + 2]);
    expect(keep).toEqual([0.95, 0.9, 1, 0.95]);
    expect(optimizer.slots).toEqual(['m', 'v', 'vMax']);
    expect(optimizer.groups.map(({ slots }) => slots.length)).toEqual([2, 2, 2, 3]);
  });

  test.each([
    ['head.weight', [2, 3], 1],
    ['blocks.0.bias', [3], 2],
    ['blocks.0.norm.scale', [3, 1], 2],
    ['0.weight', [3, 1], 3],
    ['0.other', [3, 1], 0],
    ['xhead.other', [3, 1], 0],
  ])('%s %j is in group %i', (name, shape, group) => {
    const found = optimizer.groups.findIndex((g, i) => i > 0 && g.matches({ name, shape }));
    expect(Math.max(found, 0)).toBe(group);
  });

  test('are part of the definition', () => {
    expect(optimizer.config.groups).toMatchObject([
      { match: 'head.*', lrScale: 2, weightDecay: 0.5 },
      { weightDecay: 0 },
      { amsgrad: true },
    ]);
  });
});

test('an optimizer of your own', () => {
  const optimizer = optim.define({
    name: 'signDescent',
    lr: optim.exponential(1, { gamma: 0.5 }),
    slots: [],
    scalars: { lr: (rate) => rate },
    update: ({ weight, gradient, scalars }) => ({
      weight: weight.sub(gradient.sign().mul(scalars.lr)),
      slots: {},
    }),
    average: 0.5,
  });
  expect(once(optimizer, 1, -7, 1).weight).toBe(1.5);
  expect(optimizer.config).toMatchObject({ name: 'signDescent', lr: { kind: 'exponential' }, average: 0.5 });
});

test('the schedule sets the rate; the corrections follow the step', () => {
  const optimizer = optim.sgd({ lr: optim.step(1, { every: 2, gamma: 0.5 }), momentum: 0.5 });
  expect([0, 1, 2, 4].map((t) => optimizer.learningRate(t, 10))).toEqual([1, 1, 0.5, 0.25]);
  expect(optimizer.scalars).toEqual(['lr', 'share']);
  const adam = optim.adam({ lr: 1 });
  const [first] = adam.scalarsAt(0, 10);
  expect(first).toBeCloseTo(Math.sqrt(0.001) / 0.1, 12);
  const [late] = adam.scalarsAt(999_999, 1e6);
  expect(late).toBe(1);
});

test('clipNorm and all options are part of the definition', () => {
  expect(optim.sgd({ lr: 1 })).not.toHaveProperty('clipNorm');
  expect(optim.adam({ clipNorm: 2 }).clipNorm).toBe(2);
  const definitions = [
    optim.sgd({ lr: 1 }),
    optim.sgd({ lr: 1, momentum: 0.5 }),
    optim.sgd({ lr: 1, momentum: 0.5, nesterov: true }),
    optim.adam(),
    optim.adam({ betas: [0.8, 0.999] }),
    optim.adam({ clipNorm: 1 }),
    optim.adamw(),
    optim.adamw({ lr: optim.cosine(1e-3) }),
  ].map(({ config }) => JSON.stringify(config));
  expect(new Set(definitions).size).toBe(definitions.length);
});

test.each<[() => unknown, string]>([
  [() => optim.sgd({} as never), 'optim.sgd: got lr = undefined, expected a number, a schedule'],
  [() => optim.sgd({ lr: -0.1 }), 'optim.sgd: got lr = -0.1, expected a finite number >= 0'],
  [() => optim.sgd({ lr: 1, momentum: 1 }), 'got momentum = 1, expected a finite number >= 0 and < 1'],
  [() => optim.sgd({ lr: 1, weightDecay: -1 }), 'got weightDecay = -1'],
  [() => optim.sgd({ lr: 1, nesterov: true }), 'expected momentum > 0 and dampening = 0'],
  [() => optim.sgd({ lr: 1, momentum: 0.9, dampening: 0.1, nesterov: true }), 'dampening = 0.1'],
  [() => optim.sgd({ lr: 1, clipNorm: 0 }), 'got clipNorm = 0, expected a finite number > 0'],
  [() => optim.adam({ learningRate: 1 } as never), 'optim.adam: got unknown option learningRate'],
  [() => optim.adam({ betas: 0.9 as never }), 'got betas = 0.9, expected two numbers'],
  [() => optim.adam({ betas: [0.9, 1] }), 'got betas[1] = 1'],
  [() => optim.adamw({ eps: 0 }), 'optim.adamw: got eps = 0'],
  [() => optim.sgd({} as never), 'optim.sgd: got lr = undefined'],
  [() => optim.sgd({ lr: 1, clipValue: -1 }), 'optim.sgd: got clipValue = -1'],
  [() => optim.adam({ average: 1 }), 'optim.adam: got average = 1, expected a finite number >= 0 and < 1'],
  [() => optim.adam({ groups: {} as never }), 'optim.adam: got groups that are not an array'],
  [() => optim.adam({ groups: [{ weightDecay: 0 } as never] }), 'optim.adam, group 1: got match = undefined'],
  [
    () => optim.adam({ groups: [{ match: '*', lr: 1 } as never] }),
    'optim.adam, group 1: got unknown option lr',
  ],
  [() => optim.adam({ groups: [{ match: '*', eps: 0 }] }), 'optim.adam, group 1: got eps = 0'],
  [() => optim.adam({ groups: [{ match: '*', lrScale: -1 }] }), 'optim.adam, group 1: got lrScale = -1'],
  [() => optim.rmsprop({ alpha: 1 }), 'optim.rmsprop: got alpha = 1'],
  [() => optim.adagrad({ lrDecay: -1 }), 'optim.adagrad: got lrDecay = -1'],
  [() => optim.adadelta({ rho: 1 }), 'optim.adadelta: got rho = 1'],
  [() => optim.nadam({ momentumDecay: -1 }), 'optim.nadam: got momentumDecay = -1'],
  [() => optim.radam({ betas: [0.9, 2] }), 'optim.radam: got betas[1] = 2'],
  [() => optim.lion({ eps: 1 } as never), 'optim.lion: got unknown option eps'],
  [() => optim.lars({ lr: 1, trust: 0 }), 'optim.lars: got trust = 0'],
  [() => optim.lamb({ eps: 0 }), 'optim.lamb: got eps = 0'],
])('wrong options, case %#', (make, message) => {
  expect(make).toThrow(ConfigError);
  expect(make).toThrow(message);
});

test('a schedule that gives no rate is found at its step', () => {
  const optimizer = optim.adam({ lr: (t) => (t < 3 ? 1 : Number.NaN) });
  expect(optimizer.scalarsAt(2, 5)).toHaveLength(3);
  expect(() => optimizer.scalarsAt(3, 5)).toThrow('optim.adam: got NaN from the schedule of lr at step 3');
});
