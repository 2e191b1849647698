import { describe, expect, it } from 'vitest';
import { type Call, chainCall, region, run, sameBits } from '../../test/rig.ts';
import { type MicroOpName, microOps } from '../instructions/microops.ts';
import type { ChainStep } from '../program/chain.ts';
import * as reference from '../reference/functions.ts';
import { availableVariants } from './load.ts';

const variants = availableVariants();
const MAX_ULP = 2;

const functions = {
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  erf: reference.erf,
  sigmoid: reference.sigmoid,
  gelu: reference.gelu,
  geluTanh: reference.geluTanh,
  silu: reference.silu,
  mish: reference.mish,
} as const satisfies Partial<Record<MicroOpName, (x: number) => number>>;

/** Derivatives that are 0 somewhere: an absolute error is allowed as well, see `native/activations.h`. */
const slopes = {
  geluSlope: reference.geluSlope,
  geluTanhSlope: reference.geluTanhSlope,
  siluSlope: reference.siluSlope,
  mishSlope: reference.mishSlope,
} as const satisfies Partial<Record<MicroOpName, (x: number) => number>>;
const MAX_SLOPE_ERROR = 2 ** -29;

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

const call = (op: MicroOpName, inputs: readonly Float32Array[]): Call => {
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
    11,
    14.6,
    20,
    110,
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

const finite = sample.filter(Number.isFinite);

/** Floats between two of the same kind, along the number line; NaN matches NaN only, and a zero's sign counts. */
const line = (word: number): number => (word < 0 ? -(word & 0x7fffffff) : word);
const distance = (float: Float32Array, int: Int32Array, expected: number): number => {
  float[1] = expected;
  if (Number.isNaN(float[0]!) || Number.isNaN(float[1])) return Object.is(float[0], float[1]) ? 0 : Infinity;
  if (expected === 0 && float[0] === 0) return Object.is(float[0], float[1]) ? 0 : Infinity;
  return Math.abs(line(int[0]!) - line(int[1]!));
};

/** The worst distance to the correctly rounded result, and where. */
const worst = (
  got: Float32Array,
  expected: (i: number) => number,
  near: number,
): { ulps: number; at: number } => {
  const float = new Float32Array(2);
  const int = new Int32Array(float.buffer);
  let found = { ulps: 0, at: -1 };
  got.forEach((value, i) => {
    const exact = expected(i);
    if (Math.abs(value - exact) <= near) return;
    float[0] = value;
    const ulps = distance(float, int, exact);
    if (ulps > found.ulps) found = { ulps, at: i };
  });
  return found;
};

const outputs = (op: MicroOpName, inputs: readonly Float32Array[]): Float32Array[] =>
  variants.map((variant) => run(variant, call(op, inputs))[microOps[op].arity] as Float32Array);

type Reference = (...x: number[]) => number;
const check = (
  op: MicroOpName,
  inputs: readonly Float32Array[],
  reference: Reference,
  { maxUlp = MAX_ULP, near = -1 } = {},
): void => {
  const [first, ...others] = outputs(op, inputs);
  others.forEach((other, i) => {
    expect(sameBits(first!, other), `${variants[i + 1]} differs from ${variants[0]}`).toBe(true);
  });
  const { ulps, at } = worst(first!, (i) => reference(...inputs.map((input) => input[i]!)), near);
  const where = `${op}(${inputs.map((input) => input[at])}) = ${first![at]}`;
  expect(ulps, where).toBeLessThanOrEqual(maxUlp);
};

describe('elementary functions: within 2 ulp, and the same bits on all variants', () => {
  it.each(Object.entries(functions) as [MicroOpName, Reference][])('%s', (op, reference) => {
    check(op, [sample], reference);
  });

  it.each(Object.entries(exactFunctions) as [MicroOpName, Reference][])('%s, exactly', (op, reference) => {
    check(op, [sample], reference, { maxUlp: 0 });
  });

  it.each(Object.entries(slopes) as [MicroOpName, Reference][])('%s', (op, reference) => {
    check(op, [finite], reference, { near: MAX_SLOPE_ERROR });
  });

  it.each([1, 2.5, 0.1, 1e-30, 1e30])('softplus with β = %d', (beta) => {
    check('softplus', [finite, new Float32Array(finite.length).fill(beta)], reference.softplus);
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
    check('pow', [x, x.map((_, i) => ys[Math.floor(i / xs.length)]!)], reference.pow);
  });

  it('pow, at its special values', () => {
    const values = [0, 1, 2, 3, 0.5, 1e38, 2 ** 24 - 1, 2 ** 24, 1e-45, Infinity];
    const all = [...values, ...values.map((x) => -x), Number.NaN];
    const x = Float32Array.from(all.flatMap((value) => all.map(() => value)));
    check('pow', [x, Float32Array.from(all.flatMap(() => all))], reference.pow);
  });
});

describe('a function and its slope', () => {
  const besides = Object.keys(slopes).map((slope) => [slope.replace('Slope', ''), slope]);
  const values = sample.filter((_, i) => i % 997 === 0);
  it.each(besides as [MicroOpName, MicroOpName][])(
    '%s and %s in one chain, with the bits of each',
    (f, slope) => {
      const [y] = outputs(f, [values]) as [Float32Array];
      const [dy] = outputs(slope, [values]) as [Float32Array];
      for (const n of [1, 7, 16, 33, 511, 512, 513, values.length]) {
        const x = values.slice(0, n);
        // Another step between them, and the slope written where x lies.
        const steps: ChainStep[] = [
          { op: f, args: [0] },
          { op: 'neg', args: [1] },
          { op: slope, args: [0] },
        ];
        const places = [1, 2, 0].map((at, s) => ({ address: region(at), value: 1 + s }));
        const both = chainCall({ dims: [n], inputs: [{ address: region(0) }], steps, outputs: places }, [
          x,
          new Float32Array(n),
          new Float32Array(n),
        ]);
        for (const variant of variants) {
          const [slopes, found, negated] = run(variant, both) as Float32Array[];
          expect(sameBits(found!, y.slice(0, n)), `${variant}, ${n}`).toBe(true);
          expect(sameBits(slopes!, dy.slice(0, n)), `${variant}, ${n}`).toBe(true);
          expect(
            sameBits(
              negated!,
              y.slice(0, n).map((v) => -v),
            ),
            `${variant}, ${n}`,
          ).toBe(true);
        }
      }
    },
  );
});

/** By mpmath with 50 digits; see the formulas in `reference/functions.ts`. */
const known: readonly (readonly [f: (x: number, beta: number) => number, x: number, y: number])[] = [
  [reference.erf, -1.25, -0.9229001282564583],
  [reference.erf, 0.5, 0.5204998778130465],
  [reference.erf, 1.75, 0.9866716712191824],
  [reference.erfc, -0.5, 1.5204998778130465],
  [reference.erfc, 0.25, 0.7236736098317631],
  [reference.erfc, 1.4375, 0.042059393943539934],
  [reference.erfc, 1.5, 0.033894853524689274],
  [reference.erfc, 2, 0.004677734981047266],
  [reference.erfc, 9, 4.13703174651381e-37],
  [reference.gelu, -9.5, -9.969789321594476e-21],
  [reference.gelu, -2.25, -0.027505063473850584],
  [reference.gelu, -0.125, -0.056282721896235885],
  [reference.gelu, 0.5, 0.34573123063700656],
  [reference.gelu, 3, 2.99595030590511],
  [reference.geluSlope, -9.5, -9.469093473831384e-20],
  [reference.geluSlope, -2.25, -0.05918974397520698],
  [reference.geluSlope, -0.125, 0.4007820643017934],
  [reference.geluSlope, 0.5, 0.8674951246561629],
  [reference.geluSlope, 3, 1.011945647204184],
  [reference.geluTanh, -9.5, -6.678928766783903e-33],
  [reference.geluTanh, -2.25, -0.02720132989728861],
  [reference.geluTanh, -0.125, -0.05628280137577661],
  [reference.geluTanh, 0.5, 0.34571400982514394],
  [reference.geluTanh, 3, 2.996362607918227],
  [reference.geluTanhSlope, -9.5, -1.3898732192332652e-31],
  [reference.geluTanhSlope, -2.25, -0.05991453451776219],
  [reference.geluTanhSlope, -0.125, 0.40078459383720855],
  [reference.geluTanhSlope, 0.5, 0.8673699035346423],
  [reference.geluTanhSlope, 3, 1.0115841666309697],
  [reference.silu, -9.5, -0.0007110391613508067],
  [reference.silu, -2.25, -0.21453629602299637],
  [reference.silu, -0.125, -0.05859882832828047],
  [reference.silu, 0.5, 0.3112296656009273],
  [reference.silu, 3, 2.8577223804672998],
  [reference.siluSlope, -9.5, -0.000636139715241356],
  [reference.siluSlope, -2.25, -0.09873091009665722],
  [reference.siluSlope, -0.125, 0.4376623797495416],
  [reference.siluSlope, 0.5, 0.7399611873026518],
  [reference.siluSlope, 3, 1.0881041060151695],
  [reference.mish, -9.5, -0.0007110657706501519],
  [reference.mish, -2.25, -0.22471311922296616],
  [reference.mish, -0.125, -0.06997990718000248],
  [reference.mish, 0.5, 0.3752452113048951],
  [reference.mish, 3, 2.986535004967957],
  [reference.mishSlope, -9.5, -0.0006361901288778075],
  [reference.mishSlope, -2.25, -0.11252390292835687],
  [reference.mishSlope, -0.125, 0.519606473544816],
  [reference.mishSlope, 0.5, 0.8864243753577272],
  [reference.mishSlope, 3, 1.0211069109294437],
  [reference.softplus, -9.5, 1.9389474824611083e-11],
  [reference.softplus, -2.25, 0.0014400300328905311],
  [reference.softplus, -0.125, 0.21962194490826728],
  [reference.softplus, 0.5, 0.6007716325381491],
  [reference.softplus, 3, 3.000221172590144],
];
it.each(known.map(([f, x, exact]) => [f.name, x, exact, f] as const))(
  'the reference %s(%d) is %d',
  (_, x, exact, f) => {
    expect(Math.abs(f(x, 2.5) - exact)).toBeLessThanOrEqual(3e-14 * Math.abs(exact));
  },
);
