import './methods.ts';

export { apply, type TensorLike, tensor } from './apply.ts';
export { mergeBuffer, type Statistics, updateBuffer } from './buffers.ts';
export { type CheckOptions, type CheckResult, checkGradients } from './check.ts';
export {
  context,
  isTraining,
  noGrad,
  type Observer,
  type Precision,
  seedWords,
  withObserver,
  withPrecision,
  withScope,
  withSeed,
  withStatistics,
  withTrace,
  withTraining,
} from './context.ts';
export { setEagerKernels } from './eager.ts';
export {
  backward,
  customGradient,
  detach,
  type GradientOptions,
  grad,
  gradients,
  valueAndGrad,
  variable,
} from './gradients.ts';
export {
  type ConstantNode,
  type GraphNode,
  type InputKind,
  type InputNode,
  type OpNode,
  type Samples,
  Trace,
} from './graph.ts';
export type {
  AnyOp,
  BackwardContext,
  BackwardRule,
  ElementwiseOp,
  KernelOp,
  Op,
  Step,
  ViewOp,
} from './op.ts';
export * from './ops/index.ts';
export { type RecurrentOptions, recurrent } from './recurrent.ts';
export {
  broadcastShapes,
  contiguousStrides,
  type DType,
  expectTensors,
  formatShape,
  formatSpec,
  OpError,
  type Shape,
  type Spec,
  sameShape,
  sizeOf,
} from './shape.ts';
export { type BufferRule, type Origin, Parameter, StateBuffer, Tensor, type TensorData } from './tensor.ts';
export {
  contiguousView,
  copyView,
  type Emitter,
  expandedStrides,
  isContiguous,
  materialize,
  type View,
} from './view.ts';
