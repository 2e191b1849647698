/** Modules: what networks are made of. */
export {
  dropout,
  elu,
  flatten,
  type GeluOptions,
  gelu,
  hardswish,
  identity,
  leakyRelu,
  logSoftmax,
  mish,
  relu,
  sigmoid,
  silu,
  softmax,
  softplus,
  tanh,
} from './layers/activations.ts';
export {
  type AttentionInput,
  type MultiHeadAttention,
  type MultiHeadAttentionOptions,
  multiHeadAttention,
} from './layers/attention.ts';
export { type BatchNorm, type BatchNormOptions, batchNorm1d, batchNorm2d } from './layers/batchNorm.ts';
export {
  type Conv1dLayerOptions,
  type Conv2dLayerOptions,
  type Convolution,
  type ConvTranspose2dLayerOptions,
  conv1d,
  conv2d,
  convTranspose2d,
} from './layers/conv.ts';
export {
  type Embedding,
  type EmbeddingOptions,
  embedding,
  learnedPositions,
  sinusoidalPositions,
} from './layers/embedding.ts';
export {
  groupNorm,
  type LayerNormOptions,
  layerNorm,
  type Norm,
  type RmsNormOptions,
  rmsNorm,
} from './layers/layerNorm.ts';
export { type Linear, type LinearOptions, linear } from './layers/linear.ts';
export {
  adaptiveAvgPool2d,
  adaptiveMaxPool2d,
  avgPool1d,
  avgPool2d,
  maxPool1d,
  maxPool2d,
  upsample2d,
} from './layers/pool.ts';
export {
  gru,
  type LstmOutput,
  lstm,
  type Recurrent,
  type RecurrentInput,
  type RecurrentLayerOptions,
  type RecurrentOutput,
  type RnnOptions,
  rnn,
} from './layers/recurrent.ts';
export {
  residual,
  type TransformerBlock,
  type TransformerBlockOptions,
  transformerBlock,
} from './layers/transformer.ts';
export { freeze, isFrozen, unfreeze } from './model/freeze.ts';
export { type Layer, type Module, module, parameter, type Sequential, sequential } from './model/module.ts';
