/** Functions with gradients of their own. */
import { abs, cast, clamp, customGradient, le, mul, sign, type Tensor } from 'lockstep';

/**
 * Forward: sign(x). Backward: as if it were the identity where |x| ≤ 1, and 0 beyond, so that units which are already sure
 * stop drifting (the straight-through estimator; Bengio et al., 2013, with the window of Hubara et al., 2016).
 */
export const straightThroughSign = customGradient(
  (x: Tensor) => sign(x),
  (g, [x]) => [mul(g, cast(le(abs(x), 1), 'f32'))],
  'straightThroughSign',
);

/** Forward: the identity. Backward: every element of the gradient is cut to −limit … limit. */
export const clipGradient = (limit: number): ((x: Tensor) => Tensor) =>
  customGradient(
    (x: Tensor) => x,
    (g) => [clamp(g, -limit, limit)],
    'clipGradient',
  );
