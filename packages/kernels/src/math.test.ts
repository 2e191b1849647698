import { describe, expect, it } from 'vitest';
import { type Call, chainCall, region, run, sameBits } from '../test/rig.ts';
import { availableVariants } from './load.ts';
import { type MicroOpName, microOps } from './microops.ts';

const variants = availableVariants();
const MAX_ULP = 2;

/** 2/√π e^(−x²) Σ 2ᵏ x²ᵏ⁺¹ / (2k + 1)‼: all terms have one sign (Abramowitz and Stegun 7.1.6). */
const erf = (x: number): number => {
  if (!(Math.abs(x) < 6)) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum); k++) {
    term *= (2 * x * x) / (2 * k + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
};
const sigmoid = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
/** C's pow: 1^y = 1 and (−1)^±∞ = 1, which JavaScript calls NaN. */
const pow = (x: number, y: number): number =>
  x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y;

const functions = {
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  erf,
  sigmoid,
} as const satisfies Partial<Record<MicroOpName, (x: number) => number>>;

/** Half to even, as the tie of `Math.round`, which goes up, is not. */
const round = (x: number): number => {
  const up = Math.round(x);
  return up - x === 0.5 && up % 2 !== 0 ? up - 1 : up;
};

/** Rounded correctly, whatever the argument. */
const exactFunctions = {
  floor: Math.floor,
  ceil: Math.ceil,
  round,
  sqrt: Math.sqrt,
} as const satisfies Partial<Record<MicroOpName, (x: number) => number>>;

const apply = (op: MicroOpName, inputs: readonly Float32Array[]): Call => {
  const n = inputs[0]!.length;
  const steps = [{ op, args: inputs.map((_, i) => i) }];
  const outputs = [{ address: region(inputs.length), value: inputs.length }];
  return chainCall({ dims: [n], inputs: inputs.map((_, i) => ({ address: region(i) })), steps, outputs }, [
    ...inputs,
    new Float32Array(n),
  ]);
};

/** Every 1009th float, and those next to where formulas change. */
const sample = ((): Float32Array => {
  const count = Math.floor(2 ** 32 / 1009);
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) words[i] = i * 1009;
  const edges = [
    0,
    2 ** -149,
    2 ** -126,
    1,
    2,
    0.625,
    0.927734375,
    4,
    88.72283,
    89,
    104,
    18,
    0.29,
    0.41,
    0.34657359,
  ];
  const angles = [
    Math.PI / 2,
    Math.PI,
    2 ** 28,
    2 ** 27,
    1e10,
    3.4028234663852886e38,
    16367173 * 2 ** 72,
    Infinity,
  ];
  const near = new Uint32Array(Float32Array.from([...edges, ...angles]).buffer);
  const around = [...near].flatMap((word) => [-2, -1, 0, 1, 2].map((d) => (word + d) & 0x7fffffff));
  return new Float32Array(
    Uint32Array.from([...words, ...around, ...around.map((word) => word | 0x80000000)]).buffer,
  );
})();

/** Floats between two of the same kind, along the number line; NaN matches NaN only, and a zero's sign counts. */
const line = (word: number): number => (word < 0 ? -(word & 0x7fffffff) : word);
const distance = (float: Float32Array, int: Int32Array, expected: number): number => {
  float[1] = expected;
  if (Number.isNaN(float[0]!) || Number.isNaN(float[1])) return Object.is(float[0], float[1]) ? 0 : Infinity;
  if (expected === 0 && float[0] === 0) return Object.is(float[0], float[1]) ? 0 : Infinity;
  return Math.abs(line(int[0]!) - line(int[1]!));
};

/** The worst distance to the correctly rounded result, and where. */
const worst = (got: Float32Array, expected: (i: number) => number): { ulps: number; at: number } => {
  const float = new Float32Array(2);
  const int = new Int32Array(float.buffer);
  let found = { ulps: 0, at: -1 };
  got.forEach((value, i) => {
    float[0] = value;
    const ulps = distance(float, int, expected(i));
    if (ulps > found.ulps) found = { ulps, at: i };
  });
  return found;
};

const outputs = (op: MicroOpName, inputs: readonly Float32Array[]): Float32Array[] =>
  variants.map((variant) => run(variant, apply(op, inputs))[microOps[op].arity] as Float32Array);

type Reference = (...x: number[]) => number;
const check = (
  op: MicroOpName,
  inputs: readonly Float32Array[],
  reference: Reference,
  maxUlp = MAX_ULP,
): void => {
  const [first, ...others] = outputs(op, inputs);
  others.forEach((other, i) => {
    expect(sameBits(first!, other), `${variants[i + 1]} differs from ${variants[0]}`).toBe(true);
  });
  const { ulps, at } = worst(first!, (i) => reference(...inputs.map((input) => input[i]!)));
  const where = `${op}(${inputs.map((input) => input[at])}) = ${first![at]}`;
  expect(ulps, where).toBeLessThanOrEqual(maxUlp);
};

describe('elementary functions: within 2 ulp, and the same bits on all variants', () => {
  it.each(Object.entries(functions) as [MicroOpName, Reference][])('%s', (op, reference) => {
    check(op, [sample], reference);
  });

  it.each(Object.entries(exactFunctions) as [MicroOpName, Reference][])('%s, exactly', (op, reference) => {
    check(op, [sample], reference, 0);
  });

  it('pow, on a grid of all magnitudes', () => {
    const some = sample.filter((_, i) => i % 4001 === 0);
    const xs = Float32Array.from([...some, 0.999, 1.001, 1.5, -3, 7]);
    const ys = Float32Array.from([
      ...some.filter((_, i) => i % 8 === 0),
      0.5,
      -0.5,
      2,
      3,
      -1,
      -2,
      10.25,
      100,
      -30.5,
    ]);
    const x = new Float32Array(xs.length * ys.length).map((_, i) => xs[i % xs.length]!);
    check('pow', [x, x.map((_, i) => ys[Math.floor(i / xs.length)]!)], pow);
  });

  it('pow, at its special values', () => {
    const values = [0, 1, 2, 3, 0.5, 1e38, 2 ** 24 - 1, 2 ** 24, 1e-45, Infinity];
    const all = [...values, ...values.map((x) => -x), Number.NaN];
    const x = Float32Array.from(all.flatMap((value) => all.map(() => value)));
    check('pow', [x, Float32Array.from(all.flatMap(() => all))], pow);
  });
});
