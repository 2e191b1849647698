import { type Tensor, Trace, tensor, withTrace } from '@lockstep/autograd';
import { describe, expect, test } from 'vitest';
import { ConfigError } from './errors.ts';
import { golden, relativeError } from './golden/read.ts';
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

describe('the same weights as PyTorch', () => {
  test.each<[string, optim.Optimizer]>([
    ['sgd', optim.sgd({ lr: 0.1 })],
    ['sgd decay', optim.sgd({ lr: 0.1, weightDecay: 0.05 })],
    ['sgd momentum', optim.sgd({ lr: 0.05, momentum: 0.9 })],
    ['sgd dampening', optim.sgd({ lr: 0.05, momentum: 0.9, dampening: 0.4, weightDecay: 0.01 })],
    ['sgd nesterov', optim.sgd({ lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.01 })],
    ['adam', optim.adam({ lr: 0.01 })],
    ['adam decay', optim.adam({ lr: 0.01, betas: [0.8, 0.99], eps: 1e-4, weightDecay: 0.1 })],
    ['adamw', optim.adamw({ lr: 0.01, weightDecay: 0.1 })],
    ['adamw default', optim.adamw()],
  ])('%s', (name, optimizer) => {
    const expected = reference[name] as number[][];
    path(optimizer).forEach((weights, i) => {
      // Weights that cross 0 keep the absolute error of their path: hence the scale.
      expect(relativeError(weights, expected[i]!, 0.1)).toBeLessThan(1e-5);
    });
  });
});

test.each([
  optim.sgd({ lr: 0.1, momentum: 0.9, dampening: 0.5, weightDecay: 0.1 }),
  optim.sgd({ lr: 0.1, momentum: 0.9, nesterov: true }),
  optim.adam({ weightDecay: 0.1 }),
  optim.adamw(),
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

test('every golden path is checked', () => {
  const names = Object.keys(reference).filter((name) => name !== 'start' && name !== 'gradients');
  expect(names).toHaveLength(9);
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
])('wrong options, case %#', (make, message) => {
  expect(make).toThrow(ConfigError);
  expect(make).toThrow(message);
});

test('a schedule that gives no rate is found at its step', () => {
  const optimizer = optim.adam({ lr: (t) => (t < 3 ? 1 : Number.NaN) });
  expect(optimizer.scalarsAt(2, 5)).toHaveLength(3);
  expect(() => optimizer.scalarsAt(3, 5)).toThrow('optim.adam: got NaN from the schedule of lr at step 3');
});
