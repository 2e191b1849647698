import './methods.ts';

export { apply, type TensorLike, tensor } from './core/apply.ts';
export {
  context,
  isTraining,
  noGrad,
  type Observer,
  type Precision,
  type RandomKey,
  seedWords,
  withObserver,
  withPrecision,
  withRandom,
  withScope,
  withStatistics,
  withTrace,
  withTraining,
} from './core/context.ts';
export { setEagerKernels } from './core/eager.ts';
export {
  type ConstantNode,
  type GraphNode,
  type InputKind,
  type InputNode,
  type OpNode,
  type Samples,
  Trace,
} from './core/graph.ts';
export type {
  AnyOp,
  BackwardContext,
  BackwardRule,
  ElementwiseOp,
  GradientRule,
  KernelOp,
  Op,
  Step,
  ViewOp,
} from './core/op.ts';
export {
  broadcastShapes,
  contiguousStrides,
  type DType,
  expectDType,
  expectTensors,
  formatShape,
  formatSpec,
  inNameOf,
  OpError,
  type Shape,
  type Spec,
  sameShape,
  sizeOf,
} from './core/shape.ts';
export {
  type BufferRule,
  type Origin,
  Parameter,
  StateBuffer,
  Tensor,
  type TensorData,
} from './core/tensor.ts';
export {
  contiguousView,
  copyView,
  type Emitter,
  expandedStrides,
  isContiguous,
  materialize,
  type View,
} from './core/view.ts';
export { mergeBuffer, type Statistics, updateBuffer } from './derivatives/buffers.ts';
export { type CheckOptions, type CheckResult, checkGradients } from './derivatives/check.ts';
export {
  backward,
  customGradient,
  detach,
  type GradientOptions,
  grad,
  gradients,
  valueAndGrad,
  variable,
} from './derivatives/gradients.ts';
export { type RecurrentOptions, recurrent } from './derivatives/recurrent.ts';
export * from './ops/index.ts';
