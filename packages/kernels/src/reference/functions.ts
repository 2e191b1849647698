/** Functions that JavaScript lacks, in float64: for the naive twin, and to hold the kernels to. */

/** erf x = 2/√π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)‼ (Abramowitz and Stegun 7.1.6): no term cancels another. */
export function erf(x: number): number {
  if (!(Math.abs(x) < 6)) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** 1 − erf x; for large x by the continued fraction x + ½ / (x + 1 / (x + 1½ / (x + …))) (7.1.14). */
export function erfc(x: number): number {
  if (!(x >= 1.5)) return 1 - erf(x);
  if (x > 30) return 0;
  let fraction = x;
  for (let n = 200; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}

/** Math.pow, but 1^y = 1 and (−1)^±∞ = 1 as in C. */
export function pow(x: number, y: number): number {
  return x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y;
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
export const softplus = (x: number, beta: number): number =>
  Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x * beta))) / beta;

const distribution = (x: number): number => erfc(-x * Math.SQRT1_2) / 2;
const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
export const gelu = (x: number): number => x * distribution(x);
export const geluSlope = (x: number): number => distribution(x) + x * density(x);

/** The argument of the sigmoid, and its slope. */
const inner = (x: number): number => Math.sqrt(8 / Math.PI) * (x + 0.044715 * x ** 3);
const innerSlope = (x: number): number => Math.sqrt(8 / Math.PI) * (1 + 3 * 0.044715 * x ** 2);
export const geluTanh = (x: number): number => x * sigmoid(inner(x));
export const geluTanhSlope = (x: number): number =>
  sigmoid(inner(x)) * (1 + x * innerSlope(x) * sigmoid(-inner(x)));

export const silu = (x: number): number => x * sigmoid(x);
export const siluSlope = (x: number): number => sigmoid(x) * (1 + x * sigmoid(-x));

const mishGate = (x: number): number => Math.tanh(Math.log1p(Math.exp(x)));
export const mish = (x: number): number => x * mishGate(x);
export const mishSlope = (x: number): number => mishGate(x) + x * (1 - mishGate(x) ** 2) * sigmoid(x);
