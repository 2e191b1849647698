/** Functions of one number, as they are called: at most 2 ulp from the correctly rounded result, over all floats. */
import { expect, it } from 'vitest';
import * as a from './index.ts';

const MAX_ULP = 2;
type F = (x: a.Tensor) => a.Tensor;
const functions: Readonly<Record<string, F>> = {
  ...{ sqrt: a.sqrt, rsqrt: a.rsqrt, exp: a.exp, expm1: a.expm1, log: a.log, log1p: a.log1p },
  ...{ sin: a.sin, cos: a.cos, tanh: a.tanh, sigmoid: a.sigmoid, erf: a.erf },
  ...{ relu: a.relu, gelu: a.gelu, silu: a.silu, mish: a.mish, hardswish: a.hardswish },
  'gelu by tanh': (x) => a.gelu(x, { approximate: 'tanh' }),
  leakyRelu: (x) => a.leakyRelu(x, 0.01),
  elu: (x) => a.elu(x, 1),
  'elu, alpha 0.1': (x) => a.elu(x, 0.1),
  softplus: (x) => a.softplus(x),
  'softplus, beta 20': (x) => a.softplus(x, 20),
  'softplus, beta 0.1': (x) => a.softplus(x, 0.1),
  square: a.square,
  clamp: (x) => a.clamp(x, -0.1, 6),
};

/** Every 20,011th float, without infinities and NaN. */
const finite = Float32Array.from(
  new Float32Array(
    Uint32Array.from({ length: Math.floor(2 ** 32 / 20_011) }, (_, i) => i * 20_011).buffer,
  ).filter(Number.isFinite),
);

const word = new Float32Array(1);
const bits = new Int32Array(word.buffer);
/** Where a float lies among all floats. */
const place = (x: number): number => {
  word[0] = x;
  return bits[0]! < 0 ? -(bits[0]! & 0x7fffffff) : bits[0]!;
};

it.each(Object.entries(functions))('%s', (_, f) => {
  const found = f(a.tensor(finite)).data();
  // Constants of an op are f32 in both.
  const exact = a.withPrecision('float64', () => f(a.tensor(Float64Array.from(finite)))).data();
  let worst = { ulps: 0, x: 0 };
  finite.forEach((x, i) => {
    const [got, expected] = [found[i]!, Math.fround(exact[i]!)];
    const same = Number.isNaN(got) && Number.isNaN(expected);
    const ulps = same ? 0 : Math.abs(place(got) - place(expected));
    if (Number.isNaN(got) !== Number.isNaN(expected) || ulps > worst.ulps) worst = { ulps, x };
  });
  expect(worst.ulps, `at ${worst.x}`).toBeLessThanOrEqual(MAX_ULP);
});

it('has a case for each function of floats that the table computes element by element', () => {
  const exact = /^(full|neg|abs|sign|floor|ceil|round|isfinite|cast|where|logical.*|[lg][te]|eq|ne)$/;
  const two = /^(add|sub|mul|div|minimum|maximum|pow)$/; // see kernels: correctly rounded, and pow
  const names = Object.values(a.ops)
    .filter(({ kind, name }) => kind === 'elementwise' && !exact.test(name) && !two.test(name))
    .map(({ name }) => name);
  const covered = Object.keys(functions).map((name) => (name === 'gelu by tanh' ? 'geluTanh' : name));
  expect(names.filter((name) => !name.endsWith('Slope') && !covered.includes(name))).toEqual([]);
});
