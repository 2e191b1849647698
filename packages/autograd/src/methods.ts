/** The ops as methods: `x.matmul(w).add(b).relu()`. */

import { Tensor } from './core/tensor.ts';
import { backward, detach, type GradientOptions } from './derivatives/gradients.ts';
import * as f from './ops/index.ts';

/** Functions whose first argument is a tensor become methods under the same name. */
const methods = {
  abs: f.abs,
  add: f.add,
  all: f.all,
  any: f.any,
  argmax: f.argmax,
  argmin: f.argmin,
  argsort: f.argsort,
  cast: f.cast,
  ceil: f.ceil,
  chunk: f.chunk,
  clamp: f.clamp,
  cos: f.cos,
  cumsum: f.cumsum,
  diagonal: f.diagonal,
  div: f.div,
  dot: f.dot,
  elu: f.elu,
  eq: f.eq,
  erf: f.erf,
  exp: f.exp,
  expand: f.expand,
  expm1: f.expm1,
  flatten: f.flatten,
  flip: f.flip,
  floor: f.floor,
  gather: f.gather,
  ge: f.ge,
  gelu: f.gelu,
  gt: f.gt,
  hardswish: f.hardswish,
  indexAdd: f.indexAdd,
  indexSelect: f.indexSelect,
  isfinite: f.isfinite,
  le: f.le,
  leakyRelu: f.leakyRelu,
  log1p: f.log1p,
  log: f.log,
  logicalAnd: f.logicalAnd,
  logicalNot: f.logicalNot,
  logicalOr: f.logicalOr,
  logSoftmax: f.logSoftmax,
  logSumExp: f.logSumExp,
  lt: f.lt,
  matmul: f.matmul,
  max: f.max,
  maximum: f.maximum,
  mean: f.mean,
  min: f.min,
  minimum: f.minimum,
  mish: f.mish,
  mul: f.mul,
  narrow: f.narrow,
  ne: f.ne,
  neg: f.neg,
  norm: f.norm,
  oneHot: f.oneHot,
  outer: f.outer,
  pad: f.pad,
  permute: f.permute,
  pow: f.pow,
  prod: f.prod,
  relu: f.relu,
  repeat: f.repeat,
  reshape: f.reshape,
  roll: f.roll,
  round: f.round,
  rsqrt: f.rsqrt,
  scatterAdd: f.scatterAdd,
  sigmoid: f.sigmoid,
  sign: f.sign,
  silu: f.silu,
  sin: f.sin,
  slice: f.slice,
  softmax: f.softmax,
  sort: f.sort,
  softplus: f.softplus,
  split: f.split,
  sqrt: f.sqrt,
  square: f.square,
  squeeze: f.squeeze,
  std: f.std,
  sub: f.sub,
  sum: f.sum,
  take: f.take,
  tanh: f.tanh,
  topK: f.topK,
  transpose: f.transpose,
  tril: f.tril,
  triu: f.triu,
  unsqueeze: f.unsqueeze,
  var: f.variance,
  detach,
  backward: (x: Tensor, options?: GradientOptions): void => backward(x, options),
};

/** `infer R` alone is an array that may be written to, which no rest parameter of readonly arrays is: `slice` would be never. */
type Method<F> = F extends (x: Tensor, ...rest: infer R extends readonly unknown[]) => infer O
  ? (...rest: R) => O
  : F extends (a: f.Operand, ...rest: infer R extends readonly unknown[]) => infer O
    ? (...rest: R) => O
    : never;
type Methods = { [K in keyof typeof methods]: Method<(typeof methods)[K]> };

declare module './core/tensor.ts' {
  interface Tensor extends Methods {}
}

for (const [name, method] of Object.entries(methods)) {
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: never[]) {
      return (method as (x: Tensor, ...rest: never[]) => unknown)(this, ...rest);
    },
  });
}
