/** Random numbers, keyed by seed, stream, step and shard: the same whoever draws them, and in whatever order. */
import { apply } from '../apply.ts';
import { context } from '../context.ts';
import type { KernelOp } from '../op.ts';
import { type Shape, sizeOf } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { add, cos, log, mul, sqrt, sub } from './elementwise.ts';

export interface RandomAttrs {
  readonly shape: Shape;
  readonly stream: number;
}

export const randomOp: KernelOp<RandomAttrs> = {
  kind: 'kernel',
  name: 'random',
  random: true,
  infer: (_, { shape }) => ({ shape, dtype: 'f32' }),
  lower: (emit, output, _, { shape, stream }) =>
    emit.call('random', {
      out: output.address,
      record: emit.record,
      unit: emit.unit,
      stream,
      segments: sizeOf(output.shape.slice(0, output.shape.length - shape.length)),
      n: sizeOf(shape),
    }),
  backward: [],
};

/** Uniform numbers in [0, 1), 24 bits each. Keyed by `withSeed` in eager code, by the run's seed in training. */
export function rand(shape: Shape): Tensor {
  const { trace, generator } = context();
  const stream = trace ? trace.nextStream++ : generator.nextStream++;
  return apply(randomOp, [], { shape, stream });
}

/** Numbers between `low` and `high`. */
export const uniform = (shape: Shape, low: number, high: number): Tensor =>
  add(mul(rand(shape), high - low), low);

/** Standard normal numbers (Box and Muller, 1958). */
export function randn(shape: Shape): Tensor {
  const radius = sqrt(mul(log(sub(1, rand(shape))), -2));
  return mul(radius, cos(mul(rand(shape), 2 * Math.PI)));
}
