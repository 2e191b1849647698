/**
 * The network and its gradients by formulas derived by hand, in plain TypeScript and float64. The README derives them;
 * the names here are its symbols: x → (W, b) → a → h = σ(a) → (V, c) → z → o = σ(z).
 */

export type Vector = readonly number[];
export type Matrix = readonly Vector[];

export interface Weights {
  /** [hidden, inputs]: W[j][i] leads from input i to hidden unit j. */
  readonly W: Matrix;
  /** [hidden] */
  readonly b: Vector;
  /** [outputs, hidden]: V[k][j] leads from hidden unit j to output k. */
  readonly V: Matrix;
  /** [outputs] */
  readonly c: Vector;
}

/** What the network computes for one pattern. */
export interface Activations {
  readonly a: Vector;
  readonly h: Vector;
  readonly z: Vector;
  readonly o: Vector;
  /** E = ½ Σₖ (oₖ − tₖ)². */
  readonly error: number;
}

/** How E changes with what goes into a unit: δᵒₖ = ∂E/∂zₖ and δʰⱼ = ∂E/∂aⱼ. */
export interface Deltas {
  readonly output: Vector;
  readonly hidden: Vector;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const sum = (values: Vector): number => values.reduce((total, value) => total + value, 0);
const dot = (a: Vector, b: Vector): number => sum(a.map((value, i) => value * b[i]!));

export function forward({ W, b, V, c }: Weights, x: Vector, t: Vector): Activations {
  const a = W.map((row, j) => dot(row, x) + b[j]!);
  const h = a.map(sigmoid);
  const z = V.map((row, k) => dot(row, h) + c[k]!);
  const o = z.map(sigmoid);
  const error = sum(o.map((value, k) => (value - t[k]!) ** 2)) / 2;
  return { a, h, z, o, error };
}

/** The errors of the units, from the output back to the hidden layer. */
export function backward({ V }: Weights, { h, o }: Activations, t: Vector): Deltas {
  const output = o.map((value, k) => (value - t[k]!) * value * (1 - value));
  const hidden = h.map((value, j) => value * (1 - value) * sum(V.map((row, k) => row[j]! * output[k]!)));
  return { output, hidden };
}

/** ∂E/∂w of each weight: the error of the unit it leads to, times what comes along it. */
export function gradient(x: Vector, { h }: Activations, { output, hidden }: Deltas): Weights {
  return {
    W: hidden.map((delta) => x.map((value) => delta * value)),
    b: hidden,
    V: output.map((delta) => h.map((value) => delta * value)),
    c: output,
  };
}

/** f(p, q) for each number of two sets of weights. */
function zip(p: Weights, q: Weights, f: (p: number, q: number) => number): Weights {
  const vector = (u: Vector, v: Vector): Vector => u.map((value, i) => f(value, v[i]!));
  const matrix = (u: Matrix, v: Matrix): Matrix => u.map((row, i) => vector(row, v[i]!));
  return { W: matrix(p.W, q.W), b: vector(p.b, q.b), V: matrix(p.V, q.V), c: vector(p.c, q.c) };
}

/** Mean of E and of its gradient over all patterns. */
export function meanGradient(weights: Weights, inputs: Matrix, targets: Matrix) {
  let error = 0;
  let total = zip(weights, weights, () => 0);
  inputs.forEach((x, p) => {
    const t = targets[p]!;
    const activations = forward(weights, x, t);
    error += activations.error / inputs.length;
    const own = gradient(x, activations, backward(weights, activations, t));
    total = zip(total, own, (sum, value) => sum + value / inputs.length);
  });
  return { error, gradient: total };
}

/** w ← w − η ∂E/∂w. */
export const update = (weights: Weights, slope: Weights, lr: number): Weights =>
  zip(weights, slope, (w, dw) => w - lr * dw);
