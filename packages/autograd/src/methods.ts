/** The ops as methods: `x.matmul(w).add(b).relu()`. */
import { backward, detach, type GradientOptions } from './gradients.ts';
import * as f from './ops/index.ts';
import { Tensor } from './tensor.ts';

/** Functions whose first argument is a tensor become methods under the same name. */
const methods = {
  abs: f.abs,
  add: f.add,
  argmax: f.argmax,
  argmin: f.argmin,
  cast: f.cast,
  ceil: f.ceil,
  clamp: f.clamp,
  cos: f.cos,
  div: f.div,
  eq: f.eq,
  erf: f.erf,
  exp: f.exp,
  expand: f.expand,
  expm1: f.expm1,
  flatten: f.flatten,
  flip: f.flip,
  floor: f.floor,
  ge: f.ge,
  gather: f.gather,
  gt: f.gt,
  indexSelect: f.indexSelect,
  le: f.le,
  log: f.log,
  log1p: f.log1p,
  logSoftmax: f.logSoftmax,
  logSumExp: f.logSumExp,
  lt: f.lt,
  matmul: f.matmul,
  max: f.max,
  maximum: f.maximum,
  mean: f.mean,
  min: f.min,
  minimum: f.minimum,
  mul: f.mul,
  ne: f.ne,
  narrow: f.narrow,
  neg: f.neg,
  pad: f.pad,
  permute: f.permute,
  pow: f.pow,
  relu: f.relu,
  reshape: f.reshape,
  round: f.round,
  sigmoid: f.sigmoid,
  sign: f.sign,
  sin: f.sin,
  slice: f.slice,
  softmax: f.softmax,
  sqrt: f.sqrt,
  square: f.square,
  squeeze: f.squeeze,
  sub: f.sub,
  sum: f.sum,
  take: f.take,
  tanh: f.tanh,
  transpose: f.transpose,
  unsqueeze: f.unsqueeze,
  detach,
  backward: (x: Tensor, options?: GradientOptions): void => backward(x, options),
};

type Method<F> = F extends (x: Tensor, ...rest: infer R) => infer O
  ? (...rest: R) => O
  : F extends (a: f.Operand, ...rest: infer R) => infer O
    ? (...rest: R) => O
    : never;
type Methods = { [K in keyof typeof methods]: Method<(typeof methods)[K]> };

declare module './tensor.ts' {
  interface Tensor extends Methods {}
}

for (const [name, method] of Object.entries(methods)) {
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: never[]) {
      return (method as (x: Tensor, ...rest: never[]) => unknown)(this, ...rest);
    },
  });
}
