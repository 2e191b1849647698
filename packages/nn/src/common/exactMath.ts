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

/** eˣ: relative error below 2⁻⁴⁷ (1 + |x|). */
export function exp(x: number): number {
  if (!Number.isFinite(x)) return x === -Infinity ? 0 : x;
  let halvings = 0;
  let r = x;
  // Exact: halves of a double.
  for (; Math.abs(r) > 1 / 16; halvings++) r /= 2;
  let sum = 1;
  for (let k = 12; k >= 1; k--) sum = 1 + (r / k) * sum;
  for (; halvings > 0; halvings--) sum *= sum;
  return sum;
}

/** The natural logarithm of x > 0: error about 2⁻⁵² (1 + |log x|). */
export function log(x: number): number {
  if (!(x > 0) || x === Infinity) throw new RangeError(`log: got ${x}, expected a finite number > 0`);
  let exponent = 0;
  let m = x;
  // Exact: powers of 2.
  for (; m > Math.SQRT2; exponent++) m /= 2;
  for (; m < Math.SQRT1_2; exponent--) m *= 2;
  // log m = 2 artanh(s), s = (m − 1) / (m + 1), |s| < 0.172.
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let sum = 0;
  for (let k = 21; k >= 1; k -= 2) sum = 1 / k + z * sum;
  return exponent * Math.LN2 + 2 * s * sum;
}

/** xᵖ for x ≥ 0 and any p. */
export const pow = (x: number, p: number): number =>
  Number.isSafeInteger(p) && p >= 0 ? powInteger(x, p) : x === 0 ? 0 : exp(p * log(x));
