import { checkGradients, grad, gradients, type Tensor, tensor, variable } from '@lockstep/autograd';
import { describe, expect, test } from 'vitest';
import { golden, relativeError } from '../golden/read.ts';
import type { Module } from '../model/module.ts';
import * as activations from './activations.ts';

type Name = Exclude<keyof typeof activations, 'dropout' | 'flatten' | 'identity'> | 'geluTanh';

/** Every activation as the golden file has it: a new one without a row here does not compile. */
const cases: Record<Name, Module> = {
  relu: activations.relu(),
  tanh: activations.tanh(),
  sigmoid: activations.sigmoid(),
  silu: activations.silu(),
  hardswish: activations.hardswish(),
  mish: activations.mish(),
  softplus: activations.softplus(),
  gelu: activations.gelu(),
  geluTanh: activations.gelu({ approximate: 'tanh' }),
  leakyRelu: activations.leakyRelu(),
  elu: activations.elu(0.5),
  softmax: activations.softmax(),
  logSoftmax: activations.logSoftmax(),
};

interface Case {
  y: number[];
  gradient: number[];
}

describe('value and gradient as in PyTorch', () => {
  const { x, ...reference } = golden<{ x: number[] } & Record<Name, Case>>('activations');
  test.each(Object.entries(cases))('%s', (name, f) => {
    const expected = reference[name as Name];
    const input = variable(tensor(x));
    const y = f(input);
    expect(relativeError(y.data(), expected.y, 1e-3)).toBeLessThan(2e-6);
    const seed = tensor(x.map((_, i) => i + 1));
    const [gradient] = gradients(y, [input], { seed });
    expect(relativeError(gradient!.data(), expected.gradient, 0.1)).toBeLessThan(1e-5);
  });
});

describe('gradients and their gradients against differences', () => {
  // No kink of any activation within a difference.
  const x = tensor([
    [-2.6, -0.7, 0.2],
    [0.9, 1.7, -1.1],
  ]);
  const weights = tensor([
    [1, -2, 3],
    [0.5, 2, -1],
  ]);
  test.each(Object.entries(cases))('%s', (_, f) => {
    const total = (a: Tensor): Tensor => f(a).mul(weights).sum();
    expect(checkGradients((a) => total(a!), [x])).toMatchObject({ ok: true });
    const slope = (a: Tensor): Tensor =>
      grad((b) => total(b!))(a)[0]!
        .mul(weights)
        .sum();
    expect(checkGradients((a) => slope(a!), [x])).toMatchObject({ ok: true });
  });
});

test('far values neither overflow nor give NaN', () => {
  const x = variable(tensor([-1e4, -100, 100, 1e4]));
  for (const f of Object.values(cases)) {
    const y = f(x);
    const [gradient] = gradients(y.sum(), [x]);
    expect([...y.data(), ...gradient!.data()].every(Number.isFinite)).toBe(true);
  }
});
