/**
 * Start values of parameters. Each is a function from a shape to an eager tensor and draws from the generator around it
 * (`withRandom`), one stream after another in the order of calls, so a model's start depends on the seed alone.
 * Shapes are [out, in, ...kernel], as in PyTorch.
 */

import type { Tensor } from '@lockstep/autograd';
import {
  add,
  uniform as between,
  formatShape,
  full,
  mul,
  randn,
  type Shape,
  sizeOf,
  tensor,
} from '@lockstep/autograd';
import { ConfigError, expectNumber, expectOptions } from './errors.ts';

/** Start values for a shape. */
export type Initialiser = (shape: Shape) => Tensor;

/** The same number everywhere. */
export const constant =
  (value: number): Initialiser =>
  (shape) =>
    full(shape, value);
/** 0 everywhere. */
export const zeros = (): Initialiser => constant(0);
/** 1 everywhere. */
export const ones = (): Initialiser => constant(1);

/** Uniform in [low, high). Throws ConfigError. */
export function uniform(low = 0, high = 1): Initialiser {
  expectNumber('init.uniform', 'low', low);
  expectNumber('init.uniform', 'high', high, { min: low });
  return (shape) => between(shape, low, high);
}

export interface NormalOptions {
  /** Default 0. */
  readonly mean?: number;
  /** Standard deviation, >= 0. Default 1. */
  readonly std?: number;
}

function normalOptions(who: string, { mean = 0, std = 1 }: NormalOptions): { mean: number; std: number } {
  return { mean: expectNumber(who, 'mean', mean), std: expectNumber(who, 'std', std, { min: 0 }) };
}

/** Normal. Throws ConfigError. */
export function normal(options: NormalOptions = {}): Initialiser {
  expectOptions('init.normal', options, ['mean', 'std']);
  const { mean, std } = normalOptions('init.normal', options);
  return (shape) => add(mul(randn(shape), std), mean);
}

export interface TruncatedNormalOptions extends NormalOptions {
  /** Bounds of the values. Default: 2 standard deviations around the mean. */
  readonly low?: number;
  readonly high?: number;
}

/** So many redraws leave nothing outside unless the bounds hold less than about a hundredth of the distribution. */
const MAX_REDRAWS = 2000;

/** Normal, redrawn until it lies in [low, high]. Throws ConfigError, also where the bounds hold almost nothing. */
export function truncatedNormal(options: TruncatedNormalOptions = {}): Initialiser {
  const who = 'init.truncatedNormal';
  expectOptions(who, options, ['mean', 'std', 'low', 'high']);
  const { mean, std } = normalOptions(who, options);
  const low = expectNumber(who, 'low', options.low ?? mean - 2 * std);
  const high = expectNumber(who, 'high', options.high ?? mean + 2 * std, { min: low });
  const draw = normal({ mean, std });
  return (shape) => {
    const values = Float32Array.from(draw(shape).data());
    const isOutside = (i: number): boolean => !(values[i]! >= low && values[i]! <= high);
    let outside = [...values.keys()].filter(isOutside);
    for (let round = 0; outside.length > 0; round++) {
      if (round === MAX_REDRAWS) {
        throw new ConfigError(
          who,
          `got bounds [${low}, ${high}] for mean ${mean} and std ${std}, which hold almost no values; widen them`,
        );
      }
      const again = draw([outside.length]).data();
      outside.forEach((i, k) => {
        values[i] = again[k]!;
      });
      outside = outside.filter(isOutside);
    }
    return tensor(values, { shape });
  };
}

/** Numbers of inputs and outputs of one unit: sizes of axes 1 and 0, times the size of the kernel. */
function fans(who: string, shape: Shape): { fanIn: number; fanOut: number } {
  if (shape.length < 2) {
    throw new ConfigError(
      who,
      `got shape ${formatShape(shape)}, expected [out, in, ...]; use init.uniform or init.zeros for a bias`,
    );
  }
  const kernel = sizeOf(shape.slice(2));
  return { fanIn: shape[1]! * kernel, fanOut: shape[0]! * kernel };
}

/** Uniform of a given standard deviation: ±√3 · std. */
const uniformOf = (shape: Shape, std: number): Tensor => {
  const bound = Math.sqrt(3) * std;
  return between(shape, -bound, bound);
};
const normalOf = (shape: Shape, std: number): Tensor => mul(randn(shape), std);

export interface XavierOptions {
  /** Factor for the activation that follows: 1 for none and sigmoid, 5/3 for tanh, √2 for relu. Default 1. */
  readonly gain?: number;
}

