/** Random numbers, keyed by seed, stream, step and shard (or row): the same whoever draws them, and in whatever order. */
import { ELEMENT_BYTES } from '@lockstep/kernels';
import { apply } from '../core/apply.ts';
import { context, isTraining } from '../core/context.ts';
import type { Samples } from '../core/graph.ts';
import type { KernelOp } from '../core/op.ts';
import {
  expectConstant,
  expectDType,
  expectReal,
  expectSizes,
  inNameOf,
  OpError,
  type Shape,
  sizeOf,
} from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import { copyView, type Emitter, moved, type View } from '../core/view.ts';
import { add, cast, cos, floor, ge, log, lt, minimum, mul, sqrt, sub, where } from './elementwise.ts';
import { argsort } from './indexing.ts';

export interface RandomAttrs {
  readonly shape: Shape;
  readonly stream: number;
  /** Default: the numbers belong to a shard, which the unit's first word numbers. */
  readonly samples?: Samples;
}

export const randomOp: KernelOp<RandomAttrs> = {
  kind: 'kernel',
  name: 'random',
  random: true,
  infer: (_, { shape }) => {
    expectSizes('random', shape);
    return { shape, dtype: 'f32' };
  },
  lower: (emit, output, _, attrs) => {
    const { shape, stream, samples } = attrs;
    const { record, unit } = emit;
    if (samples && samples !== 'none') return drawSamples(emit, output, attrs, samples);
    emit.call('random', {
      out: output.address,
      record,
      // Behind the unit's own words there is a zero where numbers belong to nothing.
      unit: samples === 'none' ? moved(unit, 2) : unit,
      stream,
      segments: sizeOf(output.shape.slice(0, output.shape.length - shape.length)),
      n: sizeOf(shape),
    });
  },
  backward: [],
};

/** The numbers of each sample by themselves: [count, outer, inner], of an output [outer, count, inner]. */
function drawSamples(
  emit: Emitter,
  output: View,
  { shape, stream }: RandomAttrs,
  { axis, count }: Exclude<Samples, 'none'>,
): void {
  const n = sizeOf(shape) / count;
  const outer = sizeOf(shape.slice(0, axis));
  const out = outer === 1 ? output.address : emit.temporary(sizeOf(shape) * ELEMENT_BYTES);
  emit.call('random', { out, record: emit.record, unit: emit.unit, stream, segments: count, n });
  if (outer === 1 || n === 0) return;
  const inner = n / outer;
  copyView(emit, { address: out, shape: [outer, count, inner], strides: [inner, n, 1] }, output.address);
}

/**
 * Uniform numbers in [0, 1), 24 bits each. Keyed by `withRandom` in eager code, by the run's seed in a run. They are drawn in
 * validation and predictions, too: what is for training only asks `isTraining()`.
 */
export function rand(shape: Shape): Tensor {
  expectSizes('rand', shape);
  const { trace, generator } = context();
  const stream = trace ? trace.nextStream++ : generator.nextStream++;
  const samples = trace?.samples.get(stream);
  return apply(randomOp, [], { shape, stream, ...(samples && { samples }) });
}

/** Numbers between `low` and `high`. */
export function uniform(shape: Shape, low: number, high: number): Tensor {
  expectReal('uniform', 'low', low);
  expectReal('uniform', 'high', high);
  return inNameOf('uniform', () => add(mul(rand(shape), high - low), low));
}

/** Standard normal numbers (Box and Muller, 1958). */
export function randn(shape: Shape): Tensor {
  expectSizes('randn', shape);
  const radius = sqrt(mul(log(sub(1, rand(shape))), -2));
  return mul(radius, cos(mul(rand(shape), 2 * Math.PI)));
}

/** 1 with probability p, else 0. Throws OpError. */
export function bernoulli(shape: Shape, p = 0.5): Tensor {
  if (!(typeof p === 'number' && p >= 0 && p <= 1))
    throw new OpError('bernoulli', `got p = ${p}, expected a probability from 0 to 1`);
  return inNameOf('bernoulli', () => cast(lt(rand(shape), p), 'f32'));
}

/** Random numbers have so many different values. */
const RANDOM_VALUES = 2 ** 24;

/**
 * While training: each element is 0 with probability p, from 0 to 1, else scaled by 1 / (1 − p), so that the mean stays
 * (Srivastava et al., 2014). In validation and predictions, where `isTraining()` is false: x. Throws OpError.
 */
export function dropout(x: Tensor, p = 0.5): Tensor {
  expectDType('dropout', 'input', x, 'f32');
  if (!(typeof p === 'number' && p >= 0 && p <= 1))
    throw new OpError('dropout', `got p = ${p}, expected a probability from 0 to 1`);
  if (!isTraining() || p === 0) return x;
  return p === 1 ? mul(x, 0) : where(ge(rand(x.shape), p), mul(x, 1 / (1 - p)), 0);
}

/** i32 numbers from `low` up to but without `high`; at most 2²⁴ different ones. Throws OpError. */
export function randint(shape: Shape, low: number, high: number): Tensor {
  const valid = Number.isInteger(low) && Number.isInteger(high) && high > low && high - low <= RANDOM_VALUES;
  if (!valid) {
    throw new OpError(
      'randint',
      `got ${low} to ${high}, expected whole numbers that are 1 to ${RANDOM_VALUES} apart`,
    );
  }
  expectSizes('randint', shape);
  for (const bound of [low, high - 1]) expectConstant('randint', bound, 'i32');
  // The product is below high − low before it is rounded, and may reach it after.
  const offset = minimum(floor(mul(rand(shape), high - low)), high - low - 1);
  return add(cast(offset, 'i32'), low);
}

/** The numbers 0 … n − 1 in random order, as i32. Throws OpError. */
export function permutation(n: number): Tensor {
  if (!Number.isInteger(n) || n < 0) {
    throw new OpError('permutation', `got ${n}, expected a whole number from 0 on`);
  }
  return argsort(rand([n]));
}
