/** Modules: what networks are made of. */
export {
  dropout,
  elu,
  flatten,
  type GeluOptions,
  gelu,
  identity,
  leakyRelu,
  logSoftmax,
  relu,
  sigmoid,
  silu,
  softmax,
  softplus,
  tanh,
} from './activations.ts';
export { type Linear, type LinearOptions, linear } from './linear.ts';
export { type Layer, type Module, module, parameter, type Sequential, sequential } from './module.ts';
