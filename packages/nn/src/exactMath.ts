/**
 * Functions of one double that give the same bits on every engine. JavaScript leaves Math.cos, Math.pow and the like to the
 * implementation; a learning rate that differed in its last bit would change the trained weights. Here are only
 * + − × ÷ and √, which IEEE 754 fixes.
 */

/** xⁿ for an integer n ≥ 0 by squaring: relative error about n · 2⁻⁵³. */
export function powInteger(x: number, n: number): number {
  if (!Number.isSafeInteger(n) || n < 0) {
    throw new RangeError(`powInteger: got exponent ${n}, expected an integer >= 0`);
  }
  let result = 1;
  let square = x;
  for (let rest = n; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result *= square;
    square *= square;
  }
  return result;
}

/** cos(πx) for any finite x: absolute error below 2⁻⁵². The multiples of ½ are exact. */
export function cosPi(x: number): number {
  // Every step of the reduction is exact: the remainder by 2, its mirror image, and 1 − r or ½ − r of neighbours.
  const turn = Math.abs(x) % 2;
  const half = turn > 1 ? 2 - turn : turn;
  const sign = half > 0.5 ? -1 : 1;
  const r = half > 0.5 ? 1 - half : half;
  return sign * (r <= 0.25 ? cosKernel(Math.PI * r) : sinKernel(Math.PI * (0.5 - r)));
}

/** cos and sin on [0, π/4]: Taylor's series, cut where its next term is below 2⁻⁵⁶. */
const cosKernel = (x: number): number => alternating(x * x, 0);
const sinKernel = (x: number): number => x * alternating(x * x, 1);

/** Σ (−1)ᵏ zᵏ / (2k + first)! by Horner's rule: 1 − z/(1·2) (1 − z/(3·4) (1 − …)) for first = 0. */
function alternating(z: number, first: 0 | 1): number {
  let sum = 1;
  for (let k = 9; k >= 1; k--) {
    const n = 2 * k + first;
    sum = 1 - (z / (n * (n - 1))) * sum;
  }
  return sum;
}