type Draw = (shape: Shape, std: number) => Tensor;

/** std = gain · √(2 / (fanIn + fanOut)) (Glorot and Bengio, 2010). */
function xavier(who: string, draw: Draw, options: XavierOptions): Initialiser {
  expectOptions(who, options, ['gain']);
  const gain = expectNumber(who, 'gain', options.gain ?? 1, { min: 0 });
  return (shape) => {
    const { fanIn, fanOut } = fans(who, shape);
    return draw(shape, gain * Math.sqrt(2 / (fanIn + fanOut)));
  };
}

/** Keeps the variance through layers without or with odd activations (Glorot and Bengio, 2010). Throws ConfigError. */
export const xavierUniform = (options: XavierOptions = {}): Initialiser =>
  xavier('init.xavierUniform', uniformOf, options);
/** The same with a normal distribution. Throws ConfigError. */
export const xavierNormal = (options: XavierOptions = {}): Initialiser =>
  xavier('init.xavierNormal', normalOf, options);

export interface KaimingOptions {
  /** Slope of the leaky relu that follows, for x < 0. Default 0: a relu. */
  readonly a?: number;
  /** Keep the variance of values (`fanIn`, the default) or of gradients (`fanOut`). */
  readonly mode?: 'fanIn' | 'fanOut';
}

/** std = √(2 / (1 + a²)) / √fan (He et al., 2015). */
function kaiming(who: string, draw: Draw, options: KaimingOptions): Initialiser {
  expectOptions(who, options, ['a', 'mode']);
  const { mode = 'fanIn' } = options;
  const a = expectNumber(who, 'a', options.a ?? 0);
  if (mode !== 'fanIn' && mode !== 'fanOut') {
    throw new ConfigError(who, `got mode = ${JSON.stringify(mode)}, expected 'fanIn' or 'fanOut'`);
  }
  return (shape) => draw(shape, Math.sqrt(2 / (1 + a * a)) / Math.sqrt(fans(who, shape)[mode]));
}

/** Keeps the variance through layers with relus (He et al., 2015). Throws ConfigError. */
export const kaimingUniform = (options: KaimingOptions = {}): Initialiser =>
  kaiming('init.kaimingUniform', uniformOf, options);
/** The same with a normal distribution. Throws ConfigError. */
export const kaimingNormal = (options: KaimingOptions = {}): Initialiser =>
  kaiming('init.kaimingNormal', normalOf, options);

export interface OrthogonalOptions {
  /** Factor of the whole. Default 1. */
  readonly gain?: number;
}

/**
 * Rows of [out, in · kernel] at right angles and of length `gain`, or columns where there are more rows than columns (Saxe et
 * al., 2014): the Q of a normal matrix's QR decomposition with a positive diagonal of R, as in PyTorch. Throws ConfigError.
 */
export function orthogonal(options: OrthogonalOptions = {}): Initialiser {
  const who = 'init.orthogonal';
  expectOptions(who, options, ['gain']);
  const gain = expectNumber(who, 'gain', options.gain ?? 1, { min: 0 });
  return (shape) => {
    const { fanIn: columns } = fans(who, shape);
    const rows = shape[0]!;
    const drawn = randn(shape).data();
    // Vectors as long as the longer side; as many as the shorter one.
    const wide = rows <= columns;
    const vectors = Array.from({ length: Math.min(rows, columns) }, (_, i) =>
      Float64Array.from({ length: Math.max(rows, columns) }, (_, j) =>
        wide ? drawn[i * columns + j]! : drawn[j * columns + i]!,
      ),
    );
    orthonormalise(vectors);
    const at = (row: number, column: number): number =>
      wide ? vectors[row]![column]! : vectors[column]![row]!;
    const values = Float32Array.from(
      { length: rows * columns },
      (_, i) => gain * at(Math.floor(i / columns), i % columns),
    );
    return tensor(values, { shape });
  };
}

const dotOf = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};

/** Gram and Schmidt in place, in doubles; what rounding leaves of the earlier vectors is taken away a second time. */
function orthonormalise(vectors: readonly Float64Array[]): void {
  vectors.forEach((vector, i) => {
    for (const earlier of [...vectors.slice(0, i), ...vectors.slice(0, i)]) {
      const part = dotOf(vector, earlier);
      for (let j = 0; j < vector.length; j++) vector[j]! -= part * earlier[j]!;
    }
    const length = Math.sqrt(dotOf(vector, vector));
    // A single number may have been drawn as 0.
    for (let j = 0; j < vector.length; j++) vector[j] = length > 0 ? vector[j]! / length : Number(i === j);
  });
}
